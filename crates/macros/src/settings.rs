//! What the attributes of one function say, together: one policy, whose stages run in its fixed order.

use proc_macro2::{Span, TokenStream};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, ItemFn, Meta, Path, Result, Token};

use crate::attribute::{Argument, Attribute, Mistakes};
use crate::backup::Backup;
use crate::literal;
use crate::stages::{Breaker, Retry};

/// Where the policy comes from that is made elsewhere.
pub(crate) enum Elsewhere {
    Named(String),
    At(Expr),
}

/// What all attributes of a function say.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) breaker: Option<Breaker>,
    pub(crate) retry: Option<Retry>,
    pub(crate) deadline: Option<std::time::Duration>,
    pub(crate) attempt_timeout: Option<std::time::Duration>,
    pub(crate) elsewhere: Option<Elsewhere>,
    pub(crate) backup: Option<Backup>,
    pub(crate) classify: Option<Expr>,
    /// The paths of the attributes that were taken from the function, so that their imports count as used.
    pub(crate) taken: Vec<Path>,
}

impl Settings {
    /// Whether the body may run more than once.
    pub(crate) fn repeats(&self) -> bool {
        self.retry.is_some() || self.elsewhere.is_some()
    }

    fn add(&mut self, attribute: Attribute, arguments: TokenStream, span: Span) -> Result<()> {
        let parsed = Punctuated::<Argument, Token![,]>::parse_terminated.parse2(arguments)?;
        let mut arguments = Vec::new();
        let mut mistakes = Mistakes::default();
        for argument in parsed {
            match &argument.name {
                Some(name) if arguments.iter().any(|before: &Argument| before.name.as_ref() == Some(name)) => {
                    mistakes.add(Error::new(name.span(), format!("`{name}` is set twice")));
                }
                Some(name) if name == "classify" && attribute != Attribute::WithTimeout => {
                    if self.classify.replace(argument.value).is_some() {
                        mistakes.add(Error::new(
                            name.span(),
                            "`classify` holds for all attributes of a function: say it once",
                        ));
                    }
                }
                _ => arguments.push(argument),
            }
        }
        mistakes.note(match attribute {
            Attribute::CircuitBreaker => Breaker::read(&arguments, span).map(|breaker| self.breaker = Some(breaker)),
            Attribute::Retry => Retry::read(&arguments, span).map(|retry| self.retry = Some(retry)),
            Attribute::WithFallback => Backup::read(&arguments, span).and_then(|backup| self.set_backup(backup, span)),
            Attribute::WithTimeout => self.read_timeout(arguments, span),
            Attribute::Policy => self.read_policy(arguments, span),
        });
        mistakes.done()
    }

    fn set_backup(&mut self, backup: Backup, span: Span) -> Result<()> {
        match self.backup.replace(backup) {
            None => Ok(()),
            Some(_) => {
                Err(Error::new(span, "one kind of fallback at a time: put all into `with_fallback(fallbacks = […])`"))
            }
        }
    }

    fn read_timeout(&mut self, arguments: Vec<Argument>, span: Span) -> Result<()> {
        let mut mistakes = Mistakes::default();
        for argument in arguments {
            let limit = |limit: std::time::Duration| {
                if limit.is_zero() {
                    Err(Error::new_spanned(&argument.value, "a time limit is more than zero"))
                } else {
                    Ok(Some(limit))
                }
            };
            match argument.name().as_str() {
                "" | "deadline" if self.deadline.is_none() => {
                    mistakes.note(literal::duration(&argument.value).and_then(limit).map(|set| self.deadline = set));
                }
                "attempt" => {
                    mistakes
                        .note(literal::duration(&argument.value).and_then(limit).map(|set| self.attempt_timeout = set));
                }
                "fallback" => mistakes.note(self.set_backup(Backup::on_timeout(argument.value), span)),
                _ => mistakes.add(argument.unknown(Attribute::WithTimeout, "a duration, `attempt` and `fallback`")),
            }
        }
        mistakes.done()?;
        if self.deadline.is_none() && self.attempt_timeout.is_none() {
            return Err(Error::new(span, "`with_timeout` needs a duration such as `with_timeout(\"30s\")`"));
        }
        Ok(())
    }

    fn read_policy(&mut self, arguments: Vec<Argument>, span: Span) -> Result<()> {
        for argument in arguments {
            match &argument.value {
                _ if argument.name.is_some() || self.elsewhere.is_some() => {
                    return Err(argument.unknown(Attribute::Policy, "a name in quotes or a path, and `classify`"));
                }
                Expr::Path(_) => self.elsewhere = Some(Elsewhere::At(argument.value)),
                name => self.elsewhere = Some(Elsewhere::Named(literal::text(name)?)),
            }
        }
        match self.elsewhere {
            Some(_) => Ok(()),
            None => {
                Err(Error::new(span, "`policy` needs the name of a policy, or the path of one: `policy(\"openai\")`"))
            }
        }
    }

    fn check(&self, span: Span) -> Result<()> {
        let own = [
            (self.retry.is_some(), "retry"),
            (self.breaker.is_some(), "circuit_breaker"),
            (self.attempt_timeout.is_some(), "with_timeout(attempt = …)"),
        ];
        match own.iter().find(|(set, _)| *set && self.elsewhere.is_some()) {
            Some((_, name)) => {
                Err(Error::new(span, format!("the policy says it already: `policy` and `{name}` exclude each other")))
            }
            None => Ok(()),
        }
    }
}

/// Reads the attribute that is expanded and takes the others from the function, so that all are one policy.
pub(crate) fn collect(first: Attribute, arguments: TokenStream, function: &mut ItemFn) -> Result<Settings> {
    let mut settings = Settings::default();
    let mut mistakes = Mistakes::default();
    let mut seen = vec![first];
    let span = Span::call_site();
    mistakes.note(settings.add(first, arguments, span));
    for attribute in std::mem::take(&mut function.attrs) {
        let Some(ours) = Attribute::of(attribute.path()) else {
            function.attrs.push(attribute);
            continue;
        };
        if seen.contains(&ours) {
            mistakes.add(Error::new_spanned(&attribute, format!("`{}` stands here twice", ours.name())));
            continue;
        }
        seen.push(ours);
        settings.taken.push(attribute.path().clone());
        let arguments = match &attribute.meta {
            Meta::List(list) => list.tokens.clone(),
            _ => TokenStream::new(),
        };
        mistakes.note(settings.add(ours, arguments, attribute.path().span()));
    }
    mistakes.note(settings.check(span));
    mistakes.done()?;
    Ok(settings)
}

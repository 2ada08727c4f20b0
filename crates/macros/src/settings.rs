//! What the attributes of one function say, together: one policy, whose stages run in its fixed order.

use proc_macro2::{Span, TokenStream};
use stormproof_compat::aliases;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, ItemFn, Meta, Path, Result, Token};

use crate::backup::Backup;
use crate::literal;
use crate::stages::{Breaker, Retry};

/// The attributes there are.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Attribute {
    CircuitBreaker,
    Retry,
    WithFallback,
    WithTimeout,
    Policy,
}

impl Attribute {
    const ALL: [Self; 5] = [Self::CircuitBreaker, Self::Retry, Self::WithFallback, Self::WithTimeout, Self::Policy];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::CircuitBreaker => "circuit_breaker",
            Self::Retry => "retry",
            Self::WithFallback => "with_fallback",
            Self::WithTimeout => "with_timeout",
            Self::Policy => "policy",
        }
    }

    /// The table of a file that has its settings.
    const fn table(self) -> &'static str {
        match self {
            Self::CircuitBreaker => "breaker",
            Self::Retry => "retry",
            Self::WithFallback | Self::WithTimeout | Self::Policy => "",
        }
    }

    /// The one that this path means: alone, or in `stormproof`.
    fn of(path: &Path) -> Option<Self> {
        let ours = path.segments.len() == 1
            || path.segments.len() == 2 && path.segments.first().is_some_and(|first| first.ident == "stormproof");
        let last = &path.segments.last()?.ident;
        Self::ALL.into_iter().find(|attribute| ours && *last == attribute.name())
    }
}

/// One parameter: `name = value`, or a value alone.
pub(crate) struct Argument {
    pub(crate) name: Option<Ident>,
    pub(crate) value: Expr,
}

impl Argument {
    /// The name as it is written.
    pub(crate) fn name(&self) -> String {
        self.name.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// Our name for the setting that the parameter is, in one of these tables of a file.
    pub(crate) fn setting(&self, tables: &[&str]) -> String {
        let name = self.name();
        let ours = tables.iter().map(|table| aliases::name_of(table, &name)).find(|ours| *ours != name);
        ours.map_or(name.clone(), str::to_owned)
    }

    /// A parameter that there is not.
    pub(crate) fn unknown(&self, attribute: Attribute, known: &str) -> Error {
        let (span, what) = match &self.name {
            Some(name) => (name.span(), format!("knows no parameter `{name}`")),
            None => (self.value.span(), "takes no such value".to_owned()),
        };
        let advice = aliases::elsewhere(attribute.table(), &self.name()).map(|advice| format!(": {advice}"));
        let known = advice.unwrap_or_else(|| format!("; it knows {known}"));
        Error::new(span, format!("`{}` {what}{known}", attribute.name()))
    }
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let named = input.peek(Ident) && input.peek2(Token![=]) && !input.peek2(Token![==]);
        let name = if named {
            let name = input.parse()?;
            input.parse::<Token![=]>()?;
            Some(name)
        } else {
            None
        };
        Ok(Self { name, value: input.parse()? })
    }
}

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

/// Finds the parameters that are one setting of these tables, or exclude each other.
pub(crate) fn twice(arguments: &[Argument], tables: &[&str], mistakes: &mut Mistakes) {
    for (at, argument) in arguments.iter().enumerate() {
        let setting = argument.setting(tables);
        let excludes = |other: &str| tables.iter().any(|table| aliases::excluded_by(table, &setting).contains(&other));
        let is_flag = |argument: &Argument| literal::flag(&argument.value).is_ok();
        let same = |before: &&Argument| {
            let other = before.setting(tables);
            let both_jitters = setting == "jitter" && is_flag(argument) != is_flag(before);
            other == setting && !both_jitters || excludes(&other)
        };
        if let Some(before) = arguments.iter().take(at).find(same) {
            let (name, other) = (argument.name(), before.name());
            let message = format!("`{name}` says the same as `{other}`: set one of them");
            mistakes
                .add(Error::new(argument.name.as_ref().map_or_else(|| argument.value.span(), Ident::span), message));
        }
    }
}

/// All mistakes, to be told at once.
#[derive(Default)]
pub(crate) struct Mistakes(Option<Error>);

impl Mistakes {
    pub(crate) fn add(&mut self, mistake: Error) {
        match &mut self.0 {
            Some(mistakes) => mistakes.combine(mistake),
            None => self.0 = Some(mistake),
        }
    }

    pub(crate) fn note(&mut self, result: Result<()>) {
        if let Err(mistake) = result {
            self.add(mistake);
        }
    }

    pub(crate) fn done(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
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

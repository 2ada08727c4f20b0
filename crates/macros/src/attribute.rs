//! One attribute as it is written: which it is, its parameters, and all mistakes in them at once.

use stormproof_compat::aliases;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, Path, Result, Token};

use crate::literal;

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
    pub(crate) fn of(path: &Path) -> Option<Self> {
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
            let verb = if excludes(&before.setting(tables)) { "excludes" } else { "says the same as" };
            let message = format!("`{name}` {verb} `{other}`: set one of them");
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

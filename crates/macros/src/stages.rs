//! Breaker and retry: read into the configuration of the core, checked there, and written as code.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use stormproof_core::backoff::Schedule;
use stormproof_core::breaker::{self, Scope, Trip};
use stormproof_core::{Backoff, Invalid, Jitter, retry};
use syn::spanned::Spanned;
use syn::{Error, Expr, Result};

use crate::attribute::{Argument, Attribute, Mistakes, twice};
use crate::literal::{self, duration_tokens};

/// The tables of a file that have an attribute's settings.
const BREAKER: &[&str] = &["breaker"];
const RETRY: &[&str] = &["retry", "backoff"];

/// A mistake in a configuration, at the parameter it comes from. A field is within the setting of its first name, `trip` of
/// an attribute also in `window`.
fn place(invalid: &Invalid, arguments: &[Argument], tables: &[&str], span: Span) -> Error {
    let field = invalid.field.strip_prefix("backoff.").unwrap_or(&invalid.field);
    let setting = match field {
        "trip.within.window" => "window",
        field => field.split('.').next().unwrap_or(field),
    };
    let argument = arguments.iter().find(|argument| argument.setting(tables) == setting);
    let span = argument.map_or(span, |argument| argument.value.span());
    let name = argument.map_or_else(|| invalid.field.clone(), Argument::name);
    Error::new(span, format!("{name} is {}, allowed is {}", invalid.value, invalid.allowed))
}

/// A circuit breaker.
pub(crate) enum Breaker {
    /// One that is made elsewhere.
    At(Expr),
    /// One with these settings, in the registry if it has a name.
    Of(Option<String>, Box<breaker::Config>),
}

impl Breaker {
    pub(crate) fn read(arguments: &[Argument], span: Span) -> Result<Self> {
        const KNOWN: &str = "`name`, `failure_threshold`, `window`, `open_duration`, `success_threshold`, \
                             `half_open_max_calls`, `half_open_timeout`, `ignore`, `scope`, `breaker`, `classify`";
        let mut config = breaker::Config::default();
        let (mut name, mut at, mut threshold, mut window) = (None, None, 5, None);
        let mut mistakes = Mistakes::default();
        twice(arguments, BREAKER, &mut mistakes);
        for argument in arguments {
            let value = &argument.value;
            mistakes.note(match argument.setting(BREAKER).as_str() {
                "name" => literal::text(value).map(|set| name = Some(set)),
                "trip" => literal::count(value).map(|set| threshold = set),
                "window" => literal::duration(value).map(|set| window = Some(set)),
                "open_duration" => literal::duration(value).map(|set| config.open_duration = set),
                "ignore" => literal::texts(value).map(|set| config.ignore = set),
                "success_threshold" => literal::count(value).map(|set| config.success_threshold = set),
                "half_open_max_calls" => literal::count(value).map(|set| config.half_open_max_calls = set),
                "half_open_timeout" => literal::duration(value).map(|set| config.half_open_timeout = Some(set)),
                "scope" => literal::word(value, &["attempt", "operation"]).map(|word| {
                    config.scope = if word == "operation" { Scope::Operation } else { Scope::Attempt };
                }),
                "breaker" => {
                    at = Some(value.clone());
                    Ok(())
                }
                _ => Err(argument.unknown(Attribute::CircuitBreaker, KNOWN)),
            });
        }
        mistakes.done()?;
        if let Some(at) = at {
            return match arguments {
                [_] => Ok(Self::At(at)),
                _ => Err(Error::new(span, "a breaker made elsewhere has its settings: `breaker` stands alone")),
            };
        }
        config.trip = vec![window.map_or(Trip::consecutive(threshold), |window| Trip::within(threshold, window))];
        let mut mistakes = Mistakes::default();
        config.validate().iter().for_each(|invalid| mistakes.add(place(invalid, arguments, BREAKER, span)));
        mistakes.done()?;
        Ok(Self::Of(name, Box::new(config)))
    }

    /// What a builder is given.
    pub(crate) fn tokens(&self) -> TokenStream {
        let (name, config) = match self {
            Self::At(path) => return quote!({ let shared: &::stormproof::CircuitBreaker = &#path; shared }),
            Self::Of(name, config) => (name, config),
        };
        let trip = config.trip.iter().map(|trip| match trip {
            Trip::Within { failures, window } => {
                let window = duration_tokens(*window);
                quote!(::stormproof::Trip::within(#failures, #window))
            }
            other => {
                let failures = other.failures_needed();
                quote!(::stormproof::Trip::consecutive(#failures))
            }
        });
        let open = duration_tokens(config.open_duration);
        let breaker::Config { success_threshold, half_open_max_calls, ref ignore, .. } = **config;
        let ignore = (!ignore.is_empty())
            .then(|| quote!(config.ignore = ::std::vec![#(::std::string::String::from(#ignore)),*];));
        let timeout = config
            .half_open_timeout
            .map(duration_tokens)
            .map(|limit| quote!(config.half_open_timeout = ::core::option::Option::Some(#limit);));
        let scope = if config.scope == Scope::Operation { quote!(Operation) } else { quote!(Attempt) };
        let config = quote!({
            let mut config = ::stormproof::breaker::Config::default();
            config.trip = ::std::vec![#(#trip),*];
            config.open_duration = #open;
            config.success_threshold = #success_threshold;
            config.half_open_max_calls = #half_open_max_calls;
            config.scope = ::stormproof::breaker::Scope::#scope;
            #timeout
            #ignore
            config
        });
        match name {
            Some(name) => quote!(&::stormproof::attribute::breaker(#name, #config)),
            None => config,
        }
    }
}

/// Retries.
pub(crate) struct Retry(retry::Config);

impl Retry {
    pub(crate) fn read(arguments: &[Argument], span: Span) -> Result<Self> {
        const KNOWN: &str = "`max_retries`, `max_attempts`, `backoff`, `base_delay`, `max_delay`, `factor`, `jitter`, \
                             `retry_on`, `never_on`, `retry_after_cap`, `max_retry_after`, `wait_for_half_open`, `classify`";
        const BACKOFFS: &[&str] = &["exponential", "linear", "constant", "fixed", "fibonacci", "decorrelated"];
        let mut config = retry::Config::default();
        let (mut kind, mut base, mut max, mut factor, mut jitter) = ("exponential", None, None, None, None);
        let mut any_jitter = None;
        let mut mistakes = Mistakes::default();
        twice(arguments, RETRY, &mut mistakes);
        for argument in arguments {
            let value = &argument.value;
            mistakes.note(match argument.setting(RETRY).as_str() {
                "max_retries" => literal::count(value).map(|set| config.max_retries = set),
                "max_attempts" => literal::count(value).and_then(|attempts| match attempts.checked_sub(1) {
                    Some(retries) => {
                        config.max_retries = retries;
                        Ok(())
                    }
                    None => Err(Error::new_spanned(
                        value,
                        "max_attempts is 0, allowed is 1 or more (it counts the first call)",
                    )),
                }),
                // What is `kind` in a file.
                "backoff" | "kind" => literal::word(value, BACKOFFS).map(|set| kind = set),
                "base_delay" => literal::duration(value).map(|set| base = Some(set)),
                "max_delay" => literal::duration(value).map(|set| max = Some(set)),
                "factor" => literal::number(value).map(|set| factor = Some(set)),
                // Whether there is any jitter, and how much, may be said side by side.
                "jitter" if literal::flag(value).is_ok() => literal::flag(value).map(|set| any_jitter = Some(set)),
                "jitter" => read_jitter(value).map(|set| jitter = Some(set)),
                "retry_on" => literal::texts(value).map(|set| config.retry_on = set),
                "never_on" => literal::texts(value).map(|set| config.never_on = set),
                "retry_after_cap" => literal::duration(value).map(|set| config.retry_after_cap = Some(set)),
                "max_retry_after" => literal::duration(value).map(|set| config.max_retry_after = Some(set)),
                "wait_for_half_open" => literal::flag(value).map(|set| config.wait_for_half_open = set),
                _ => Err(argument.unknown(Attribute::Retry, KNOWN)),
            });
        }
        let base = base.unwrap_or(Backoff::default().base_delay);
        config.backoff = match kind {
            "linear" => Backoff::linear(base),
            "constant" | "fixed" => Backoff::constant(base),
            "fibonacci" => Backoff::fibonacci(base),
            "decorrelated" => Backoff::decorrelated(base),
            _ => Backoff::exponential(base),
        };
        if let Some(factor) = factor {
            if kind != "exponential" {
                mistakes.add(Error::new(span, "`factor` is for `backoff = \"exponential\"` only"));
            }
            config.backoff = config.backoff.factor(factor);
        }
        config.backoff.max_delay = max.unwrap_or(config.backoff.max_delay);
        config.backoff.jitter = match any_jitter {
            Some(false) => Jitter::None,
            Some(true) | None => jitter.unwrap_or(config.backoff.jitter),
        };
        mistakes.done()?;
        let mut mistakes = Mistakes::default();
        config.validate().iter().for_each(|invalid| mistakes.add(place(invalid, arguments, RETRY, span)));
        mistakes.done()?;
        Ok(Self(config))
    }

    /// What a builder is given.
    pub(crate) fn tokens(&self) -> TokenStream {
        let retry::Config {
            max_retries,
            backoff,
            retry_on,
            never_on,
            retry_after_cap,
            max_retry_after,
            wait_for_half_open,
        } = &self.0;
        let patient = wait_for_half_open.then(|| quote!(.wait_for_half_open()));
        let (base, max) = (duration_tokens(backoff.base_delay), duration_tokens(backoff.max_delay));
        let schedule = match backoff.schedule {
            Schedule::Exponential { factor } => quote!(exponential(#base).factor(#factor)),
            Schedule::Linear { .. } => quote!(linear(#base)),
            Schedule::Fibonacci => quote!(fibonacci(#base)),
            Schedule::Decorrelated => quote!(decorrelated(#base)),
            _ => quote!(constant(#base)),
        };
        let jitter = match backoff.jitter {
            Jitter::Symmetric(share) => quote!(Symmetric(#share)),
            Jitter::Full => quote!(Full),
            Jitter::Equal => quote!(Equal),
            _ => quote!(None),
        };
        let list = |name: TokenStream, kinds: &[String]| (!kinds.is_empty()).then(|| quote!(.#name([#(#kinds),*])));
        let (retry_on, never_on) = (list(quote!(retry_on), retry_on), list(quote!(never_on), never_on));
        let cap = retry_after_cap.map(duration_tokens).map(|cap| quote!(.retry_after_cap(#cap)));
        let longest = max_retry_after.map(duration_tokens).map(|longest| quote!(.max_retry_after(#longest)));
        quote! {
            ::stormproof::Retry::with_backoff(
                ::stormproof::Backoff::#schedule.max_delay(#max).jitter(::stormproof::Jitter::#jitter)
            )
            .max_retries(#max_retries) #retry_on #never_on #cap #longest #patient
        }
    }
}

fn read_jitter(value: &Expr) -> Result<Jitter> {
    if let Ok(share) = literal::number(value) {
        return Ok(Jitter::Symmetric(share));
    }
    Ok(match literal::word(value, &["none", "full", "equal"])? {
        "full" => Jitter::Full,
        "equal" => Jitter::Equal,
        _ => Jitter::None,
    })
}

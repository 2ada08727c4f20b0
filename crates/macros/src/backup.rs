//! Fallbacks: which there are, and how they are called.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Error, Expr, Result};

use crate::attribute::{Argument, Attribute, Mistakes};

/// What answers when the function fails.
pub(crate) struct Backup {
    steps: Vec<Step>,
    when: When,
}

enum When {
    Always,
    TimedOut,
    Wanted(Expr),
}

enum Step {
    Value(Expr),
    /// Called with the arguments.
    Function(Expr),
    /// Called with nothing.
    Thunk(Expr),
}

impl Step {
    /// A function or a closure.
    fn of(value: Expr) -> Result<Self> {
        match &value {
            Expr::Closure(closure) if closure.inputs.is_empty() => Ok(Self::Thunk(value)),
            Expr::Closure(_) | Expr::Path(_) => Ok(Self::Function(value)),
            _ => Err(Error::new_spanned(
                value,
                "expected the path of a function, which is called with the arguments, or a closure such as `|| cached()`; \
                 a value goes into `default = …`",
            )),
        }
    }
}

impl Backup {
    pub(crate) fn read(arguments: &[Argument], span: Span) -> Result<Self> {
        let mut kinds: Vec<Vec<Step>> = Vec::new();
        let mut when = When::Always;
        let mut mistakes = Mistakes::default();
        for argument in arguments {
            let value = argument.value.clone();
            mistakes.note(match (argument.name().as_str(), value) {
                ("default" | "default_value", value) => {
                    kinds.push(vec![Step::Value(value)]);
                    Ok(())
                }
                ("fallback" | "fallback_fn", value) => Step::of(value).map(|step| kinds.push(vec![step])),
                ("fallbacks", Expr::Array(list)) if !list.elems.is_empty() => {
                    let steps: Result<Vec<_>> = list.elems.into_iter().map(Step::of).collect();
                    steps.map(|steps| kinds.push(steps))
                }
                ("fallbacks", other) => {
                    Err(Error::new_spanned(other, "expected a list such as `[secondary, || cached()]`"))
                }
                ("on", value) => {
                    when = When::Wanted(value);
                    Ok(())
                }
                _ => {
                    Err(argument
                        .unknown(Attribute::WithFallback, "`default`, `fallback`, `fallbacks`, `on`, `classify`"))
                }
            });
        }
        mistakes.done()?;
        match (kinds.pop(), kinds.pop()) {
            (Some(steps), None) => Ok(Self { steps, when }),
            _ => Err(Error::new(span, "set exactly one of `default`, `fallback` and `fallbacks`")),
        }
    }

    /// That of a time limit: a value, or a closure.
    pub(crate) fn on_timeout(value: Expr) -> Self {
        let step = if matches!(value, Expr::Closure(_)) { Step::of(value) } else { Ok(Step::Value(value)) };
        Self { steps: step.into_iter().collect(), when: When::TimedOut }
    }

    /// Whether the arguments are needed after the body has had them.
    pub(crate) fn needs_arguments(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Function(_)))
    }

    /// What is said of the call. `arguments` are the values a function is called with, `result` is what it returns.
    pub(crate) fn tokens(&self, arguments: &[TokenStream], result: &syn::Type, waits: bool) -> TokenStream {
        let (answer, method) =
            if waits { (quote!(answer), quote!(fallback_with)) } else { (quote!(answer_now), quote!(fallback_sync)) };
        let steps = self.steps.iter().map(|step| {
            let given = match step {
                Step::Value(value) if waits => quote!(::core::future::ready(::core::result::Result::Ok(#value))),
                Step::Value(value) => quote!(::core::result::Result::Ok(#value)),
                Step::Function(function) => {
                    quote!(::stormproof::attribute::#answer::<#result, _, _>((#function)(#(#arguments),*)))
                }
                Step::Thunk(thunk) => quote!(::stormproof::attribute::#answer::<#result, _, _>((#thunk)())),
            };
            quote!(.#method(|_| #given))
        });
        let when = match &self.when {
            When::Always => None,
            When::TimedOut => Some(quote!(.fallback_when(::stormproof::Error::is_timeout))),
            When::Wanted(wanted) => Some(quote!(.fallback_when(#wanted))),
        };
        quote!(#(#steps)* #when)
    }
}

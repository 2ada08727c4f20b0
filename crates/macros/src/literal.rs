//! Values in attributes: literals, so that they can be checked when the function is compiled.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Expr, ExprLit, Lit, Result};

fn literal(value: &Expr, wanted: &str) -> Result<Lit> {
    match value {
        Expr::Lit(ExprLit { lit, .. }) => Ok(lit.clone()),
        Expr::Group(group) => literal(&group.expr, wanted),
        _ => Err(mismatch(value, wanted)),
    }
}

fn mismatch(value: &Expr, wanted: &str) -> Error {
    let hint = "a literal, for it is checked when this is compiled; use `#[policy(…)]` for what is known only later";
    Error::new_spanned(value, format!("expected {wanted}: {hint}"))
}

pub(crate) fn duration(value: &Expr) -> Result<Duration> {
    const WANTED: &str = "a duration such as \"250ms\" or \"1m 30s\", or a number of seconds";
    let wrong = || Error::new_spanned(value, format!("expected {WANTED}"));
    match literal(value, WANTED)? {
        Lit::Str(text) => humantime::parse_duration(&text.value()).map_err(|_| wrong()),
        Lit::Int(seconds) => seconds.base10_parse().map(Duration::from_secs),
        Lit::Float(seconds) => Duration::try_from_secs_f64(seconds.base10_parse()?).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

pub(crate) fn count(value: &Expr) -> Result<u32> {
    match literal(value, "a whole number")? {
        Lit::Int(number) => number.base10_parse(),
        _ => Err(mismatch(value, "a whole number")),
    }
}

pub(crate) fn number(value: &Expr) -> Result<f64> {
    match literal(value, "a number")? {
        Lit::Int(number) => number.base10_parse(),
        Lit::Float(number) => number.base10_parse(),
        _ => Err(mismatch(value, "a number")),
    }
}

pub(crate) fn text(value: &Expr) -> Result<String> {
    match literal(value, "text in quotes")? {
        Lit::Str(text) => Ok(text.value()),
        _ => Err(mismatch(value, "text in quotes")),
    }
}

pub(crate) fn flag(value: &Expr) -> Result<bool> {
    match literal(value, "true or false")? {
        Lit::Bool(flag) => Ok(flag.value()),
        _ => Err(mismatch(value, "true or false")),
    }
}

/// One of these words.
pub(crate) fn word(value: &Expr, words: &[&'static str]) -> Result<&'static str> {
    let found = text(value)?;
    words.iter().find(|word| **word == found).copied().ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
        Error::new_spanned(value, format!("expected one of {}", words.join(", ")))
    })
}

pub(crate) fn texts(value: &Expr) -> Result<Vec<String>> {
    match value {
        Expr::Array(array) => array.elems.iter().map(text).collect(),
        _ => Err(mismatch(value, "a list of texts such as [\"RateLimitError\"]")),
    }
}

pub(crate) fn duration_tokens(duration: Duration) -> TokenStream {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}

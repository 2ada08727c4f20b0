//! Attribute macros: a function that is called through a policy.
//!
//! They are used through `stormproof`, feature `macros`, and decide nothing themselves: an attribute becomes calls of that
//! crate. What is written in it is checked when the function is compiled, by the code that checks it anywhere else.
//!
//! Owns the grammar of the attributes (`attribute`, `settings`) and what they expand to (`expand`).

mod attribute;
mod backup;
mod expand;
mod literal;
mod settings;
mod stages;

use proc_macro::TokenStream;
use syn::ItemFn;

use crate::attribute::Attribute;

/// Stops calling a function that has been failing.
///
/// ```
/// use stormproof::{Interrupted, circuit_breaker};
///
/// #[derive(Debug)]
/// enum ApiError {
///     Down,
///     Interrupted(Interrupted),
/// }
///
/// impl From<Interrupted> for ApiError {
///     fn from(interrupted: Interrupted) -> Self {
///         Self::Interrupted(interrupted)
///     }
/// }
///
/// #[circuit_breaker(failure_threshold = 2, open_duration = "10s")]
/// async fn ask(question: &str) -> Result<String, ApiError> {
///     if question.is_empty() { Err(ApiError::Down) } else { Ok(format!("{question}? Yes.")) }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// assert!(matches!(ask("").await, Err(ApiError::Down)));
/// assert!(matches!(ask("").await, Err(ApiError::Down)));
/// assert!(matches!(ask("Really").await, Err(ApiError::Interrupted(_))));
/// # }
/// ```
///
/// | parameter | default | meaning |
/// |---|---|---|
/// | `failure_threshold` | 5 | number of failures in a row that open the circuit |
/// | `window` | none | time within which that number of failures opens it, in a row or not |
/// | `open_duration` | `"60s"` | how long it stays open |
/// | `success_threshold` | 2 | number of successes that close it |
/// | `half_open_max_calls` | 3 | maximum number of probes at a time |
/// | `half_open_timeout` | `open_duration` | a probe that takes longer gives its place to another |
/// | `ignore` | none | `["ValidationError", …]`: kinds of failure that do not count |
/// | `scope` | `"attempt"` | `"operation"`: all attempts of a call count as one |
/// | `name` | the function's | the breaker of this name in `Registry::global()`, shared with all who name it |
/// | `breaker` | | a breaker made elsewhere, a static's path; alone |
/// | `classify` | every `Err` is a failure | a function `fn(Result<&T, &E>) -> Verdict<'_>` |
///
/// The names that other systems have for a setting are read as in a file, such as `timeout_seconds` for `open_duration`.
#[proc_macro_attribute]
pub fn circuit_breaker(arguments: TokenStream, item: TokenStream) -> TokenStream {
    attribute(Attribute::CircuitBreaker, arguments, item)
}

/// Calls a function again that failed.
///
/// ```
/// use stormproof::retry;
///
/// #[retry(max_retries = 3, base_delay = "1ms")]
/// async fn flaky(calls: &std::cell::Cell<u32>) -> std::io::Result<u32> {
///     calls.set(calls.get() + 1);
///     if calls.get() < 3 { Err(std::io::Error::other("not yet")) } else { Ok(calls.get()) }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// assert_eq!(flaky(&std::cell::Cell::new(0)).await?, 3);
/// # Ok(())
/// # }
/// ```
///
/// The body runs once for each attempt, with clones of the arguments: take them by reference, or let them be `Clone`.
///
/// | parameter | default | meaning |
/// |---|---|---|
/// | `max_retries` | 3 | retries, the first attempt not counted; `max_attempts` counts it |
/// | `backoff` | `"exponential"` | also `"linear"`, `"constant"`, `"fibonacci"`, `"decorrelated"` |
/// | `base_delay` | `"1s"` | the first wait |
/// | `max_delay` | `"60s"` | the longest wait |
/// | `factor` | 2.0 | exponential only |
/// | `jitter` | 0.2 | a share up and down; or `"none"`, `"full"`, `"equal"`, `true`, `false` |
/// | `retry_on` | all | `["RateLimitError", …]`: kinds of failure that are retried |
/// | `never_on` | none | kinds that never are |
/// | `retry_after_cap` | none | the longest hint of a server that is honoured |
/// | `max_retry_after` | none | the longest hint of a server that is waited for; a longer one ends the call |
/// | `wait_for_half_open` | `false` | wait for a probe's turn while a circuit is open |
/// | `classify` | every `Err` is a failure, its type's name its kind | a function `fn(Result<&T, &E>) -> Verdict<'_>` |
///
/// The names that other systems have for a setting are read as in a file, such as `initial_delay` for `base_delay`.
#[proc_macro_attribute]
pub fn retry(arguments: TokenStream, item: TokenStream) -> TokenStream {
    attribute(Attribute::Retry, arguments, item)
}

/// Answers with something else when a function fails.
///
/// ```
/// use stormproof::with_fallback;
///
/// async fn local_model(question: &str) -> std::io::Result<String> {
///     Ok(format!("I think so: {question}"))
/// }
///
/// #[with_fallback(fallback = local_model)]
/// async fn chat(question: &str) -> std::io::Result<String> {
///     Err(std::io::Error::other("down"))
/// }
///
/// #[with_fallback(default = "Sorry.".to_owned())]
/// async fn chat_or_apologize(question: &str) -> std::io::Result<String> {
///     Err(std::io::Error::other("down"))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// assert_eq!(chat("why").await?, "I think so: why");
/// assert_eq!(chat_or_apologize("why").await?, "Sorry.");
/// # Ok(())
/// # }
/// ```
///
/// Exactly one of the first three:
///
/// | parameter | meaning |
/// |---|---|
/// | `default` | a value, evaluated when it is needed; it sees no arguments |
/// | `fallback` | a function, called with the arguments; or a closure with as many parameters, or with none |
/// | `fallbacks` | `[first, second, …]`, tried in this order |
/// | `on` | which failures: a closure or function `fn(&stormproof::Error<E>) -> bool`; default: all |
///
/// A function may be `async` or not, and may give a value or a `Result`. The arguments it is called with must be `Send` and
/// `Sync`. If all fail, the error is that of the function itself.
#[proc_macro_attribute]
pub fn with_fallback(arguments: TokenStream, item: TokenStream) -> TokenStream {
    attribute(Attribute::WithFallback, arguments, item)
}

/// Limits how long a function may take.
///
/// ```
/// use stormproof::with_timeout;
///
/// #[with_timeout("10ms", fallback = "Operation timed out")]
/// async fn slow() -> std::io::Result<&'static str> {
///     std::future::pending().await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// assert_eq!(slow().await?, "Operation timed out");
/// # Ok(())
/// # }
/// ```
///
/// | parameter | meaning |
/// |---|---|
/// | the first, without a name | the whole call, retries and waits included: `"1m 30s"`, or a number of seconds |
/// | `attempt` | one attempt |
/// | `fallback` | answers when time runs out: a value, or a closure as in `with_fallback` |
///
/// For `async` functions: nobody can end another one from outside.
#[proc_macro_attribute]
pub fn with_timeout(arguments: TokenStream, item: TokenStream) -> TokenStream {
    attribute(Attribute::WithTimeout, arguments, item)
}

/// Calls a function through a policy that is made elsewhere: one of `Registry::global()` by name, or a static's path.
///
/// ```
/// use std::sync::LazyLock;
/// use stormproof::{Policy, policy};
///
/// #[policy("openai")] // looked up for each call, so a reload takes effect
/// async fn chat(question: &str) -> std::io::Result<String> {
///     Ok(format!("{question}? Yes."))
/// }
///
/// static LOCAL: LazyLock<Policy> = LazyLock::new(|| Policy::builder("local").build().expect("nothing is wrong with it"));
///
/// #[policy(LOCAL)]
/// async fn chat_locally(question: &str) -> std::io::Result<String> {
///     Ok(format!("{question}? No."))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// assert_eq!(chat("Really").await?, "Really? Yes.");
/// assert_eq!(chat_locally("Really").await?, "Really? No.");
/// # Ok(())
/// # }
/// ```
///
/// A policy may retry: the body runs with clones of the arguments, as with [`macro@retry`]. The second parameter is
/// `classify`.
#[proc_macro_attribute]
pub fn policy(arguments: TokenStream, item: TokenStream) -> TokenStream {
    attribute(Attribute::Policy, arguments, item)
}

fn attribute(attribute: Attribute, arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut function = match syn::parse::<ItemFn>(item) {
        Ok(function) => function,
        Err(mistake) => return mistake.into_compile_error().into(),
    };
    let settings = settings::collect(attribute, arguments.into(), &mut function);
    match settings.and_then(|settings| expand::expand(&settings, &function)) {
        Ok(expanded) => expanded.into(),
        // The function stays as it is, so that nobody who calls it is told of more than the mistake.
        Err(mistakes) => {
            let mistakes = mistakes.into_compile_error();
            quote::quote!(#mistakes #function).into()
        }
    }
}

//! What the attribute macros expand to. Not for use by hand: it may change at any time.

use std::future::{Future, Ready, pending, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use stormproof_core::breaker;

use crate::call::error::Error;
use crate::call::interrupted::Interrupted;
use crate::clock::Clock;
use crate::policy::Policy;
use crate::policy::builder::Builder;
use crate::policy::stages::CircuitBreaker;
use crate::registry::Registry;

pub use crate::registry::Named;
pub use inventory;

/// The policy of a function. What is wrong with it was found when the function was compiled; what was not found then
/// must not break the call, so it goes through no stage.
pub fn policy(name: &'static str, builder: Builder) -> Policy {
    builder.build().unwrap_or_else(|_| Policy::bare(name, &Clock::system()))
}

/// The breaker of this name in the process's registry; one of its own where the registry does not give it.
pub fn breaker(name: &'static str, config: breaker::Config) -> CircuitBreaker {
    let registered = Registry::global().breaker_with(name, config.clone()).ok();
    registered.or_else(|| CircuitBreaker::with_config(name, config).ok()).unwrap_or_else(|| CircuitBreaker::new(name))
}

/// The one attempt of a call that is not repeated.
pub async fn once<Fut: Future>(body: Option<Fut>) -> Fut::Output {
    match body {
        Some(body) => body.await,
        // Not reached: nothing repeats it.
        None => pending().await,
    }
}

/// The same, of a synchronous call.
pub fn once_now<R>(body: Option<impl FnOnce() -> R>) -> R {
    match body {
        Some(body) => body(),
        // Not reached, as above.
        None => loop {
            std::thread::park();
        },
    }
}

/// The result in the function's own terms.
pub fn own<T, E: From<Interrupted>>(result: Result<T, Error<E>>) -> Result<T, E> {
    result.map_err(Error::into_own)
}

/// What a fallback gives, as a future of a result: a value, a result, or a future of one of them.
pub fn answer<R, Given, Form>(given: Given) -> Given::Future
where
    Given: Answer<R, Form>,
{
    given.answer()
}

/// What a fallback of a synchronous call gives, as a result: a value, or a result.
pub fn answer_now<R, Given, Form>(given: Given) -> R
where
    Given: AnswerNow<R, Form>,
{
    given.answer()
}

/// What a fallback of a synchronous call may give for a result `R`.
#[diagnostic::on_unimplemented(
    message = "a fallback of a synchronous function gives a value or a `Result`, like the function itself",
    label = "`{Self}` is none of them for `{R}`"
)]
pub trait AnswerNow<R, Form> {
    /// The result.
    fn answer(self) -> R;
}

impl<T, E> AnswerNow<Result<T, E>, AValue> for T {
    fn answer(self) -> Result<T, E> {
        Ok(self)
    }
}

impl<T, E> AnswerNow<Self, AResult> for Result<T, E> {
    fn answer(self) -> Self {
        self
    }
}

/// What a fallback may give for a result `R`. `Form` tells the forms apart.
#[diagnostic::on_unimplemented(
    message = "a fallback gives a value, a `Result`, or a future of one of them, like the function itself",
    label = "`{Self}` is none of them for `{R}`"
)]
pub trait Answer<R, Form> {
    /// The future of the result.
    type Future: Future<Output = R>;

    /// Makes it.
    fn answer(self) -> Self::Future;
}

/// A value.
#[derive(Debug)]
pub struct AValue;

/// A result.
#[derive(Debug)]
pub struct AResult;

/// A future of a value.
#[derive(Debug)]
pub struct AFutureOfAValue;

/// A future of a result.
#[derive(Debug)]
pub struct AFutureOfAResult;

impl<T, E> Answer<Result<T, E>, AValue> for T {
    type Future = Ready<Result<T, E>>;

    fn answer(self) -> Self::Future {
        ready(Ok(self))
    }
}

impl<T, E> Answer<Self, AResult> for Result<T, E> {
    type Future = Ready<Self>;

    fn answer(self) -> Self::Future {
        ready(self)
    }
}

impl<T, E, Fut: Future<Output = T>> Answer<Result<T, E>, AFutureOfAValue> for Fut {
    type Future = Always<Fut, E>;

    fn answer(self) -> Self::Future {
        Always { value: self, error: std::marker::PhantomData }
    }
}

impl<T, E, Fut: Future<Output = Result<T, E>>> Answer<Result<T, E>, AFutureOfAResult> for Fut {
    type Future = Fut;

    fn answer(self) -> Self::Future {
        self
    }
}

pin_project! {
    /// A value that comes for certain.
    pub struct Always<Fut, E> {
        #[pin]
        value: Fut,
        error: std::marker::PhantomData<fn() -> E>,
    }
}

impl<Fut: Future, E> Future for Always<Fut, E> {
    type Output = Result<Fut::Output, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().value.poll(cx).map(Ok)
    }
}

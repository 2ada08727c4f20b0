//! What the caller of a call that succeeded gets: the answer alone, its source with it, or what the call still holds.

use std::time::Duration;

use crate::call::classify::Classify;
use crate::call::held::Held;

/// An answer, and where it came from. See [`Calling::served`](crate::Calling::served).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stormproof::{Policy, Source};
///
/// let policy = Policy::builder("weather").build()?;
/// let served = policy.call(|_| async { Err("down") }).fallback("unknown").served().await;
/// let served = served.expect("a value cannot fail");
/// assert_eq!((served.value, served.source), ("unknown", Source::Fallback { position: 1 }));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Served<T> {
    /// The answer.
    pub value: T,
    /// Where it came from.
    pub source: Source,
}

impl<T> Served<T> {
    pub(crate) fn new(value: T, source: Source) -> Self {
        Self { value, source }
    }

    /// Whether it is less than what was asked for: from a fallback, or from a cache after its time.
    pub fn is_degraded(&self) -> bool {
        !matches!(self.source, Source::Call | Source::Cache { stale: false, .. })
    }
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The call itself.
    Call,
    /// A fallback.
    Fallback {
        /// Its place in the chain, from 1.
        position: u32,
    },
    /// A cache.
    Cache {
        /// How long ago it was stored.
        age: Duration,
        /// Whether it is past the time in which it is served without a call.
        stale: bool,
    },
}

/// The form in which a caller gets an answer `T`.
pub trait Give<T> {
    /// What the caller gets.
    type Output;

    /// Whether slot, tokens and probe outlast the call.
    const HOLDS: bool = false;

    /// Makes what the caller gets. `held` is what the call still holds: nothing unless this form [holds](Self::HOLDS),
    /// and nothing where a fallback or a cache answered.
    fn give<E>(served: Served<T>, classifier: &impl Classify<T, E>, held: impl FnOnce() -> Held) -> Self::Output;
}

/// The answer alone: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl<T> Give<T> for Plain {
    type Output = T;

    #[inline]
    fn give<E>(served: Served<T>, _: &impl Classify<T, E>, _: impl FnOnce() -> Held) -> T {
        served.value
    }
}

/// The answer and its source, see [`Calling::served`](crate::Calling::served).
#[derive(Clone, Copy, Debug, Default)]
pub struct WithSource;

impl<T> Give<T> for WithSource {
    type Output = Served<T>;

    fn give<E>(served: Served<T>, _: &impl Classify<T, E>, _: impl FnOnce() -> Held) -> Served<T> {
        served
    }
}

/// The answer and what was taken for it, see [`Calling::hold`](crate::Calling::hold).
#[derive(Clone, Copy, Debug, Default)]
pub struct WithHeld;

impl<T> Give<T> for WithHeld {
    type Output = (T, Held);

    const HOLDS: bool = true;

    fn give<E>(served: Served<T>, _: &impl Classify<T, E>, held: impl FnOnce() -> Held) -> (T, Held) {
        (served.value, held())
    }
}

//! An answer, and where it came from.

use std::time::Duration;

/// An answer, and where it came from.
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

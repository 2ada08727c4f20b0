//! What a work queue can be told, what it says of itself, and how it refuses.

use std::fmt;
use std::time::Duration;

use stormproof_core::Invalid;

/// How much a work queue holds and how it works.
///
/// ```
/// use stormproof::queue;
///
/// let config = queue::Config { queue_capacity: 0, ..Default::default() };
/// assert_eq!(config.validate()[0].to_string(), "queue_capacity is 0, allowed is 1 to 1000000");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Config {
    /// Maximum number of items that wait for a worker: 1 to 1,000,000. Default: 100.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    pub queue_capacity: u32,
    /// The longest a producer waits for a place. Default: 100 ms.
    #[cfg_attr(feature = "serde", serde(with = "stormproof_core::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "stormproof_core::time::duration::Written"))]
    pub put_timeout: Duration,
    /// Number of workers for a batch. Default: one.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub concurrency_limit: Option<u32>,
}

impl Default for Config {
    fn default() -> Self {
        Self { queue_capacity: 100, put_timeout: Duration::from_millis(100), concurrency_limit: None }
    }
}

impl Config {
    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut mistakes = Vec::new();
        if !(1..=1_000_000).contains(&self.queue_capacity) {
            mistakes.push(Invalid::new("queue_capacity", self.queue_capacity.to_string(), "1 to 1000000"));
        }
        if self.concurrency_limit == Some(0) {
            mistakes.push(Invalid::new("concurrency_limit", "0", "1 or more"));
        }
        mistakes
    }
}

/// What a work queue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It was made and takes nothing yet.
    Idle,
    /// It takes items, and its workers work.
    Processing,
    /// It takes nothing more, and its workers finish what is there.
    Stopping,
    /// It is over.
    Stopped,
}

impl State {
    /// The state in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Processing => "processing",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// The queue is not in a state for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {operation} when the queue is {}, allowed is {allowed}", state.as_str())]
#[non_exhaustive]
pub struct StateError {
    /// What was asked.
    pub operation: &'static str,
    /// The state it is in.
    pub state: State,
    /// The states in which that is allowed.
    pub allowed: &'static str,
}

/// An item was not taken; it is in here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutError<T> {
    /// No place came free in time: backpressure. Slow down.
    Full {
        /// The item.
        item: T,
        /// Number of items that wait.
        capacity: u32,
    },
    /// The queue takes no items, or it was stopped while this one waited for a place.
    State {
        /// The item.
        item: T,
        /// Why.
        error: StateError,
    },
}

impl<T> PutError<T> {
    /// Whether it was backpressure.
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// The item.
    pub fn into_item(self) -> T {
        match self {
            Self::Full { item, .. } | Self::State { item, .. } => item,
        }
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { capacity, .. } => write!(f, "the queue is full ({capacity} items wait)"),
            Self::State { error, .. } => error.fmt(f),
        }
    }
}

impl<T: fmt::Debug> std::error::Error for PutError<T> {}

/// How the work on an item failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkError<E> {
    /// It said so.
    Failed(E),
    /// It panicked with this text, up to 200 bytes of it.
    Panicked(Box<str>),
}

impl<E: fmt::Display> fmt::Display for WorkError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Panicked(text) => write!(f, "the work panicked: {text}"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for WorkError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            Self::Panicked(_) => None,
        }
    }
}

/// What a stopped queue did not do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "what was left undone is lost with it"]
#[non_exhaustive]
pub struct Stopped<T> {
    /// Items that no worker had begun, oldest first.
    pub left: Vec<T>,
    /// Number of items whose work was cancelled half-way.
    pub cancelled: u64,
}

/// The numbers of a queue at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// What it does.
    pub state: State,
    /// Maximum number of items that wait.
    pub capacity: u32,
    /// Items that wait for a worker.
    pub queued: usize,
    /// Items a worker is at.
    pub in_flight: usize,
    /// Items taken so far.
    pub enqueued: u64,
    /// Items finished so far, errors included.
    pub processed: u64,
    /// Items whose work failed or panicked.
    pub errors: u64,
    /// Items whose work a stop cancelled.
    pub cancelled: u64,
    /// Items not taken for want of a place.
    pub backpressure_events: u64,
}

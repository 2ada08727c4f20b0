//! The nouns in which stages answer: tickets, refusals, and why.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

/// The name of a policy or of a stage: cheap to clone, compared by its text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// A name for what was given none: `anonymous-<n>`, a new `n` each time, so that two are never taken for one.
    pub fn anonymous() -> Self {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        Self(format!("anonymous-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)).into())
    }

    /// The name of a part of what has this name, such as the limit of tokens of a policy: `<name>/(<part>)`. No name that
    /// is [`given`](Self::given) is the same.
    #[must_use]
    pub fn part(&self, part: &str) -> Self {
        Self(format!("{self}/({part})").into())
    }

    /// A name from outside: `text`, unless it looks like that of a [`part`](Self::part), which it must not be.
    pub fn given(text: &str) -> Self {
        if text.contains("/(") { Self(text.replace("/(", "/((").into()) } else { Self(text.into()) }
    }

    /// Whether this is a name made by [`anonymous`](Self::anonymous).
    pub fn is_anonymous(&self) -> bool {
        let number = self.0.strip_prefix("anonymous-");
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for Name {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

/// A map by name can be asked with a text.
impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A place in the queue of a bulkhead or rate limiter. Unique in the process, so that the edge can keep one table from
/// tickets to whatever it wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(NonZeroU64);

impl Ticket {
    /// The next ticket; later tickets compare greater.
    pub(crate) fn next() -> Self {
        // Not one of `crate::sync`: it orders nothing, so there is nothing to model-check, and loom has no statics.
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }

    /// The ticket's number, for hashing into a table.
    pub fn number(self) -> u64 {
        self.0.get()
    }
}

/// A stage's answer to somebody who would wait.
#[derive(Debug)]
#[must_use]
pub enum Admission<'a, T> {
    /// Taken; give it back by `settle` or `release`.
    Granted(T),
    /// In the queue: ask `poll` when woken, or leave by `cancel`.
    Queued(Ticket),
    /// Not now.
    Refused(Refusal<'a>),
}

impl<'a, T> From<Result<T, Refusal<'a>>> for Admission<'a, T> {
    /// The answer to somebody who would not wait.
    fn from(taken: Result<T, Refusal<'a>>) -> Self {
        taken.map_or_else(Self::Refused, Self::Granted)
    }
}

/// The answer to a queued caller that polls.
#[derive(Debug)]
#[must_use]
pub enum Progress<'a, T> {
    /// Its turn has come.
    Granted(T),
    /// Not yet. Poll when woken, and when it is `until`.
    Waiting {
        /// When something happens for this ticket by the passing of time.
        until: crate::Instant,
    },
    /// Its time is over: it is not in the queue (any more).
    Refused(Refusal<'a>),
}

/// The stage of a policy, or the thing beside one, that a refusal, an event or a snapshot is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// The adaptive throttle.
    Throttle,
    /// The circuit breaker.
    Breaker,
    /// The bulkhead.
    Bulkhead,
    /// The rate limiter (requests or tokens).
    Rate,
    /// Retries and the budget for them.
    Retry,
    /// A cache of answers.
    Cache,
    /// A health tracker.
    Health,
    /// A component that a health checker asks.
    HealthCheck,
    /// A degradation level.
    Degradation,
    /// A work queue.
    Queue,
    /// Hedges.
    Hedge,
    /// How long attempts took.
    Latency,
    /// The limits of time.
    Timeout,
    /// A policy as a whole.
    Policy,
    /// A loop guard.
    LoopGuard,
    /// A journal of runs.
    Journal,
}

impl Stage {
    /// The stage in lower case, as events and metrics write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::Breaker => "breaker",
            Self::Bulkhead => "bulkhead",
            Self::Rate => "rate",
            Self::Retry => "retry",
            Self::Cache => "cache",
            Self::Health => "health",
            Self::HealthCheck => "health_check",
            Self::Degradation => "degradation",
            Self::Queue => "queue",
            Self::Hedge => "hedge",
            Self::Latency => "latency",
            Self::Timeout => "timeout",
            Self::Policy => "policy",
            Self::LoopGuard => "loop_guard",
            Self::Journal => "journal",
        }
    }
}

/// Why a stage refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The callee accepts too few requests, and chance has chosen this one.
    Throttled,
    /// The circuit is open, its wait not yet over.
    Open,
    /// The circuit is half-open, and all its probes are out.
    HalfOpenLimit,
    /// An operator holds the circuit open.
    ForcedOpen,
    /// All slots are taken and the queue is full.
    QueueFull,
    /// Waited in the queue for as long as the queue allows.
    QueueTimeout,
    /// Waited in a queue that is full, and made room for a call of a higher class or of a shorter flow.
    Shed,
    /// The rate allows it, but only after the deadline or the longest wait allowed.
    WaitTooLong,
    /// The rate does not allow it now, and the caller does not wait.
    RateExceeded,
    /// Costs more than the burst: never possible.
    AboveBurst,
    /// The call of somebody else, whose answer was waited for, failed.
    JoinedFailed,
}

impl Reason {
    /// The reason in snake case, as events and metrics write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Open => "open",
            Self::HalfOpenLimit => "half_open_limit",
            Self::ForcedOpen => "forced_open",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::Shed => "shed",
            Self::WaitTooLong => "wait_too_long",
            Self::RateExceeded => "rate_exceeded",
            Self::AboveBurst => "above_burst",
            Self::JoinedFailed => "joined_failed",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Throttled => "the callee refuses most requests, so this one was not made",
            Self::Open => "the circuit is open",
            Self::HalfOpenLimit => "the circuit is half-open and its probes are out",
            Self::ForcedOpen => "the circuit is held open",
            Self::QueueFull => "all slots are taken and the queue is full",
            Self::QueueTimeout => "waited in the queue for as long as it allows",
            Self::Shed => "the queue is full and it made room for a call that goes first",
            Self::WaitTooLong => "the rate allows it only after the deadline or the longest wait",
            Self::RateExceeded => "the rate does not allow it now",
            Self::AboveBurst => "it costs more than the burst, so it can never pass",
            Self::JoinedFailed => "the call whose answer was waited for has failed",
        }
    }
}

/// A stage that knows why it refuses.
pub(crate) trait LastCause: fmt::Debug {
    /// The kind of the last failure.
    fn last_cause(&self) -> Option<Box<str>>;
}

/// A refusal that borrows from the stage which refused: costs nothing to make. [`Refusal::to_refused`] makes it an
/// error that can travel.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// Which stage.
    pub stage: Stage,
    /// That stage's name.
    pub name: &'a Name,
    /// Why.
    pub reason: Reason,
    /// When another try could pass at the earliest, from now; zero when that depends on others, not on time.
    pub retry_after: Duration,
    /// The stage that refused, if it knows the last failure.
    pub(crate) cause: Option<&'a dyn LastCause>,
}

impl<'a> Refusal<'a> {
    /// A refusal of a stage whose answer depends on others, not on time.
    pub(crate) const fn new(stage: Stage, name: &'a Name, reason: Reason) -> Self {
        Self { stage, name, reason, retry_after: Duration::ZERO, cause: None }
    }
}

impl Refusal<'_> {
    /// The same as an error that owns its parts, with the kind of the last failure (one, however often was refused).
    pub fn to_refused(&self) -> Refused {
        Refused {
            stage: self.stage,
            name: self.name.clone(),
            reason: self.reason,
            retry_after: self.retry_after,
            cause: self.cause.and_then(LastCause::last_cause),
            watched: Watched::default(),
        }
    }
}

/// A stage did not let the call through: the operation was not run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// Which stage.
    pub stage: Stage,
    /// That stage's name.
    pub name: Name,
    /// Why.
    pub reason: Reason,
    /// When another try could pass at the earliest, from then; zero when that depends on others, not on time.
    pub retry_after: Duration,
    /// The kind of the failure that opened the circuit.
    pub cause: Option<Box<str>>,
    watched: Watched,
}

/// Lets somebody know whether a refusal is still there. Two refusals do not differ by it.
#[derive(Clone, Debug, Default)]
struct Watched(Option<Arc<()>>);

impl PartialEq for Watched {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Watched {}

impl Refused {
    /// What tells whether this refusal, or a copy of it, is still there.
    #[doc(hidden)]
    pub fn watch(&mut self) -> std::sync::Weak<()> {
        Arc::downgrade(self.watched.0.get_or_insert_default())
    }

    /// Ends the watch: the refusal is told as a detail of something else.
    #[doc(hidden)]
    pub fn unwatch(&mut self) {
        self.watched = Watched::default();
    }

    /// A cache's refusal to whoever waited for another's call, which failed like this.
    #[doc(hidden)]
    pub fn joined(cache: Name, failure: &str) -> Self {
        let (stage, reason) = (Stage::Cache, Reason::JoinedFailed);
        let (cause, watched) = (Some(failure.into()), Watched::default());
        Self { stage, name: cache, reason, retry_after: Duration::ZERO, cause, watched }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} refused: {}", self.stage.as_str(), self.name.as_str(), self.reason.text())?;
        if !self.retry_after.is_zero() {
            write!(f, ", retry in {:.3} s", self.retry_after.as_secs_f64())?;
        }
        if let Some(cause) = &self.cause {
            write!(f, " (last failure: {cause})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

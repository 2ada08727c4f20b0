//! A single check: how it is registered, what it finds, and what is known of its component.

use std::fmt;
use std::time::Duration;

use stormproof_core::health::{ERROR_BYTES, Status};
use stormproof_core::snapshot::Sample;
use stormproof_core::text;
use stormproof_core::{Instant, Name, Snapshot, Stage};

use crate::call::error::Error;

/// What a check found: made from `Result<(), E>`, from a [`Status`], or from both.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How well the component is.
    pub status: Status,
    /// What is wrong, up to 200 bytes of it. Whoever may see the health sees this: keep secrets out of it.
    pub message: Option<Box<str>>,
}

impl Finding {
    /// A component's status, with what is wrong.
    pub fn new(status: Status, message: Option<&str>) -> Self {
        Self { status, message: message.map(|text| text::start(text, ERROR_BYTES).into()) }
    }

    /// The finding of a check that calls through a policy: circuit open if the breaker refused, unknown if another stage
    /// did (nothing was asked), unhealthy if the call failed or took too long.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use stormproof::{HealthChecker, Policy, health::{self, Finding, Status}};
    ///
    /// # async fn agent_card() -> Result<(), &'static str> { Err("no route") }
    /// let policy = Policy::from_config("billing agent", health::check_policy())?; // opens after three failures
    /// let checker = HealthChecker::new();
    /// checker.register("billing agent", move || {
    ///     let policy = policy.clone();
    ///     async move { Finding::of_call(&policy.call(|_| agent_card()).await) }
    /// })?;
    /// assert_eq!(checker.check_all().await["billing agent"].status, Status::Unhealthy);
    /// # Ok(())
    /// # }
    /// ```
    pub fn of_call<T, E: fmt::Display>(result: &Result<T, Error<E>>) -> Self {
        let Err(error) = result else { return Status::Healthy.into() };
        let status = match error.refused().map(|refused| refused.stage) {
            Some(Stage::Breaker) => Status::CircuitOpen,
            Some(_) => Status::Unknown,
            None => Status::Unhealthy,
        };
        Self::new(status, Some(&error.to_string()))
    }
}

impl From<Status> for Finding {
    fn from(status: Status) -> Self {
        Self::new(status, None)
    }
}

impl<E: fmt::Display> From<Result<(), E>> for Finding {
    /// `Ok` is healthy, an error unhealthy with its text.
    fn from(result: Result<(), E>) -> Self {
        result.map(|()| Status::Healthy).into()
    }
}

impl<E: fmt::Display> From<Result<Status, E>> for Finding {
    /// An error is unhealthy with its text.
    fn from(result: Result<Status, E>) -> Self {
        result.map_or_else(|error| Self::new(Status::Unhealthy, Some(&error.to_string())), Self::from)
    }
}

/// The health of a component when it was last checked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CheckReport {
    /// How well it is; unknown before the first check.
    pub status: Status,
    /// Whether nothing works without it.
    pub critical: bool,
    /// What is wrong.
    pub message: Option<Box<str>>,
    /// How long the check took.
    pub latency: Duration,
    /// When it ended.
    pub last_check: Option<Instant>,
    /// Checks since the component was last not down.
    pub consecutive_failures: u32,
}

/// How a check is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Whether nothing works without the component. Default: yes.
    pub critical: bool,
    /// How long the check may take. Default: what the checker says.
    pub timeout: Option<Duration>,
}

impl Default for Registration {
    fn default() -> Self {
        Self { critical: true, timeout: None }
    }
}

/// There is a check of that name, or it is the checker's own. What was registered before stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a health check {name:?} is registered already")]
#[non_exhaustive]
pub struct AlreadyRegistered {
    /// The name.
    pub name: Name,
}

impl CheckReport {
    pub(super) fn unknown(critical: bool) -> Self {
        Self {
            status: Status::Unknown,
            critical,
            message: None,
            latency: Duration::ZERO,
            last_check: None,
            consecutive_failures: 0,
        }
    }

    pub(super) fn snapshot(&self, name: Name) -> Snapshot {
        let samples = vec![
            Sample::gauge("status", "How bad it is, 0 (healthy) to 5 (critical).", self.status.severity().into()),
            Sample::gauge("consecutive_failures", "Failures since the last success.", self.consecutive_failures.into()),
            Sample::gauge("seconds", "How long the last check took.", self.latency.as_secs_f64()),
        ];
        Snapshot::new(Stage::HealthCheck, name, samples)
    }

    /// Takes a finding over. Returns the change worth telling.
    pub(super) fn update(&mut self, finding: Finding, latency: Duration, now: Instant) -> Option<(Status, Status)> {
        let from = std::mem::replace(&mut self.status, finding.status);
        self.consecutive_failures =
            if finding.status.is_down() { self.consecutive_failures.saturating_add(1) } else { 0 };
        (self.message, self.latency, self.last_check) = (finding.message, latency, Some(now));
        let first_and_well = from == Status::Unknown && self.status == Status::Healthy;
        (from != self.status && !first_and_well).then_some((from, self.status))
    }
}

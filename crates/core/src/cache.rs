//! How long an answer that is kept may be served, and when.
//!
//! Owns the limits and what follows from an answer's age. Does not own the answers: they live at the edge.

use std::time::Duration;

use crate::decision::{Name, Stage};
use crate::invalid::{Check, Invalid};
use crate::snapshot::{Sample, Snapshot};
use crate::time::Instant;

/// How many answers are kept, and for how long each may be served.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{cache, Instant};
///
/// let config = cache::Config { fresh_for: Duration::from_secs(60), ..Default::default() };
/// let (stored, at) = (Instant::ZERO, |seconds| Instant::ZERO + Duration::from_secs(seconds));
/// assert_eq!(config.decide(stored, at(59)), cache::Decision::Fresh);
/// assert_eq!(config.decide(stored, at(60)), cache::Decision::Stale);
/// assert_eq!(config.decide(stored, at(3600)), cache::Decision::Expired);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Config {
    /// Maximum number of answers kept; the one used longest ago goes first. Default 10,000.
    pub max_entries: u64,
    /// Age up to which an answer is served without a call. Default 0: there always is a call, and what is kept is served
    /// only when that fails.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub fresh_for: Duration,
    /// Age up to which an answer is served when the call fails. Default 1 h.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub stale_for: Duration,
    /// Time after which one of those who wait for another's call makes a call of its own. Default 10 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub join_timeout: Duration,
    /// What those who wait for another's call get when it fails. One of them always calls again. Default `stale`.
    pub after_failure: AfterFailure,
}

/// What those who wait for another's call get when it fails, but for the one that calls again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum AfterFailure {
    /// The next answer: they go on waiting.
    Wait,
    /// The stale answer, as if their own call had failed; without one they go on waiting.
    #[default]
    Stale,
    /// The failure, as a refusal that names it; or what their fallbacks make of that.
    Fail,
}

impl AfterFailure {
    /// Whether those who wait have waited long enough, if there is a stale answer for them or not.
    pub const fn ends_waiting(self, stale: bool) -> bool {
        match self {
            Self::Wait => false,
            Self::Stale => stale,
            Self::Fail => true,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_entries: 10_000,
            fresh_for: Duration::ZERO,
            stale_for: Duration::from_secs(3_600),
            join_timeout: Duration::from_secs(10),
            after_failure: AfterFailure::default(),
        }
    }
}

impl Config {
    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        check.that(self.max_entries >= 1, "max_entries", self.max_entries, "1 or more");
        check.that(!self.stale_for.is_zero(), "stale_for", self.stale_for, "more than zero");
        check.that(self.stale_for >= self.fresh_for, "stale_for", self.stale_for, "fresh_for or more");
        check.that(!self.join_timeout.is_zero(), "join_timeout", self.join_timeout, "more than zero");
        check.done()
    }

    /// Whether concurrent calls for one answer are worth joining: only if the answer of one may serve the others.
    pub fn joins(&self) -> bool {
        !self.fresh_for.is_zero()
    }

    /// What may be done at `now` with an answer that was stored at `stored`. An age equal to a limit is over it.
    pub fn decide(&self, stored: Instant, now: Instant) -> Decision {
        let age = now.since(stored);
        if age < self.fresh_for {
            Decision::Fresh
        } else if age < self.stale_for {
            Decision::Stale
        } else {
            Decision::Expired
        }
    }
}

/// What may be done with an answer that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Serve it instead of calling.
    Fresh,
    /// Call, and serve it if that fails.
    Stale,
    /// Forget it.
    Expired,
}

/// The numbers of a cache at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Answers served without a call of their own.
    pub fresh: u64,
    /// Answers served because a call had failed.
    pub stale: u64,
    /// Times there was nothing to serve.
    pub misses: u64,
    /// Calls that waited for another one for the same key.
    pub joined: u64,
    /// Answers kept, those included that are over their age and were not asked for since.
    pub entries: u64,
}

impl Stats {
    /// Answers served.
    pub fn hits(&self) -> u64 {
        self.fresh.saturating_add(self.stale)
    }

    /// The same as data for metrics, the admin API and the dashboard.
    pub fn snapshot(&self, name: Name) -> Snapshot {
        const SERVED: &str = "Answers served from the cache: fresh without a call, stale after a failure.";
        Snapshot {
            stage: Stage::Cache,
            name,
            samples: vec![
                Sample::counter("hits", SERVED, self.fresh).label("answer", "fresh"),
                Sample::counter("hits", SERVED, self.stale).label("answer", "stale"),
                Sample::counter("misses", "Times there was nothing to serve.", self.misses),
                Sample::counter("joined", "Calls that waited for another one for the same key.", self.joined),
                Sample::gauge("entries", "Answers kept.", self.entries as f64),
            ],
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn durations() -> impl Strategy<Value = Duration> {
        prop_oneof![
            3 => (0..10_000_u64).prop_map(Duration::from_nanos),
            1 => Just(Duration::MAX),
            1 => any::<u64>().prop_map(Duration::from_nanos),
        ]
    }

    fn rank(decision: Decision) -> u8 {
        match decision {
            Decision::Fresh => 0,
            Decision::Stale => 1,
            Decision::Expired => 2,
        }
    }

    proptest! {
        /// Against the definition in whole numbers, for any limits, valid or not, and a clock that may go back.
        #[test]
        fn an_answer_is_fresh_then_stale_then_gone(
            fresh_for in durations(),
            stale_for in durations(),
            stored in any::<u64>(),
            now in any::<u64>(),
        ) {
            let config = Config { fresh_for, stale_for, ..Config::default() };
            let decision = config.decide(Instant::from_nanos(stored), Instant::from_nanos(now));
            let age = u128::from(now.saturating_sub(stored));
            let expected = match (age < fresh_for.as_nanos(), age < stale_for.as_nanos()) {
                (true, _) => Decision::Fresh,
                (false, true) => Decision::Stale,
                (false, false) => Decision::Expired,
            };
            prop_assert_eq!(decision, expected);
        }

        #[test]
        fn an_answer_never_gets_fresher(
            fresh_for in durations(),
            stale_for in durations(),
            first in 0..20_000_u64,
            later in 0..20_000_u64,
        ) {
            let config = Config { fresh_for, stale_for, ..Config::default() };
            let at = |nanos| rank(config.decide(Instant::ZERO, Instant::from_nanos(nanos)));
            prop_assert!(at(first) <= at(first + later));
        }
    }

    #[test]
    fn all_mistakes_are_named_at_once() {
        let (fresh_for, stale_for) = (Duration::from_secs(1), Duration::ZERO);
        let config = Config { max_entries: 0, fresh_for, stale_for, ..Config::default() };
        let mistakes = config.validate();
        let fields: Vec<_> = mistakes.iter().map(|mistake| mistake.field.as_str()).collect();
        assert_eq!(fields, ["max_entries", "stale_for", "stale_for"]);
        assert!(Config::default().validate().is_empty());
        assert!(Config { stale_for: Duration::MAX, fresh_for: Duration::MAX, ..config }.validate().len() == 1);
    }
}

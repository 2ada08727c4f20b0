//! The longest a call can take.

use std::time::Duration;

use crate::policy::Config;
use crate::retry;

/// Longest time that something takes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// This long.
    Within(Duration),
    /// There is no limit, and this is why.
    Unbounded(Vec<Unbounded>),
}

impl Bound {
    /// The limit, if there is one.
    pub fn limit(&self) -> Option<Duration> {
        match self {
            Self::Within(limit) => Some(*limit),
            Self::Unbounded(_) => None,
        }
    }
}

/// Why something has no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unbounded {
    /// An attempt may take for ever: neither `attempt_timeout` nor `deadline` is set.
    Attempt,
    /// A server's Retry-After is waited for however long it is: none of `retry_after_cap`, `max_retry_after` and `deadline`
    /// is set. With `wait_for_half_open` only a `deadline` limits it.
    Hint,
}

/// Waits that servers ask for by Retry-After.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hints {
    None,
    Longest,
}

/// The most attempts of one call, hedges among them.
pub(super) fn attempts(config: &Config) -> u64 {
    rounds(config).saturating_mul(at_once(config))
}

/// First attempts and retries: each is a round, with hedges beside it.
fn rounds(config: &Config) -> u64 {
    1 + config.retry.as_ref().map_or(0, |retry| u64::from(retry.max_retries))
}

/// Attempts of one round.
fn at_once(config: &Config) -> u64 {
    1 + config.hedge.as_ref().map_or(0, |hedge| u64::from(hedge.max_hedges))
}

pub(super) fn worst_case(config: &Config, hints: Hints) -> Bound {
    let queues = [
        config.bulkhead.as_ref().filter(|bulkhead| bulkhead.max_queue > 0).map(|bulkhead| bulkhead.queue_timeout),
        config.rate.as_ref().map(|limit| limit.max_wait),
        config.tokens.as_ref().map(|limit| limit.max_wait),
    ];
    let waiting = queues.into_iter().flatten().fold(Duration::ZERO, Duration::saturating_add);
    let waits = config.retry.as_ref().map_or(Some(Duration::ZERO), |retry| waits(config, retry, hints));
    let total = config.attempt_timeout.zip(waits).map(|(attempt, waits)| {
        // A hedge starts when the one before it fails at the latest, and never waits in a queue.
        let round = waiting.saturating_add(times(attempt, at_once(config)));
        times(round, rounds(config)).saturating_add(waits)
    });
    match (total, config.deadline) {
        (Some(total), deadline) => Bound::Within(total.min(deadline.unwrap_or(Duration::MAX))),
        (None, Some(deadline)) => Bound::Within(deadline),
        (None, None) => {
            let attempt = config.attempt_timeout.is_none().then_some(Unbounded::Attempt);
            let hint = waits.is_none().then_some(Unbounded::Hint);
            Bound::Unbounded(attempt.into_iter().chain(hint).collect())
        }
    }
}

/// More retries than this are taken to wait for the longest time each.
const COUNTED: u32 = 10_000;

/// All waits between attempts at their longest; `None` if there is no limit.
fn waits(config: &Config, retry: &retry::Config, hints: Hints) -> Option<Duration> {
    let half_open = config.breaker.as_ref().filter(|_| retry.wait_for_half_open);
    let hint = match (hints, retry.retry_after_cap.or(retry.max_retry_after)) {
        (Hints::Longest, None) if retry.max_retries > 0 => return None,
        (Hints::Longest, Some(longest)) => retry.backoff.longest_upward(longest),
        (Hints::Longest | Hints::None, _) => Duration::ZERO,
    };
    let half_open = match (half_open, hints) {
        // A server's word may keep the circuit open for longer than its settings do.
        (Some(_), Hints::Longest) if retry.max_retries > 0 => return None,
        (Some(breaker), _) => {
            let zero = Duration::ZERO;
            let open = breaker.open_wait();
            let open = if breaker.open_factor > 1.0 { open.max_delay } else { open.bounds(0, (zero, zero)).1 };
            retry.backoff.longest_upward(open.max(breaker.probe_timeout()))
        }
        (None, _) => Duration::ZERO,
    };
    let hint = hint.max(half_open);
    let (mut all, mut previous) = (Duration::ZERO, Duration::ZERO);
    for number in 0..retry.max_retries.min(COUNTED) {
        previous = retry.backoff.bounds(number, (Duration::ZERO, previous)).1.max(hint);
        all = all.saturating_add(previous);
    }
    let rest = u64::from(retry.max_retries.saturating_sub(COUNTED));
    Some(all.saturating_add(times(retry.backoff.max_delay.max(hint), rest)))
}

/// Returns `times` times `duration`; at most [`Duration::MAX`].
pub(super) fn times(duration: Duration, times: u64) -> Duration {
    let nanos = duration.as_nanos().saturating_mul(u128::from(times));
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    match (u64::try_from(seconds), u32::try_from(rest)) {
        (Ok(seconds), Ok(rest)) => Duration::new(seconds, rest),
        _ => Duration::MAX,
    }
}

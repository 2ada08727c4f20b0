//! An explanation in plain English, line by line.

use std::fmt;
use std::time::Duration;

use super::{Amplification, Bound, Circuit, Explanation, Opening, Pace, Slots, Throttled, Unbounded, Warning};
use crate::breaker::{Mode, Scope};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts = self.attempts;
        write!(f, "a call: {}, {attempts} attempt{} at most", self.worst_case, plural(attempts))?;
        if attempts > 1 {
            let nested = attempts.saturating_mul(attempts);
            write!(f, ", {nested} when nested in a policy like it")?;
        }
        if self.without_hints != self.worst_case && matches!(self.without_hints, Bound::Within(_)) {
            write!(f, "\n  if no server asks to wait longer than the backoff: {}", self.without_hints)?;
        }
        if let Some(Slots { first, adaptive }) = self.slots {
            write!(f, "\n  {first} call{} at a time", plural(first.into()))?;
            if let Some((least, most)) = adaptive {
                write!(f, " at first, then {least} to {most}")?;
            }
        }
        if let Some(priority) = self.priority {
            write!(f, "\n  priority {} in queues, unless the call or one around it says another", priority.as_str())?;
        }
        for (what, pace) in [("request", self.requests), ("token", self.tokens)] {
            if let Some(Pace { per_second, burst }) = pace {
                let many = if burst == 1 { "" } else { "s" };
                write!(
                    f,
                    "\n  {} {what}s a second in the long run, {burst} {what}{many} at once",
                    rounded(per_second)
                )?;
            }
        }
        if let Some(Amplification { factor, floor, window }) = self.amplification {
            write!(
                f,
                "\nretries: at most {} attempts a call over all calls, and {floor} more in each ",
                rounded(factor)
            )?;
            write!(f, "{window:?}, if everything fails")?;
        }
        if let Some(Throttled { below, min_requests, window, at_most }) = self.throttle {
            let [below, at_most] = [below, at_most].map(|share| rounded(share * 100.0));
            write!(
                f,
                "\nthrottle: refuses calls while fewer than {below} % of them are accepted, at most {at_most} %"
            )?;
            write!(f, "\n  counted over {window:?}, with {min_requests} requests or more")?;
        }
        if let Some(circuit) = &self.circuit {
            write!(f, "\n{circuit}")?;
        }
        self.warnings.iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// At most three digits behind the point.
fn rounded(number: f64) -> f64 {
    let thousandths = (number * 1000.0).round() / 1000.0;
    if thousandths > 0.0 { thousandths } else { number }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Within(limit) => write!(f, "{limit:?} at most"),
            Self::Unbounded(reasons) => {
                f.write_str("no limit of time (")?;
                for (nth, reason) in reasons.iter().enumerate() {
                    write!(f, "{}{reason}", if nth == 0 { "" } else { "; " })?;
                }
                f.write_str(")")
            }
        }
    }
}

impl fmt::Display for Unbounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attempt => "neither `attempt_timeout` nor `deadline` is set",
            Self::Hint => {
                "a server's Retry-After is waited for without `retry_after_cap`, `max_retry_after` or `deadline`"
            }
        })
    }
}

impl fmt::Display for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode {
            Mode::Normal => {}
            Mode::ForcedOpen => return f.write_str("circuit: held open, refuses everything"),
            Mode::Disabled => return f.write_str("circuit: disabled, never opens"),
            Mode::MetricsOnly => f.write_str("circuit, which only measures and never refuses: ")?,
        }
        let what = match self.scope {
            Scope::Attempt => "",
            Scope::Operation => ", a call with all its retries counted once",
        };
        if self.mode == Mode::Normal {
            f.write_str("circuit: ")?;
        }
        for (nth, opening) in self.opens.iter().enumerate() {
            write!(f, "{}{opening}", if nth == 0 { "opens " } else { "\n  or " })?;
        }
        f.write_str(what)?;
        let (shortest, longest) = self.open_for;
        write!(f, "\n  stays open {}", span(shortest, longest))?;
        if self.open_at_most > longest {
            write!(f, ", longer each time it opens again, up to {:?}", self.open_at_most)?;
        }
        let Self { successes, probes, .. } = self;
        let (one, many) = (plural((*successes).into()), if *probes == 1 { "" } else { "s" });
        if *probes == u32::MAX {
            write!(f, "; then any number of probes, {successes} success")?;
        } else {
            write!(f, "; then {probes} probe{many} at a time, {successes} success")?;
        }
        write!(f, "{} close{} it", if one.is_empty() { "" } else { "es" }, if one.is_empty() { "s" } else { "" })
    }
}

fn span(shortest: Duration, longest: Duration) -> String {
    if shortest == longest { format!("{longest:?}") } else { format!("{shortest:?} to {longest:?}") }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rule)?;
        match (self.hung_together, self.hung_in_turn) {
            (None, _) => f.write_str("; calls that hang never open it"),
            (Some(together), Some(in_turn)) if together == in_turn => write!(f, "; if calls hang, after {together:?}"),
            (Some(together), Some(in_turn)) => {
                write!(f, "; if calls hang, after {together:?} (all at once) to {in_turn:?} (one after the other)")
            }
            (Some(together), None) => {
                write!(f, "; if calls hang, after {together:?}, but only if they hang at the same time")
            }
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoTimeLimit => {
                f.write_str("a call that hangs is held for ever and is no failure: set `attempt_timeout` or `deadline`")
            }
            Self::NoBudget { attempts } => {
                write!(f, "if everything fails, each call makes {attempts} attempts: set a `budget`")
            }
            Self::NoTimeForRetry { deadline } => {
                write!(
                    f,
                    "an attempt that hangs leaves nothing of the deadline of {deadline:?} and is not retried: set a "
                )?;
                f.write_str("shorter `attempt_timeout`")
            }
            Self::DelayPastDeadline { delay, deadline } => {
                write!(
                    f,
                    "the wait before a retry is at least {delay:?}, the deadline {deadline:?}: nothing is retried"
                )
            }
            Self::QueuePastDeadline { queue_timeout, deadline } => write!(
                f,
                "a caller may wait {queue_timeout:?} for a slot, as long as the deadline of {deadline:?}: set a shorter \
                 `queue_timeout`"
            ),
            Self::ProbeGivenUpEarly { half_open_timeout, takes } => {
                match takes {
                    Some(takes) => write!(f, "a probe may take {takes:?}")?,
                    None => f.write_str("a probe may take for ever")?,
                }
                write!(
                    f,
                    ", but gives its place to another after {half_open_timeout:?}, so that more probes may run than "
                )?;
                let advice =
                    if takes.is_some() { "a longer `half_open_timeout`" } else { "a shorter `attempt_timeout`" };
                write!(f, "`half_open_max_calls`: set {advice}")
            }
            Self::SeveralRounds { successes, probes } => write!(
                f,
                "{successes} successes close the circuit, but only {probes} probe{} may run at a time",
                plural(probes.into())
            ),
            Self::OneCallOpens { attempts, failures } => write!(
                f,
                "one call with its {attempts} attempts opens the circuit, which takes {failures}: raise `trip`, or count \
                 operations with `scope = \"operation\"`"
            ),
            Self::TooFewCalls { minimum_calls, possible } => write!(
                f,
                "a rule needs {minimum_calls} calls in its window, the rate limit lets {possible} into it: it never opens \
                 the circuit"
            ),
            Self::AttemptPastDeadline { attempt_timeout, deadline } => write!(
                f,
                "the `attempt_timeout` of {attempt_timeout:?} is longer than the deadline of {deadline:?} and never runs \
                 out"
            ),
        }
    }
}

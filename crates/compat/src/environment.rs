//! The variables that other systems document.

use std::time::Duration;

/// One variable.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The presets that it speaks to, see [`family`](crate::presets::family). Empty for none.
    pub family: &'static str,
    /// The setting of a policy, or behind `health.` of a health tracker, that it sets; empty for none.
    pub sets: &'static str,
    /// The values that it takes.
    pub value: Value,
    /// What a policy asks of the value beyond that, for a value that one policy can take and another cannot.
    pub fits: Option<&'static str>,
}

/// The values that a variable takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A whole number from 1.
    Count,
    /// A whole number from 0.
    CountOrZero,
    /// Seconds above 0.
    Seconds,
    /// A share above 0 and at most 1.
    Share,
    /// Any text that is not empty. It may be a secret: only its presence is kept.
    Secret,
}

impl Value {
    /// The allowed values, in words.
    pub const fn allowed(self) -> &'static str {
        match self {
            Self::Count => "1 to 4294967295",
            Self::CountOrZero => "0 to 4294967295",
            Self::Seconds => "a number of seconds above 0",
            Self::Share => "a number above 0 and at most 1",
            Self::Secret => "anything",
        }
    }

    /// The number that a text means, if it is allowed; 1 for a secret, 0 for an empty one.
    pub fn read(self, text: &str) -> Option<f64> {
        let count = |least: u32| text.parse().ok().filter(|n: &u32| *n >= least).map(f64::from);
        match self {
            Self::Count => count(1),
            Self::CountOrZero => count(0),
            Self::Seconds => text
                .parse()
                .ok()
                .filter(|seconds: &f64| Duration::try_from_secs_f64(*seconds).is_ok_and(|time| !time.is_zero())),
            Self::Share => text.parse().ok().filter(|share: &f64| *share > 0.0 && *share <= 1.0),
            Self::Secret => Some(if text.is_empty() { 0.0 } else { 1.0 }),
        }
    }
}

/// Whether the variables of a family stand above all that is written; if not, they stand below a preset's own numbers.
pub fn stands_above(family: &str) -> bool {
    family == "aragora"
}

/// The variable of that name.
pub fn variable(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.name == name)
}

const fn row(name: &'static str, family: &'static str, sets: &'static str, value: Value) -> Variable {
    Variable { name, family, sets, value, fits: None }
}

const fn fitting(variable: Variable, fits: &'static str) -> Variable {
    Variable { fits: Some(fits), ..variable }
}

/// All variables.
pub const VARIABLES: &[Variable] = &[
    row("ARAGORA_CB_FAILURE_THRESHOLD", "aragora", "breaker.trip", Value::Count),
    row("ARAGORA_CB_SUCCESS_THRESHOLD", "aragora", "breaker.success_threshold", Value::Count),
    row("ARAGORA_CB_TIMEOUT_SECONDS", "aragora", "breaker.open_duration", Value::Seconds),
    row("ARAGORA_CB_HALF_OPEN_MAX_CALLS", "aragora", "breaker.half_open_max_calls", Value::Count),
    // Its documented default of 3 is that of `max_retries`, which it must not change.
    row("ARAGORA_RETRY_MAX_ATTEMPTS", "aragora", "retry.max_retries", Value::CountOrZero),
    fitting(
        row("ARAGORA_RETRY_INITIAL_DELAY", "aragora", "retry.backoff.base_delay", Value::Seconds),
        "at most the longest delay of each policy that it speaks to",
    ),
    fitting(
        row("ARAGORA_RETRY_MAX_DELAY", "aragora", "retry.backoff.max_delay", Value::Seconds),
        "at least the first delay of each policy that it speaks to",
    ),
    row("ARAGORA_HEALTH_WINDOW_SIZE", "aragora", "health.strategy.ratio.window", Value::Count),
    row("ARAGORA_HEALTH_UNHEALTHY_THRESHOLD", "aragora", "health.strategy.ratio.unhealthy_threshold", Value::Share),
    row("OPENROUTER_API_KEY", "", "", Value::Secret),
    row("A2A_CIRCUIT_BREAKER_THRESHOLD", "a2a", "breaker.trip", Value::Count),
    row("A2A_CIRCUIT_BREAKER_TIMEOUT", "a2a", "breaker.open_duration", Value::Seconds),
    // Counts the first call.
    row("A2A_RETRY_ATTEMPTS", "a2a", "retry.max_attempts", Value::Count),
    row("A2A_CONNECTION_POOL_SIZE", "", "", Value::Count),
];

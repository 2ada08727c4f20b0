//! Other names of settings, for files and attributes.
//!
//! A setting is known by the table it stands in, such as `breaker`, and its name. Files and attributes read the same
//! table: whoever writes a name below means the first of its row.

/// The names of one setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The table that the setting stands in; the settings of a backoff also stand in `retry`.
    pub table: &'static str,
    /// Our name, then the others.
    pub names: &'static [&'static str],
}

/// The settings that have other names.
pub const SETTINGS: &[Setting] = &[
    of("breaker", &["trip", "failure_threshold"]),
    of(
        "breaker",
        &[
            "open_duration",
            "timeout",
            "timeout_seconds",
            "recovery_timeout",
            "recovery_time",
            "cooldown_seconds",
            "reset_timeout",
        ],
    ),
    of("breaker", &["ignore", "excluded_exceptions"]),
    of("retry", &["retry_on", "retry_exceptions"]),
    of("retry", &["never_on", "dont_retry_on", "exclude", "exclude_exceptions"]),
    of("backoff", &["kind", "backoff_strategy"]),
    of("backoff", &["base_delay", "initial_delay", "base", "initial", "delay"]),
    of("backoff", &["factor", "backoff_multiplier", "multiplier", "exponential_base", "backoff_factor"]),
    of("backoff", &["jitter", "jitter_factor"]),
    of("bulkhead", &["max_queue", "max_waiting"]),
    of("bulkhead", &["queue_timeout", "timeout"]),
    of("rate", &["rate", "requests_per_second"]),
    of("rate", &["per", "period"]),
    of("rate", &["burst", "burst_size", "capacity", "max_tokens"]),
    of("tokens", &["rate", "requests_per_second"]),
    of("tokens", &["per", "period"]),
    of("tokens", &["burst", "burst_size", "capacity", "max_tokens"]),
    of("queue", &["queue_capacity", "maxsize"]),
    of("queue", &["put_timeout", "timeout"]),
    of("loop_guard", &["max_turns", "max_total_iterations"]),
];

/// Settings of which only one may be set: their table and their names. They have different values, so none is another
/// name of the other.
pub const EXCLUSIVE: &[(&str, &[&str])] =
    &[("retry", &["max_retries", "max_attempts"]), ("retry", &["retry_after_cap", "max_retry_after"])];

/// Other words for the value of a setting: its table, its name, the word, and ours.
pub const VALUES: &[(&str, &str, &str, &str)] = &[("backoff", "kind", "fixed", "constant")];

/// The settings of a backoff, which may also stand beside it in `retry`, by any of their names.
pub const BACKOFF: [&str; 6] = ["kind", "base_delay", "factor", "increment", "max_delay", "jitter"];

const fn of(table: &'static str, names: &'static [&'static str]) -> Setting {
    Setting { table, names }
}

/// All names of the setting that is called `name` in `table`; none if it has but the one.
pub fn names_of(table: &str, name: &str) -> &'static [&'static str] {
    SETTINGS.iter().find(|setting| setting.table == table && setting.names.contains(&name)).map_or(&[], |it| it.names)
}

/// The settings that exclude the one called `name` in `table`, itself among them; none if there are no others.
pub fn excluded_by(table: &str, name: &str) -> &'static [&'static str] {
    EXCLUSIVE.iter().find(|(of, names)| *of == table && names.contains(&name)).map_or(&[], |(_, names)| names)
}

/// Our name for the setting that is called `name` in `table`.
pub fn name_of<'n>(table: &str, name: &'n str) -> &'n str {
    names_of(table, name).first().copied().unwrap_or(name)
}

/// Whether this is a setting of a backoff, by any of its names.
pub fn is_of_backoff(name: &str) -> bool {
    BACKOFF.contains(&name_of("backoff", name))
}

/// Our word for the value of a setting, if it is another one.
pub fn value_of(table: &str, name: &str, value: &str) -> Option<&'static str> {
    let row = VALUES.iter().find(|row| (row.0, row.1, row.2) == (table, name_of(table, name), value));
    row.map(|row| row.3)
}

/// What other systems set in a table and what has its place elsewhere here: the table, their names, and what to do.
const ELSEWHERE: &[(&str, &[&str], &str)] = &[
    ("retry", &["timeout", "max_total_wait_time"], "the time limit of all retries is `deadline`, beside `retry`"),
    ("retry", &["retry_if", "should_retry"], "a condition is a classifier of the call, in code"),
    ("retry", &["on_retry"], "whoever wants to hear of retries says `.on_retry(…)` in code, or reads the events"),
    ("retry", &["budget"], "the budget of retries is `budget`, beside `retry`"),
    ("breaker", &["expected_exception"], "every failure counts but for those in `ignore`"),
    (
        "breaker",
        &["failure_window"],
        "failures within a time are `trip = { within = { failures = 5, window = \"2m\" } }`",
    ),
    (
        "breaker",
        &["failure_rate_threshold"],
        "a share of failures is `trip = { ratio = { ratio = 0.5, minimum_calls = 20, window = { calls = 100 } } }`",
    ),
    ("policy", &["timeout"], "the time limit of a call is `deadline`, that of one attempt `attempt_timeout`"),
    ("policy", &["circuit_breaker"], "the circuit breaker is `breaker`"),
    ("policy", &["rate_limit", "rate_limiter"], "the limit of requests is `rate`, that of tokens `tokens`"),
    ("policy", &["fallback_provider"], "a fallback is code: `.fallback_to(…)` of a call"),
];

/// What to do instead of setting `name` in `table`, for a name that other systems have there.
pub fn elsewhere(table: &str, name: &str) -> Option<&'static str> {
    ELSEWHERE.iter().find(|(of, names, _)| *of == table && names.contains(&name)).map(|(.., advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_one_setting() {
        for setting in SETTINGS {
            for name in setting.names {
                assert_eq!(names_of(setting.table, name), setting.names, "{}.{name}", setting.table);
                assert_eq!(elsewhere(setting.table, name), None, "{}.{name}", setting.table);
            }
            let in_retry = setting.table == "retry" && setting.names.iter().any(|name| is_of_backoff(name));
            assert!(!in_retry, "{:?} stand beside the settings of a backoff", setting.names);
        }
    }

    #[test]
    fn a_value_has_one_word_here() {
        assert_eq!(value_of("backoff", "backoff_strategy", "fixed"), Some("constant"));
        assert_eq!(value_of("backoff", "kind", "linear"), None);
    }
}

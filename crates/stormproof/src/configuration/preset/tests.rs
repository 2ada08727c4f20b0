//! The numbers of each preset, and who wins over whom.

use std::time::Duration;

use stormproof_core::backoff::Schedule;
use stormproof_core::breaker::Scope;
use stormproof_core::{Jitter, Trip};

use super::*;
use crate::configuration::settings::Settings;

/// Threshold, successes, seconds open, probes; then attempts, base, longest wait and jitter.
type Row = (&'static str, (u32, u32, u64, u32), Option<(u32, f64, u64, Jitter)>);

const ROWS: &[Row] = &[
    ("aragora", (5, 3, 60, 3), Some((4, 1.0, 30, Jitter::Symmetric(0.1)))),
    ("aragora.anthropic", (3, 2, 30, 2), Some((4, 2.0, 120, Jitter::Symmetric(0.3)))),
    ("aragora.openai", (5, 2, 60, 3), Some((5, 1.0, 60, Jitter::Symmetric(0.25)))),
    ("aragora.mistral", (4, 2, 45, 2), Some((4, 1.0, 60, Jitter::Symmetric(0.25)))),
    ("aragora.openrouter", (5, 3, 90, 2), Some((5, 1.5, 120, Jitter::Symmetric(0.3)))),
    ("aragora.xai", (3, 2, 60, 2), Some((4, 1.0, 30, Jitter::Symmetric(0.1)))),
    ("aragora.grok", (3, 2, 60, 2), Some((4, 1.5, 90, Jitter::Symmetric(0.3)))),
    ("aragora.gemini", (4, 2, 45, 3), Some((4, 1.0, 60, Jitter::Symmetric(0.25)))),
    ("aragora.google", (4, 2, 45, 3), Some((4, 1.0, 30, Jitter::Symmetric(0.1)))),
    ("aragora.knowledge_mound", (5, 3, 60, 3), Some((4, 0.5, 30, Jitter::Symmetric(0.2)))),
    ("aragora.control_plane", (5, 3, 60, 3), Some((4, 0.5, 30, Jitter::Symmetric(0.2)))),
    ("aragora.memory", (5, 3, 60, 3), Some((4, 0.3, 15, Jitter::Symmetric(0.2)))),
    ("aragora.slack", (5, 3, 60, 3), Some((4, 1.0, 30, Jitter::Symmetric(0.25)))),
    ("aragora.discord", (5, 3, 60, 3), Some((4, 1.0, 30, Jitter::Symmetric(0.25)))),
    ("aragora.teams", (5, 3, 60, 3), Some((4, 1.0, 30, Jitter::Symmetric(0.25)))),
    ("aragora.github_cli", (5, 3, 60, 3), Some((4, 1.0, 60, Jitter::Symmetric(0.25)))),
    ("victor", (5, 2, 60, 3), Some((4, 1.0, 60, Jitter::Symmetric(0.2)))),
    ("victor.anthropic", (5, 2, 60, 3), Some((4, 1.0, 60, Jitter::Symmetric(0.2)))),
    ("victor.ollama", (10, 2, 10, 3), Some((4, 1.0, 60, Jitter::Symmetric(0.2)))),
    ("a2a", (5, 3, 60, 3), Some((3, 1.0, 30, Jitter::Range(0.5, 1.5)))),
    ("a2a.salesforce_agent", (5, 3, 60, 3), Some((3, 1.0, 30, Jitter::Range(0.5, 1.5)))),
    ("a2a.jira_agent", (5, 3, 60, 3), Some((3, 1.0, 30, Jitter::Range(0.5, 1.5)))),
    ("a2a.health_check", (3, 2, 30, 2), None),
    ("khive", (5, 1, 30, 1), Some((4, 1.0, 60, Jitter::Symmetric(0.2)))),
    ("book", (5, 2, 60, u32::MAX), Some((6, 1.0, 60, Jitter::Full))),
];

#[test]
fn every_preset_has_the_numbers_of_its_system() {
    for (name, (trip, successes, open, probes), retry) in ROWS {
        let config = get(name).unwrap();
        assert_eq!(config.validate(), [], "{name}");
        let breaker = config.breaker.unwrap();
        let seconds = Duration::from_secs(*open);
        assert_eq!(breaker.trip, [Trip::consecutive(*trip)], "{name}");
        assert_eq!((breaker.success_threshold, breaker.open_duration), (*successes, seconds), "{name}");
        assert_eq!(breaker.half_open_max_calls, *probes, "{name}");
        let scope = if name.starts_with("aragora") { Scope::Attempt } else { Scope::Operation };
        assert_eq!(breaker.scope, scope, "{name}");
        let found = config.retry.map(|retry| {
            let backoff = retry.backoff;
            assert_eq!(backoff.schedule, Schedule::Exponential { factor: 2.0 }, "{name}");
            (retry.max_retries + 1, backoff.base_delay.as_secs_f64(), backoff.max_delay.as_secs(), backoff.jitter)
        });
        assert_eq!(found, *retry, "{name}");
    }
    let mut listed: Vec<_> = ROWS.iter().map(|(name, ..)| *name).collect();
    listed.sort_unstable();
    assert_eq!(names().collect::<Vec<_>>(), listed, "a preset without a row");
    assert_eq!(get("a2a.health_check").unwrap().attempt_timeout, Some(Duration::from_secs(10)));
}

fn read(policy: &str, variables: &[(&str, &str)]) -> Config {
    let environment = Environment::of(variables.iter().copied());
    let settings = Settings::parse_with(&format!("[policies.p]\n{policy}"), &environment).unwrap();
    settings.policies["p"].clone()
}

#[test]
fn what_is_written_wins_setting_by_setting_by_whatever_name() {
    let preset = get("aragora.openai").unwrap();
    let config = read(
        "preset = 'aragora.openai'\ndeadline = '1m'\nbreaker.failure_threshold = 9\nbreaker.timeout_seconds = 7\n\
         retry = { max_attempts = 2, backoff = { initial_delay = 2 } }\nrate.requests_per_second = 4\n",
        &[],
    );
    let (breaker, retry) = (config.breaker.unwrap(), config.retry.unwrap());
    assert_eq!(config.deadline, Some(Duration::from_secs(60)));
    assert_eq!((breaker.trip[0], breaker.open_duration), (Trip::consecutive(9), Duration::from_secs(7)));
    assert_eq!(breaker.success_threshold, preset.breaker.unwrap().success_threshold);
    assert_eq!((retry.max_retries, retry.backoff.base_delay), (1, Duration::from_secs(2)));
    assert_eq!(retry.backoff.jitter, preset.retry.unwrap().backoff.jitter);
    assert_eq!(config.rate.unwrap().rate, 4);
}

#[test]
fn another_kind_of_backoff_leaves_the_settings_of_the_old_one_behind() {
    let backoff =
        read("preset = 'victor'\nretry.backoff = { backoff_strategy = 'linear' }\n", &[]).retry.unwrap().backoff;
    assert_eq!(backoff.schedule, Schedule::Linear { increment: Duration::from_secs(1) });
    assert_eq!(backoff.max_delay, Duration::from_secs(60));
}

#[test]
fn jitter_is_a_number_a_table_or_whether_there_is_any() {
    let jitter = |policy: &str| read(policy, &[]).retry.unwrap().backoff.jitter;
    assert_eq!(jitter("preset = 'a2a'\nretry.backoff.jitter = true\n"), Jitter::Range(0.5, 1.5));
    assert_eq!(jitter("preset = 'a2a'\nretry.backoff.jitter = false\n"), Jitter::None);
    assert_eq!(jitter("preset = 'a2a'\nretry.backoff.jitter_factor = 0.3\n"), Jitter::Symmetric(0.3));
    let both = |any: bool| format!("preset = 'khive'\nretry = {{ jitter = {any}, jitter_factor = 0.3 }}\n");
    assert_eq!((jitter(&both(true)), jitter(&both(false))), (Jitter::Symmetric(0.3), Jitter::None));
    assert_eq!(jitter("preset = 'a2a'\nretry.backoff.jitter = { additive = 1 }\n"), Jitter::Additive(1.0));
    assert_eq!(jitter("retry.backoff.jitter = true\n"), Jitter::Symmetric(0.2));
}

#[test]
fn a2a_closes_after_as_many_successes_as_it_has_probes() {
    let successes = |policy: &str| read(policy, &[]).breaker.unwrap().success_threshold;
    assert_eq!(successes("preset = 'a2a'\nbreaker.half_open_max_calls = 5\n"), 5);
    assert_eq!(successes("preset = 'a2a'\nbreaker = { half_open_max_calls = 5, success_threshold = 2 }\n"), 2);
    assert_eq!(successes("preset = 'victor'\nbreaker.half_open_max_calls = 5\n"), 2);
}

#[test]
fn a_documented_default_in_the_environment_changes_no_base_preset() {
    let defaults = [
        ("ARAGORA_CB_FAILURE_THRESHOLD", "5"),
        ("ARAGORA_CB_SUCCESS_THRESHOLD", "3"),
        ("ARAGORA_CB_TIMEOUT_SECONDS", "60"),
        ("ARAGORA_CB_HALF_OPEN_MAX_CALLS", "3"),
        ("ARAGORA_RETRY_MAX_ATTEMPTS", "3"),
        ("ARAGORA_RETRY_INITIAL_DELAY", "1.0"),
        ("ARAGORA_RETRY_MAX_DELAY", "30.0"),
        ("A2A_CIRCUIT_BREAKER_THRESHOLD", "5"),
        ("A2A_CIRCUIT_BREAKER_TIMEOUT", "60"),
        ("A2A_RETRY_ATTEMPTS", "3"),
    ];
    for (name, value) in defaults {
        let environment = Environment::of([(name, value)]);
        assert_eq!(environment.warnings(), []);
        for preset in ["aragora", "a2a", "victor", "khive", "book"] {
            assert_eq!(get_with(preset, &environment), get(preset), "{name} {preset}");
        }
    }
}

#[test]
fn aragoras_variables_go_on_top_of_everything() {
    let variables = [
        ("ARAGORA_CB_FAILURE_THRESHOLD", "7"),
        ("ARAGORA_CB_TIMEOUT_SECONDS", "1.5"),
        ("ARAGORA_RETRY_MAX_ATTEMPTS", "8"),
        ("STORMPROOF_POLICIES__P__BREAKER__TRIP", "2"),
    ];
    let config = read("preset = 'aragora.grok'\nbreaker.failure_threshold = 1\nretry.max_attempts = 1\n", &variables);
    let breaker = config.breaker.unwrap();
    assert_eq!((breaker.trip[0], breaker.open_duration), (Trip::consecutive(7), Duration::from_millis(1500)));
    assert_eq!(config.retry.unwrap().max_retries, 8);
    assert_eq!(read("preset = 'victor'\n", &variables[..3]), get("victor").unwrap());
}

#[test]
fn a2as_variables_go_below_what_is_written() {
    let variables = [("A2A_CIRCUIT_BREAKER_THRESHOLD", "7"), ("A2A_RETRY_ATTEMPTS", "6")];
    let config = read("preset = 'a2a'\nbreaker.trip = 4\n", &variables);
    assert_eq!(config.breaker.unwrap().trip, [Trip::consecutive(4)]);
    assert_eq!(config.retry.unwrap().max_retries, 5);
}

/// K and row 32: the numbers of a service stand above the environment for that seed, its defaults below.
#[test]
fn a2as_variables_do_not_loosen_a_services_own_numbers() {
    let variables =
        [("A2A_CIRCUIT_BREAKER_THRESHOLD", "7"), ("A2A_CIRCUIT_BREAKER_TIMEOUT", "90"), ("A2A_RETRY_ATTEMPTS", "6")];
    let environment = Environment::of(variables);
    let config = get_with("a2a.health_check", &environment).unwrap();
    let breaker = config.breaker.unwrap();
    assert_eq!((breaker.trip, breaker.open_duration), (vec![Trip::consecutive(3)], Duration::from_secs(30)));
    assert_eq!(config.retry, None, "a stage that a preset does not have is not made by a variable");
    for service in ["a2a.salesforce_agent", "a2a.jira_agent"] {
        for config in [get_with(service, &environment).unwrap(), read(&format!("preset = '{service}'\n"), &variables)] {
            let breaker = config.breaker.unwrap();
            assert_eq!((breaker.trip, breaker.open_duration), (vec![Trip::consecutive(5)], Duration::from_secs(60)));
            assert_eq!(config.retry.unwrap().max_retries, 5, "{service} has no retries of its own");
        }
    }
    let breaker = get_with("a2a", &environment).unwrap().breaker.unwrap();
    assert_eq!((breaker.trip, breaker.open_duration), (vec![Trip::consecutive(7)], Duration::from_secs(90)));
}

#[test]
fn victor_cuts_a_servers_hint_to_the_longest_wait() {
    for (name, _, retry) in ROWS {
        let cap = get(name).unwrap().retry.and_then(|retry| retry.retry_after_cap);
        let expected = name.starts_with("victor").then_some(Duration::from_secs(60));
        assert_eq!(cap, expected.filter(|_| retry.is_some()), "{name}");
    }
}

#[test]
fn a_tracker_of_a_preset_hears_of_the_environment() {
    let ratio = health::Strategy::ratio_of;
    let strategy = |preset, variables: &[(&str, &str)]| {
        health_with(preset, &Environment::of(variables.iter().copied())).unwrap().strategy
    };
    let window = ("ARAGORA_HEALTH_WINDOW_SIZE", "20");
    assert_eq!(strategy("aragora", &[]), ratio(100, 0.5));
    assert_eq!(strategy("aragora.openai", &[window]), ratio(20, 0.5));
    assert_eq!(strategy("aragora", &[window, ("ARAGORA_HEALTH_UNHEALTHY_THRESHOLD", "0.25")]), ratio(20, 0.25));
    let in_a_row = health::Strategy::Consecutive { failure_threshold: 3, recovery_threshold: 2 };
    assert_eq!(strategy("a2a", &[window]), in_a_row);
    assert_eq!(strategy("khive", &[window]), health::Config::default().strategy);
    assert!(health_with("victory", &Environment::none()).is_err());
}

#[test]
fn an_unknown_preset_says_which_there_are_and_where() {
    let found = Settings::parse("[policies.p]\npreset = 'victory'\n[policies.q]\npreset = 5\n").unwrap_err();
    let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert!(
        shown[0].starts_with("2:10: policies.p.preset: no preset is called \"victory\", there are a2a, a2a.health")
    );
    assert_eq!(shown[1], "4:10: policies.q.preset: is no text, allowed is the name of a preset");
    assert_eq!(shown.len(), 2);
}

#[test]
fn a_mistake_against_a_number_of_the_preset_stands_where_it_was_written() {
    let text = "[policies.p]\npreset = 'aragora'\nretry.backoff.base_delay = '2m'\n";
    let found = Settings::parse(text).unwrap_err();
    assert_eq!(
        found[0].to_string(),
        "3:28: policies.p.retry.backoff.base_delay: is 120s, allowed is at most max_delay"
    );
}

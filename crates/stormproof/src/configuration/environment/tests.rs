//! What variables say, and that their values are not told.

use std::time::Duration;

use proptest::prelude::*;
use stormproof_core::Trip;

use super::*;
use crate::configuration::settings::Settings;

#[test]
fn our_own_variables_set_what_they_name_over_the_file() {
    let environment = Environment::of([
        ("STORMPROOF_POLICIES__OPEN_AI__BREAKER__FAILURE_THRESHOLD", "3"),
        ("STORMPROOF_POLICIES__OPEN_AI__DEADLINE", "2m"),
        ("STORMPROOF_POLICIES__OPEN_AI__RETRY__BACKOFF__JITTER", "{ additive = 0.5 }"),
        ("STORMPROOF_POLICIES__NEW__PRESET", "khive"),
        ("STORMPROOF_ADMIN_TOKEN", "secret"),
    ]);
    let text = "[policies.Open-AI]\ndeadline = 5\nbreaker.trip = 9\nbreaker.open_duration = 4\n";
    let settings = Settings::parse_with(text, &environment).unwrap();
    let policy = &settings.policies["Open-AI"];
    let breaker = policy.breaker.as_ref().unwrap();
    assert_eq!((policy.deadline, breaker.trip[0]), (Some(Duration::from_secs(120)), Trip::consecutive(3)));
    assert_eq!(breaker.open_duration, Duration::from_secs(4));
    assert_eq!(policy.retry.as_ref().unwrap().backoff.jitter, stormproof_core::Jitter::Additive(0.5));
    assert_eq!(settings.policies["new"], crate::configuration::preset::get("khive").unwrap());
}

#[test]
fn a_variable_that_is_wrong_is_named_and_its_value_is_not() {
    let environment = Environment::of([
        ("STORMPROOF_POLICIES__A__BREAKER__SUCCESS_THRESHOLD", "sesame"),
        ("STORMPROOF_POLICIES__A__BREAKER__TRIP", "0"),
        ("STORMPROOF_POLICIES__A__BREAKER__TRAP", "sesame"),
        ("STORMPROOF_POLICIES__A__DEADLINE__X", "sesame"),
        ("STORMPROOF_POLICIES__A__PRESET", "victor"),
        ("STORMPROOF_POLICIES____X", "sesame"),
        ("STORMPROOF_SESAM__E", "sesame"),
    ]);
    let found = Settings::parse_with("[policies.a]\ndeadline = 5\n", &environment).unwrap_err();
    let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
    let starts = [
        "STORMPROOF_POLICIES__A__BREAKER__SUCCESS_THRESHOLD: policies.a.breaker.success_threshold: is not valid, allowed is",
        "STORMPROOF_POLICIES__A__BREAKER__TRAP: policies.a.breaker.trap: is not valid, allowed is one of",
        "STORMPROOF_POLICIES__A__BREAKER__TRIP: policies.a.breaker.trip.consecutive: is not valid, allowed is 1 or more",
        "STORMPROOF_POLICIES__A__DEADLINE__X: is not valid, `deadline` in the file is no table",
        "STORMPROOF_POLICIES____X: is not valid, allowed is names joined by `__`",
        "STORMPROOF_SESAM__E: sesam",
    ];
    assert_eq!(shown.len(), starts.len(), "{shown:#?}");
    for (shown, start) in shown.iter().zip(starts) {
        assert!(shown.starts_with(start) && !shown.contains("sesame"), "{shown} should start with {start}");
    }
    assert!(!format!("{environment:?}").contains("sesame"));
}

#[test]
fn two_variables_for_one_setting_are_a_mistake_and_one_wins_over_the_file_by_whatever_name() {
    let variables = [
        ("STORMPROOF_POLICIES__A__BREAKER__OPEN_DURATION", "9s"),
        ("STORMPROOF_POLICIES__A__BREAKER__TIMEOUT_SECONDS", "9"),
    ];
    let found = Settings::parse_with("", &Environment::of(variables)).unwrap_err();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        found[0].to_string(),
        "STORMPROOF_POLICIES__A__BREAKER__TIMEOUT_SECONDS: policies.a.breaker.timeout_seconds: says the same as \
         `open_duration`: set one of them"
    );
    for variable in &variables[..] {
        let text = "[policies.a]\nbreaker.recovery_timeout = 5\n";
        let settings = Settings::parse_with(text, &Environment::of([*variable])).unwrap();
        assert_eq!(settings.policies["a"].breaker.as_ref().unwrap().open_duration, Duration::from_secs(9));
    }
    let table = [("STORMPROOF_POLICIES__A__RETRY", "{ initial_delay = 3, max_attempts = 2 }")];
    let retry = Settings::parse_with("", &Environment::of(table)).unwrap().policies["a"].retry.clone().unwrap();
    assert_eq!((retry.max_retries, retry.backoff.base_delay), (1, Duration::from_secs(3)));
}

#[test]
fn a_variable_of_another_system_that_is_not_valid_is_ignored_and_told() {
    let wrong = [
        ("ARAGORA_CB_FAILURE_THRESHOLD", "2.0"),
        ("ARAGORA_CB_SUCCESS_THRESHOLD", "0"),
        ("ARAGORA_CB_TIMEOUT_SECONDS", "-1"),
        ("ARAGORA_CB_HALF_OPEN_MAX_CALLS", ""),
        ("ARAGORA_RETRY_MAX_ATTEMPTS", "-1"),
        ("ARAGORA_RETRY_INITIAL_DELAY", "nan"),
        ("ARAGORA_RETRY_MAX_DELAY", "1e300"),
        ("ARAGORA_HEALTH_WINDOW_SIZE", "0"),
        ("ARAGORA_HEALTH_UNHEALTHY_THRESHOLD", "1.5"),
        ("A2A_CIRCUIT_BREAKER_THRESHOLD", "0"),
        ("A2A_CIRCUIT_BREAKER_TIMEOUT", "soon"),
        ("A2A_RETRY_ATTEMPTS", "0"),
        ("A2A_CONNECTION_POOL_SIZE", "0"),
    ];
    let environment = Environment::of(wrong);
    assert!(wrong.iter().all(|(name, _)| environment.number(name).is_none()));
    let mut names: Vec<_> = wrong.map(|(name, _)| name).to_vec();
    names.sort_unstable();
    let told: Vec<_> = environment.warnings().iter().map(|warning| warning.variable).collect();
    assert_eq!(told, names);
    assert_eq!(
        crate::configuration::preset::get_with("aragora", &environment),
        crate::configuration::preset::get("aragora")
    );
}

#[test]
fn what_policies_do_not_use_is_there_for_others() {
    let environment = Environment::of([
        ("ARAGORA_HEALTH_WINDOW_SIZE", "100"),
        ("ARAGORA_HEALTH_UNHEALTHY_THRESHOLD", "0.5"),
        ("A2A_CONNECTION_POOL_SIZE", " 50 "),
        ("OPENROUTER_API_KEY", "sesame"),
    ]);
    let number = |name| environment.number(name);
    assert_eq!(number("ARAGORA_HEALTH_WINDOW_SIZE"), Some(100.0));
    assert_eq!(number("ARAGORA_HEALTH_UNHEALTHY_THRESHOLD"), Some(0.5));
    assert_eq!((number("A2A_CONNECTION_POOL_SIZE"), number("OPENROUTER_API_KEY")), (Some(50.0), Some(1.0)));
    assert!(!format!("{environment:?}").contains("sesame"));
    assert_eq!(Environment::of([("OPENROUTER_API_KEY", "")]).number("OPENROUTER_API_KEY"), Some(0.0));
}

proptest! {
    #[test]
    fn any_environment_gives_settings_or_mistakes(
        variables in prop::collection::vec((name(), "\\PC{0,12}"), 0..6),
    ) {
        let environment = Environment::of(variables);
        let text = "[policies.a]\npreset = 'aragora'\nbreaker.trip = 3\n";
        if let Err(found) = Settings::parse_with(text, &environment) {
            prop_assert!(!found.is_empty() && found.iter().all(|mistake| !mistake.message.is_empty()));
        }
    }
}

fn name() -> impl Strategy<Value = String> {
    let segment =
        prop::sample::select(vec!["POLICIES", "A", "BREAKER", "TRIP", "RETRY", "BACKOFF", "PRESET", "", "x.y"]);
    let own = prop::collection::vec(segment, 1..6).prop_map(|path| format!("STORMPROOF_{}", path.join("__")));
    prop_oneof![own, prop::sample::select(VARIABLES.to_vec()).prop_map(|variable| variable.name.to_owned())]
}

#[test]
fn delays_that_do_not_fit_a_policy_are_ignored_there_and_told() {
    let text = "[policies.fast]\npreset = 'aragora.memory'\n[policies.slow]\npreset = 'aragora.anthropic'\n";
    let delays = |variable: &'static str, value: &'static str| {
        let environment = Environment::of([(variable, value)]);
        let policies = Settings::parse_with(text, &environment).unwrap().policies;
        let backoff = |name: &str| {
            let backoff = &policies[name].retry.as_ref().unwrap().backoff;
            (backoff.base_delay, backoff.max_delay)
        };
        let told: Vec<_> = environment.warnings().iter().map(ToString::to_string).collect();
        (backoff("fast"), backoff("slow"), told)
    };
    let (ms, s) = (Duration::from_millis, Duration::from_secs);
    let too_short = "ARAGORA_RETRY_MAX_DELAY is not valid and ignored, allowed is at least the first delay of each policy \
                     that it speaks to";
    let found = delays("ARAGORA_RETRY_MAX_DELAY", "1.5");
    assert_eq!(found, ((ms(300), ms(1500)), (s(2), s(120)), vec![too_short.to_owned()]));
    let (fast, slow, told) = delays("ARAGORA_RETRY_INITIAL_DELAY", "20");
    assert_eq!((fast, slow, told.len()), ((ms(300), s(15)), (s(20), s(120)), 1));
    assert!(told[0].starts_with("ARAGORA_RETRY_INITIAL_DELAY is not valid and ignored"), "{told:?}");
    // What the file itself says wrong is its own mistake.
    let text = "[policies.a]\npreset = 'aragora'\nretry.backoff = { base_delay = 9, max_delay = 1 }\n";
    let environment = Environment::of([("ARAGORA_RETRY_MAX_DELAY", "5")]);
    assert!(Settings::parse_with(text, &environment).is_err());
}

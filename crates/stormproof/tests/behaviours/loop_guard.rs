//! T79: when repeated actions are a loop. X25: the same number in the settings, the answers and the tests.

use std::time::Duration;

use stormproof::loop_guard::{Config, LoopType, Rule, Turn};
use stormproof::{Clock, LoopGuard};

fn guard(config: Config) -> (LoopGuard, Clock) {
    let clock = Clock::manual();
    (LoopGuard::with_clock("agent", config, &clock).unwrap(), clock)
}

/// The first identical action, from 1, that is a detection.
fn raised_at(guard: &LoopGuard) -> Option<u32> {
    (1..=10).find(|_| guard.before_call("search", r#"{"query":"rust"}"#).check().is_err())
}

#[test]
fn t_79_the_third_identical_action_is_allowed_and_the_fourth_raises() {
    let (guard, _) = guard(Config::book());
    assert_eq!(guard.config().max_action_repetitions, 3);
    assert_eq!(raised_at(&guard), Some(4));
}

#[test]
fn t_79_strict_raises_at_the_third() {
    let (guard, _) = guard(Config { strict: true, ..Config::book() });
    assert_eq!(raised_at(&guard), Some(3));
}

#[test]
fn x_25_whatever_the_number_it_is_what_is_allowed() {
    for allowed in 1..=6 {
        let config = Config { max_action_repetitions: allowed, ..Config::book() };
        let (strict, _) = guard(Config { strict: true, ..config.clone() });
        assert_eq!((raised_at(&guard(config).0), raised_at(&strict)), (Some(allowed + 1), Some(allowed)));
    }
}

#[test]
fn t_79_actions_outside_the_window_do_not_count() {
    let (guard, clock) = guard(Config::book());
    for _ in 0..10 {
        guard.before_call("search", "rust").check().unwrap();
        clock.advance(Duration::from_secs(61));
    }
}

#[test]
fn n_4_the_numbers_of_the_book() {
    let (guard, _) = guard(Config::book());
    let raised = (1..=30).find(|n| {
        let text = format!("step {n}");
        guard.turn(Turn { text: &text, tokens: 1, cost: 0.0 }).check().is_err()
    });
    assert_eq!(raised, Some(21), "twenty iterations are allowed");
    let (tokens, depth) = (Config::book().max_tokens, Config::book().max_depth);
    assert_eq!((tokens, depth, Config::book().max_agents), (Some(200_000), Some(10), Some(10)));
    assert_eq!(LoopType::ALL.len(), 6);
    let tokens = LoopGuard::with_config("agent", Config::book()).unwrap();
    let why = tokens.turn(Turn { tokens: 200_001, ..Turn::default() }).check().unwrap_err();
    assert_eq!((why.loop_type(), why.rule.as_str()), (LoopType::TokenThreshold, "limit_tokens"));
    assert!(matches!(why.rule, Rule::Limit(_)));
}

//! Agents that wait for one another, hand tasks on, and start others.

use super::*;

#[test]
fn agents_that_would_wait_in_a_circle_are_blocked_at_once() {
    let guard = LoopGuard::new("run");
    let ask = |from: &str, to: &str| guard.ask(NOW, from, to);
    assert!(ask("planner", "coder").verdict.is_allow() && ask("coder", "reviewer").verdict.is_allow());
    let report = ask("reviewer", "planner");
    assert!(matches!(report.verdict, Verdict::Block { .. }), "a nudge would let it wait for ever");
    assert_eq!(report.detected.unwrap().loop_type(), LoopType::CircularDependency);
    guard.answered("coder", "reviewer");
    guard.answered("planner", "coder");
    assert!(ask("reviewer", "planner").verdict.is_allow(), "nobody waits any more");
}

#[test]
fn chains_handoffs_and_agents_have_an_end() {
    let guard = LoopGuard::new("run");
    let deeper = (0..20).map(|n| guard.ask(NOW, &format!("{n}"), &format!("{}", n + 1)).detected);
    assert_eq!(found_at(deeper), Some((11, Rule::Limit(Limit::Depth))));
    assert_eq!(guard.snapshot().get("depth", ""), Some(10.0));

    let guard = LoopGuard::new("run");
    let hand = |n: usize| {
        let (from, to) = [("support", "lead"), ("lead", "support")][n % 2];
        guard.handoff(NOW, from, to, "not mine").detected
    };
    assert_eq!(found_at((0..20).map(hand)), Some((7, Rule::Handoff(4))));

    let guard = LoopGuard::new("run");
    for n in 0..40 {
        assert_eq!(guard.handoff(NOW, "coder", "reviewer", "please look").detected, None);
        assert_eq!(call(&guard, "read", &format!("{n}"), "text"), None);
        assert_eq!(guard.handoff(NOW, "reviewer", "coder", "please change").detected, None);
    }

    let guard = LoopGuard::new("run");
    let words = (0..200).map(|n| guard.handoff(NOW, "support", "lead", &format!("reason {n}")).detected);
    assert_eq!(found_at(words), Some((51, Rule::Handoff(51))), "the reason is another one each time");

    let guard = LoopGuard::new("run");
    for hour in 0..20 {
        assert_eq!(guard.handoff(at(3_600 * hour), "night", "day", "end of shift").detected, None);
    }
}

#[test]
fn agents_that_are_one_too_many_wait() {
    let guard = LoopGuard::new("run");
    for _ in 0..10 {
        assert!(guard.spawn(NOW, "worker").verdict.is_allow());
    }
    for _ in 0..100 {
        let Verdict::Block { detection: None, .. } = guard.spawn(NOW, "worker").verdict else { panic!("all at once") };
    }
    let again = (1..20).map(|n| guard.spawn(at(n), "worker").detected);
    assert_eq!(found_at(again), Some((3, Rule::Crowd(4))));
    assert_eq!(guard.snapshot().get("agents", ""), Some(10.0));
    assert_eq!(guard.snapshot().get("steps", "nudge"), Some(0.0), "a nudge would let it start");
    let more = (0..200).map(|_| {
        guard.ended();
        guard.spawn(NOW, "worker").detected
    });
    assert_eq!(found_at(more), Some((91, Rule::Limit(Limit::Spawns))));
}

#[test]
fn after_a_restart_nobody_is_at_work_and_nobody_waits() {
    let guard = LoopGuard::new("run");
    assert!(guard.ask(NOW, "planner", "coder").verdict.is_allow());
    for _ in 0..10 {
        assert!(guard.spawn(NOW, "worker").verdict.is_allow());
    }
    let again = LoopGuard::restore("run", Config::default(), guard.state(NOW)).unwrap();
    assert!(again.ask(NOW, "coder", "planner").verdict.is_allow() && again.spawn(NOW, "worker").verdict.is_allow());
    assert_eq!(again.snapshot().get("spawns", ""), Some(11.0));
}

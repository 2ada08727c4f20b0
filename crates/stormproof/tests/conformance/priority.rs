//! Classes and flows in the queue of a bulkhead: who is served first, and who makes room.

use stormproof::{Flow, Priority, Reason, Stage, bulkhead, config};
use stormproof_sim::{Call, Scenario};

use crate::given::{F, S, each_second, ms, policy, run, s, slots};

fn with_slots(slots: bulkhead::Config) -> Scenario {
    Scenario::new(policy(|p| p.bulkhead = Some(slots)))
}

/// A call of a second.
fn second() -> Call {
    Call::of([S.after(s(1))])
}

fn of_flows(keys: &[&str]) -> Vec<Call> {
    keys.iter().map(|key| second().by(Flow::of(key))).collect()
}

#[test]
fn the_highest_class_is_served_first() {
    let (low, normal) = (second().by(Priority::Low), second());
    let (high, critical) = (second().by(Priority::High), second().by(Priority::Critical));
    let scenario = with_slots(slots(1, 9)).at(s(0), S.after(s(1)));
    let trace = run(&scenario.every(ms(10), [low, normal, high.clone(), critical, high]));
    assert_eq!(trace.starts(), [0, 5, 4, 2, 1, 3].map(|at| Some(s(at))));
}

#[test]
fn one_of_each_flow_is_served_in_turn() {
    let scenario = with_slots(slots(1, 9)).at(s(0), S.after(s(1)));
    let trace = run(&scenario.every(ms(10), of_flows(&["a", "a", "b", "b", "c"])));
    assert_eq!(trace.starts(), [0, 1, 4, 2, 5, 3].map(|at| Some(s(at))));
}

#[test]
fn a_full_queue_sheds_the_lowest_class_at_once() {
    let scenario = with_slots(slots(1, 2)).at(s(0), S.after(s(1)));
    let (low, high) = (second().by(Priority::Low), second().by(Priority::High));
    let trace = run(&scenario.every(ms(10), [low.clone(), low, high.clone(), high.clone(), high]));
    let [full, shed] = [Some(Reason::QueueFull), Some(Reason::Shed)];
    assert_eq!(trace.reasons(), [None, shed, shed, None, None, full]);
    assert_eq!([1, 2].map(|call| trace.calls[call].ended), [ms(40), ms(30)]);
    assert_eq!(trace.event_names(), ["bulkhead_rejected"; 3]);
    let counted = |reason| trace.stat(Stage::Bulkhead, "refused", reason);
    assert_eq!((counted("shed"), counted("queue_full"), counted("queue_timeout")), (2.0, 1.0, 0.0));
}

#[test]
fn a_greedy_flow_makes_room_for_others_up_to_an_equal_share() {
    let scenario = with_slots(slots(1, 4)).at(s(0), S.after(s(1)));
    let trace = run(&scenario.every(ms(10), of_flows(&["a", "a", "a", "a", "a", "b", "b", "b"])));
    let [full, shed] = [Some(Reason::QueueFull), Some(Reason::Shed)];
    assert_eq!(trace.reasons(), [None, None, None, shed, shed, full, None, None, full]);
    assert_eq!(trace.starts()[1..3], [Some(s(1)), Some(s(3))]);
    assert_eq!(trace.starts()[6..8], [Some(s(2)), Some(s(4))]);
}

#[test]
fn who_was_shed_is_not_retried_and_a_retry_waits_in_its_class() {
    let config = |p: &mut config::Config| {
        (p.bulkhead, p.retry) = (Some(slots(1, 1)), Some(each_second(3)));
    };
    let scenario = Scenario::new(policy(config)).at(s(0), Call::of([F, S.after(s(1))]).by(Priority::High));
    // Given: the slot is taken when the retry comes, and one waits for it.
    let trace = run(&scenario.at(ms(100), Call::of([S.after(s(2))])).at(ms(200), second().by(Priority::Low)));
    assert_eq!(trace.calls[0].attempts, [s(0), ms(2_100)]);
    assert_eq!((trace.calls[2].end.reason(), trace.calls[2].ended), (Some(Reason::Shed), s(1)));
    assert!(trace.calls[2].attempts.is_empty());
}

#[test]
fn the_class_of_a_policy_is_that_of_calls_which_name_none() {
    let config = |p: &mut config::Config| (p.bulkhead, p.priority) = (Some(slots(1, 9)), Some(Priority::Low));
    let scenario = Scenario::new(policy(config)).at(s(0), S.after(s(1)));
    let trace = run(&scenario.every(ms(10), [second(), second().by(Priority::Normal)]));
    assert_eq!(trace.starts(), [0, 2, 1].map(|at| Some(s(at))));
}

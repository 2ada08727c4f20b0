//! The sync door on a stepping clock: the same scenarios as the core alone, and the same traces. Each call has a thread
//! of its own; the clock lets one run at a time.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stormproof::{Clock, Cx, Instant, Policy};
use stormproof_sim::{Action, Call, CallTrace, Door, End, Reply, Scenario, Trace};

use crate::async_door::{AsScripted, Stages, end};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SyncDoor;

impl Door for SyncDoor {
    fn run(&self, scenario: &Scenario) -> Trace {
        let clock = Clock::stepping();
        let stages = Stages::new(scenario, &clock);
        let events = stages.record_events();
        let (mut looks, mut calls) = (Vec::new(), Vec::new());
        for (at, action) in &scenario.timeline {
            clock.sleep(at.saturating_sub(since_start(&clock)));
            let_others_run(&clock);
            match action {
                Action::Call(call) => {
                    let (policy, call) = (stages.policy.clone(), call.clone());
                    calls.push(clock.spawn(move || trace(&policy, call)));
                }
                Action::Look => looks.push(stages.policy.snapshots()),
                operator => stages.operate(operator),
            }
            let_others_run(&clock);
        }
        let calls = calls.into_iter().map(|call| call.join().unwrap()).collect();
        let events = events.lock().unwrap().clone();
        Trace { calls, events, looks, stages: stages.policy.snapshots() }
    }
}

fn since_start(clock: &Clock) -> Duration {
    clock.now().since(Instant::ZERO)
}

/// Until those have run who are due now, and those whom they woke.
fn let_others_run(clock: &Clock) {
    for _ in 0..4 {
        clock.sleep(Duration::ZERO);
    }
}

fn trace(policy: &Policy, call: Call) -> CallTrace {
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let made = std::panic::catch_unwind({
        let (policy, attempts) = (policy.clone(), attempts.clone());
        move || make(&policy, &call, &attempts)
    });
    let attempts = attempts.lock().unwrap().clone();
    CallTrace { end: made.unwrap_or(End::Panicked), attempts, ended: since_start(policy.clock()) }
}

fn make(policy: &Policy, call: &Call, attempts: &Mutex<Vec<Duration>>) -> End {
    let clock = policy.clock();
    let op = |cx: Cx<'_>| {
        attempts.lock().unwrap().push(since_start(clock));
        answer(call.reply(cx.attempt()), clock)
    };
    let mut calling = policy.call_sync(op).classify(AsScripted).cost(call.cost).caller(call.caller);
    if let Some(limit) = call.deadline {
        calling = calling.deadline(limit);
    }
    let result = match call.inherited {
        None => calling.run(),
        Some(left) => {
            let outer = Policy::builder("outer").deadline(left).clock(clock).build().unwrap();
            let mut inner = Some(calling);
            outer.call_sync(|_| Ok::<_, Infallible>(inner.take().unwrap().run())).run().unwrap()
        }
    };
    let made = attempts.lock().unwrap().len();
    end(result, made)
}

fn answer(reply: Reply, clock: &Clock) -> Result<Reply, Reply> {
    if !reply.after.is_zero() {
        clock.sleep(reply.after);
    }
    assert!(!reply.panics, "as the script says");
    if reply.is_ok { Ok(reply) } else { Err(reply) }
}

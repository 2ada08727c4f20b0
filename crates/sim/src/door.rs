//! The doors that a scenario goes through, and the first of them: the core alone.

use std::time::Duration;

use stormproof_core::breaker::Change;
use stormproof_core::event::Kind;
use stormproof_core::{Edge, Event, Instant, Policy};

use crate::driver::{Driver, Operation, Start};
use crate::reply::Reply;
use crate::scenario::{Action, Call, NAME, SEED, Scenario};
use crate::trace::Trace;

/// A way to make calls through a policy.
pub trait Door {
    /// Runs a scenario on virtual time. What is due at the time of an action happens before it.
    fn run(&self, scenario: &Scenario) -> Trace;
}

/// The core alone, with timers as coarse as those of the door that it is compared with.
#[derive(Clone, Copy, Debug)]
pub struct CoreDoor {
    /// Timers fire at multiples of this.
    pub tick: Duration,
}

impl CoreDoor {
    /// As coarse as tokio's.
    pub const TOKIO: Self = Self { tick: Duration::from_millis(1) };

    /// Timers fire exactly when they are due.
    pub const EXACT: Self = Self { tick: Duration::from_nanos(1) };
}

/// The scripts of the calls, as an operation.
struct Scripts<'s>(Vec<&'s Call>);

impl Operation for Scripts<'_> {
    fn attempt(&mut self, client: usize, attempt: u32, _now: Instant) -> (Duration, Reply) {
        let reply = self.0[client].reply(attempt);
        (reply.after, reply)
    }
}

impl Door for CoreDoor {
    fn run(&self, scenario: &Scenario) -> Trace {
        #[expect(clippy::expect_used, reason = "a scenario with a wrong policy is a mistake in the test")]
        let policies = [scenario.config.clone().build(NAME, SEED).expect("a valid policy")];
        let policy = &policies[0];
        let scripts = scenario.calls().map(|(_, call)| call).collect();
        let mut driver = Driver::new(&policies, Scripts(scripts)).tick(self.tick);
        let mut looks = Vec::new();
        for (at, action) in &scenario.timeline {
            let now = Instant::ZERO + *at;
            driver.run_until(now);
            match action {
                Action::Call(call) => {
                    let own = call.deadline.map_or_else(|| policy.deadline_at(now), |limit| now + limit);
                    let inherited = call.inherited.map_or(Instant::FAR_FUTURE, |left| now + left);
                    let start = Start { policy: 0, deadline: own, cost: call.cost, caller: call.caller };
                    let client = driver.start_within(start, inherited);
                    if let Some(cancel) = call.cancel_at {
                        driver.cancel_at(client, Instant::ZERO + cancel);
                    }
                }
                Action::Look => looks.push(policy.snapshots(now)),
                operator => operate(policy, now, operator, driver.edge()),
            }
            driver.run_until(now);
        }
        driver.run();
        let end = driver.now();
        let (calls, events) = driver.finish();
        Trace { calls, events, looks, stages: policy.snapshots(end) }
    }
}

/// Does what an operator, or a caller without permits, asks of a stage.
fn operate(policy: &Policy, now: Instant, action: &Action, edge: &mut impl Edge) {
    if let (Action::Resize(slots), Some(bulkhead)) = (action, &policy.bulkhead) {
        bulkhead.resize(*slots).into_iter().flatten().for_each(|ticket| edge.wake(ticket));
    }
    let Some(breaker) = &policy.breaker else { return };
    let change = match action {
        Action::SetMode(mode) => breaker.set_mode(now, *mode).map(Change::Moved),
        Action::Reset => breaker.reset(now).map(Change::Moved),
        Action::Ask => breaker.allow_request(now).unwrap_or_default(),
        Action::Record(reply) => breaker.record(now, &reply.verdict()),
        Action::Update(config) => {
            let updated = breaker.update(now, config.clone());
            assert!(updated.is_ok(), "{updated:?}");
            updated.unwrap_or_default().map(Change::Moved)
        }
        Action::Call(_) | Action::Resize(_) | Action::Look => None,
    };
    if let Some(change) = change {
        edge.event(Event::new(now, policy.name.clone(), Kind::of_change(breaker.name(), change)));
    }
}

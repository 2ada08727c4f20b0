//! One turn of a run: its workflow goes as far as it gets, and how the run is left is written.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use stormproof::journal::Told;

use crate::attempt::{Attempt, Interruption, Turn, panic_text};
use crate::context::Ctx;
use crate::journal::Shared;
use crate::lease::{Live, Lost};
use crate::run::{Failure, Run, RunId, State};
use crate::store::{Claimed, End, Keep as _, Written};
use crate::telling::count;
use crate::workflows::Workflow;

/// The topic that tells a parent that a child has ended. Its messages are never taken: they only wake.
const CHILD: &str = "stormproof.child";

impl Shared {
    /// Carries out one attempt at a run.
    pub(super) async fn carry_out(self: Arc<Self>, live: Live, claimed: Claimed) {
        if let Some(workflow) = self.workflow(&claimed.run.name, &claimed.run.version) {
            self.carry_out_as(live, claimed, workflow).await;
        }
    }

    /// The same by a workflow that need not be registered.
    pub(crate) async fn carry_out_as(self: Arc<Self>, live: Live, Claimed { run, steps }: Claimed, workflow: Workflow) {
        let attempt = Arc::new(Attempt::new(&self, live.member(), &run, steps));
        let end = match turn(&live, &attempt, &run.input, &workflow).await {
            Ok(turn) => self.end(&attempt, turn),
            Err(lost) => return self.lost(live, lost).await,
        };
        match live.finish(&end).await {
            Ok(Written::Fenced) => self.lost(live, Lost::Fenced).await,
            Err(lost) => self.lost(live, lost).await,
            Ok(Written::Done | Written::Already) => {
                live.ended();
                self.left(&run, &end).await;
            }
        }
    }

    /// How a run is left after a turn.
    fn end(&self, attempt: &Attempt, turn: Turn) -> End {
        let again = |failure: Failure| {
            let attempts = attempt.in_vain();
            if attempts >= self.settings.max_attempts {
                let message = format!("given up after {attempts} attempts: {}", failure.message);
                return End::Blocked(Failure { message, ..failure });
            }
            let after = self.settings.retry_delay.delay(attempts.saturating_sub(1), Duration::ZERO, &self.rng);
            End::Again { after, why: failure }
        };
        match turn {
            Turn::Parked(after) => End::Parked { after },
            Turn::Interrupted(Interruption::Blocked(failure)) => End::Blocked(failure),
            Turn::Interrupted(Interruption::Again(failure)) => again(failure),
            // If it is this process's all the same, it is given back; if not, the store says so once more.
            Turn::Interrupted(Interruption::Fenced) => End::Parked { after: Duration::ZERO },
            Turn::Panicked(text) => again(Failure {
                kind: "panicked".into(),
                message: format!("it panicked: {text}"),
                ..Failure::default()
            }),
            Turn::Done(result) => match (attempt.left_over(&result), result) {
                (Some(failure), _) => End::Blocked(failure),
                (None, Ok(value)) => End::Ok(value),
                (None, Err(failed)) => End::Err(failed.into_failure()),
            },
        }
    }

    /// A run was left by this process: tells who wants to know.
    async fn left(&self, run: &Run, end: &End) {
        match end {
            End::Blocked(failure) => self.tell_blocked(&run.id, failure),
            End::Err(failure) => {
                self.tell(|| Told::RunFailed { run: run.id.as_str().into(), kind: failure.kind.as_str().into() });
            }
            End::Again { why, .. } => {
                self.tell(|| Told::RunPutBack {
                    run: run.id.as_str().into(),
                    kind: why.kind.as_str().into(),
                    attempts: run.attempts,
                });
                self.woken();
            }
            End::Parked { .. } => self.woken(),
            End::Ok(_) => {}
        }
        self.stir(&run.id);
        if matches!(end, End::Ok(_) | End::Err(_)) {
            self.tell_parent(run).await;
        }
    }

    /// Wakes the parent of a run that has ended, if it has one. Should that not come through, the parent looks by itself
    /// after a while.
    pub(crate) async fn tell_parent(&self, run: &Run) {
        if let Some(parent) = &run.parent {
            // In an epoch it ends once: run again, it ends again.
            let id = format!("{} {}", run.id, run.epoch);
            let _ = self.store.signal(parent, CHILD, &id, "null").await;
            self.stir(parent);
            self.woken();
        }
    }

    /// A run was lost: somebody else goes on, or it was cancelled.
    async fn lost(&self, live: Live, why: Lost) {
        let run = live.fence().run.clone();
        live.ended();
        match self.why_lost(&run, why).await {
            // Told for all runs together.
            Lost::Lease => return,
            Lost::Cancelled => self.tell(|| Told::RunCancelled { run: run.as_str().into() }),
            Lost::Fenced => {
                count(&self.counters.fenced);
                self.tell(|| Told::RunFenced { run: run.as_str().into() });
            }
        }
        self.stir(&run);
    }

    /// The same, if the store knows better: a heartbeat and a write only see that the run is not this process's any more.
    pub(crate) async fn why_lost(&self, run: &RunId, why: Lost) -> Lost {
        match why {
            Lost::Fenced => match self.store.peek(run).await {
                Ok(Some(known)) if known.state == State::Cancelled => Lost::Cancelled,
                _ => Lost::Fenced,
            },
            known => known,
        }
    }
}

/// Lets a workflow go as far as it gets, or until the run is lost. Nothing of it is under way afterwards.
async fn turn(live: &Live, attempt: &Arc<Attempt>, input: &str, workflow: &Workflow) -> Result<Turn, Lost> {
    let _driven = attempt.driven();
    let mut running = match catch_unwind(AssertUnwindSafe(|| workflow(Ctx(attempt.clone()), input))) {
        Err(panic) => return Ok(Turn::Panicked(panic_text(&*panic))),
        Ok(Err(why)) => {
            let message = format!("the input: {why}");
            let failure = Failure { kind: "undecodable".into(), message, ..Failure::default() };
            return Ok(Turn::Interrupted(Interruption::Blocked(failure)));
        }
        Ok(Ok(running)) => running,
    };
    let turn = tokio::select! {
        biased;
        lost = live.lost() => Err(lost),
        turn = attempt.drive(&mut running) => Ok(turn),
    };
    // Before the run can be anybody else's; what it says when it is dropped is not heard.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(running)));
    turn
}

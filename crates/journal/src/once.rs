//! One idempotent call: a workflow with one effect.
//!
//! [`Journal::once`] makes a call at most once for its key, as far as the probe can tell, and hands its result to
//! everybody who asks with the same key: in this process, in others, and after a crash. What can be found under a key,
//! and what follows from it, is in [`find`]; the call itself in [`carry`].

mod carry;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stormproof::{Classify, ErrIsFailure, Instant, Policy};

use self::carry::{Carry, Known};
use crate::effect::Probe;
use crate::error::{RunError, StoreError};
use crate::failed::Failed;
use crate::handle::{Busy, outcome};
use crate::journal::{Journal, Shared};
use crate::lease::Live;
use crate::op::Op;
use crate::run::{Failure, Kind, Progress, Run, RunId, State, Step};
use crate::store::{Claimed, Fence, Keep as _, NewRun, Taken};

/// A call that is made once for its key. Made by [`Journal::once`].
#[derive(Debug)]
#[must_use = "nothing is called before `run`"]
pub struct Once<'journal, C = ErrIsFailure> {
    journal: &'journal Journal,
    name: String,
    key: String,
    input: Result<(Box<str>, String), String>,
    ttl: Option<Duration>,
    busy: Busy,
    keep_errors: bool,
    errors_undo: bool,
    policy: Option<Policy>,
    classifier: C,
}

/// What is under the key.
enum Found {
    /// Nothing that holds: this process has the run now.
    Mine(Live, Known),
    /// The call was made, or will not be: the run says.
    Answer(Box<Run>),
    /// Somebody has it; look again after this time at the latest.
    InFlight(Duration),
}

impl Journal {
    /// A call that is made once for `key`: whoever asks with the same name and key gets the same answer, be the call
    /// done, in flight, or cut off by a crash. `name` and `key` name a run, `NAME/KEY`, that is listed and shown as
    /// those of workflows are.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use stormproof_journal::{Journal, Op, Probe};
    ///
    /// # async fn find_payment(key: &str) -> Result<Option<u32>, std::io::Error> { Ok(None) }
    /// # async fn pay(key: &str, amount: u32) -> Result<u32, std::io::Error> { Ok(amount) }
    /// let journal = Journal::open("memory:").await?;
    /// let find = |op: Op| async move { Ok::<Probe<u32>, std::io::Error>(find_payment(op.key()).await?.into()) };
    /// for _ in 0..2 {
    ///     let receipt = journal
    ///         .once("pay", "order-18")
    ///         .input(&7)
    ///         .run(find, |op: Op| async move { pay(op.key(), 7).await })
    ///         .await?;
    ///     assert_eq!(receipt, 7, "the second time it is what is stored");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn once(&self, name: impl Into<String>, key: impl Into<String>) -> Once<'_> {
        Once {
            journal: self,
            name: name.into(),
            key: key.into(),
            input: crate::value::input(&()),
            ttl: None,
            busy: Busy::default(),
            keep_errors: false,
            errors_undo: false,
            policy: None,
            classifier: ErrIsFailure,
        }
    }
}

impl<'journal, C> Once<'journal, C> {
    /// What the call is made with. Another input under the same key is a mistake of the caller,
    /// [`RunError::KeyReused`]; the order of keys in objects makes no other input, but `1` and `1.0` are two. Default:
    /// `null`.
    ///
    /// The input is kept as JSON, in the open: leave out what is secret.
    pub fn input(mut self, input: &(impl Serialize + ?Sized)) -> Self {
        self.input = crate::value::input(input);
        self
    }

    /// How long the answer is remembered, from the first call on. After that the key is new. Default: the journal's
    /// [`retention`](crate::Builder::retention). A call that was given up, so that nobody knows whether it was made, is
    /// remembered for as long: until then whoever asks with its key asks the probe.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// What a duplicate does while the call is in flight. Default: [`Busy::Wait`].
    pub fn busy(mut self, busy: Busy) -> Self {
        self.busy = busy;
        self
    }

    /// Every error of the call is the answer from now on. Default: only those that say so ([`Failed::keep`]); after
    /// another the key is free again, and the next call with the same input asks the probe and goes on. What the policy
    /// says (refused, out of time) is never kept.
    pub fn keep_errors(mut self) -> Self {
        self.keep_errors = true;
        self
    }

    /// An error of the call means that it did not happen: the next call is made without asking the probe, which is left
    /// to decide after crashes.
    pub(crate) fn errors_undo(mut self) -> Self {
        self.errors_undo = true;
        self
    }

    /// Makes the call through a policy. Before each retry the probe is asked. A policy that hedges is refused: it would
    /// make the call twice at the same time.
    pub fn policy(mut self, policy: &Policy) -> Self {
        self.policy = Some(policy.clone());
        self
    }

    /// How the policy is to judge what the call gave: what is retried, and when. Default: each error is a failure. An
    /// error that is [kept](Failed::keep) is not retried unless the classifier says so.
    pub fn classify<D>(self, classifier: D) -> Once<'journal, D> {
        let Self { journal, name, key, input, ttl, busy, keep_errors, errors_undo, policy, classifier: _ } = self;
        Once { journal, name, key, input, ttl, busy, keep_errors, errors_undo, policy, classifier }
    }

    /// Makes the call, or gives what it gave before.
    ///
    /// That the call begins is recorded first. If a crash, an error or a time limit leaves it open whether it happened,
    /// `probe` is asked before it is made again: `Done` with the value, `Rerun`, or `Refuse`, which blocks the key until
    /// an operator decides. A probe that fails decides nothing: its error is the answer this time, and the next caller
    /// asks it again. Dropping the future while the call is under way leaves it open, too, and frees the key at once.
    ///
    /// # Errors
    /// Name or key are not valid, or the key was used with another input; the call failed; somebody is at it and
    /// [`busy`](Self::busy) does not allow to wait longer; the key is blocked or cancelled; input or result are too large
    /// or no JSON; the journal fails.
    pub async fn run<T, E, P, PFut, PE, F, Fut>(self, probe: P, call: F) -> Result<T, RunError>
    where
        P: Fn(Op) -> PFut + Send + Sync,
        PFut: Future<Output = Result<Probe<T>, PE>> + Send,
        PE: Into<Failed> + Send,
        F: Fn(Op) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        E: Into<Failed> + Send + 'static,
        T: Serialize + DeserializeOwned + Send,
        C: Classify<T, E> + Send + Sync,
    {
        let id = RunId::checked(&self.name, &self.key)?;
        let new = self.new_run(&id)?;
        if self.policy.as_ref().is_some_and(|policy| policy.stages().hedge.is_some()) {
            let message = "its policy hedges, which would make the call twice: take out the hedge".into();
            return Err(RunError::Failed { run: id, kind: "hedged".into(), message, step: None, kept: false });
        }
        let shared = &self.journal.0;
        let clock = &shared.settings.clock;
        let began = clock.now();
        let mut waits = 0;
        let (live, known) = loop {
            let watch = shared.watch(&id);
            match find(shared, &new, self.errors_undo).await? {
                Found::Mine(live, known) => break (live, known),
                Found::Answer(run) => {
                    if let Some(answer) = outcome(&run) {
                        return answer;
                    }
                }
                Found::InFlight(lease) => {
                    let patience = self.patience(began, clock.now());
                    if patience.is_zero() {
                        return Err(RunError::InFlight { run: id, retry_after: lease.max(SHORTEST) });
                    }
                    let here = shared.present().is_some_and(|member| member.has(&id));
                    let longest = shared.poll_interval();
                    let pause = if here { longest } else { pause(waits, longest).min(lease.max(SHORTEST)) };
                    waits = waits.saturating_add(1);
                    tokio::select! {
                        () = watch.stirred() => {}
                        () = clock.wait(pause.min(patience)) => {}
                    }
                }
            }
        };
        let answer = Carry { once: &self, live }.out(known, probe, call).await;
        shared.stir(&id);
        answer
    }

    fn new_run(&self, id: &RunId) -> Result<NewRun, RunError> {
        let (input, fp) = self.input.clone().map_err(|why| RunError::Value {
            run: id.clone(),
            what: "the input".into(),
            why: why.into(),
        })?;
        let (bytes, limit) = (input.len(), self.journal.0.settings.max_value);
        if bytes > limit {
            return Err(RunError::TooLarge { run: id.clone(), what: "the input".into(), bytes, limit });
        }
        Ok(NewRun {
            id: id.clone(),
            name: self.name.clone(),
            version: String::new(),
            input,
            fp,
            parent: None,
            delay: Duration::ZERO,
            ttl: self.ttl,
        })
    }

    /// How long a duplicate may still wait.
    fn patience(&self, began: Instant, now: Instant) -> Duration {
        match self.busy {
            Busy::Wait => Duration::MAX,
            Busy::Join(time) => time.saturating_sub(now.since(began)),
            _ => Duration::ZERO,
        }
    }
}

/// What is under the key. What is nobody's is this process's afterwards.
async fn find(shared: &Arc<Shared>, new: &NewRun, errors_undo: bool) -> Result<Found, RunError> {
    let (id, new) = (new.id.clone(), new.clone());
    let found = shared.claiming(async move |shared, member| {
        let worker = member.worker();
        let doubt = |error: &StoreError| member.doubt(error);
        let live = |fence| Live::new(&shared, &member, fence);
        let run = match shared.store.start_claimed(&new, worker, &begun(&shared, &new.name)).await.inspect_err(doubt)? {
            Ok(epoch) => return Ok(Found::Mine(live(Fence { run: new.id, epoch }), Known::New)),
            Err(run) => run,
        };
        if run.version != new.version || run.name != new.name {
            let differs = format!("version {:?}, as a workflow", run.version).into();
            return Err(RunError::KeyReused { run: run.id, differs });
        }
        if run.fp != new.fp {
            return Err(RunError::KeyReused { run: run.id, differs: "another input".into() });
        }
        if is_over(&run) {
            return Ok(Found::Answer(run));
        }
        let failed_in = (run.state == State::Err).then_some(run.epoch);
        Ok(match shared.store.take(worker, &new.id, true).await.inspect_err(doubt)? {
            Taken::Claimed(claimed) => {
                let Claimed { run, mut steps } = *claimed;
                let known = match steps.pop() {
                    None => Known::Undone,
                    Some(Step { state: Progress::Done, value: Some(value), .. }) => Known::Done(value),
                    // The call said no, and nobody has begun anew since.
                    Some(step) if errors_undo && failed_in == Some(step.epoch) => Known::Undone,
                    Some(_) => Known::Open,
                };
                Found::Mine(live(Fence { run: run.id, epoch: run.epoch }), known)
            }
            Taken::Busy { lease } => Found::InFlight(lease),
            Taken::NotNow(run) if is_over(&run) => Found::Answer(run),
            Taken::NotNow(_) | Taken::Missing => Found::InFlight(SHORTEST),
        })
    });
    found.await.unwrap_or_else(|| Err(RunError::Fenced { run: id }))
}

/// So long is waited at least before looking again.
pub(crate) const SHORTEST: Duration = Duration::from_millis(10);

/// How long to wait before looking again, for the `waits`-th time: what ends in this process is heard of at once.
pub(crate) fn pause(waits: u32, longest: Duration) -> Duration {
    SHORTEST.saturating_mul(1 << waits.min(16)).min(longest)
}

/// Whether nothing can be taken up: the run has an answer, or waits for an operator.
fn is_over(run: &Run) -> bool {
    match run.state {
        State::Ok | State::Blocked | State::Cancelled => true,
        State::Err => run.error.as_ref().is_some_and(|error| error.keep),
        _ => false,
    }
}

fn failed(run: &RunId, failure: Failure) -> RunError {
    let Failure { kind, message, keep, .. } = failure;
    RunError::Failed { run: run.clone(), kind: kind.into(), message: message.into(), step: None, kept: keep }
}

/// The one step: the effect, of which nothing is known but that it begins.
fn begun(shared: &Shared, name: &str) -> Step {
    Step {
        seq: 1,
        name: name.to_owned(),
        fp: String::new(),
        kind: Kind::Effect,
        state: Progress::Begun,
        value: None,
        epoch: 0,
        attempt_id: format!("{:016x}", shared.rng.next_u64()),
    }
}

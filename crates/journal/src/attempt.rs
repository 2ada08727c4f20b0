//! One attempt at a run: what its steps share, and the driver that polls its workflow.
//!
//! What happens to the run never becomes an error in the workflow: the step that finds out says so here and stays pending,
//! and the driver drops the workflow.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stormproof::Instant;
use tokio::sync::Notify;

use crate::error::StoreError;
use crate::failed::Failed;
use crate::journal::Shared;
use crate::lease::Member;
use crate::op::Op;
use crate::patience::insist;
use crate::replay::{self, Call};
use crate::run::{Failure, Kind, Progress, Run, RunId, Step};
use crate::store::{Fence, Keep as _, Written};
use crate::telling::count;

/// A shorter wait than this is made in the process.
const SHORT: Duration = Duration::from_secs(1);

/// What the steps of an attempt share.
pub(crate) struct Attempt {
    pub(crate) shared: Arc<Shared>,
    pub(crate) member: Arc<Member>,
    pub(crate) fence: Fence,
    /// So often the run was claimed.
    pub(crate) number: u32,
    /// A step is done.
    progressed: AtomicBool,
    state: Mutex<State>,
    /// Something the driver has to look at was said outside its poll.
    changed: Notify,
}

struct State {
    /// The number of the step that was called last.
    called: u32,
    recorded: HashMap<u32, Step>,
    /// The highest number that is recorded.
    last: u32,
    /// Steps whose operation or write is under way.
    busy: u32,
    /// When each wait is over; `None`: when a message comes.
    waits: HashMap<u32, Option<Instant>>,
    interrupted: Option<Interruption>,
}

/// Why the attempt ends before the workflow does.
#[derive(Debug)]
pub(crate) enum Interruption {
    /// The run stands still until an operator decides.
    Blocked(Failure),
    /// It is tried again later, unless it was tried often enough: then it is blocked with this.
    Again(Failure),
    /// A write came too late, or the lease is not to be relied on.
    Fenced,
}

/// How the workflow's turn ended.
pub(crate) enum Turn {
    /// The workflow came to its end, with its result as JSON.
    Done(Result<Box<str>, Failed>),
    Interrupted(Interruption),
    /// Nothing is to be done before so long from now, unless a message comes.
    Parked(Duration),
    Panicked(String),
}

/// A workflow under way.
pub(crate) type Running = Pin<Box<dyn Future<Output = Result<Box<str>, Failed>> + Send>>;

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("run", &self.fence.run)
            .field("epoch", &self.fence.epoch)
            .finish_non_exhaustive()
    }
}

impl Attempt {
    pub(crate) fn new(shared: &Arc<Shared>, member: &Arc<Member>, run: &Run, steps: Vec<Step>) -> Self {
        let last = steps.iter().map(|step| step.seq).max().unwrap_or(0);
        let recorded = steps.into_iter().map(|step| (step.seq, step)).collect();
        let state = State { called: 0, recorded, last, busy: 0, waits: HashMap::new(), interrupted: None };
        Self {
            shared: shared.clone(),
            member: member.clone(),
            fence: Fence { run: run.id.clone(), epoch: run.epoch },
            number: run.attempts,
            progressed: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run's id.
    pub(crate) fn run(&self) -> &RunId {
        &self.fence.run
    }

    /// The next number, for a step that is being called.
    pub(crate) fn call(&self, kind: Kind, name: &str) -> Call {
        let mut state = self.lock();
        state.called = state.called.saturating_add(1);
        Call { seq: state.called, name: name.into(), kind, fp: Ok(String::new()) }
    }

    /// So many attempts in a row brought no step.
    pub(crate) fn in_vain(&self) -> u32 {
        if self.progressed.load(Ordering::Relaxed) { 1 } else { self.number }
    }

    pub(crate) fn is_replaying(&self) -> bool {
        let state = self.lock();
        state.called < state.last
    }

    /// What is said to the callee of a step.
    pub(crate) fn op(&self, call: &Call) -> Op {
        Op::new(self.run(), call.seq, &call.name, self.fence.epoch)
    }

    /// A step as it is written now.
    pub(crate) fn step(&self, call: &Call, state: Progress, value: Option<Box<str>>) -> Step {
        Step {
            seq: call.seq,
            name: call.name.as_ref().into(),
            fp: call.fp.clone().unwrap_or_default(),
            kind: call.kind,
            state,
            value,
            epoch: self.fence.epoch,
            attempt_id: format!("{:016x}", self.shared.rng.next_u64()),
        }
    }

    /// Counts as work of the run for as long as it lives.
    pub(crate) fn busy(&self) -> Busy<'_> {
        let mut state = self.lock();
        state.busy = state.busy.saturating_add(1);
        Busy(self)
    }

    /// Counts as a wait until `due` for as long as it lives.
    pub(crate) fn waiting(&self, seq: u32, due: Option<Instant>) -> Waiting<'_> {
        self.lock().waits.insert(seq, due);
        self.changed.notify_one();
        Waiting { attempt: self, seq }
    }

    /// Ends the attempt. Does not come back: the driver drops whoever waits here.
    pub(crate) async fn stop(&self, why: Interruption) -> Infallible {
        self.lock().interrupted.get_or_insert(why);
        self.changed.notify_one();
        std::future::pending().await
    }

    /// Blocks the run for something about step `seq`.
    pub(crate) async fn block(&self, seq: u32, kind: &str, message: String) -> Infallible {
        self.stop(Interruption::Blocked(Failure { kind: kind.into(), message, keep: false, seq: Some(seq) })).await
    }

    /// What is recorded of a step, if anything is.
    pub(crate) async fn recall(&self, call: &Call) -> Option<Step> {
        if let Err(why) = &call.fp {
            let message = format!("the input of {} cannot be written as JSON: {why}", call.title());
            match self.block(call.seq, "unencodable", message).await {}
        }
        let most = self.shared.settings.max_steps;
        if call.seq > most {
            let message = format!(
                "{} is one too many: a run has at most {most} (max_steps); put parts of it into runs of their own",
                call.title()
            );
            match self.block(call.seq, "too_many_steps", message).await {}
        }
        let recorded = self.lock().recorded.remove(&call.seq)?;
        if let Err(message) = replay::compare(&recorded, call) {
            match self.block(call.seq, "diverged", message).await {}
        }
        Some(recorded)
    }

    /// The result of a step that is recorded as done or failed; `None` if it has only begun.
    pub(crate) async fn replay<T: DeserializeOwned>(&self, call: &Call, recorded: &Step) -> Option<Result<T, Failed>> {
        let value = recorded.value.as_deref().unwrap_or("null");
        match recorded.state {
            Progress::Begun => None,
            Progress::Done => {
                count(&self.shared.counters.replayed);
                match serde_json::from_str(value) {
                    Ok(value) => Some(Ok(value)),
                    Err(error) => match self.undecodable::<T>(call, &error).await {},
                }
            }
            Progress::Failed => {
                count(&self.shared.counters.replayed);
                match serde_json::from_str::<Failure>(value) {
                    Ok(failure) => Some(Err(Failed::from_failure(failure).of_step(call.seq))),
                    Err(error) => match self.undecodable::<Failure>(call, &error).await {},
                }
            }
        }
    }

    async fn undecodable<T>(&self, call: &Call, error: &serde_json::Error) -> Infallible {
        let message = format!("the recorded value of {} is no {}: {error}", call.title(), type_name::<T>());
        self.block(call.seq, "undecodable", message).await
    }

    /// A value of a step as JSON, if it can be kept.
    async fn fit(&self, call: &Call, encoded: Result<Box<str>, (&'static str, String)>) -> Box<str> {
        match encoded {
            Ok(json) => json,
            Err((kind, why)) => {
                let message = format!("the value of {} {why}", call.title());
                match self.block(call.seq, kind, message).await {}
            }
        }
    }

    /// Writes how a step ended, and gives it.
    pub(crate) async fn settle<T: Serialize>(&self, call: &Call, result: Result<T, Failed>) -> Result<T, Failed> {
        match result {
            Ok(value) => {
                let encoded = self.shared.encode(&value);
                let json = self.fit(call, encoded).await;
                self.write(&self.step(call, Progress::Done, Some(json))).await;
                Ok(value)
            }
            Err(failed) => Err(self.settle_failed(call, failed).await),
        }
    }

    /// Writes that a step failed, and gives its error.
    pub(crate) async fn settle_failed(&self, call: &Call, failed: Failed) -> Failed {
        let failed = failed.of_step(call.seq);
        let json = self.fit(call, self.shared.encode(failed.as_failure())).await;
        self.write(&self.step(call, Progress::Failed, Some(json))).await;
        failed
    }

    /// Writes a step, asking until the store answers.
    pub(crate) async fn write(&self, step: &Step) {
        let written = insist!(&self.shared, self.shared.store.record(&self.fence, step));
        self.written(written).await;
        if step.state == Progress::Done {
            self.progress();
        }
    }

    /// A step is done: the attempts before this one count no more.
    pub(crate) fn progress(&self) {
        self.progressed.store(true, Ordering::Relaxed);
    }

    /// Goes on if a write stands.
    pub(crate) async fn written(&self, written: Result<Written, StoreError>) {
        match written {
            Ok(Written::Done | Written::Already) => {
                count(&self.shared.counters.written);
            }
            Ok(Written::Fenced) => match self.stop(Interruption::Fenced).await {},
            Err(error) => match self.store_failed(&error).await {},
        }
    }

    /// The store refuses for good: another attempt may have more luck.
    pub(crate) async fn store_failed(&self, error: &StoreError) -> Infallible {
        self.stop(Interruption::Again(Failure {
            kind: "store".into(),
            message: error.to_string(),
            ..Failure::default()
        }))
        .await
    }

    /// Goes on if the run can be relied on to be nobody else's: a process that stood still must not call out as if nothing
    /// had happened.
    pub(crate) async fn rely(&self) {
        if !self.member.is_good() {
            match self.stop(Interruption::Fenced).await {}
        }
    }

    /// Polls the workflow until it ends, or the attempt does.
    pub(crate) async fn drive(&self, workflow: &mut Running) -> Turn {
        let mut changed = pin!(self.changed.notified());
        std::future::poll_fn(|cx| {
            loop {
                let polled = catch_unwind(AssertUnwindSafe(|| workflow.as_mut().poll(cx)));
                let mut state = self.lock();
                if let Some(why) = state.interrupted.take() {
                    return Poll::Ready(Turn::Interrupted(why));
                }
                match polled {
                    Err(panic) => return Poll::Ready(Turn::Panicked(panic_text(&*panic))),
                    Ok(Poll::Ready(result)) => return Poll::Ready(Turn::Done(result)),
                    Ok(Poll::Pending) => {}
                }
                if let Some(after) = state.idle_for(self.shared.settings.clock.now()) {
                    return Poll::Ready(Turn::Parked(after));
                }
                drop(state);
                // Said outside this task: look again.
                if changed.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                changed.set(self.changed.notified());
            }
        })
        .await
    }

    /// What is recorded and was not called, now that the workflow has ended.
    pub(crate) fn left_over(&self, result: &Result<Box<str>, Failed>) -> Option<Failure> {
        let state = self.lock();
        let (seq, message) = replay::left_over(&state.recorded, state.called)?;
        // A step that failed anew may well end the workflow earlier.
        let failed_before = result.as_ref().is_err_and(|failed| failed.step().is_some_and(|step| step < seq));
        (!failed_before).then(|| Failure { kind: "diverged".into(), message, keep: false, seq: Some(seq) })
    }
}

impl State {
    /// For how long there is nothing to do but wait, if that is worth giving up the slot.
    fn idle_for(&self, now: Instant) -> Option<Duration> {
        if self.busy > 0 || self.waits.is_empty() {
            return None;
        }
        let first = self.waits.values().map(|due| due.unwrap_or(Instant::FAR_FUTURE)).min()?;
        let left = if first == Instant::FAR_FUTURE { FOREVER } else { first.since(now) };
        (left >= SHORT).then_some(left)
    }
}

/// As good as never, and small enough to be added to any time.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Work of a run that is under way.
pub(crate) struct Busy<'a>(&'a Attempt);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.busy = state.busy.saturating_sub(1);
        let only_waits = state.busy == 0 && !state.waits.is_empty();
        drop(state);
        if only_waits {
            self.0.changed.notify_one();
        }
    }
}

/// A wait of a run.
pub(crate) struct Waiting<'a> {
    attempt: &'a Attempt,
    seq: u32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.attempt.lock().waits.remove(&self.seq);
    }
}

/// A type's name without its path.
pub(crate) fn type_name<T>() -> &'static str {
    let path = std::any::type_name::<T>();
    // Tuples, slices and references have no name of their own.
    if !path.starts_with(char::is_alphabetic) {
        return path;
    }
    // With parameters the path of the outermost type ends before them.
    let head = path.split('<').next().unwrap_or(path);
    head.rfind("::").map_or(path, |at| path.get(at + 2..).unwrap_or(path))
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no text").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::type_name;
    use crate::run::Run;

    #[test]
    fn a_type_is_called_as_people_call_it() {
        assert_eq!(type_name::<Run>(), "Run");
        assert_eq!(type_name::<HashMap<String, u32>>(), "HashMap<alloc::string::String, u32>");
        assert_eq!(type_name::<(String, u32)>(), "(alloc::string::String, u32)");
        assert_eq!(type_name::<u32>(), "u32");
    }
}

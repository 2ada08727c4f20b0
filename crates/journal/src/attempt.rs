//! One attempt at a run: what its steps share, and the driver that polls its workflow.
//!
//! What happens to the run never becomes an error in the workflow: the step that finds out says so here and stays pending,
//! and the driver drops the workflow.

mod record;

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use stormproof::Instant;
use tokio::sync::{Notify, watch};

use crate::failed::Failed;
use crate::journal::Shared;
use crate::lease::Member;
use crate::op::Op;
use crate::replay::{self, Call};
use crate::run::{Failure, Kind, Run, RunId, Step};
use crate::store::Fence;

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
    /// Set: the workflow is not polled any more.
    over: watch::Sender<bool>,
    pub(crate) under_way: UnderWay,
}

/// Steps under way, counted by who has a clone of it: each from its call to its end.
pub(crate) type UnderWay = Arc<()>;

struct State {
    /// The number of the step that was called last.
    called: u32,
    recorded: HashMap<u32, Step>,
    /// The highest number that is recorded.
    last: u32,
    /// The first step before that which is not: it runs again.
    again: Option<u32>,
    /// Effects that have begun, and whose result is not recorded.
    open: BTreeSet<u32>,
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
        let recorded: HashMap<_, _> = steps.into_iter().map(|step| (step.seq, step)).collect();
        let state = State {
            called: 0,
            last,
            again: (1..last).find(|seq| !recorded.contains_key(seq)),
            recorded,
            open: BTreeSet::new(),
            busy: 0,
            waits: HashMap::new(),
            interrupted: None,
        };
        Self {
            shared: shared.clone(),
            member: member.clone(),
            fence: Fence { run: run.id.clone(), epoch: run.epoch },
            number: run.attempts,
            progressed: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Notify::new(),
            over: watch::Sender::new(false),
            under_way: UnderWay::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run's id.
    pub(crate) fn run(&self) -> &RunId {
        &self.fence.run
    }

    /// Whether a step that is under way is not the only one.
    pub(crate) fn has_others(&self) -> bool {
        Arc::strong_count(&self.under_way) > 2
    }

    /// The next number, for a step that is being called.
    pub(crate) fn call(&self, kind: Kind, name: &str) -> Call {
        let mut state = self.lock();
        state.called = state.called.saturating_add(1);
        let within = WITHIN.get().filter(|(attempt, _)| *attempt == self.address()).map(|(_, outer)| outer);
        Call { seq: state.called, name: name.into(), kind, fp: Ok(String::new()), within }
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

    /// Goes on if the run can be relied on to be nobody else's: a process that stood still must not call out as if nothing
    /// had happened.
    pub(crate) async fn rely(&self) {
        if !self.member.is_good() {
            match self.stop(Interruption::Fenced).await {}
        }
    }

    /// The workflow is over when this is dropped.
    pub(crate) fn driven(&self) -> Driven<'_> {
        Driven(self)
    }

    /// Waits until the workflow is polled no more.
    pub(crate) async fn over(&self) {
        // It cannot fail: the sender is here.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    /// Lets the operation of step `seq` do something: a step that is called meanwhile is one inside of it.
    pub(crate) fn within<T>(&self, seq: u32, operation: impl FnOnce() -> T) -> T {
        let _before = Before(WITHIN.replace(Some((self.address(), seq))));
        operation()
    }

    /// Lets the operation of step `seq` come to its end.
    pub(crate) async fn operating<Fut: Future>(&self, seq: u32, operation: Fut) -> Fut::Output {
        let mut operation = pin!(operation);
        std::future::poll_fn(|cx| self.within(seq, || operation.as_mut().poll(cx))).await
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
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

    /// Why the run cannot be left with this result of its workflow: what is recorded was not called, or it is not known
    /// what became of an effect that was dropped.
    pub(crate) fn left_over(&self, result: &Result<Box<str>, Failed>) -> Option<Failure> {
        let state = self.lock();
        let open = state.open.first().filter(|_| result.is_ok());
        let Some((seq, message)) = replay::left_over(&state.recorded, state.called) else {
            return open.map(|seq| {
                let message = format!(
                    "effect {seq} has begun, and the workflow came to its end without its result, so that nobody knows whether it \
                     happened: await it, and put its time limit into a policy"
                );
                Failure { kind: "open_effect".into(), message, keep: false, seq: Some(*seq) }
            });
        };
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

thread_local! {
    /// The attempt, by its address, and the step whose operation is being polled.
    static WITHIN: Cell<Option<(usize, u32)>> = const { Cell::new(None) };
}

/// What was being polled before, and is again.
struct Before(Option<(usize, u32)>);

impl Drop for Before {
    fn drop(&mut self) {
        WITHIN.set(self.0);
    }
}

/// As good as never, and small enough to be added to any time.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The workflow goes on.
pub(crate) struct Driven<'a>(&'a Attempt);

impl Drop for Driven<'_> {
    fn drop(&mut self) {
        self.0.over.send_replace(true);
    }
}

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

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no text").chars().take(200).collect()
}

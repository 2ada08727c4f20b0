//! Claiming runs, carrying them out, and writing how they ended.

use std::sync::Arc;
use std::time::Duration;

use stormproof::journal::Told;
use tokio::task::JoinSet;

use crate::attempt::{Attempt, Interruption, Turn};
use crate::context::Ctx;
use crate::error::{RunError, StoreError};
use crate::journal::Shared;
use crate::lease::{Live, Lost, Member};
use crate::own_task::own;
use crate::patience::Patience;
use crate::run::{Failure, Run, RunId, State};
use crate::store::{Claimed, End, Fence, Forgotten, Found, Keep as _, Retention, Signalled, Wanted, Written};
use crate::telling::count;
use crate::watch::Watch;
use crate::workflows::Workflow;

/// The topic that tells a parent that a child has ended. Its messages are never taken: they only wake.
const CHILD: &str = "stormproof.child";

/// For so long after its time a `serve` is waited for that has been told to end.
const LATE: Duration = Duration::from_millis(500);

/// How often a store is looked at that no other process can have.
const ALONE: Duration = Duration::from_secs(3600);

impl Shared {
    /// Something may be there to be claimed.
    pub(crate) fn woken(&self) {
        self.work.notify_one();
    }

    /// Something happened to a run: whoever waits for it in this process looks again.
    pub(crate) fn stir(&self, run: &RunId) {
        self.watched.stir(run);
    }

    pub(crate) fn watch(&self, run: &RunId) -> Watch {
        self.watched.watch(run)
    }

    /// How long until other processes are looked at again: the same on average, and never in step with others.
    pub(crate) fn poll_interval(&self) -> Duration {
        // Nobody else can have a store in memory; clocks of tests can be fast.
        let poll = if self.store.is_alone() { ALONE } else { self.settings.poll };
        let seconds = poll.as_secs_f64() * (0.8 + 0.4 * self.rng.unit());
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    pub(crate) async fn signal(
        &self,
        run: &RunId,
        topic: &str,
        id: &str,
        body: Result<(Box<str>, String), String>,
    ) -> Result<(), RunError> {
        let allowed = "1 to 400 bytes without control characters";
        for (field, value) in [("topic", topic), ("id", id)] {
            if value.is_empty() || value.len() > 400 || value.chars().any(char::is_control) {
                return Err(RunError::Key { field, value: value.chars().take(100).collect(), allowed });
            }
        }
        let what = || format!("the message {id} about {topic}").into();
        let (body, _) = body.map_err(|why| RunError::Value { run: run.clone(), what: what(), why: why.into() })?;
        let (bytes, limit) = (body.len(), self.settings.max_value);
        if bytes > limit {
            return Err(RunError::TooLarge { run: run.clone(), what: what(), bytes, limit });
        }
        match self.store.signal(run, topic, id, &body).await? {
            Signalled::Sent | Signalled::Duplicate => {
                self.stir(run);
                self.woken();
                Ok(())
            }
            Signalled::Ended(state) => {
                let why = "only a run that has not ended takes messages".into();
                Err(RunError::State { run: run.clone(), state, why })
            }
            Signalled::Missing => Err(RunError::Missing { run: run.clone() }),
        }
    }

    /// Claims runs and carries them out until it is said that no more are to be claimed.
    pub(crate) async fn serve(self: &Arc<Self>, runs: u32) -> Result<(), RunError> {
        if let Some(error) = self.invalid_workflow() {
            return Err(error);
        }
        let _serving = Serving::new(self);
        let (clock, slots) = (&self.settings.clock, usize::try_from(runs.max(1)).unwrap_or(usize::MAX));
        let mut closing = self.closing.subscribe();
        let mut tasks = JoinSet::new();
        let mut patience = Patience::new(self);
        let mut next_gc = clock.now() + self.settings.gc_interval.mul_f64(self.rng.unit());
        while closing.borrow_and_update().is_none() {
            while tasks.try_join_next().is_some() {}
            let free = slots.saturating_sub(tasks.len());
            let mut pause = self.poll_interval();
            if free > 0 {
                match self.claim(u32::try_from(free).unwrap_or(u32::MAX)).await {
                    Ok((claimed, next_due)) => {
                        patience.answered();
                        pause = next_due.map_or(pause, |due| due.min(pause));
                        if claimed.len() == free {
                            // There may be more, for another `serve` of this process.
                            self.woken();
                        }
                        for (live, claimed) in claimed {
                            tasks.spawn(own(self.clone().carry_out(live, claimed)));
                        }
                    }
                    Err(error) => {
                        self.store_failed(&error);
                        patience.pause().await;
                        continue;
                    }
                }
            }
            let full = tasks.len() >= slots;
            tokio::select! {
                _ = closing.changed() => {}
                Some(_) = tasks.join_next() => {}
                () = self.work.notified(), if !full => {}
                () = clock.wait(pause), if !full => {}
                () = clock.wait(next_gc.since(clock.now())) => {
                    next_gc = clock.now() + self.settings.gc_interval;
                    tasks.spawn(self.clone().forget());
                }
            }
        }
        let until = closing.borrow().unwrap_or(clock.now());
        tokio::select! {
            () = clock.wait(until.since(clock.now())) => {}
            () = async { while tasks.join_next().await.is_some() {} } => {}
        }
        // What is left is dropped where it is, and gives its run back.
        tasks.shutdown().await;
        Ok(())
    }

    /// Ends all `serve`s, and being a worker.
    pub(crate) async fn shutdown(&self, grace: Duration) {
        let until = self.settings.clock.now() + grace;
        self.closing.send_modify(|closing| *closing = Some(closing.map_or(until, |known| known.min(until))));
        let mut serving = self.serving.subscribe();
        let clock = &self.settings.clock;
        // A `serve` that is neither polled nor dropped, or whose workflows block, does not end.
        tokio::select! {
            _ = serving.wait_for(|serving| *serving == 0) => {}
            () = clock.wait(until.since(clock.now()).saturating_add(LATE)) => {}
        }
        self.leave().await;
    }

    /// Claims up to `limit` runs. What the store gives is taken charge of even if the caller goes away meanwhile: then it
    /// is given back.
    async fn claim(self: &Arc<Self>, limit: u32) -> Result<(Vec<(Live, Claimed)>, Option<Duration>), StoreError> {
        let workflows = self.wanted();
        if workflows.is_empty() {
            return Ok((Vec::new(), None));
        }
        let member = self.member().await?;
        let wanted = Wanted { workflows: workflows.to_vec(), limit, max_attempts: self.settings.max_attempts };
        let shared = self.clone();
        let claiming = tokio::spawn(async move {
            let _claiming = shared.claiming.clone().read_owned().await;
            let found = shared.store.claim(member.worker(), &wanted).await.inspect_err(|error| member.doubt(error));
            found.map(|found| shared.take_charge(&member, found))
        });
        // It cannot panic, and is not aborted.
        claiming.await.unwrap_or_else(|_| Ok((Vec::new(), None)))
    }

    fn take_charge(self: &Arc<Self>, member: &Arc<Member>, found: Found) -> (Vec<(Live, Claimed)>, Option<Duration>) {
        let with_live = |claimed: Claimed| {
            count(&self.counters.claimed);
            let fence = Fence { run: claimed.run.id.clone(), epoch: claimed.run.epoch };
            (Live::new(self, member, fence), claimed)
        };
        let claimed: Vec<_> = found.claimed.into_iter().map(with_live).collect();
        for run in &found.blocked {
            let kind = "too_many_attempts".into();
            self.tell_blocked(run, &Failure { kind, ..Failure::default() });
            self.stir(run);
        }
        for (_, Claimed { run, .. }) in claimed.iter().filter(|(_, claimed)| found.recovered.contains(&claimed.run.id))
        {
            count(&self.counters.recovered);
            self.tell(|| Told::RunRecovered { run: run.id.as_str().into(), attempts: run.attempts });
        }
        (claimed, found.next_due)
    }

    /// Carries out one attempt at a run.
    async fn carry_out(self: Arc<Self>, live: Live, claimed: Claimed) {
        if let Some(workflow) = self.workflow(&claimed.run.name, &claimed.run.version) {
            self.carry_out_as(live, claimed, workflow).await;
        }
    }

    /// The same by a workflow that need not be registered.
    pub(crate) async fn carry_out_as(self: Arc<Self>, live: Live, Claimed { run, steps }: Claimed, workflow: Workflow) {
        let attempt = Arc::new(Attempt::new(&self, live.member(), &run, steps));
        let turn =
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| workflow(Ctx(attempt.clone()), &run.input)))
            {
                Err(panic) => Turn::Panicked(crate::attempt::panic_text(&*panic)),
                Ok(Err(why)) => {
                    let failure = Failure {
                        kind: "undecodable".into(),
                        message: format!("the input: {why}"),
                        ..Failure::default()
                    };
                    Turn::Interrupted(Interruption::Blocked(failure))
                }
                Ok(Ok(mut running)) => {
                    let turn = tokio::select! {
                        biased;
                        lost = live.lost() => Err(lost),
                        turn = attempt.drive(&mut running) => Ok(turn),
                    };
                    // Before the run can be anybody else's; what it says when it is dropped is not heard.
                    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || drop(running)));
                    match turn {
                        Ok(turn) => turn,
                        Err(lost) => return self.lost(live, lost).await,
                    }
                }
            };
        let end = self.end(&attempt, turn);
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
            End::Queued { after, parked: false }
        };
        match turn {
            Turn::Parked(after) => End::Queued { after, parked: true },
            Turn::Interrupted(Interruption::Blocked(failure)) => End::Blocked(failure),
            Turn::Interrupted(Interruption::Again(failure)) => again(failure),
            // If it is this process's all the same, it is given back; if not, the store says so once more.
            Turn::Interrupted(Interruption::Fenced) => End::Queued { after: Duration::ZERO, parked: true },
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
            End::Queued { .. } => self.woken(),
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

    /// Forgets what may be forgotten, one batch after another.
    async fn forget(self: Arc<Self>) {
        let Retention { batch, dry_run, .. } = Retention::default();
        let retention = Retention { ended: self.settings.retention, most: self.settings.most_ended, batch, dry_run };
        let (mut runs, mut steps) = (0_u64, 0_u64);
        loop {
            match self.store.forget(&retention).await {
                Ok(forgotten) if forgotten != Forgotten::default() => {
                    runs = runs.saturating_add(forgotten.runs);
                    steps = steps.saturating_add(forgotten.steps);
                }
                Ok(_) => break,
                Err(error) => {
                    self.store_failed(&error);
                    break;
                }
            }
        }
        if runs > 0 {
            self.tell(|| Told::Retention { runs, steps });
        }
    }
}

/// A `serve` that goes on.
struct Serving<'a>(&'a Shared);

impl<'a> Serving<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.serving.send_modify(|serving| *serving += 1);
        Self(shared)
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.serving.send_modify(|serving| *serving -= 1);
    }
}

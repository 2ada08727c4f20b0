//! A store that keeps nothing beyond its process: for tests of workflows, which run on it under any clock, and the plainest
//! statement of what a store does.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::decision::{Edit, Seen};
use super::dispatch::Wall;
use super::{
    Changed, Claimed, Decision, End, Fence, Filter, Forgotten, Found, Keep, NewRun, Retention, Signalled, Size,
    Started, Taken, Task, Wanted, Worker, Written,
};
use crate::error::StoreError;
use crate::run::{Epoch, Failure, Millis, Progress, Run, RunId, State, Step, millis};

/// Runs and all that belongs to them, in memory.
pub(crate) struct Memory {
    wall: Wall,
    data: Mutex<Data>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Data {
    runs: BTreeMap<RunId, Entry>,
    /// Until when each is alive.
    workers: HashMap<String, Millis>,
    tasks: HashMap<String, (Task, Millis)>,
    /// The highest epoch of all runs that were forgotten.
    forgotten: Epoch,
}

struct Entry {
    run: Run,
    steps: BTreeMap<u32, Step>,
    inbox: Vec<Message>,
    ended_at: Millis,
    /// Queued, and due as soon as a signal comes.
    parked: bool,
    /// A signal came since it was claimed.
    signalled: bool,
}

struct Message {
    topic: String,
    id: String,
    body: Box<str>,
    taken: bool,
}

impl Memory {
    pub(crate) fn new(wall: Wall) -> Self {
        Self { wall, data: Mutex::default() }
    }

    fn lock(&self) -> (MutexGuard<'_, Data>, Millis) {
        let now = (self.wall)().duration_since(SystemTime::UNIX_EPOCH).map(millis).unwrap_or_default();
        (self.data.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}

impl Entry {
    fn new(run: Run) -> Self {
        Self { run, steps: BTreeMap::new(), inbox: Vec::new(), ended_at: 0, parked: false, signalled: false }
    }

    fn claimed(&self) -> Claimed {
        Claimed { run: self.run.clone(), steps: self.steps.values().cloned().collect() }
    }

    /// Gives the run to `worker`.
    fn give(&mut self, worker: &Worker, now: Millis) {
        self.run.state = State::Running;
        self.next_epoch(now);
        self.run.owner = Some(worker.id.clone());
        self.run.attempts = self.run.attempts.saturating_add(1);
        self.run.wake_at = None;
        self.run.error = None;
        self.signalled = false;
    }

    fn next_epoch(&mut self, now: Millis) {
        self.run.epoch = self.run.epoch.saturating_add(1).max(now);
    }

    fn end(&mut self, state: State, now: Millis) {
        self.run.state = state;
        self.run.owner = None;
        self.run.wake_at = None;
        self.ended_at = now;
    }

    fn queue(&mut self, at: Millis) {
        self.run.state = State::Queued;
        self.parked = false;
        self.run.owner = None;
        self.run.wake_at = Some(at);
    }

    fn expired(&self, now: Millis) -> bool {
        self.run.state.has_ended() && self.run.expires_at.is_some_and(|at| at <= now)
    }

    fn fence(&self, fence: &Fence) -> bool {
        self.run.state == State::Running && self.run.epoch == fence.epoch
    }

    fn write(&mut self, fence: &Fence, step: &Step) -> Written {
        let known = self.steps.get(&step.seq);
        if known.is_some_and(|known| known.attempt_id == step.attempt_id) {
            return Written::Already;
        }
        if !self.fence(fence) || known.is_some_and(|known| known.state == Progress::Done) {
            return Written::Fenced;
        }
        self.steps.insert(step.seq, Step { epoch: fence.epoch, ..step.clone() });
        if step.state == Progress::Done {
            // Only attempts that bring nothing count.
            self.run.attempts = self.run.attempts.min(1);
        }
        Written::Done
    }
}

impl Data {
    fn alive(&self, owner: Option<&str>, now: Millis) -> Option<Duration> {
        let until = owner.and_then(|owner| self.workers.get(owner))?;
        let left = u64::try_from(until.saturating_sub(now)).ok().filter(|left| *left > 0)?;
        Some(Duration::from_millis(left))
    }

    /// Whether a worker may take it now.
    fn free(&self, run: &Run, now: Millis) -> bool {
        match run.state {
            State::Queued => run.wake_at.is_none_or(|at| at <= now),
            State::Running => self.alive(run.owner.as_deref(), now).is_none(),
            _ => false,
        }
    }

    /// Whether it is a call that is made once and that its caller has given up.
    fn is_given_up(&self, run: &Run, now: Millis) -> bool {
        run.version.is_empty() && matches!(run.state, State::Queued | State::Running) && self.free(run, now)
    }

    fn forget(&mut self, id: &RunId) {
        if let Some(entry) = self.runs.remove(id) {
            self.forgotten = self.forgotten.max(entry.run.epoch);
        }
    }

    fn make(&mut self, new: &NewRun, now: Millis) -> Result<&mut Entry, Box<Run>> {
        if let Some(entry) = self.runs.get(&new.id)
            && !entry.expired(now)
        {
            return Err(Box::new(entry.run.clone()));
        }
        self.forget(&new.id);
        let run = Run {
            id: new.id.clone(),
            name: new.name.clone(),
            version: new.version.clone(),
            input: new.input.clone(),
            fp: new.fp.clone(),
            state: State::Queued,
            epoch: self.forgotten,
            owner: None,
            attempts: 0,
            wake_at: Some(now.saturating_add(millis(new.delay))),
            result: None,
            error: None,
            parent: new.parent.clone(),
            forked_from: None,
            expires_at: new.ttl.map(|ttl| now.saturating_add(millis(ttl))),
            created_at: now,
        };
        Ok(self.runs.entry(new.id.clone()).or_insert_with(|| Entry::new(run)))
    }
}

impl Keep for Memory {
    async fn join(&self, worker: &Worker) -> Result<(), StoreError> {
        let (mut data, now) = self.lock();
        data.workers.insert(worker.id.clone(), now.saturating_add(millis(worker.ttl)));
        Ok(())
    }

    async fn beat(&self, worker: &Worker, mine: &[Fence]) -> Result<Option<Vec<RunId>>, StoreError> {
        let (mut data, now) = self.lock();
        let Some(until) = data.workers.get_mut(&worker.id) else { return Ok(None) };
        *until = now.saturating_add(millis(worker.ttl));
        let lost = mine.iter().filter(|fence| !data.runs.get(&fence.run).is_some_and(|entry| entry.fence(fence)));
        Ok(Some(lost.map(|fence| fence.run.clone()).collect()))
    }

    async fn leave(&self, worker: &Worker) -> Result<(), StoreError> {
        let (mut data, now) = self.lock();
        data.workers.remove(&worker.id);
        for entry in data.runs.values_mut() {
            if entry.run.state == State::Running && entry.run.owner.as_ref() == Some(&worker.id) {
                entry.queue(now);
                entry.run.attempts = entry.run.attempts.saturating_sub(1);
            }
        }
        Ok(())
    }

    async fn start(&self, run: &NewRun) -> Result<Started, StoreError> {
        let (mut data, now) = self.lock();
        Ok(data.make(run, now).map_or_else(Started::Exists, |_| Started::New))
    }

    async fn start_claimed(
        &self,
        run: &NewRun,
        worker: &Worker,
        first: &Step,
    ) -> Result<Result<Epoch, Box<Run>>, StoreError> {
        let (mut data, now) = self.lock();
        Ok(data.make(run, now).map(|entry| {
            entry.give(worker, now);
            entry.steps.insert(first.seq, Step { epoch: entry.run.epoch, ..first.clone() });
            entry.run.epoch
        }))
    }

    async fn claim(&self, worker: &Worker, wanted: &Wanted) -> Result<Found, StoreError> {
        let (mut data, now) = self.lock();
        let matches =
            |run: &Run| wanted.workflows.iter().any(|(name, version)| *name == run.name && *version == run.version);
        let mut due: Vec<_> = data.runs.values().map(|entry| &entry.run).filter(|run| matches(run)).collect();
        due.sort_by_key(|run| run.wake_at);
        let next =
            due.iter().filter(|run| run.state == State::Queued).filter_map(|run| run.wake_at).find(|at| *at > now);
        let next_due = next.map(|at| Duration::from_millis(u64::try_from(at - now).unwrap_or(0)));
        let due: Vec<_> = due.into_iter().filter(|run| data.free(run, now)).map(|run| run.id.clone()).collect();
        let mut found = Found { next_due, ..Found::default() };
        for id in due {
            if found.claimed.len() >= usize::try_from(wanted.limit).unwrap_or(usize::MAX) {
                break;
            }
            let Some(entry) = data.runs.get_mut(&id) else { continue };
            if entry.run.attempts >= wanted.max_attempts {
                let message = format!("{} attempts, and none came to an end", entry.run.attempts);
                entry.run.error = Some(Failure { kind: "too_many_attempts".into(), message, ..Failure::default() });
                entry.next_epoch(now);
                entry.end(State::Blocked, now);
                found.blocked.push(id);
                continue;
            }
            if entry.run.state == State::Running {
                found.recovered.push(id);
            }
            entry.give(worker, now);
            found.claimed.push(entry.claimed());
        }
        Ok(found)
    }

    async fn take(&self, worker: &Worker, run: &RunId, revive: bool) -> Result<Taken, StoreError> {
        let (mut data, now) = self.lock();
        let Some(entry) = data.runs.get(run) else { return Ok(Taken::Missing) };
        if entry.run.state == State::Running
            && let Some(lease) = data.alive(entry.run.owner.as_deref(), now)
        {
            return Ok(Taken::Busy { lease });
        }
        let not_kept = entry.run.state == State::Err && entry.run.error.as_ref().is_none_or(|error| !error.keep);
        if !(data.free(&entry.run, now) || revive && not_kept) {
            return Ok(Taken::NotNow(Box::new(entry.run.clone())));
        }
        let Some(entry) = data.runs.get_mut(run) else { return Ok(Taken::Missing) };
        if entry.run.state == State::Err {
            entry.run.attempts = 0;
            decide(entry, &Decision::Ask);
        }
        entry.give(worker, now);
        Ok(Taken::Claimed(Box::new(entry.claimed())))
    }

    async fn record(&self, fence: &Fence, step: &Step) -> Result<Written, StoreError> {
        let (mut data, _) = self.lock();
        Ok(data.runs.get_mut(&fence.run).map_or(Written::Fenced, |entry| entry.write(fence, step)))
    }

    async fn finish(&self, fence: &Fence, last: Option<&Step>, end: &End) -> Result<Written, StoreError> {
        let (mut data, now) = self.lock();
        let Some(entry) = data.runs.get_mut(&fence.run) else { return Ok(Written::Fenced) };
        if !entry.fence(fence) {
            let state = match end {
                End::Ok(_) => State::Ok,
                End::Err(_) => State::Err,
                End::Blocked(_) => State::Blocked,
                End::Parked { .. } | End::Again { .. } => State::Queued,
            };
            let stands = |step: &Step| entry.steps.get(&step.seq).is_some_and(|it| it.attempt_id == step.attempt_id);
            let mine = entry.run.epoch == fence.epoch && entry.run.state == state && last.is_none_or(stands);
            return Ok(if mine { Written::Already } else { Written::Fenced });
        }
        if let Some(step) = last
            && entry.write(fence, step) == Written::Fenced
        {
            return Ok(Written::Fenced);
        }
        match end {
            End::Ok(value) => {
                entry.run.result = Some(value.clone());
                entry.end(State::Ok, now);
            }
            End::Err(failure) => {
                entry.run.error = Some(failure.clone());
                entry.end(State::Err, now);
            }
            End::Blocked(failure) => {
                entry.run.error = Some(failure.clone());
                entry.end(State::Blocked, now);
            }
            End::Parked { after } => {
                let late = now.saturating_add(millis(*after));
                entry.queue(if entry.signalled { now } else { late });
                entry.parked = true;
                entry.run.attempts = entry.run.attempts.saturating_sub(1);
            }
            End::Again { after, why } => {
                entry.queue(now.saturating_add(millis(*after)));
                entry.run.error = Some(why.clone());
            }
        }
        Ok(Written::Done)
    }

    async fn receive(
        &self,
        fence: &Fence,
        topic: &str,
        step: &Step,
    ) -> Result<(Written, Option<Box<str>>), StoreError> {
        let (mut data, _) = self.lock();
        let Some(entry) = data.runs.get_mut(&fence.run) else { return Ok((Written::Fenced, None)) };
        if let Some(known) = entry.steps.get(&step.seq)
            && known.attempt_id == step.attempt_id
        {
            return Ok((Written::Already, known.value.clone()));
        }
        if !entry.fence(fence) {
            return Ok((Written::Fenced, None));
        }
        let Some(oldest) = entry.inbox.iter().position(|message| message.topic == topic && !message.taken) else {
            return Ok((Written::Done, None));
        };
        let body = entry.inbox[oldest].body.clone();
        let step = Step { state: Progress::Done, value: Some(body.clone()), ..step.clone() };
        let written = entry.write(fence, &step);
        // If another attempt has done this step, the message stays for the next one.
        entry.inbox[oldest].taken = written == Written::Done;
        Ok((written, (written == Written::Done).then_some(body)))
    }

    async fn signal(&self, run: &RunId, topic: &str, id: &str, body: &str) -> Result<Signalled, StoreError> {
        let (mut data, now) = self.lock();
        let Some(entry) = data.runs.get_mut(run) else { return Ok(Signalled::Missing) };
        if entry.inbox.iter().any(|message| message.topic == topic && message.id == id) {
            return Ok(Signalled::Duplicate);
        }
        if entry.run.state.has_ended() {
            return Ok(Signalled::Ended(entry.run.state));
        }
        entry.inbox.push(Message { topic: topic.into(), id: id.into(), body: body.into(), taken: false });
        entry.signalled = true;
        if entry.run.state == State::Queued && entry.parked {
            entry.run.wake_at = Some(entry.run.wake_at.map_or(now, |at| at.min(now)));
        }
        Ok(Signalled::Sent)
    }

    async fn read(&self, run: &RunId) -> Result<Option<Claimed>, StoreError> {
        Ok(self.lock().0.runs.get(run).map(Entry::claimed))
    }

    async fn peek(&self, run: &RunId) -> Result<Option<Run>, StoreError> {
        Ok(self.lock().0.runs.get(run).map(|entry| entry.run.clone()))
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Run>, StoreError> {
        let (data, now) = self.lock();
        let matches = |run: &&Run| {
            filter.workflow.as_ref().is_none_or(|name| *name == run.name)
                && (filter.states.is_empty() || filter.states.contains(&run.state))
                && filter.older_than.is_none_or(|age| run.created_at <= now.saturating_sub(millis(age)))
                && filter.contains.as_ref().is_none_or(|text| run.id.as_str().contains(text.as_str()))
        };
        let mut runs: Vec<_> = data.runs.values().map(|entry| &entry.run).filter(matches).cloned().collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.created_at));
        runs.truncate(usize::try_from(filter.limit).unwrap_or(usize::MAX));
        Ok(runs)
    }

    async fn cancel(&self, run: &RunId) -> Result<Changed, StoreError> {
        let (mut data, now) = self.lock();
        let Some(entry) = data.runs.get_mut(run) else { return Ok(Changed::Missing) };
        if entry.run.state.has_ended() {
            return Ok(Changed::Not(Box::new(entry.run.clone())));
        }
        entry.next_epoch(now);
        entry.end(State::Cancelled, now);
        Ok(Changed::Now(Box::new(entry.run.clone())))
    }

    async fn resume(&self, run: &RunId, decision: &Decision) -> Result<Changed, StoreError> {
        let (mut data, now) = self.lock();
        let Some(entry) = data.runs.get_mut(run) else { return Ok(Changed::Missing) };
        if !matches!(entry.run.state, State::Blocked | State::Cancelled | State::Err) {
            return Ok(Changed::Not(Box::new(entry.run.clone())));
        }
        if !decide(entry, decision) {
            return Ok(Changed::Not(Box::new(entry.run.clone())));
        }
        entry.next_epoch(now);
        entry.run.attempts = 0;
        entry.run.error = None;
        entry.queue(now);
        Ok(Changed::Now(Box::new(entry.run.clone())))
    }

    async fn fork(&self, from: &RunId, before: u32, new: &RunId, version: &str) -> Result<Changed, StoreError> {
        let (mut data, now) = self.lock();
        let Some(source) = data.runs.get(from) else { return Ok(Changed::Missing) };
        let steps: BTreeMap<_, _> = source.steps.range(..before).map(|(seq, step)| (*seq, step.clone())).collect();
        let known = data.runs.get(new).map(|entry| entry.run.clone());
        if known.is_some() || steps.values().any(|step| step.state == Progress::Begun) {
            return Ok(Changed::Not(Box::new(known.unwrap_or_else(|| source.run.clone()))));
        }
        let run = Run {
            id: new.clone(),
            version: version.into(),
            forked_from: Some(from.clone()),
            state: State::Queued,
            wake_at: Some(now),
            owner: None,
            attempts: 0,
            epoch: data.forgotten,
            result: None,
            error: None,
            parent: None,
            expires_at: None,
            created_at: now,
            ..source.run.clone()
        };
        data.runs.insert(new.clone(), Entry { steps, ..Entry::new(run.clone()) });
        Ok(Changed::Now(Box::new(run)))
    }

    async fn forget(&self, retention: &Retention) -> Result<Forgotten, StoreError> {
        let (mut data, now) = self.lock();
        let old = now.saturating_sub(millis(retention.ended));
        let may = |run: &Run| run.state.has_ended() || data.is_given_up(run, now);
        let ended = data.runs.values().filter(|entry| may(&entry.run));
        let mut ended: Vec<_> = ended.map(|entry| (entry.ended_at, entry.run.id.clone(), entry)).collect();
        ended.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
        let most = retention.most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        // Who says how long a run is to be remembered has the last word.
        let mut kept = 0_usize;
        let mut past = |entry: &Entry| {
            if let Some(at) = entry.run.expires_at {
                return at <= now;
            }
            if !entry.run.state.has_ended() {
                return entry.run.epoch <= old;
            }
            kept = kept.saturating_add(1);
            entry.ended_at <= old || kept > most
        };
        let gone = ended.iter().filter(|(.., entry)| past(entry)).map(|(_, id, _)| id.clone());
        let gone: Vec<_> = gone.take(usize::try_from(retention.batch).unwrap_or(usize::MAX)).collect();
        let steps: usize = gone.iter().filter_map(|id| data.runs.get(id)).map(|entry| entry.steps.len()).sum();
        let forgotten = Forgotten { runs: gone.len() as u64, steps: steps as u64, ..Forgotten::default() };
        if !retention.dry_run {
            for id in &gone {
                data.forget(id);
            }
            data.tasks.retain(|_, (_, until)| *until > now);
        }
        Ok(forgotten)
    }

    async fn erase(&self, run: &RunId) -> Result<Changed, StoreError> {
        let mut data = self.lock().0;
        let Some(entry) = data.runs.get(run) else { return Ok(Changed::Missing) };
        let known = Box::new(entry.run.clone());
        if !known.state.has_ended() {
            return Ok(Changed::Not(known));
        }
        data.forget(run);
        Ok(Changed::Now(known))
    }

    async fn size(&self) -> Result<Size, StoreError> {
        let (data, now) = self.lock();
        let runs = State::ALL.map(|state| data.runs.values().filter(|entry| entry.run.state == state).count() as u64);
        let waits = |run: &&Run| run.state == State::Queued && !run.version.is_empty();
        let due = data.runs.values().map(|entry| &entry.run).filter(waits).filter_map(|run| run.wake_at);
        let oldest = due.min().map_or(0, |at| u64::try_from(now.saturating_sub(at)).unwrap_or(0));
        Ok(Size {
            runs,
            workers_alive: data.workers.values().filter(|until| **until > now).count() as u64,
            bytes: 0,
            oldest_due: Duration::from_millis(oldest),
        })
    }

    async fn task(&self, id: &str) -> Result<Option<Task>, StoreError> {
        let (data, now) = self.lock();
        Ok(data.tasks.get(id).filter(|(_, until)| *until > now).map(|(task, _)| task.clone()))
    }

    async fn keep_task(&self, id: &str, task: &Task, ttl: Duration) -> Result<bool, StoreError> {
        let (mut data, now) = self.lock();
        let known = data.tasks.get(id).filter(|(_, until)| *until > now).map(|(task, _)| task);
        let next = known.map_or(0, |known| known.rev).checked_add(1) == Some(task.rev) || known == Some(task);
        if next {
            data.tasks.insert(id.into(), (task.clone(), now.saturating_add(millis(ttl))));
        }
        Ok(next)
    }

    async fn now(&self) -> Result<Millis, StoreError> {
        Ok(self.lock().1)
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
}

/// Does what an operator decides; `false` if it cannot be.
fn decide(entry: &mut Entry, decision: &Decision) -> bool {
    let steps: Vec<_> = entry.steps.values().map(Seen::from).collect();
    let Some(edit) = decision.edit(&entry.run, &steps) else { return false };
    let mut set = |seq, state, value: Option<&str>| {
        if let Some(step) = entry.steps.get_mut(&seq) {
            (step.state, step.value) = (state, value.map(Into::into));
        }
    };
    match edit {
        Edit::Nothing => {}
        Edit::Forget(seq) => drop(entry.steps.remove(&seq)),
        Edit::Begin(seq) => set(seq, Progress::Begun, None),
        Edit::Done(seq, value) => set(seq, Progress::Done, Some(value)),
    }
    true
}

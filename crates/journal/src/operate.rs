//! What operators ask of a journal and tell it: list, show, fork, resume, cancel, forget.
//!
//! All of it is safe while workers run, here or elsewhere: whoever changes a run takes the fence from the worker that
//! has it.

use std::pin::Pin;

use crate::error::{RunError, StoreError};
use crate::journal::Journal;
use crate::run::{Millis, Run, RunId, State, Step};
use crate::store::{Changed, Decision, Filter, Forgotten, Keep, Retention};
use crate::workflows::check_version;

/// A run with its steps.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct History {
    /// The run.
    pub run: Run,
    /// Its steps, by number.
    pub steps: Vec<Step>,
}

impl History {
    /// A run with these steps.
    pub fn new(run: Run, steps: Vec<Step>) -> Self {
        Self { run, steps }
    }
}

impl Journal {
    /// The runs that match, newest first.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<Run>, StoreError> {
        self.0.store.list(filter).await
    }

    /// A run with its steps.
    ///
    /// # Errors
    /// [`RunError::Missing`], or what the store said.
    pub async fn show(&self, run: &RunId) -> Result<History, RunError> {
        match self.0.store.read(run).await? {
            Some(found) => Ok(History::new(found.run, found.steps)),
            None => Err(RunError::Missing { run: run.clone() }),
        }
    }

    /// A copy of a run that goes on before step `before` (from 1): what was done until then is copied, what came
    /// after is done anew. The run stays as it is. Steps of the copy have other [keys](crate::Op::key) than the run's.
    ///
    /// ```no_run
    /// # async fn copy(journal: stormproof_journal::Journal) -> Result<(), stormproof_journal::RunError> {
    /// use stormproof_journal::RunId;
    ///
    /// let copy = journal.fork(&RunId::parse("research/order-18"), 3).key("order-18-again").version("4").await?;
    /// assert_eq!(copy.id.as_str(), "research/order-18-again");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RunError::Missing`] if there is no such run, [`RunError::State`] if it is no workflow but a call that is made
    /// [once](Self::once), a step before `before` is not done or the key of the copy is taken, [`RunError::Key`] if that key
    /// or the version is not valid, or what the store said.
    pub fn fork(&self, run: &RunId, before: u32) -> Fork<'_> {
        Fork { journal: self, from: run.clone(), before: before.max(1), key: None, version: None }
    }

    /// Queues a run that is blocked, cancelled, or ended with an error. Done steps are not repeated. The decision is about
    /// the step that the run's error names, or else the only one that is open. A step that is done can be given another
    /// value only if the code could not read the one it has. The answer is the run as it is now.
    ///
    /// # Errors
    /// [`RunError::Missing`], [`RunError::State`] if the run is queued, running or ended well, or if it is not known about
    /// which step the decision is; [`RunError::Value`] or [`RunError::TooLarge`] if the value of the decision cannot be one
    /// of a step; or what the store said.
    pub async fn resume(&self, run: &RunId, decision: Decision) -> Result<Run, RunError> {
        match &decision {
            Decision::Ask => self.0.revive_child(run).await?,
            Decision::Rerun => {}
            Decision::Done(value) => self.check_decided(run, value)?,
        }
        let changed = self.0.store.resume(run, &decision).await?;
        self.0.woken();
        let why = |run: &Run| match &decision {
            Decision::Done(_) | Decision::Rerun
                if matches!(run.state, State::Blocked | State::Cancelled | State::Err) =>
            {
                "no step of it waits for a decision, or several do: resume it without one, and what cannot be told by a \
                 probe blocks it again and is named"
            }
            _ => "only a run that is blocked, cancelled or ended with an error can be resumed",
        };
        answer(run, changed, why)
    }

    /// Whether an operator's value can be one of a step.
    fn check_decided(&self, run: &RunId, value: &str) -> Result<(), RunError> {
        let (what, bytes, limit) = (|| "the value of the decision".into(), value.len(), self.0.settings.max_value);
        if bytes > limit {
            return Err(RunError::TooLarge { run: run.clone(), what: what(), bytes, limit });
        }
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(value);
        let wrong = |error: serde_json::Error| {
            let why = format!("it is no JSON: {error}").into();
            RunError::Value { run: run.clone(), what: what(), why }
        };
        is_json.map(drop).map_err(wrong)
    }

    /// Cancels a run that has not ended. A worker that has it writes nothing more; in this process it stops at once.
    /// The answer is the run as it is now.
    ///
    /// # Errors
    /// [`RunError::Missing`], [`RunError::State`] if the run has ended, or what the store said.
    pub async fn cancel(&self, run: &RunId) -> Result<Run, RunError> {
        let changed = self.0.store.cancel(run).await?;
        if let Changed::Now(run) = &changed {
            self.0.cancelled(&run.id, run.epoch);
            self.0.stir(&run.id);
            self.0.tell_parent(run).await;
        }
        answer(run, changed, |_| "only a run that has not ended can be cancelled")
    }

    /// Forgets one run that has ended, with its steps: its key is new again. A call or a workflow that is started with it
    /// does everything anew, with the same [keys](crate::Op::key) for its callees: one that remembers them gives its
    /// earlier answer.
    ///
    /// # Errors
    /// [`RunError::Missing`], [`RunError::State`] if the run has not ended, or what the store said.
    pub async fn forget(&self, run: &RunId) -> Result<(), RunError> {
        let why = |_: &Run| "only a run that has ended can be forgotten: resume or cancel it first";
        answer(run, self.0.store.erase(run).await?, why).map(drop)
    }

    /// Forgets what may be forgotten, batch by batch, so that others can write in between.
    pub async fn gc(&self, retention: &Retention) -> Result<Forgotten, StoreError> {
        if retention.dry_run {
            return self.0.store.forget(&Retention { batch: u32::MAX, ..retention.clone() }).await;
        }
        let mut all = Forgotten::default();
        loop {
            let batch = self.0.store.forget(retention).await?;
            if batch == Forgotten::default() {
                return Ok(all);
            }
            all.runs = all.runs.saturating_add(batch.runs);
            all.steps = all.steps.saturating_add(batch.steps);
            all.tasks = all.tasks.saturating_add(batch.tasks);
            all.workers = all.workers.saturating_add(batch.workers);
        }
    }

    /// Whether the database is sound, by its own check: a line for each defect, none if it is.
    pub async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.0.store.check().await
    }

    /// The time by the journal's clock: this machine's for SQLite, the database's for PostgreSQL.
    pub async fn now(&self) -> Result<Millis, StoreError> {
        self.0.store.now().await
    }
}

/// A copy of a run to be made: [`Journal::fork`].
#[derive(Debug)]
#[must_use = "a copy is made when it is awaited"]
pub struct Fork<'journal> {
    journal: &'journal Journal,
    from: RunId,
    before: u32,
    key: Option<String>,
    version: Option<String>,
}

/// So many keys are tried for a copy whose key was not said.
const COPIES: u32 = 1000;

impl Fork<'_> {
    /// The key of the copy. Default: the run's, with `-fork-1`, `-fork-2`, and so on.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The version of the workflow that the copy runs with. Default: that of the run.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    async fn make(self) -> Result<Run, RunError> {
        let store = &self.journal.0.store;
        let Some(from) = store.peek(&self.from).await? else {
            return Err(RunError::Missing { run: self.from });
        };
        if from.version.is_empty() {
            let why = "a call that is made once has no steps to copy: make it with another key".into();
            return Err(RunError::State { run: from.id, state: from.state, why });
        }
        let version = self.version.as_ref().unwrap_or(&from.version).clone();
        check_version(&version)?;
        let key = from.id.as_str().strip_prefix(&from.name).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
        let (stem, tries) = match &self.key {
            Some(key) => (key.as_str(), None),
            None => (key, Some(1..=COPIES)),
        };
        let keys: Box<dyn Iterator<Item = String> + Send> = match tries {
            None => Box::new(std::iter::once(stem.to_owned())),
            Some(tries) => Box::new(tries.map(move |copy| format!("{stem}-fork-{copy}"))),
        };
        let mut taken = None;
        for key in keys {
            let new = RunId::checked(&from.name, &key)?;
            // A store takes the same fork asked for twice as one; but who did not say a key wants another copy.
            if self.key.is_none() && store.peek(&new).await?.is_some() {
                continue;
            }
            match store.fork(&self.from, self.before, &new, &version).await? {
                Changed::Now(run) => {
                    self.journal.0.woken();
                    return Ok(*run);
                }
                Changed::Not(run) if run.id == new => taken = Some(*run),
                changed => {
                    return answer(&self.from, changed, |_| "a step before the one to go on at is not done");
                }
            }
        }
        let run = taken.unwrap_or(from);
        Err(RunError::State { state: run.state, run: run.id, why: "there already: give the copy another key".into() })
    }
}

impl<'journal> IntoFuture for Fork<'journal> {
    type Output = Result<Run, RunError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'journal>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.make())
    }
}

fn answer(run: &RunId, changed: Changed, why: impl FnOnce(&Run) -> &'static str) -> Result<Run, RunError> {
    match changed {
        Changed::Now(run) => Ok(*run),
        Changed::Not(run) => {
            let why = why(&run).into();
            Err(RunError::State { run: run.id, state: run.state, why })
        }
        Changed::Missing => Err(RunError::Missing { run: run.clone() }),
    }
}

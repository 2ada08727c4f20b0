//! Loop guards whose memory outlives their process, by the id of the task.

#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use stormproof::LoopGuard;
use stormproof::loop_guard::{Config, RestoreError, State};
use tokio::sync::Mutex;

use crate::error::StoreError;
use crate::journal::{Journal, Shared};
use crate::store::{Keep as _, Task};

/// A loop guard has no memory, or must not go on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The id is empty, too long, or has a character it must not have.
    #[error("task {value:?} is not valid: 1 to 400 bytes without control characters")]
    Id {
        /// What was given, cut to 100 characters.
        value: Box<str>,
    },
    /// The configuration is invalid, or what is kept is of another version.
    #[error("the loop guard of task {task}: {why}")]
    Restore {
        /// The task.
        task: Box<str>,
        /// Why the guard cannot be made.
        why: RestoreError,
    },
    /// What is kept cannot be read. It is not changed.
    #[error("what is kept of task {task} cannot be read: {why}; use another id to begin anew")]
    State {
        /// The task.
        task: Box<str>,
        /// What is wrong with it.
        why: Box<str>,
    },
    /// Another process watches the task since. This one must end: what it would count is counted there.
    #[error("task {task} was taken over by another process: this one must end")]
    Taken {
        /// The task.
        task: Box<str>,
    },
    /// The store failed. What was observed is not kept yet; the next observation keeps it, too.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A loop guard whose memory is in the journal. Made by [`Journal::guard`]. Clones are the same guard.
#[derive(Clone)]
pub struct TaskGuard(Arc<Watched>);

struct Watched {
    shared: Arc<Shared>,
    task: Box<str>,
    guard: LoopGuard,
    kept: Mutex<Kept>,
}

/// What of a task is in the store.
struct Kept {
    /// The revision that this process wrote last.
    rev: i64,
    /// Hashes of what it has sent since without hearing what came of it: nobody waited, or the connection broke.
    in_doubt: Vec<u64>,
}

impl fmt::Debug for TaskGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskGuard").field("task", &self.0.task).finish_non_exhaustive()
    }
}

/// So often opening is tried against others that open the same task.
const TRIES: u32 = 20;

impl Journal {
    /// The loop guard of a task, which goes on counting where the last process of that task ended: an agent that is
    /// started again with a fresh context, and runs into the same loop, is found out all the same.
    ///
    /// The last to ask has the task. Whoever had it before gets [`TaskError::Taken`] at its next observation, and must
    /// end: two processes that do the same task are a mistake, and what one of them sees is no evidence against the other.
    ///
    /// What is kept is forgotten after the journal's [`retention`](crate::Builder::retention) without an observation.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use stormproof::loop_guard::Config;
    /// use stormproof_journal::Journal;
    ///
    /// let journal = Journal::open("memory:").await?;
    /// // Each process calls the same thing once, and ends.
    /// for _ in 0..3 {
    ///     let task = journal.guard("task-7", Config::default()).await?;
    ///     assert!(task.observe(|guard| guard.before_call("build", "{}")).await?.is_allow());
    /// }
    /// let task = journal.guard("task-7", Config::default()).await?;
    /// assert!(!task.observe(|guard| guard.before_call("build", "{}")).await?.is_allow(), "the fourth time");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The id or the configuration are not valid; what is kept cannot be read; the store fails.
    pub async fn guard(&self, task: &str, config: Config) -> Result<TaskGuard, TaskError> {
        if task.trim().is_empty() || task.len() > 400 || task.chars().any(char::is_control) {
            return Err(TaskError::Id { value: task.chars().take(100).collect() });
        }
        let shared = &self.0;
        for _ in 0..TRIES {
            let known = shared.store.task(task).await?;
            let rev = known.as_ref().map_or(0, |known| known.rev);
            let guard = guard(shared, task, config.clone(), known)?;
            let watched = Watched {
                shared: shared.clone(),
                task: task.into(),
                guard,
                kept: Mutex::new(Kept { rev, in_doubt: Vec::new() }),
            };
            match watched.keep(shared.settings.retention).await {
                // Somebody else has asked for it in between: then that is who had it before.
                Err(TaskError::Taken { .. }) => {}
                kept => return kept.map(|()| TaskGuard(Arc::new(watched))),
            }
        }
        Err(TaskError::Taken { task: task.into() })
    }
}

fn guard(shared: &Shared, task: &str, config: Config, known: Option<Task>) -> Result<LoopGuard, TaskError> {
    let clock = &shared.settings.clock;
    let guard = match known {
        None => LoopGuard::with_clock(task.to_owned(), config, clock).map_err(RestoreError::from),
        Some(known) => {
            let unreadable =
                |error: serde_json::Error| TaskError::State { task: task.into(), why: error.to_string().into() };
            let state: State = serde_json::from_str(&known.state).map_err(unreadable)?;
            LoopGuard::restore(task.to_owned(), config, state, clock)
        }
    };
    guard.map_err(|why| TaskError::Restore { task: task.into(), why })
}

impl TaskGuard {
    /// Lets the guard observe something, and keeps what it knows now. The answer is the guard's.
    ///
    /// # Errors
    /// Another process has the task, or the store fails; the guard has counted the observation all the same.
    pub async fn observe<R>(&self, observe: impl FnOnce(&LoopGuard) -> R) -> Result<R, TaskError> {
        let answer = observe(&self.0.guard);
        self.0.keep(self.0.shared.settings.retention).await?;
        Ok(answer)
    }

    /// The guard: for its events, its snapshot, and for observations that the next [`observe`](Self::observe) keeps.
    pub fn guard(&self) -> &LoopGuard {
        &self.0.guard
    }

    /// The task's id.
    pub fn task(&self) -> &str {
        &self.0.task
    }

    /// The task is done: what is known of it is forgotten.
    ///
    /// # Errors
    /// Another process has the task, or the store fails.
    pub async fn done(self) -> Result<(), TaskError> {
        self.0.keep(Duration::ZERO).await
    }
}

impl Watched {
    /// Writes what the guard knows, for `ttl`, unless somebody else has written since.
    async fn keep(&self, ttl: Duration) -> Result<(), TaskError> {
        let mut kept = self.kept.lock().await;
        let state = serde_json::to_string(&self.guard.state())
            .map_err(|error| TaskError::State { task: self.task.clone(), why: error.to_string().into() })?;
        let mut next = Task { rev: kept.rev.saturating_add(1), state: state.into() };
        kept.in_doubt.push(hash(&next.state));
        while !self.shared.store.keep_task(&self.task, &next, ttl).await? {
            // What is there may be what this process has sent before, and come late.
            let known = self.shared.store.task(&self.task).await?;
            match known.filter(|known| known.rev > kept.rev && kept.in_doubt.contains(&hash(&known.state))) {
                Some(own) => kept.rev = own.rev,
                None => return Err(TaskError::Taken { task: self.task.clone() }),
            }
            next.rev = kept.rev.saturating_add(1);
        }
        (kept.rev, kept.in_doubt) = (next.rev, Vec::new());
        Ok(())
    }
}

fn hash(state: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

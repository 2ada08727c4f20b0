//! Runs from outside: waiting for what they come to, and sending them messages.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::error::RunError;
use crate::journal::{Journal, Shared};
use crate::patience::Patience;
use crate::run::{Run, RunId, State};
use crate::store::{Keep as _, Signalled};
use crate::value::type_name;

/// What to do when somebody else is at it already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Busy {
    /// Wait for the other's result, for as long as it takes.
    #[default]
    Wait,
    /// Wait for the other's result, but no longer than this: then [`RunError::InFlight`].
    Join(Duration),
    /// Do not wait: [`RunError::InFlight`] says when to come back.
    Refuse,
}

/// A run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) journal: Journal,
    pub(crate) id: RunId,
}

impl Handle {
    /// The run's id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// Waits until the run has ended, and gives its result. While the store does not answer, it goes on asking.
    ///
    /// # Errors
    /// It failed, was cancelled, is blocked until an operator decides, or is not there; its result is not of this type.
    pub async fn result<O: DeserializeOwned>(&self) -> Result<O, RunError> {
        let shared = &self.journal.0;
        let mut patience = Patience::new(shared);
        // What other processes do is not heard of: at first it is asked for soon, then ever less often.
        let mut pause = FIRST_LOOK;
        loop {
            // Before the question: what comes after it is heard.
            let stirred = shared.watch(&self.id);
            match self.look().await {
                Ok(run) => match outcome(&run) {
                    Some(result) => return result,
                    None => patience.answered(),
                },
                Err(RunError::Store(error)) => {
                    if !patience.again(&error).await {
                        return Err(error.into());
                    }
                    continue;
                }
                Err(error) => return Err(error),
            }
            let longest = shared.poll_interval();
            tokio::select! {
                () = stirred.stirred() => {}
                () = shared.settings.clock.wait(pause.min(longest)) => pause = pause.saturating_mul(2),
            }
        }
    }

    /// The same for at most `time`: then [`RunError::InFlight`].
    ///
    /// # Errors
    /// See [`result`](Self::result).
    pub async fn result_within<O: DeserializeOwned>(&self, time: Duration) -> Result<O, RunError> {
        let shared = &self.journal.0;
        tokio::select! {
            biased;
            result = self.result() => result,
            () = shared.settings.clock.wait(time) => {
                Err(RunError::InFlight { run: self.id.clone(), retry_after: shared.settings.poll })
            }
        }
    }

    /// The run as it is now.
    ///
    /// # Errors
    /// It is not there, or the store fails.
    pub async fn look(&self) -> Result<Run, RunError> {
        self.journal.0.store.peek(&self.id).await?.ok_or_else(|| RunError::Missing { run: self.id.clone() })
    }
}

/// How soon another process is asked for a result for the first time.
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// What a run came to; `None` if it goes on.
pub(crate) fn outcome<O: DeserializeOwned>(run: &Run) -> Option<Result<O, RunError>> {
    let id = run.id.clone();
    let error = run.error.as_ref();
    Some(match run.state {
        State::Queued | State::Running => return None,
        State::Ok => {
            let value = run.result.as_deref().unwrap_or("null");
            serde_json::from_str(value).map_err(|error| RunError::Value {
                run: id,
                what: "the result".into(),
                why: format!("it is no {}: {error}", type_name::<O>()).into(),
            })
        }
        State::Err => Err(RunError::Failed {
            run: id,
            kind: error.map_or("", |error| &error.kind).into(),
            message: error.map_or("", |error| &error.message).into(),
            // A call that is made once is its only step.
            step: error.and_then(|error| error.seq).filter(|_| !run.version.is_empty()),
            kept: error.is_some_and(|error| error.keep),
        }),
        State::Blocked => Err(RunError::Blocked { run: id, why: error.map_or("", |error| &error.message).into() }),
        State::Cancelled => Err(RunError::Cancelled { run: id }),
    })
}

impl Shared {
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
}

//! Runs from outside: starting them, and waiting for what they come to.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::error::RunError;
use crate::journal::Journal;
use crate::run::{Run, RunId};

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
    journal: Journal,
    id: RunId,
}

impl Handle {
    /// The run's id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// Waits until the run has ended, and gives its result.
    ///
    /// # Errors
    /// It failed, was cancelled, is blocked until an operator decides, or is not there; its result is not of this type;
    /// the store fails.
    pub async fn result<O: DeserializeOwned>(&self) -> Result<O, RunError> {
        todo!()
    }

    /// The same for at most `time`: then [`RunError::InFlight`].
    ///
    /// # Errors
    /// See [`result`](Self::result).
    pub async fn result_within<O: DeserializeOwned>(&self, time: Duration) -> Result<O, RunError> {
        todo!()
    }

    /// The run as it is now.
    ///
    /// # Errors
    /// It is not there, or the store fails.
    pub async fn look(&self) -> Result<Run, RunError> {
        todo!()
    }
}

/// Starts a run when it is awaited. Made by [`Journal::start`].
#[must_use = "a run is started when this is awaited"]
pub struct StartCall<'a> {
    future: Option<Pin<Box<dyn Future<Output = Result<Handle, RunError>> + Send + 'a>>>,
}

impl StartCall<'_> {
    /// The version of the workflow, for those that are not registered in this process. Default: what was registered last.
    pub fn version(self, version: impl Into<String>) -> Self {
        todo!()
    }

    /// Not before so long from now. Default: at once.
    pub fn delay(self, time: Duration) -> Self {
        todo!()
    }

    /// Forgotten so long from now, if it has ended. Default: by the journal's [`retention`](crate::Builder::retention).
    pub fn ttl(self, time: Duration) -> Self {
        todo!()
    }
}

impl Future for StartCall<'_> {
    type Output = Result<Handle, RunError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}

/// Starts a run and waits for its result. Made by [`Journal::run`].
#[must_use = "a run is started when this is awaited"]
pub struct RunCall<'a, O> {
    start: StartCall<'a>,
    result: PhantomData<fn() -> O>,
}

impl<O> RunCall<'_, O> {
    /// The version of the workflow, for those that are not registered in this process. Default: what was registered last.
    pub fn version(self, version: impl Into<String>) -> Self {
        todo!()
    }

    /// Forgotten so long from now, if it has ended. Default: by the journal's [`retention`](crate::Builder::retention).
    pub fn ttl(self, time: Duration) -> Self {
        todo!()
    }

    /// What to do if the run was started before and has not ended. Default: wait.
    pub fn busy(self, busy: Busy) -> Self {
        todo!()
    }
}

impl<O: DeserializeOwned> Future for RunCall<'_, O> {
    type Output = Result<O, RunError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}

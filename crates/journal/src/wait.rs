//! Waits that outlive the process: for a time, for a message, for a child.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::failed::Failed;
use crate::run::RunId;

/// A wait for a time. Made by [`Ctx::sleep`](crate::Ctx::sleep).
#[must_use = "a wait does nothing until it is awaited"]
pub struct SleepCall {}

impl Future for SleepCall {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        todo!()
    }
}

/// A wait for a message. Made by [`Ctx::wait`](crate::Ctx::wait).
#[must_use = "a wait does nothing until it is awaited"]
pub struct WaitCall<T> {
    result: PhantomData<fn() -> T>,
}

impl<T> WaitCall<T> {
    /// Waits no longer than this from the first time it is awaited: then the error has the kind `timed_out`, which is
    /// recorded like the error of a step.
    pub fn timeout(self, time: Duration) -> Self {
        todo!()
    }
}

impl<T: DeserializeOwned> Future for WaitCall<T> {
    type Output = Result<T, Failed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}

/// Starts a child. Made by [`Ctx::start`](crate::Ctx::start).
#[must_use = "a child is started when this is awaited"]
pub struct ChildCall {}

impl ChildCall {
    /// The version of the workflow, for those that are not registered in this process. Default: what was registered last.
    pub fn version(self, version: impl Into<String>) -> Self {
        todo!()
    }
}

impl Future for ChildCall {
    type Output = Result<Child, Failed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}

/// A run that another run started.
#[derive(Clone, Debug)]
pub struct Child {
    id: RunId,
}

impl Child {
    /// The child's id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// Waits for the child's result. Meanwhile the parent is put away, and its slot is free for others. This is a step of the
    /// parent, with the number it gets when this is called.
    ///
    /// A child that fails or is cancelled is an error of this step; one that is blocked is waited for.
    pub fn result<T: DeserializeOwned + Send + 'static>(&self) -> WaitCall<T> {
        todo!()
    }
}

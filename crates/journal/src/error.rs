//! What can go wrong with a journal, an enum an operation.

use std::time::Duration;

use crate::run::{RunId, State};

/// The store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It cannot be reached, or was too busy for too long. Nothing is known to be wrong with it: try again.
    #[error("the journal at {at} does not answer: {why}")]
    Unavailable {
        /// Which, without a password.
        at: Box<str>,
        /// What it or the system said.
        why: Box<str>,
    },
    /// There is no room. What was written before stands.
    #[error("the journal at {at} is full: {why}")]
    Full {
        /// Which.
        at: Box<str>,
        /// What it or the system said.
        why: Box<str>,
    },
    /// The database is damaged. Nothing was changed.
    #[error("the journal at {at} is damaged: {why}; restore a backup, or move the file away to begin anew")]
    Damaged {
        /// Which.
        at: Box<str>,
        /// What it said.
        why: Box<str>,
    },
    /// Something that does not go away by itself: rights, a missing table, a row that no version of ours has written.
    #[error("the journal at {at}: {why}")]
    Refused {
        /// Which.
        at: Box<str>,
        /// What it said.
        why: Box<str>,
    },
}

/// A journal could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The address is not one of a journal.
    #[error("`{url}` is no journal{}: write sqlite:FILE or postgres://USER@HOST/DATABASE", because(.why))]
    Address {
        /// What was given, without a password.
        url: Box<str>,
        /// What is wrong with it, if more can be said than that it is none.
        why: Box<str>,
    },
    /// The database was written by a newer stormproof.
    #[error("the journal at {at} has schema {found}, this program knows {known}: use a newer stormproof")]
    Newer {
        /// Which.
        at: Box<str>,
        /// The version there.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// A setting is not valid.
    #[error(transparent)]
    Settings(#[from] stormproof::Mistakes),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A run could not be started, or there is no result of it to be had.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A name or key is empty, too long, or has a character it must not have.
    #[error("{field} {value:?} is not valid: {allowed}")]
    Key {
        /// `workflow` or `key`.
        field: &'static str,
        /// What was given, cut to 100 characters.
        value: Box<str>,
        /// What is allowed.
        allowed: &'static str,
    },
    /// No version of the workflow is registered in this process, and none was said.
    #[error(
        "no workflow `{workflow}` is registered in this process ({}): register it, or say which version to start, `.version(\"1\")`, if another process serves it", registered(.known)
    )]
    Unknown {
        /// What was asked for.
        workflow: Box<str>,
        /// Those that are registered.
        known: Box<str>,
    },
    /// The key was used before, with another input or for another version.
    #[error("{run} was started with {differs}: use another key, or what it was started with")]
    KeyReused {
        /// The run that has the key.
        run: RunId,
        /// What is different.
        differs: Box<str>,
    },
    /// A duplicate: somebody is at it, and did not finish within the time that was allowed for waiting.
    #[error("{run} is in flight; ask again in {retry_after:?}")]
    InFlight {
        /// The run.
        run: RunId,
        /// When an answer, or the end of the other's lease, can be expected.
        retry_after: Duration,
    },
    /// The run ended with an error.
    #[error("{run} failed{}: {message}", at_step(*.step, .message))]
    Failed {
        /// The run.
        run: RunId,
        /// What kind of error.
        kind: Box<str>,
        /// What it said.
        message: Box<str>,
        /// The number of the step it comes from, if it was one.
        step: Option<u32>,
        /// Whether this is the answer from now on.
        kept: bool,
    },
    /// An operator has to decide: `stormproof journal show RUN` says what.
    #[error("{run} is blocked: {why}")]
    Blocked {
        /// The run.
        run: RunId,
        /// Why.
        why: Box<str>,
    },
    /// The run was cancelled.
    #[error("{run} was cancelled")]
    Cancelled {
        /// The run.
        run: RunId,
    },
    /// There is no such run.
    #[error("there is no run {run}")]
    Missing {
        /// The run.
        run: RunId,
    },
    /// What was asked for is not possible in the state the run is in.
    #[error("{run} is {state}: {why}")]
    State {
        /// The run.
        run: RunId,
        /// Its state.
        state: State,
        /// What would be needed.
        why: Box<str>,
    },
    /// A value cannot be written as JSON, or what is kept cannot be read as the type that was asked for.
    #[error("{what} of {run}: {why}")]
    Value {
        /// The run.
        run: RunId,
        /// `the input`, `the result`, ….
        what: Box<str>,
        /// What serde said, with the place.
        why: Box<str>,
    },
    /// A value is larger than the journal allows.
    #[error(
        "{what} of {run} has {bytes} bytes, at most {limit} are allowed (max_value): keep it elsewhere and its address here"
    )]
    TooLarge {
        /// The run.
        run: RunId,
        /// `the input`, `the result`, ….
        what: Box<str>,
        /// Its size as JSON.
        bytes: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// This process lost the run while at it: its lease was over, or an operator cancelled. Somebody else goes on.
    #[error("{run} was taken over by another worker")]
    Fenced {
        /// The run.
        run: RunId,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is registered instead.
fn registered(known: &str) -> String {
    if known.is_empty() { "none is".to_owned() } else { format!("registered: {known}") }
}

/// A reason in brackets, if there is one.
fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(" ({why})") }
}

/// Where it failed, unless the message begins with that.
fn at_step(step: Option<u32>, message: &str) -> String {
    step.filter(|_| !message.starts_with("step ")).map_or_else(String::new, |step| format!(" at step {step}"))
}

//! Who writes. A thread does: all requests that wait share a transaction, hence one fsync, so that more callers mean more
//! steps a second. A statement whose caller is alone is written where it is asked for, if that place may wait for a disk:
//! the way to a thread and back costs half as much as a quick disk.

mod line;
mod request;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

pub(super) use self::line::Patience;
use self::line::{Line, is_busy};
pub(super) use self::request::{Ask, Several, Single, Statement, savepoint};
use self::request::{Job, Request};
use super::clock::Clocks;
use super::fault::{Fault, Place};
use crate::error::StoreError;
use crate::own_task;

/// The writer and its thread. Dropping it waits until what was asked for is written, and closes the file.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
    line: Arc<Line>,
    crowd: Crowd,
}

impl Writer {
    pub(super) fn spawn(
        connection: Connection,
        clocks: Clocks,
        busy: Duration,
        place: Arc<Place>,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let line = Arc::new(Line::new(connection, clocks, busy, place));
        let thread = thread::Builder::new().name("stormproof-journal".into());
        let of_thread = Arc::clone(&line);
        let thread = thread.spawn(move || of_thread.serve(&queue))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), line, crowd: Crowd::default() })
    }

    /// Does `work` alone or in the next group, and answers when that is on disk. A request whose caller has gone before
    /// its turn is not done at all.
    pub(super) async fn ask<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: Ask<T> + 'static,
    {
        let asking = self.crowd.enter();
        let (answer, answered) = oneshot::channel();
        let mut request = Request::new(work, answer);
        if W::IS_STATEMENT
            && asking.is_alone()
            && own_task::may_block()
            && let Some(written) = self.line.write_here(&mut request)
        {
            match request.outcome.take() {
                // Somebody else writes to the file: to wait for that is the thread's business.
                Some(Err(error)) if is_busy(&error) => {}
                Some(outcome) => return written.and(outcome.map_err(|error| self.line.place.fault(&error))),
                None => written?,
            }
        }
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(Box::new(request)).is_ok());
        if sent && let Ok(outcome) = answered.await {
            return outcome;
        }
        Err(Fault::Unavailable("its writer has stopped".into()).at(&self.line.place.at))
    }
}

/// After so many writes in a row with nobody beside them, the next is taken for a lone one.
const LONE: u32 = 2;

/// Those who ask, and how long each has been alone.
#[derive(Debug, Default)]
struct Crowd {
    /// So many requests are not answered yet.
    asking: AtomicU32,
    /// So many writes in a row had nobody beside them.
    lone: AtomicU32,
}

/// One who asks.
struct Asking<'a>(&'a Crowd);

impl Crowd {
    fn enter(&self) -> Asking<'_> {
        self.asking.fetch_add(1, Ordering::Relaxed);
        Asking(self)
    }
}

impl Asking<'_> {
    /// Whether it is likely that nobody else asks before this one is answered.
    fn is_alone(&self) -> bool {
        self.0.asking.load(Ordering::Relaxed) == 1 && self.0.lone.load(Ordering::Relaxed) >= LONE
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let lone = if self.0.asking.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.lone.load(Ordering::Relaxed).saturating_add(1)
        } else {
            0
        };
        self.0.lone.store(lone, Ordering::Relaxed);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // User code runs on that thread, and may be the one that drops the store.
        if let Some(thread) = self.thread.take().filter(|it| it.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}

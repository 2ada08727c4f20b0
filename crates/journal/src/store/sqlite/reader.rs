//! Threads that read, each with its own connection: they do not wait for the writer, and see all that it has answered.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::fault::{Fault, Place};
use crate::error::StoreError;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The threads. Dropping them waits until they have closed the file.
#[derive(Debug)]
pub(super) struct Readers {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    place: Arc<Place>,
}

impl Readers {
    pub(super) fn spawn(connections: Vec<Connection>, place: Arc<Place>) -> std::io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let mut readers = Self { jobs: Some(jobs), threads: Vec::new(), place };
        for connection in connections {
            let queue = Arc::clone(&queue);
            let serve = move || {
                while let Some(job) = next(&queue) {
                    job(&connection);
                }
            };
            readers.threads.push(thread::Builder::new().name("stormproof-reader".into()).spawn(serve)?);
        }
        Ok(readers)
    }

    /// What `work` reads, at one moment.
    pub(super) async fn ask<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let place = Arc::clone(&self.place);
        let job: Job = Box::new(move |connection| {
            if !answer.is_closed() {
                let _ = answer.send(at_one_moment(connection, work).map_err(|error| place.fault(&error)));
            }
        });
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if sent && let Ok(outcome) = answered.await {
            return outcome;
        }
        Err(Fault::Unavailable("its readers have stopped".into()).at(&self.place.at))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        drop(self.jobs.take());
        for thread in self.threads.drain(..).filter(|it| it.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}

fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn at_one_moment<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let tx = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
    let read = work(&tx)?;
    tx.commit()?;
    Ok(read)
}

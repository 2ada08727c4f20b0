//! Who waits in this process for something to happen to a run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::run::RunId;

/// Runs that are waited for, and by how many.
#[derive(Debug, Default)]
pub(crate) struct Watched(Table);

/// How many wait for each run, and how they are woken.
type Table = Arc<Mutex<HashMap<RunId, (usize, Arc<Notify>)>>>;

/// Waits for one run. What happens from its making on is heard.
#[derive(Debug)]
pub(crate) struct Watch {
    of: Table,
    run: RunId,
    notified: std::pin::Pin<Box<OwnedNotified>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    pub(crate) fn watch(&self, run: &RunId) -> Watch {
        let mut watched = lock(&self.0);
        let (watchers, notify) = watched.entry(run.clone()).or_default();
        *watchers += 1;
        let mut notified = Box::pin(notify.clone().notified_owned());
        notified.as_mut().enable();
        drop(watched);
        Watch { of: self.0.clone(), run: run.clone(), notified }
    }

    /// Something happened to the run.
    pub(crate) fn stir(&self, run: &RunId) {
        let notify = lock(&self.0).get(run).map(|(_, notify)| notify.clone());
        if let Some(notify) = notify {
            notify.notify_waiters();
        }
    }
}

impl Watch {
    /// Ready when something happened.
    pub(crate) async fn stirred(mut self) {
        self.notified.as_mut().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = lock(&self.of);
        if let Some((watchers, _)) = watched.get_mut(&self.run) {
            *watchers -= 1;
            if *watchers == 0 {
                watched.remove(&self.run);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_happens_from_the_watch_on_is_heard_and_nothing_is_left_behind() {
        let (watched, run) = (Watched::default(), RunId::new("flow", "k"));
        watched.stir(&run);
        let (one, two) = (watched.watch(&run), watched.watch(&run));
        watched.stir(&run);
        one.stirred().await;
        assert_eq!(lock(&watched.0).len(), 1);
        two.stirred().await;
        assert!(lock(&watched.0).is_empty());
        let late = watched.watch(&run).stirred();
        let waited = tokio::time::timeout(std::time::Duration::from_millis(5), late).await;
        assert!(waited.is_err(), "what came before is not");
    }
}

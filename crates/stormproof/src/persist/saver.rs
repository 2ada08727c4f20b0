//! Saving again and again, beside everything else.

use std::sync::Arc;
use std::time::Duration;

use stormproof_core::event::Kind;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::Error;
use crate::registry::Registry;

/// A task that saves the state of a registry at an interval. Dropped, it stops; [`stop`](Self::stop) saves once more.
#[derive(Debug)]
#[must_use = "dropping it stops the saving"]
pub struct Saver {
    registry: Registry,
    stop: Arc<Notify>,
    task: Option<JoinHandle<()>>,
}

impl Registry {
    /// Saves at each `interval` (at least every millisecond) on a thread where it may block. If it fails, an event says
    /// so once, until it succeeds again. Needs a tokio runtime with time. Does nothing useful before
    /// [`persist`](Registry::persist).
    pub fn save_every(&self, interval: Duration) -> Saver {
        let (registry, stop) = (self.clone(), Arc::new(Notify::new()));
        let (saved, stopped) = (registry.clone(), stop.clone());
        let interval = interval.max(Duration::from_millis(1));
        let task = tokio::spawn(async move {
            let mut failing = false;
            while tokio::time::timeout(interval, stopped.notified()).await.is_err() {
                let result = save(&saved).await;
                if let Err(error) = &result
                    && !failing
                {
                    saved.tell(Kind::StateNotSaved { error: error.to_string().into() });
                }
                failing = result.is_err();
            }
        });
        Saver { registry, stop, task: Some(task) }
    }
}

impl Saver {
    /// Stops, and saves for the last time.
    pub async fn stop(mut self) -> Result<usize, Error> {
        self.stop.notify_one();
        if let Some(task) = self.task.take() {
            // Whether it ended well or not, what counts is the save that follows.
            let _ = task.await;
        }
        save(&self.registry).await
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Saves on a thread where it may block.
async fn save(registry: &Registry) -> Result<usize, Error> {
    let saving = registry.clone();
    // Where the runtime is ending there is no such thread: then here.
    tokio::task::spawn_blocking(move || saving.save()).await.unwrap_or_else(|_| registry.save())
}

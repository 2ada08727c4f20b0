//! Journals to test with: one test, every store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stormproof_journal::{Builder, Journal};

/// A database that several journals can be opened on, as several processes would.
pub(crate) struct Bench {
    url: String,
    _keep: Box<dyn std::any::Any + Send + Sync>,
}

impl Bench {
    pub(crate) fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { url: format!("sqlite:{}", dir.path().join("journal.db").display()), _keep: Box::new(dir) }
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn postgres() -> Self {
        let database = stormproof_testpg::Database::create().unwrap();
        Self { url: database.url().into(), _keep: Box::new(database) }
    }

    /// A journal with a short lease.
    pub(crate) fn builder(&self) -> Builder {
        Journal::builder(&self.url)
            .lease(Duration::from_millis(600))
            .poll(Duration::from_millis(20))
            .retry_delay(stormproof::Backoff::constant(Duration::from_millis(5)))
    }

    pub(crate) async fn open(&self) -> Journal {
        self.builder().open().await.unwrap()
    }
}

/// The same test on each store.
macro_rules! on_every_store {
    ($($(#[$meta:meta])* async fn $name:ident($bench:ident: &Bench) $body:block)+) => {
        $(
            $(#[$meta])*
            mod $name {
                use super::*;

                async fn case($bench: &Bench) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    case(&Bench::sqlite()).await;
                }

                #[cfg(feature = "postgres")]
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn postgres() {
                    case(&Bench::postgres()).await;
                }
            }
        )+
    };
}
pub(crate) use on_every_store;

/// Serves in the background until dropped.
pub(crate) struct Served(tokio::task::JoinHandle<()>);

pub(crate) fn serve(journal: &Journal) -> Served {
    let journal = journal.clone();
    Served(tokio::spawn(async move { journal.serve(8).await.unwrap() }))
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Counts calls.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<AtomicU32>);

impl Calls {
    pub(crate) fn call(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);

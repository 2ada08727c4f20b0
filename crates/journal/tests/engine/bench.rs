//! Journals to test with: one test, every store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stormproof::Backoff;
use stormproof_journal::{Builder, Ctx, Failed, Journal, Run, RunId, State};

/// A database that several journals can be opened on, as several processes would.
pub(crate) struct Bench {
    pub(crate) url: String,
    _keep: Box<dyn std::any::Any + Send + Sync>,
}

/// What a crash leaves behind is anybody's after this. A disk that others keep busy can take half a second for a heartbeat.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

impl Bench {
    pub(crate) fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("journal.db").display());
        Self { url, _keep: Box::new(dir) }
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn postgres() -> Self {
        let database = stormproof_testpg::Database::create().unwrap();
        Self { url: database.url().into(), _keep: Box::new(database) }
    }

    /// Settings under which nobody waits for long.
    pub(crate) fn builder(&self) -> Builder {
        Journal::builder(&self.url)
            .lease(LEASE)
            .poll(Duration::from_millis(20))
            .retry_delay(Backoff::constant(Duration::from_millis(5)))
    }

    pub(crate) async fn open(&self) -> Journal {
        self.builder().open().await.unwrap()
    }

    /// A journal that does not notice that time passes: its process stands still as far as its lease is concerned.
    pub(crate) async fn open_paused(&self) -> Journal {
        self.builder().clock(&stormproof::Clock::manual()).open().await.unwrap()
    }

    /// Lets `body` run as a process of its own until it says so by the notification it is given, and kills it there.
    pub(crate) async fn crash<F, Fut>(&self, body: F)
    where
        F: FnOnce(Builder, Arc<tokio::sync::Notify>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let (builder, dead) = (self.builder(), Arc::new(tokio::sync::Notify::new()));
        let process = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        process.spawn(body(builder, dead.clone()));
        tokio::time::timeout(Duration::from_secs(10), dead.notified()).await.expect("it comes to where it dies");
        tokio::task::spawn_blocking(move || process.shutdown_timeout(Duration::from_secs(5))).await.unwrap();
    }
}

/// The same test on each store.
macro_rules! on_every_store {
    ($($(#[$meta:meta])* async fn $name:ident($bench:ident: &Bench) $body:block)+) => {
        $(
            $(#[$meta])*
            mod $name {
                #[allow(unused_imports, reason = "not every case needs all of them")]
                use super::*;

                async fn case($bench: &Bench) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    $crate::bench::in_time(case(&Bench::sqlite())).await;
                }

                #[cfg(feature = "postgres")]
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn postgres() {
                    $crate::bench::in_time(case(&Bench::postgres())).await;
                }
            }
        )+
    };
}
pub(crate) use on_every_store;

/// A test that hangs says so.
pub(crate) async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(40), test).await.expect("the test comes to an end");
}

/// Serves in the background until dropped.
pub(crate) struct Served(tokio::task::JoinHandle<()>);

pub(crate) fn serve(journal: &Journal) -> Served {
    serve_slots(journal, 8)
}

pub(crate) fn serve_slots(journal: &Journal, slots: u32) -> Served {
    let journal = journal.clone();
    Served(tokio::spawn(async move { journal.serve(slots).await.unwrap() }))
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

/// A step that only counts.
pub(crate) async fn count(cx: &Ctx, name: &str, calls: &Calls) -> Result<u32, Failed> {
    cx.step(name, |_| async { Ok::<_, Failed>(calls.call()) }).await
}

/// Waits until `is` is so.
pub(crate) async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is().await {
        assert!(began.elapsed() < Duration::from_secs(20), "waited for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn state(journal: &Journal, run: &RunId) -> State {
    look(journal, run).await.state
}

pub(crate) async fn look(journal: &Journal, run: &RunId) -> Run {
    journal.handle(run).look().await.unwrap()
}

/// The journal's events by name, in order.
pub(crate) struct Heard(Arc<std::sync::Mutex<Vec<String>>>);

impl Heard {
    pub(crate) fn of(journal: &Journal) -> Self {
        let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
        let told = heard.clone();
        journal.on_event(move |event| {
            let fields: Vec<_> = event.fields().iter().map(|(name, value)| format!("{name}={value}")).collect();
            told.lock().unwrap().push(format!("{} {}", event.event_type(), fields.join(" ")));
        });
        Self(heard)
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn has(&self, beginning: &str) -> bool {
        self.all().iter().any(|event| event.starts_with(beginning))
    }
}

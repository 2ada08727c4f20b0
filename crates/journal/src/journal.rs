//! A journal: what keeps runs, and the workflows that this process can carry out.

use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stormproof::events::{Listener, Subject};
use stormproof::{Event, Instant, Snapshot};
use stormproof_core::Rng;
use tokio::sync::{Notify, broadcast, watch};

use crate::context::Ctx;
use crate::error::{OpenError, RunError, StoreError};
use crate::failed::Failed;
use crate::handle::Handle;
use crate::lease::Member;
use crate::run::RunId;
use crate::settings::{Builder, Settings};
use crate::start::{Begin, RunCall, StartCall};
use crate::store::Keep as _;
use crate::store::dispatch::Store;
use crate::telling::{self, Counters, Outage};
use crate::value;
use crate::watch::Watched;
use crate::workflows::Workflows;

/// Keeps what was done, so that a crash repeats nothing. Cheap to clone; clones are the same journal. When the last one is
/// dropped, what this process still had under way is given back.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stormproof_journal::{Ctx, Journal};
///
/// let journal = Journal::open("memory:").await?;
/// journal.workflow("double", "1", |cx: Ctx, number: u32| async move {
///     let doubled = cx.step("multiply", move |_| async move { Ok::<_, std::io::Error>(number * 2) }).await?;
///     Ok(doubled)
/// });
/// let serving = journal.clone();
/// tokio::spawn(async move { serving.serve(4).await });
///
/// assert_eq!(journal.run::<u32>("double", "order-18", &21).await?, 42);
/// assert_eq!(journal.run::<u32>("double", "order-18", &21).await?, 42, "the same key: what is stored");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Journal(pub(crate) Arc<Shared>);

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("store", &self.0.store).finish_non_exhaustive()
    }
}

/// What all clones of a journal share.
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    pub(crate) settings: Settings,
    pub(crate) subject: Subject,
    pub(crate) rng: Rng,
    pub(crate) counters: Counters,
    pub(crate) outage: Outage,
    pub(crate) workflows: RwLock<Workflows>,
    /// The worker that this process is, and whose turn it is to make it one.
    pub(crate) member: Mutex<Option<Arc<Member>>>,
    pub(crate) joining: tokio::sync::Mutex<()>,
    /// Read by whoever claims, until what was claimed is [held](crate::lease::Live).
    pub(crate) claims: tokio::sync::RwLock<()>,
    pub(crate) watched: Watched,
    /// There may be something to claim.
    pub(crate) work: Notify,
    /// When what is under way is given back, once it is said that no more runs are to be claimed.
    pub(crate) closing: watch::Sender<Option<Instant>>,
    /// How many `serve`s there are.
    pub(crate) serving: watch::Sender<usize>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let member = self.member.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(member) = member {
            let store = self.store.clone();
            // If it cannot be written, the lease ends by itself.
            member.runtime().spawn(async move { store.leave(member.worker()).await });
        }
    }
}

impl Journal {
    /// Opens the journal at `url` with the default settings, and makes its tables if they are not there.
    ///
    /// `sqlite:FILE` is one file on this machine, for any number of processes on it. `postgres://USER@HOST/DATABASE` is for
    /// many machines. `memory:` keeps nothing beyond this process: for tests.
    ///
    /// # Errors
    /// See [`Builder::open`].
    pub async fn open(url: impl Into<String>) -> Result<Self, OpenError> {
        Self::builder(url).open().await
    }

    /// Opens a journal with settings of its own.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder::new(url.into())
    }

    pub(crate) fn new(store: Store, settings: Settings) -> Self {
        let subject = Subject::new(settings.name.clone(), &settings.clock);
        Self(Arc::new(Shared {
            store: Arc::new(store),
            settings,
            subject,
            rng: Rng::new(std::hash::RandomState::new().hash_one(())),
            counters: Counters::default(),
            outage: Outage::default(),
            workflows: RwLock::default(),
            member: Mutex::default(),
            joining: tokio::sync::Mutex::default(),
            claims: tokio::sync::RwLock::default(),
            watched: Watched::default(),
            work: Notify::new(),
            closing: watch::Sender::new(None),
            serving: watch::Sender::new(0),
        }))
    }

    /// Teaches this process a workflow: what [`serve`](Self::serve) does with runs of this name and version.
    ///
    /// Between its steps a workflow must be deterministic: after a crash it is called again with the same input, and gets
    /// what its steps gave. Clocks, chance, the network and files belong into steps. `version` is changed whenever runs that
    /// are under way could not be replayed by the new code; old and new can be registered side by side, and what is started
    /// gets the one that was registered last. The same name and version again replaces the workflow.
    pub fn workflow<I, O, F, Fut>(&self, name: &str, version: &str, run: F) -> &Self
    where
        F: Fn(Ctx, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failed>> + Send + 'static,
        I: DeserializeOwned,
        O: Serialize,
    {
        self.0.register(name, version, run);
        self
    }

    /// Carries out runs, at most `runs` at a time: new ones, those that are due, and those whose worker is gone. Ends by
    /// [`shutdown`](Self::shutdown). Dropping it gives back at once what is under way: the operations of steps are dropped
    /// where they are, and their runs are free for others.
    ///
    /// # Errors
    /// A workflow was registered under a name that is none. A store that does not answer is no error: it is told as an
    /// event, and asked again.
    pub async fn serve(&self, runs: u32) -> Result<(), RunError> {
        self.0.serve(runs).await
    }

    /// Ends all [`serve`](Self::serve)s of this journal: no more runs are claimed, those under way have `grace` to end, and
    /// are then given back. Returns when the process has no run any more.
    pub async fn shutdown(&self, grace: std::time::Duration) {
        self.0.shutdown(grace).await;
    }

    /// Starts a run of `workflow` for `key`, once: with the same key and input again, it is the same run. A run that ended
    /// with an error that is not kept begins again where it failed.
    ///
    /// ```
    /// # async fn f(journal: stormproof_journal::Journal) -> Result<(), Box<dyn std::error::Error>> {
    /// let run = journal.start("research", "order-18", &"why is the sky blue").await?;
    /// println!("{}", run.id());
    /// let answer: String = run.result().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The key or the name is not valid, or the key was used with another input; no version of the workflow is registered
    /// here and none is [given](StartCall::version); the input is too large; the store fails.
    pub fn start<'a, I: Serialize + ?Sized>(&'a self, workflow: &'a str, key: &'a str, input: &I) -> StartCall<'a> {
        StartCall::new(self, Begin::new(workflow, key, None, value::input(input)))
    }

    /// Starts a run as [`start`](Self::start) does and waits for its result. Somebody has to [`serve`](Self::serve).
    ///
    /// # Errors
    /// Those of [`start`](Self::start) and of [`Handle::result`].
    pub fn run<'a, O: DeserializeOwned>(
        &'a self,
        workflow: &'a str,
        key: &'a str,
        input: &(impl Serialize + ?Sized),
    ) -> RunCall<'a, O> {
        RunCall::new(self, Begin::new(workflow, key, None, value::input(input)))
    }

    /// A handle of a run that may or may not be there.
    pub fn handle(&self, run: &RunId) -> Handle {
        Handle { journal: self.clone(), id: run.clone() }
    }

    /// Sends a message to a run, which takes it by [`Ctx::wait`]. `id` tells messages of a topic apart: a second one with the
    /// same id is the same message, and ignored.
    ///
    /// # Errors
    /// There is no such run, or it has ended; the body is too large or no JSON; the store fails.
    pub async fn signal(
        &self,
        run: &RunId,
        topic: &str,
        id: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<(), RunError> {
        self.0.signal(run, topic, id, value::input(body)).await
    }

    /// Calls `listener` for every event: at once, under no lock. A listener that panics is passed over.
    pub fn on_event(&self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Listener {
        self.0.subject.on_event(listener)
    }

    /// The events from now on, through a queue of [`QUEUE`](stormproof::events::QUEUE).
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subject.subscribe()
    }

    /// Who tells the events: what is attached to a bus.
    ///
    /// ```
    /// # async fn f(journal: stormproof_journal::Journal) {
    /// stormproof::EventBus::global().attach(journal.events());
    /// # }
    /// ```
    pub fn events(&self) -> &Subject {
        &self.0.subject
    }

    /// The journal as data, for metrics and pages: the store is asked for its size.
    ///
    /// # Errors
    /// The store fails.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Ok(telling::snapshot(&self.0, &self.0.store.size().await?))
    }
}

//! Starting runs: once for a key, and anew where they failed.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::child::ChildCall;
use crate::error::{RunError, StoreError};
use crate::handle::{Busy, Handle, outcome};
use crate::journal::{Journal, Shared};
use crate::run::{Kind, Progress, Run, RunId, State};
use crate::step::Boxed;
use crate::store::{Claimed, Decision, Keep as _, NewRun, Started};
use crate::workflows::check_version;

/// A run to be started, or found to be there.
#[derive(Clone, Debug)]
pub(crate) struct Begin {
    pub(crate) workflow: String,
    pub(crate) key: String,
    pub(crate) version: Option<String>,
    /// The input as JSON and its fingerprint, or why it has none.
    pub(crate) input: Result<(Box<str>, String), String>,
    pub(crate) parent: Option<RunId>,
    pub(crate) delay: Duration,
    pub(crate) ttl: Option<Duration>,
}

impl Begin {
    pub(crate) fn new(
        workflow: &str,
        key: &str,
        version: Option<String>,
        input: Result<(Box<str>, String), String>,
    ) -> Self {
        let (workflow, key) = (workflow.into(), key.into());
        Self { workflow, key, version, input, parent: None, delay: Duration::ZERO, ttl: None }
    }
}

impl Shared {
    /// Starts a run unless it is there. The second answer: whether it is new.
    pub(crate) async fn begin(&self, begin: &Begin) -> Result<(RunId, bool), RunError> {
        let run = RunId::checked(&begin.workflow, &begin.key)?;
        let (input, fp) = begin.input.clone().map_err(|why| RunError::Value {
            run: run.clone(),
            what: "the input".into(),
            why: format!("it cannot be written as JSON: {why}").into(),
        })?;
        let (bytes, limit) = (input.len(), self.settings.max_value);
        if bytes > limit {
            return Err(RunError::TooLarge { run, what: "the input".into(), bytes, limit });
        }
        let version =
            begin.version.clone().or_else(|| self.latest(&begin.workflow)).ok_or_else(|| self.unknown(begin))?;
        check_version(&version)?;
        let new = NewRun {
            id: run.clone(),
            name: begin.workflow.clone(),
            version,
            input,
            fp,
            parent: begin.parent.clone(),
            delay: begin.delay,
            ttl: begin.ttl,
        };
        match self.store.start(&new).await? {
            Started::New => {
                self.woken();
                Ok((run, true))
            }
            Started::Exists(known) => {
                same(&new, begin.version.as_deref(), &known)?;
                self.revive(&known).await?;
                Ok((run, false))
            }
        }
    }

    /// A run that ended with an error that is not kept begins again.
    async fn revive(&self, known: &Run) -> Result<(), StoreError> {
        if known.state == State::Err && known.error.as_ref().is_none_or(|error| !error.keep) {
            self.revive_child(&known.id).await?;
            // If it is not possible any more, somebody else was faster.
            let _ = self.store.resume(&known.id, &Decision::Ask).await?;
            self.woken();
        }
        Ok(())
    }

    /// If what ended a run was the error of a child, the child begins again as well: else the run would only hear of the same
    /// error once more.
    pub(crate) async fn revive_child(&self, run: &RunId) -> Result<(), StoreError> {
        let Some(Claimed { run, steps }) = self.store.read(run).await? else { return Ok(()) };
        let named = run.error.as_ref().and_then(|error| error.seq);
        let failed = steps.iter().rev().find(|step| match named {
            Some(seq) => step.seq == seq,
            None => step.state == Progress::Failed,
        });
        let Some(wait) = failed.filter(|step| step.kind == Kind::Wait && step.state == Progress::Failed) else {
            return Ok(());
        };
        // A wait for a message has the name of its topic: a child is what this run has started.
        let started = ChildCall::step_name(&wait.name);
        if !steps.iter().any(|step| step.kind == Kind::Step && step.name == started) {
            return Ok(());
        }
        match self.store.peek(&RunId::parse(&wait.name)).await? {
            Some(child) => Box::pin(self.revive(&child)).await,
            None => Ok(()),
        }
    }

    fn unknown(&self, begin: &Begin) -> RunError {
        RunError::Unknown { workflow: begin.workflow.as_str().into(), known: self.names().join(", ").into() }
    }
}

/// Whether what is there is what is asked for.
fn same(new: &NewRun, version: Option<&str>, known: &Run) -> Result<(), RunError> {
    let reused = |differs: String| Err(RunError::KeyReused { run: known.id.clone(), differs: differs.into() });
    if known.version.is_empty() {
        return reused("`once`, not as a workflow".into());
    }
    if let Some(version) = version.filter(|version| *version != known.version) {
        return reused(format!("version {}, not {version}", known.version));
    }
    if known.fp != new.fp {
        return reused("another input".into());
    }
    Ok(())
}

/// Starts a run when it is awaited. Made by [`Journal::start`].
#[must_use = "a run is started when this is awaited"]
pub struct StartCall<'a> {
    begin: Option<(&'a Journal, Begin)>,
    under_way: Option<Boxed<'a, Result<Handle, RunError>>>,
}

impl<'a> StartCall<'a> {
    pub(crate) fn new(journal: &'a Journal, begin: Begin) -> Self {
        Self { begin: Some((journal, begin)), under_way: None }
    }

    fn with(mut self, change: impl FnOnce(&mut Begin)) -> Self {
        if let Some((_, begin)) = &mut self.begin {
            change(begin);
        }
        self
    }

    /// The version of the workflow, for those that are not registered in this process; a run that is there already must
    /// have it. Default: what was registered last, and a run that is there goes on with its own.
    pub fn version(self, version: impl Into<String>) -> Self {
        self.with(|begin| begin.version = Some(version.into()))
    }

    /// Not before so long from now. Default: at once.
    pub fn delay(self, time: Duration) -> Self {
        self.with(|begin| begin.delay = time)
    }

    /// Forgotten so long from now, if it has ended. Default: by the journal's [`retention`](crate::Builder::retention).
    pub fn ttl(self, time: Duration) -> Self {
        self.with(|begin| begin.ttl = Some(time))
    }
}

impl Future for StartCall<'_> {
    type Output = Result<Handle, RunError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some((journal, begin)) = self.begin.take() {
            self.under_way = Some(Box::pin(async move {
                let (id, _) = journal.0.begin(&begin).await?;
                Ok(journal.handle(&id))
            }));
        }
        match &mut self.under_way {
            Some(under_way) => under_way.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

/// Starts a run and waits for its result. Made by [`Journal::run`].
#[must_use = "a run is started when this is awaited"]
pub struct RunCall<'a, O> {
    begin: Option<(&'a Journal, Begin, Busy)>,
    under_way: Option<Boxed<'a, Result<O, RunError>>>,
}

impl<O> Unpin for RunCall<'_, O> {}

impl<'a, O> RunCall<'a, O> {
    pub(crate) fn new(journal: &'a Journal, begin: Begin) -> Self {
        Self { begin: Some((journal, begin, Busy::Wait)), under_way: None }
    }

    fn with(mut self, change: impl FnOnce(&mut Begin, &mut Busy)) -> Self {
        if let Some((_, begin, busy)) = &mut self.begin {
            change(begin, busy);
        }
        self
    }

    /// The version of the workflow; see [`StartCall::version`].
    pub fn version(self, version: impl Into<String>) -> Self {
        self.with(|begin, _| begin.version = Some(version.into()))
    }

    /// Forgotten so long from now, if it has ended. Default: by the journal's [`retention`](crate::Builder::retention).
    pub fn ttl(self, time: Duration) -> Self {
        self.with(|begin, _| begin.ttl = Some(time))
    }

    /// What to do if the run was started before and has not ended. Default: wait.
    pub fn busy(self, busy: Busy) -> Self {
        self.with(|_, kept| *kept = busy)
    }
}

impl<O: DeserializeOwned + Send> Future for RunCall<'_, O> {
    type Output = Result<O, RunError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some((journal, begin, busy)) = self.begin.take() {
            self.under_way = Some(Box::pin(async move {
                let (id, new) = journal.0.begin(&begin).await?;
                let handle = journal.handle(&id);
                match busy {
                    Busy::Join(time) if !new => handle.result_within(time).await,
                    Busy::Refuse if !new => {
                        let run = handle.look().await?;
                        let retry_after = journal.0.settings.poll;
                        outcome(&run).unwrap_or(Err(RunError::InFlight { run: id, retry_after }))
                    }
                    _ => handle.result().await,
                }
            }));
        }
        match &mut self.under_way {
            Some(under_way) => under_way.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

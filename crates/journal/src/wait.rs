//! Waits that outlive the process: for a time, for a message, for a child.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::attempt::Attempt;
use crate::failed::{Failed, TIMED_OUT};
use crate::patience::insist;
use crate::replay::Call;
use crate::run::{Kind, Millis, Progress, RunId, State, millis};
use crate::step::{Boxed, Parts};
use crate::store::{Keep as _, Written};

/// A parent looks so often whether its child has ended, should it not be told.
const CHILD: Duration = Duration::from_secs(60);

/// A wait for a time. Made by [`Ctx::sleep`](crate::Ctx::sleep).
#[must_use = "a wait does nothing until it is awaited"]
pub struct SleepCall {
    parts: Option<(Parts, Duration)>,
    under_way: Option<Boxed<'static, ()>>,
}

impl SleepCall {
    pub(crate) fn new(parts: Parts, time: Duration) -> Self {
        Self { parts: Some((parts, time)), under_way: None }
    }
}

impl Future for SleepCall {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((parts, time)) = self.parts.take() {
            self.under_way = Some(Box::pin(sleep(parts, time)));
        }
        match &mut self.under_way {
            Some(under_way) => under_way.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

async fn sleep(Parts { attempt, call, .. }: Parts, time: Duration) {
    let busy = attempt.busy();
    let recorded = attempt.recall(&call).await;
    if recorded.as_ref().is_some_and(|step| step.state != Progress::Begun) {
        return;
    }
    let until = match recorded.and_then(|step| end_of(step.value.as_deref())) {
        Some(until) => until,
        None => begin(&attempt, &call, time).await,
    };
    let left = left(&attempt, until).await;
    if !left.is_zero() {
        let clock = &attempt.shared.settings.clock;
        let _waiting = attempt.waiting(call.seq, Some(clock.now() + left));
        drop(busy);
        clock.wait(left).await;
    }
    let _busy = attempt.busy();
    attempt.write(&attempt.step(&call, Progress::Done, Some("null".into()))).await;
}

/// When a wait that has begun is over.
fn end_of(value: Option<&str>) -> Option<Millis> {
    value.and_then(|value| value.parse().ok())
}

/// Records that a wait begins, and when it is over.
async fn begin(attempt: &Attempt, call: &Call, time: Duration) -> Millis {
    let until = now(attempt).await.saturating_add(millis(time));
    attempt.write(&attempt.step(call, Progress::Begun, Some(until.to_string().into()))).await;
    until
}

/// The time by the store's clock.
async fn now(attempt: &Attempt) -> Millis {
    match insist!(&attempt.shared, attempt.shared.store.now()) {
        Ok(now) => now,
        Err(error) => match attempt.store_failed(&error).await {},
    }
}

/// How long it is until then.
async fn left(attempt: &Attempt, until: Millis) -> Duration {
    let left = until.saturating_sub(now(attempt).await);
    Duration::from_millis(u64::try_from(left).unwrap_or(0))
}

/// A wait for a message, or for the result of a child. Made by [`Ctx::wait`](crate::Ctx::wait) and [`Child::result`].
#[must_use = "a wait does nothing until it is awaited"]
pub struct WaitCall<T> {
    parts: Option<(Parts, Source, Option<Duration>)>,
    under_way: Option<Boxed<'static, Result<T, Failed>>>,
    result: PhantomData<fn() -> T>,
}

/// What is waited for.
enum Source {
    /// A message of this topic.
    Topic(Box<str>),
    /// The end of this run.
    Run(RunId),
}

impl<T> WaitCall<T> {
    pub(crate) fn topic(parts: Parts, topic: &str) -> Self {
        Self { parts: Some((parts, Source::Topic(topic.into()), None)), under_way: None, result: PhantomData }
    }

    /// Waits no longer than this from the first time it is awaited: then the error has the kind `timed_out`, which is
    /// recorded like the error of a step.
    pub fn timeout(mut self, time: Duration) -> Self {
        if let Some((.., timeout)) = &mut self.parts {
            *timeout = Some(time);
        }
        self
    }
}

impl<T: DeserializeOwned + Send + 'static> Future for WaitCall<T> {
    type Output = Result<T, Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some((parts, source, timeout)) = self.parts.take() {
            self.under_way = Some(Box::pin(wait(parts, source, timeout)));
        }
        match &mut self.under_way {
            Some(under_way) => under_way.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

async fn wait<T: DeserializeOwned>(parts: Parts, source: Source, timeout: Option<Duration>) -> Result<T, Failed> {
    let Parts { attempt, call, .. } = parts;
    let mut busy = Some(attempt.busy());
    let mut until = None;
    if let Some(recorded) = attempt.recall(&call).await {
        if let Some(result) = attempt.replay(&call, &recorded).await {
            return result;
        }
        until = end_of(recorded.value.as_deref());
    } else if let Some(time) = timeout {
        until = Some(begin(&attempt, &call, time).await);
    }
    let shared = &attempt.shared;
    let watched = match &source {
        Source::Topic(_) => attempt.run(),
        Source::Run(child) => child,
    };
    loop {
        // Before the question: what comes after it is heard.
        let stirred = shared.watch(watched);
        if let Some(result) = ask(&attempt, &call, &source).await {
            return decode(&attempt, &call, result).await;
        }
        let left = match until {
            Some(until) => Some(left(&attempt, until).await),
            None => None,
        };
        if left.is_some_and(|left| left.is_zero()) {
            let message = format!("{} had no answer in time", call.title());
            return Err(attempt.settle_failed(&call, Failed::new(TIMED_OUT, message)).await);
        }
        let clock = &shared.settings.clock;
        let look_again = match source {
            Source::Topic(_) => left,
            Source::Run(_) => Some(left.map_or(CHILD, |left| left.min(CHILD))),
        };
        let waiting = attempt.waiting(call.seq, look_again.map(|left| clock.now() + left));
        busy.take();
        // Still here, the run is not put away: other steps are under way.
        let poll = shared.poll_interval();
        tokio::select! {
            () = stirred.stirred() => {}
            () = clock.wait(left.map_or(poll, |left| left.min(poll))) => {}
        }
        busy = Some(attempt.busy());
        drop(waiting);
    }
}

/// What a wait was for, as JSON or as an error; `None` if it is not there yet.
async fn ask(attempt: &Attempt, call: &Call, source: &Source) -> Option<Result<Box<str>, Failed>> {
    let shared = &attempt.shared;
    match source {
        Source::Topic(topic) => {
            let step = attempt.step(call, Progress::Done, None);
            match insist!(shared, shared.store.receive(&attempt.fence, topic, &step)) {
                Ok((Written::Fenced, _)) => {
                    attempt.written(Ok(Written::Fenced)).await;
                    None
                }
                Ok((_, None)) => None,
                Ok((written, Some(body))) => {
                    attempt.written(Ok(written)).await;
                    attempt.progress();
                    Some(Ok(body))
                }
                Err(error) => match attempt.store_failed(&error).await {},
            }
        }
        Source::Run(child) => {
            let run = match insist!(shared, shared.store.peek(child)) {
                Ok(run) => run,
                Err(error) => match attempt.store_failed(&error).await {},
            };
            let result = match run {
                None => Err(Failed::new("missing", format!("there is no run {child} any more"))),
                Some(run) if !run.state.has_ended() => return None,
                Some(run) if run.state == State::Ok => Ok(run.result.unwrap_or_else(|| "null".into())),
                Some(run) => {
                    let failure = run.error.unwrap_or_default();
                    let kind = if run.state == State::Cancelled { "cancelled" } else { failure.kind.as_str() };
                    Err(Failed::new(kind, format!("{child} is {}: {}", run.state, failure.message)))
                }
            };
            match result {
                Ok(value) => {
                    attempt.write(&attempt.step(call, Progress::Done, Some(value.clone()))).await;
                    Some(Ok(value))
                }
                Err(failed) => Some(Err(attempt.settle_failed(call, failed).await)),
            }
        }
    }
}

/// What came, as the type that the workflow waits for. It is recorded already: as it is, for the next attempt.
async fn decode<T: DeserializeOwned>(
    attempt: &Attempt,
    call: &Call,
    result: Result<Box<str>, Failed>,
) -> Result<T, Failed> {
    let step = attempt.step(call, Progress::Done, Some(result?));
    match attempt.replay(call, &step).await {
        Some(result) => result,
        None => match attempt.stop(crate::attempt::Interruption::Fenced).await {},
    }
}

/// Starts a child. Made by [`Ctx::start`](crate::Ctx::start).
#[must_use = "a child is started when this is awaited"]
pub struct ChildCall {
    parts: Option<(Parts, Start)>,
    under_way: Option<Boxed<'static, Result<Child, Failed>>>,
}

/// The child to be started.
pub(crate) struct Start {
    pub(crate) workflow: String,
    pub(crate) key: String,
    pub(crate) version: Option<String>,
    /// The input and its fingerprint.
    pub(crate) input: Result<(Box<str>, String), String>,
}

impl ChildCall {
    pub(crate) fn new(parts: Parts, start: Start) -> Self {
        Self { parts: Some((parts, start)), under_way: None }
    }

    /// The version of the workflow, for those that are not registered in this process. Default: what was registered last.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        if let Some((_, start)) = &mut self.parts {
            start.version = Some(version.into());
        }
        self
    }
}

impl Future for ChildCall {
    type Output = Result<Child, Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some((parts, start)) = self.parts.take() {
            self.under_way = Some(Box::pin(start_child(parts, start)));
        }
        match &mut self.under_way {
            Some(under_way) => under_way.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

async fn start_child(Parts { attempt, call, .. }: Parts, start: Start) -> Result<Child, Failed> {
    let _busy = attempt.busy();
    let child = |id| Child { attempt: attempt.clone(), id };
    if let Some(recorded) = attempt.recall(&call).await
        && let Some(result) = attempt.replay::<RunId>(&call, &recorded).await
    {
        return result.map(child);
    }
    attempt.rely().await;
    let parent = Some(attempt.run().clone());
    let started = insist_on_start(&attempt, start, parent).await;
    let id = attempt.settle(&call, started).await?;
    Ok(child(id))
}

async fn insist_on_start(attempt: &Attempt, start: Start, parent: Option<RunId>) -> Result<RunId, Failed> {
    use crate::error::RunError;
    use crate::handle::Begin;

    let begin = Begin { parent, ..Begin::new(&start.workflow, &start.key, start.version, start.input) };
    let shared = &attempt.shared;
    let mut patience = crate::patience::Patience::new(shared);
    loop {
        match shared.begin(&begin).await {
            Ok((run, _)) => return Ok(run),
            Err(RunError::Store(error)) => {
                if !patience.again(&error).await {
                    match attempt.store_failed(&error).await {}
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A run that another run started.
#[derive(Clone, Debug)]
pub struct Child {
    attempt: Arc<Attempt>,
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
        let call = self.attempt.call(Kind::Wait, self.id.as_str());
        let parts = Parts::new(&self.attempt, call);
        WaitCall { parts: Some((parts, Source::Run(self.id.clone()), None)), under_way: None, result: PhantomData }
    }
}

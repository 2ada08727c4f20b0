//! Waits that outlive the process: for a time, for a message, for a child.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::attempt::Attempt;
use crate::failed::{Failed, TIMED_OUT};
use crate::patience::insist;
use crate::replay::Call;
use crate::run::{Millis, Progress, RunId, State, millis};
use crate::step::{Boxed, Parts};
use crate::store::{Keep as _, Written};

/// A parent looks so often whether its child has ended, should it not be told.
const TOLD: Duration = Duration::from_secs(60);

/// A run that is not told looks so often whether the child has ended that another run has started before it: not more often
/// than a run is put away at all.
const UNTOLD: Duration = Duration::from_secs(1);

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
            self.under_way = Some(Box::pin(sleep_while_driven(parts, time)));
        }
        match &mut self.under_way {
            Some(under_way) => under_way.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

/// A sleep has no error to end with, and what comes after it must not happen before its time: it lasts for ever in a task
/// that outlives the workflow.
async fn sleep_while_driven(parts: Parts, time: Duration) {
    let slept = parts.while_driven(async |parts| {
        sleep(parts, time).await;
        Ok(())
    });
    if slept.await.is_err() {
        std::future::pending::<()>().await;
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

/// A wait for a message, or for the result of a child. Made by [`Ctx::wait`](crate::Ctx::wait) and
/// [`Child::result`](crate::Child::result).
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
    /// The end of this run, whose parent is told when it ends.
    Run { child: RunId, is_mine: bool },
}

impl<T> WaitCall<T> {
    pub(crate) fn topic(parts: Parts, topic: &str) -> Self {
        Self { parts: Some((parts, Source::Topic(topic.into()), None)), under_way: None, result: PhantomData }
    }

    pub(crate) fn run(parts: Parts, run: &RunId) -> Self {
        Self {
            parts: Some((parts, Source::Run { child: run.clone(), is_mine: true }, None)),
            under_way: None,
            result: PhantomData,
        }
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
            self.under_way = Some(Box::pin(parts.while_driven(move |parts| wait(parts, source, timeout))));
        }
        match &mut self.under_way {
            Some(under_way) => under_way.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

async fn wait<T: DeserializeOwned>(parts: Parts, mut source: Source, timeout: Option<Duration>) -> Result<T, Failed> {
    let Parts { attempt, call, .. } = parts;
    let mut busy = Some(attempt.busy());
    let recorded = attempt.recall(&call).await;
    if let Some(recorded) = &recorded
        && let Some(result) = attempt.replay(&call, recorded).await
    {
        return result;
    }
    let mut begun = recorded.is_some();
    let mut until = recorded.and_then(|step| end_of(step.value.as_deref()));
    if let Some(time) = timeout.filter(|_| until.is_none()) {
        until = Some(begin(&attempt, &call, time).await);
        begun = true;
    }
    let shared = &attempt.shared;
    let watched = match &source {
        Source::Topic(_) => attempt.run().clone(),
        Source::Run { child, .. } => child.clone(),
    };
    loop {
        // Before the question: what comes after it is heard.
        let stirred = shared.watch(&watched);
        if let Some(result) = ask(&attempt, &call, &mut source).await {
            return decode(&attempt, &call, result).await;
        }
        if !std::mem::replace(&mut begun, true) {
            // So that it can be seen from outside what the run waits for.
            attempt.write(&attempt.step(&call, Progress::Begun, None)).await;
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
            Source::Topic(_) => None,
            Source::Run { is_mine: true, .. } => Some(TOLD),
            Source::Run { is_mine: false, .. } => Some(UNTOLD.max(shared.settings.poll)),
        };
        let look_again = left.into_iter().chain(look_again).min();
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
async fn ask(attempt: &Attempt, call: &Call, source: &mut Source) -> Option<Result<Box<str>, Failed>> {
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
        Source::Run { child, is_mine } => {
            let run = match insist!(shared, shared.store.peek(child)) {
                Ok(run) => run,
                Err(error) => match attempt.store_failed(&error).await {},
            };
            *is_mine = run.as_ref().is_some_and(|run| run.parent.as_ref() == Some(attempt.run()));
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

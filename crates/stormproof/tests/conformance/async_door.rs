//! The async door on tokio's paused clock: the same scenarios as the core alone, and the same traces.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stormproof::{Bulkhead, CircuitBreaker, Classify, Clock, Cx, Error, Event, Instant, Policy, Verdict};
use stormproof_sim::scenario::{NAME, SEED};
use stormproof_sim::{Action, Call, CallTrace, Door, End, Reply, Scenario, Trace};
use tokio::time::{sleep, timeout, timeout_at};

/// A scenario that is not over by then never ends.
const NEVER: Duration = Duration::from_secs(7 * 86_400);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AsyncDoor;

impl Door for AsyncDoor {
    fn run(&self, scenario: &Scenario) -> Trace {
        run(scenario, |policy, call, attempts| Box::pin(make(policy, call, attempts)))
    }
}

/// Makes one call through the policy, and notes when its attempts start.
pub(crate) type Make = fn(Policy, Call, Attempts) -> Pin<Box<dyn Future<Output = End> + Send>>;

pub(crate) type Attempts = Arc<Mutex<Vec<Duration>>>;

/// A run in which calls are made like this.
pub(crate) fn run(scenario: &Scenario, make: Make) -> Trace {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(play(scenario, make))
}

/// A policy with handles on the stages that operators act on.
pub(crate) struct Stages {
    pub(crate) policy: Policy,
    breaker: Option<CircuitBreaker>,
    bulkhead: Option<Bulkhead>,
}

impl Stages {
    pub(crate) fn new(scenario: &Scenario, clock: &Clock) -> Self {
        let config = scenario.config.clone();
        let breaker = config.breaker.map(|config| CircuitBreaker::with_clock(NAME, config, clock).unwrap());
        let bulkhead = config.bulkhead.map(|config| Bulkhead::with_clock(NAME, config, clock).unwrap());
        let mut builder = Policy::builder(NAME).clock(clock).seed(SEED);
        if let Some(limit) = config.deadline {
            builder = builder.deadline(limit);
        }
        if let Some(limit) = config.attempt_timeout {
            builder = builder.attempt_timeout(limit);
        }
        if let Some(priority) = config.priority {
            builder = builder.priority(priority);
        }
        if let Some(retry) = config.retry {
            builder = builder.retry(retry);
        }
        if let Some(hedge) = config.hedge {
            builder = builder.hedge(hedge);
        }
        if let Some(latency) = config.latency {
            builder = builder.latency(latency);
        }
        if let Some(budget) = config.budget {
            builder = builder.budget(budget);
        }
        if let Some(throttle) = config.throttle {
            builder = builder.throttle(throttle);
        }
        if let Some(breaker) = &breaker {
            builder = builder.breaker(breaker);
        }
        if let Some(bulkhead) = &bulkhead {
            builder = builder.bulkhead(bulkhead);
        }
        if let Some(rate) = config.rate {
            builder = builder.rate(rate);
        }
        if let Some(tokens) = config.tokens {
            builder = builder.tokens(tokens);
        }
        Self { policy: builder.build().unwrap(), breaker, bulkhead }
    }

    /// All events: a breaker hears those of its policy as well as those an operator causes.
    pub(crate) fn record_events(&self) -> Arc<Mutex<Vec<Event>>> {
        let events = Arc::new(Mutex::new(Vec::new()));
        let noted = events.clone();
        let heard = self.breaker.as_ref().map_or(&self.policy, CircuitBreaker::policy);
        heard.on_event(move |event| noted.lock().unwrap().push(event.clone()));
        events
    }

    pub(crate) fn operate(&self, action: &Action) {
        if let (Action::Resize(slots), Some(bulkhead)) = (action, &self.bulkhead) {
            bulkhead.resize(*slots).unwrap();
        }
        let Some(breaker) = &self.breaker else { return };
        match action {
            Action::SetMode(mode) => breaker.set_mode(*mode),
            Action::Reset => breaker.reset(),
            Action::Update(config) => breaker.update(config.clone()).unwrap(),
            Action::Ask => breaker.allow_request().unwrap_or_default(),
            Action::Record(reply) if reply.is_error() => breaker.record_failure(reply.kind()),
            Action::Record(_) => breaker.record_success(),
            Action::Call(_) | Action::Resize(_) | Action::Look => {}
        }
    }
}

async fn play(scenario: &Scenario, make: Make) -> Trace {
    let clock = Clock::tokio();
    let start = tokio::time::Instant::now();
    let stages = Stages::new(scenario, &clock);
    let events = stages.record_events();
    let (mut looks, mut calls) = (Vec::new(), Vec::new());
    for (at, action) in &scenario.timeline {
        if start + *at > tokio::time::Instant::now() {
            tokio::time::sleep_until(start + *at).await;
            let_others_run().await;
        }
        match action {
            Action::Call(call) => calls.push(tokio::spawn(trace(stages.policy.clone(), call.clone(), start, make))),
            Action::Look => looks.push(stages.policy.snapshots()),
            operator => stages.operate(operator),
        }
        let_others_run().await;
    }
    let mut traces = Vec::new();
    for (number, call) in calls.into_iter().enumerate() {
        let ended = timeout(NEVER, call).await;
        traces.push(ended.unwrap_or_else(|_| panic!("call {number} never ends")).unwrap());
    }
    let events = events.lock().unwrap().clone();
    Trace { calls: traces, events, looks, stages: stages.policy.snapshots() }
}

/// Until those have run who are due now, and those whom they woke.
async fn let_others_run() {
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

/// One call, in a task of its own, so that a panic ends the call alone.
async fn trace(policy: Policy, call: Call, start: tokio::time::Instant, make: Make) -> CallTrace {
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let clock = policy.clock().clone();
    let cancel_at = call.cancel_at.map(|at| start + at);
    let running = make(policy, call, attempts.clone());
    let end = match cancel_at {
        Some(at) => tokio::spawn(async move { timeout_at(at, running).await.unwrap_or(End::Cancelled) }).await,
        None => tokio::spawn(running).await,
    };
    let attempts = attempts.lock().unwrap().clone();
    CallTrace { end: end.unwrap_or(End::Panicked), attempts, ended: clock.now().since(Instant::ZERO) }
}

async fn make(policy: Policy, call: Call, attempts: Attempts) -> End {
    let clock = policy.clock();
    let op = |cx: Cx<'_>| {
        attempts.lock().unwrap().push(clock.now().since(Instant::ZERO));
        answer(call.reply(cx.attempt()))
    };
    let mut calling = policy.call(op).classify(AsScripted).cost(call.cost).caller(call.caller);
    if let Some(limit) = call.deadline {
        calling = calling.deadline(limit);
    }
    let result = match call.inherited {
        None => calling.await,
        Some(left) => {
            let outer = Policy::builder("outer").deadline(left).clock(clock).build().unwrap();
            let mut inner = Some(calling);
            let nested = outer.call(|_| {
                let inner = inner.take().unwrap();
                async { Ok::<_, Infallible>(inner.await) }
            });
            nested.await.unwrap()
        }
    };
    let made = attempts.lock().unwrap().len();
    end(result, made)
}

/// How a call of so many attempts ended.
pub(crate) fn end(result: Result<Reply, Error<Reply>>, attempts: usize) -> End {
    let Err(error) = result else { return End::Ok };
    assert_eq!(error.attempts() as usize, attempts, "{error:?}");
    let last = error.last().map(Reply::kind);
    match error {
        Error::Failed { error, stop, .. } => End::Failed { kind: error.kind(), stop },
        Error::Refused { refused, timed_out, .. } => End::refused(refused, last, timed_out),
        Error::TimedOut { limit, stop, .. } => End::TimedOut { limit, stop, last },
        other => panic!("an end unknown to the door: {other:?}"),
    }
}

#[derive(Clone, Copy)]
pub(crate) struct AsScripted;

impl Classify<Reply, Reply> for AsScripted {
    fn classify<'a>(&self, result: Result<&'a Reply, &'a Reply>) -> Verdict<'a> {
        result.map_or_else(Reply::verdict, Reply::verdict)
    }
}

pub(crate) async fn answer(reply: Reply) -> Result<Reply, Reply> {
    match reply.after {
        Duration::ZERO => {}
        Duration::MAX => pending().await,
        time => sleep(time).await,
    }
    assert!(!reply.panics, "as the script says");
    if reply.is_ok { Ok(reply) } else { Err(reply) }
}

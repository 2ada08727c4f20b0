//! Asking for oneself: checks that are run together, each with a time limit, their results kept for a while.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use stormproof_core::event::Kind;
use stormproof_core::health::{Checks, Status, Transition};
use stormproof_core::{Event, Instant, Mistakes, Name, Snapshot};
use tokio::sync::broadcast;
use tokio::task::{Id, JoinError, JoinSet};

use super::check::{AlreadyRegistered, CheckReport, Finding, Registration};
use crate::call::inherited;
use crate::call::inside;
use crate::clock::{Clock, Sleep};
use crate::telemetry::events::Listener;
use crate::telemetry::events::subject::Subject;

const TIMED_OUT: &str = "timed out";

type Check = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Finding> + Send>> + Send + Sync>;

/// Runs health checks together and keeps what they found for a while. Clones are the same checker.
///
/// A check that takes too long, fails or panics is unhealthy. Each runs as a task of its own, so it needs a tokio runtime.
/// A call through a policy on the checker's clock has no more time than the check it is part of, and its breaker counts
/// it as a failure if that runs out.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stormproof::{HealthChecker, health::{Registration, Status}};
///
/// let checker = HealthChecker::new();
/// checker.register("database", || async { Ok::<(), std::io::Error>(()) })?;
/// let optional = Registration { critical: false, ..Default::default() };
/// checker.register_with("cache", optional, || std::future::ready(Err::<(), _>("no route")))?;
/// let found = checker.check_all().await;
/// assert_eq!((found["cache"].status, found["cache"].message.as_deref()), (Status::Unhealthy, Some("no route")));
/// assert_eq!(checker.overall_status(), Status::Degraded);
/// assert!(checker.is_ready());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct HealthChecker(Arc<Shared>);

struct Shared {
    config: Checks,
    subject: Subject,
    /// Held while checks run: who comes meanwhile gets their results.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    checks: BTreeMap<Name, Registered>,
    /// When all that are registered were last checked.
    checked_at: Option<Instant>,
    /// Grows with each registration.
    edition: u64,
    overall: Status,
    /// Grows with each transition.
    seq: u64,
}

struct Registered {
    check: Check,
    options: Registration,
    report: CheckReport,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.lock().checks.keys().cloned().collect();
        f.debug_struct("HealthChecker").field("config", &self.config).field("checks", &names).finish_non_exhaustive()
    }
}

impl Default for HealthChecker {
    fn default() -> Self {
        Self::new()
    }
}

crate::telemetry::events::tells!(HealthChecker, 0.subject.listeners);

impl HealthChecker {
    /// With the name `health` and the default configuration on the system's clock.
    pub fn new() -> Self {
        Self::build("health".into(), Checks::default(), &Clock::system())
    }

    /// With `config` on `clock`, or all that is wrong with it.
    pub fn with_clock(name: impl Into<Name>, config: Checks, clock: &Clock) -> Result<Self, Mistakes> {
        Mistakes::none(config.validate())?;
        Ok(Self::build(name.into(), config, clock))
    }

    fn build(name: Name, config: Checks, clock: &Clock) -> Self {
        let state = Mutex::new(State { overall: Status::Unknown, ..Default::default() });
        let subject = Subject::new(name, clock);
        Self(Arc::new(Shared { config, subject, turn: tokio::sync::Mutex::default(), state }))
    }

    /// Registers the check of something that nothing works without. A check that need not wait returns
    /// [`std::future::ready`].
    ///
    /// # Errors
    /// If there is one of that name: that one stays. [`unregister`](Self::unregister) it first to replace it.
    pub fn register<F, Fut>(&self, name: impl Into<Name>, check: F) -> Result<(), AlreadyRegistered>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output: Into<Finding>> + Send + 'static,
    {
        self.register_with(name, Registration::default(), check)
    }

    /// [`register`](Self::register), saying whether it is critical and how long it may take.
    pub fn register_with<F, Fut>(
        &self,
        name: impl Into<Name>,
        options: Registration,
        check: F,
    ) -> Result<(), AlreadyRegistered>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output: Into<Finding>> + Send + 'static,
    {
        let name = name.into();
        let check: Check = Arc::new(move || {
            let found = check();
            Box::pin(async move { found.await.into() })
        });
        let report = CheckReport::unknown(options.critical);
        let mut state = self.0.lock();
        if name == self.0.subject.name || state.checks.contains_key(&name) {
            return Err(AlreadyRegistered { name });
        }
        state.checks.insert(name, Registered { check, options, report });
        state.edition += 1;
        state.checked_at = None;
        Ok(())
    }

    /// Forgets a check; whether there was one.
    pub fn unregister(&self, name: &str) -> bool {
        let removed = self.0.lock().checks.remove(name);
        removed.is_some()
    }

    /// Checks everything that is registered, or gives the last results again while they are fresh. Who comes while
    /// checks are running gets what they find; a check that asks this gets the last results.
    pub async fn check_all(&self) -> BTreeMap<Name, CheckReport> {
        if inside::is_inside(inside::id(&self.0)) {
            return self.results();
        }
        let _turn = self.0.turn.lock().await;
        let fresh = self.0.lock().checked_at.is_some_and(|at| self.0.subject.now().since(at) < self.0.config.cache_ttl);
        if !fresh {
            self.0.run(inside::id(&self.0)).await;
        }
        self.results()
    }

    /// What was found last, without checking.
    pub fn results(&self) -> BTreeMap<Name, CheckReport> {
        self.0.lock().checks.iter().map(|(name, known)| (name.clone(), known.report.clone())).collect()
    }

    /// The whole by what was found last, by the rules of [`Status::of_parts`]: unknown before the first
    /// check, and healthy if nothing is registered.
    pub fn overall_status(&self) -> Status {
        self.0.lock().overall()
    }

    /// Whether work can be taken on, by what was found last: healthy or degraded.
    pub fn is_ready(&self) -> bool {
        self.overall_status().is_ready()
    }

    /// Whether the process is alive: always, as it answers.
    pub const fn is_alive(&self) -> bool {
        true
    }

    /// Calls `listener` with the old and the new status of the whole after each change; the first check's is one, from
    /// unknown. A listener that panics is passed over.
    pub fn on_status_change(&self, listener: impl Fn(Status, Status) + Send + Sync + 'static) -> Listener {
        let own = self.0.subject.name.clone();
        self.on_event(move |event| {
            if let Kind::Health { component, transition } = &event.kind
                && *component == own
            {
                listener(transition.from, transition.to);
            }
        })
    }

    /// Calls `listener` for every event: `health_changed` of a component, or of the whole under the checker's name. That
    /// a component turns out healthy at its first check is none.
    pub fn on_event(&self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Listener {
        self.0.subject.listeners.listen(listener)
    }

    /// The events from now on, through a queue of [`QUEUE`](crate::telemetry::events::QUEUE).
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subject.listeners.subscribe()
    }

    /// The components as data, for metrics and pages.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.results().into_iter().map(|(name, report)| report.snapshot(name)).collect()
    }
}

impl State {
    fn overall(&self) -> Status {
        Status::of_parts(self.checks.values().map(|known| (known.report.status, known.options.critical)))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, id: usize) {
        let (due, edition) = {
            let state = self.lock();
            let due = state.checks.iter().map(|(name, known)| (name.clone(), known.check.clone(), known.options));
            (due.collect::<Vec<_>>(), state.edition)
        };
        let mut tasks = JoinSet::new();
        let began = self.subject.now();
        let mut running: HashMap<Id, (Name, Instant)> = HashMap::with_capacity(due.len());
        for (name, check, options) in due {
            let until = began + options.timeout.unwrap_or(self.config.timeout);
            let task = tasks.spawn(inside::inside(id, limited(check, self.subject.clock.clone(), until)));
            running.insert(task.id(), (name, until));
        }
        while let Some(until) = running.values().map(|(_, until)| *until).min() {
            match next(&mut tasks, self.subject.clock.sleep_until(until)).await {
                Some(Ok((id, finding))) => self.found(running.remove(&id), began, finding),
                Some(Err(error)) => {
                    let panicked = Finding::new(Status::Unhealthy, Some("the check panicked"));
                    self.found(running.remove(&error.id()), began, panicked);
                }
                None => {
                    // Reported without it. The task ends by itself a little later.
                    let now = self.subject.now().max(until);
                    for (_, late) in running.extract_if(|_, (_, until)| *until <= now) {
                        self.found(Some(late), began, Finding::new(Status::Unhealthy, Some(TIMED_OUT)));
                    }
                }
            }
        }
        tasks.detach_all();
        self.conclude(edition);
    }

    /// Notes what a check found, and tells of it if it is news.
    fn found(&self, checked: Option<(Name, Instant)>, began: Instant, finding: Finding) {
        let Some((name, _)) = checked else { return };
        let now = self.subject.now();
        let transition = {
            let mut guard = self.lock();
            let state = &mut *guard;
            let Some(known) = state.checks.get_mut(&name) else { return };
            known.report.update(finding, now.since(began), now).map(|(from, to)| {
                state.seq += 1;
                let report = &known.report;
                Transition::new(state.seq, now, from, to).failed(report.consecutive_failures, report.message.as_deref())
            })
        };
        if let Some(transition) = transition {
            self.subject.tell(now, || Kind::Health { component: name, transition });
        }
    }

    /// All have been heard: the results are fresh from now on, unless a check was registered meanwhile.
    fn conclude(&self, edition: u64) {
        let now = self.subject.now();
        let transition = {
            let mut state = self.lock();
            state.checked_at = (state.edition == edition).then_some(now);
            let to = state.overall();
            let from = std::mem::replace(&mut state.overall, to);
            (from != to).then(|| {
                state.seq += 1;
                Transition::new(state.seq, now, from, to)
            })
        };
        if let Some(transition) = transition {
            self.subject.tell(now, || Kind::Health { component: self.subject.name.clone(), transition });
        }
    }
}

/// Time after its limit in which a check may still end by itself: policies in it then settle what they admitted.
const GRACE: Duration = Duration::from_secs(1);

/// Runs a check whose calls take `until` for their own deadline, and drops it if it goes on past that.
async fn limited(check: Check, clock: Clock, until: Instant) -> Finding {
    let mut late = pin!(clock.sleep_until(until + GRACE));
    let mut found = pin!(async move { check().await });
    std::future::poll_fn(|cx| match inherited::scope_of_own(&clock, until, || found.as_mut().poll(cx)) {
        Poll::Ready(finding) => Poll::Ready(finding),
        Poll::Pending => late.as_mut().poll(cx).map(|()| Finding::new(Status::Unhealthy, Some(TIMED_OUT))),
    })
    .await
}

/// The next task that ends, or `None` at the end of `sleep`. One that has ended comes first.
async fn next<T: 'static>(tasks: &mut JoinSet<T>, sleep: Sleep) -> Option<Result<(Id, T), JoinError>> {
    let mut sleep = pin!(sleep);
    std::future::poll_fn(|cx| match tasks.poll_join_next_with_id(cx) {
        Poll::Ready(Some(ended)) => Poll::Ready(Some(ended)),
        Poll::Ready(None) | Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
    })
    .await
}

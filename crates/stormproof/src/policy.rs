//! A policy with a clock and listeners: what calls are made through.

pub(crate) mod builder;
pub(crate) mod ext;
pub mod retry;
pub(crate) mod stages;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use stormproof_core as core;
use stormproof_core::{Edge, Event, Instant, Mistakes, Name, Snapshot, Ticket};
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::clock::waiters;
use crate::telemetry::events::{self, Listener, Listeners};

/// The stages a call passes, with a clock and listeners. Cheap to clone; clones are the same policy.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use stormproof::{CircuitBreaker, Policy, Retry};
///
/// let policy = Policy::builder("openai")
///     .deadline(Duration::from_secs(30))
///     .retry(Retry::exponential(Duration::from_millis(200)).max_retries(3))
///     .breaker(&CircuitBreaker::new("openai"))
///     .attempt_timeout(Duration::from_secs(10))
///     .build()?;
///
/// let answer = policy.call(|_| async { Ok::<_, std::io::Error>(42) }).await?;
/// assert_eq!(answer, 42);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Policy(pub(crate) Arc<Shared>);

events::tells!(Policy, 0.listeners);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) core: core::Policy,
    pub(crate) clock: Clock,
    /// Listeners of the policy itself.
    pub(crate) listeners: Listeners,
    /// Handles of its stages. All versions of a policy (see [`Policy::once`], and those of a registry before and after a
    /// reload) have the same.
    pub(crate) handles: Arc<Handles>,
}

/// What the handles of a policy's stages hold: for each a policy with that stage alone, made when the handle is first asked
/// for, unless the stage came from outside.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    pub(crate) breaker: OnceLock<Policy>,
    pub(crate) bulkhead: OnceLock<Policy>,
    pub(crate) rate: OnceLock<Policy>,
    pub(crate) tokens: OnceLock<Policy>,
}

impl Handles {
    /// The listeners of those stages that `core` has.
    fn listeners(&self, core: &core::Policy) -> impl Iterator<Item = &Listeners> {
        let breaker = core.breaker.as_ref().and_then(|_| Some(&self.breaker.get()?.0.listeners));
        let bulkhead = core.bulkhead.as_ref().and_then(|_| Some(&self.bulkhead.get()?.0.listeners));
        let rate = core.rate.as_ref().and_then(|_| Some(&self.rate.get()?.0.listeners));
        let tokens = core.tokens.as_ref().and_then(|_| Some(&self.tokens.get()?.0.listeners));
        // One limiter may be both.
        let tokens = tokens.filter(|tokens| !rate.is_some_and(|rate| rate.is(tokens)));
        [breaker, bulkhead, rate, tokens].into_iter().flatten()
    }
}

impl Shared {
    fn all_listeners(&self) -> impl Iterator<Item = &Listeners> {
        std::iter::once(&self.listeners).chain(self.handles.listeners(&self.core))
    }
}

impl Policy {
    /// A policy from a configuration, or all that is wrong with it.
    pub fn from_config(name: impl Into<Name>, config: core::policy::Config) -> Result<Self, Mistakes> {
        config.build(name, crate::random_seed()).map(|core| Self::from_core(core, Clock::system()))
    }

    pub(crate) fn from_core(core: core::Policy, clock: Clock) -> Self {
        Self::with_handles(core, clock, Handles::default())
    }

    pub(crate) fn with_handles(core: core::Policy, clock: Clock, handles: Handles) -> Self {
        Self(Arc::new(Shared { core, clock, listeners: Listeners::default(), handles: Arc::new(handles) }))
    }

    /// Another version of the policy, with these stages: clock, listeners and handles are the same.
    pub(crate) fn but(&self, core: core::Policy) -> Self {
        let Shared { clock, listeners, handles, .. } = &*self.0;
        let (clock, listeners, handles) = (clock.clone(), listeners.clone(), handles.clone());
        Self(Arc::new(Shared { core, clock, listeners, handles }))
    }

    /// Without any stage.
    pub(crate) fn bare(name: impl Into<Name>, clock: &Clock) -> Self {
        Self::from_core(core::Policy::new(name), clock.clone())
    }

    /// The same policy for calls that must not be repeated: it shares all stages and listeners, and
    /// never retries or hedges.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # use stormproof::{Policy, Retry};
    /// let policy = Policy::builder("shop").retry(Retry::default()).build().unwrap();
    /// let order = policy.once().call(|_| async { Err::<(), _>("lost") }).await;
    /// assert_eq!(order.unwrap_err().attempts(), 1);
    /// # }
    /// ```
    #[must_use]
    pub fn once(&self) -> Self {
        let mut stages = self.0.core.clone();
        (stages.retry, stages.hedge) = (None, None);
        self.but(stages)
    }

    /// The same policy for calls whose time is limited elsewhere: it shares all stages and listeners, and has neither
    /// `deadline` nor `attempt_timeout`.
    #[must_use]
    pub fn untimed(&self) -> Self {
        let mut stages = self.0.core.clone();
        (stages.deadline, stages.attempt_timeout) = (None, None);
        self.but(stages)
    }

    /// The name.
    pub fn name(&self) -> &Name {
        &self.0.core.name
    }

    /// The stages, as the core has them.
    pub fn stages(&self) -> &core::Policy {
        &self.0.core
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Calls `listener` for every event of this policy: at once, after the stages have settled, under no lock. A
    /// listener that panics is passed over. It stays until it is [ended](Listener::end).
    pub fn on_event(&self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Listener {
        self.0.listeners.listen(listener)
    }

    /// The events of this policy from now on, through a queue of [`QUEUE`](crate::telemetry::events::QUEUE): who falls behind
    /// loses the oldest and is told how many. Ends when the receiver is dropped.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.listeners.subscribe()
    }

    /// What the policy means in numbers: how long a call can take, how many attempts it can cause, when its circuit
    /// opens, and what in it is dangerous.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use stormproof::Policy;
    /// let policy = Policy::builder("tool").deadline(Duration::from_secs(30)).build()?;
    /// let explained = policy.explain();
    /// assert_eq!(explained.worst_case.limit(), Some(Duration::from_secs(30)));
    /// println!("{explained}");
    /// # Ok::<(), stormproof::Mistakes>(())
    /// ```
    pub fn explain(&self) -> core::explain::Explanation {
        self.0.core.explain()
    }

    /// The stages as data, for metrics and pages.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.0.core.snapshots(self.0.clock.now())
    }

    /// Passes on an event that was made outside a call (by an operator's word).
    pub(crate) fn tell(&self, kind: core::event::Kind) {
        let event = Event::new(self.0.clock.now(), self.name().clone(), kind);
        DoorEdge(&self.0).event(event);
    }

    #[inline]
    pub(crate) fn deadline_at(&self, now: Instant, own: Option<Duration>) -> Instant {
        own.map_or_else(|| self.0.core.deadline_at(now), |limit| now + limit)
    }
}

/// How the doors do what the core asks: wakers and listeners.
pub(crate) struct DoorEdge<'a>(pub(crate) &'a Shared);

impl Edge for DoorEdge<'_> {
    fn wake(&mut self, ticket: Ticket) {
        waiters::wake(ticket);
    }

    fn listens(&self) -> bool {
        self.0.all_listeners().any(Listeners::anybody)
    }

    fn event(&mut self, event: Event) {
        events::tell(self.0.all_listeners(), &event);
    }
}

//! Each stage by itself: a policy with that stage alone, and what only that stage can do.
//!
//! The same handle can be given to any number of policies, which then share it.

use std::future::Future;
use std::sync::Arc;

use stormproof_core as core;
use stormproof_core::breaker::{self, Change, Mode, State, Transition};
use stormproof_core::event::Kind;
use stormproof_core::{Mistakes, Name, Refused, Verdict, bulkhead, rate};

use crate::call::{Calling, Cx};
use crate::classify::ErrIsFailure;
use crate::clock::Clock;
use crate::error::Error;
use crate::events::Listener;
use crate::held::Held;
use crate::policy::{Policy, StageListeners};
use crate::sync::SyncCall;
use crate::waiters;

macro_rules! stage {
    ($stage:ident, $field:ident, $config:ty) => {
        crate::events::tells!($stage, policy.0.listeners);

        impl $stage {
            /// With `config` on the system's clock, or all that is wrong with it.
            pub fn with_config(name: impl Into<Name>, config: $config) -> Result<Self, Mistakes> {
                Self::with_clock(name, config, &Clock::system())
            }

            /// Without a name: it is shown as `anonymous-<n>` and never taken for another.
            pub fn anonymous(config: $config) -> Result<Self, Mistakes> {
                Self::with_config(Name::anonymous(), config)
            }

            /// The name.
            pub fn name(&self) -> &Name {
                self.policy.name()
            }

            /// How it is configured now.
            pub fn config(&self) -> $config {
                self.stage.config()
            }

            /// The policy that has this stage alone: for events, snapshots and holding.
            pub fn policy(&self) -> &Policy {
                &self.policy
            }

            /// Calls `op` through this stage alone.
            pub fn call<'p, F, Fut, T, E>(&'p self, op: F) -> Calling<'p, F, Fut, ErrIsFailure>
            where
                F: FnMut(Cx<'p>) -> Fut,
                Fut: Future<Output = Result<T, E>>,
            {
                self.policy.call(op)
            }

            /// Calls the synchronous `op` through this stage alone, see [`Policy::call_sync`].
            pub fn call_sync<'p, F, T, E>(&'p self, op: F) -> SyncCall<'p, F, ErrIsFailure>
            where
                F: FnMut(Cx<'p>) -> Result<T, E>,
            {
                self.policy.call_sync(op)
            }

            pub(crate) fn core(&self) -> &Arc<core::$stage> {
                &self.stage
            }

            fn from_core(stage: core::$stage, clock: &Clock) -> Self {
                let stage = Arc::new(stage);
                let mut policy = core::Policy::new(stage.name().clone());
                policy.$field = Some(stage.clone());
                Self { policy: Policy::from_core(policy, clock.clone(), StageListeners::default()), stage }
            }
        }
    };
}

/// A circuit breaker: stops calling what has been failing, and finds out by probes when it is well again.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use stormproof::{breaker::State, CircuitBreaker, Error};
///
/// let breaker = CircuitBreaker::new("openai"); // opens after 5 failures in a row, for 60 s
/// breaker.on_state_change(|old, new| println!("{} -> {}", old.as_str(), new.as_str()));
/// for _ in 0..5 {
///     let _ = breaker.call(|_| async { Err::<(), _>("down") }).await;
/// }
/// assert_eq!(breaker.state(), State::Open);
/// let refused = breaker.call(|_| async { Ok::<_, &str>(()) }).await.unwrap_err();
/// assert!(matches!(refused, Error::Refused { .. }));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CircuitBreaker {
    policy: Policy,
    stage: Arc<core::CircuitBreaker>,
}

stage!(CircuitBreaker, breaker, breaker::Config);

impl CircuitBreaker {
    /// With the default configuration on the system's clock.
    pub fn new(name: impl Into<Name>) -> Self {
        Self::on(name, &Clock::system())
    }

    /// With `config` on `clock`, or all that is wrong with it.
    pub fn with_clock(name: impl Into<Name>, config: breaker::Config, clock: &Clock) -> Result<Self, Mistakes> {
        let stage = core::CircuitBreaker::with_config(name, config)?.seed(crate::random_seed());
        Ok(Self::from_core(stage, clock))
    }

    /// With the default configuration on `clock`.
    pub(crate) fn on(name: impl Into<Name>, clock: &Clock) -> Self {
        Self::from_core(core::CircuitBreaker::new(name).seed(crate::random_seed()), clock)
    }

    /// Takes over what a former process has left of this breaker: once, before its first call.
    pub fn import(&self, saved: &breaker::Saved) {
        let change = self.stage.import(self.policy.clock().now(), saved);
        self.tell(change);
    }

    /// What outlives this process, for [`import`](Self::import) in another one.
    pub fn export(&self) -> breaker::Saved {
        self.stage.export(self.policy.clock().now())
    }

    /// The state: half-open as soon as the wait is over, though only a call makes it so.
    pub fn state(&self) -> State {
        self.stage.state(self.policy.clock().now())
    }

    /// What the breaker has counted.
    pub fn stats(&self) -> breaker::Stats {
        self.stage.stats(self.policy.clock().now())
    }

    /// How well what stands behind the circuit is, from 0 (open) to 1; see [`core::CircuitBreaker::health_score`].
    pub fn health_score(&self) -> f64 {
        self.stage.health_score(self.policy.clock().now())
    }

    /// The last transitions, oldest first.
    pub fn history(&self) -> Vec<Transition> {
        self.stage.history()
    }

    /// Whether a call would pass now; takes nothing.
    pub fn is_available(&self) -> bool {
        self.stage.is_available(self.policy.clock().now())
    }

    /// Calls `listener` with the old and the new state after each transition, whichever policy caused it. It stays until
    /// it is [ended](Listener::end).
    pub fn on_state_change(&self, listener: impl Fn(State, State) + Send + Sync + 'static) -> Listener {
        let own = self.name().clone();
        self.policy.on_event(move |event| {
            if let Kind::Circuit { breaker, transition } = &event.kind
                && *breaker == own
            {
                listener(transition.from, transition.to);
            }
        })
    }

    /// Closes the circuit in normal mode and forgets windows and waits.
    pub fn reset(&self) {
        self.set_mode(Mode::Normal);
    }

    /// Hands the decision to an operator, or back.
    pub fn set_mode(&self, mode: Mode) {
        let transition = self.stage.set_mode(self.policy.clock().now(), mode);
        self.tell(transition.map(Change::Moved));
    }

    /// Changes the configuration and keeps state and counts, or says all that is wrong with it.
    pub fn update(&self, config: breaker::Config) -> Result<(), Mistakes> {
        self.stage.update(config)
    }

    /// The protocol without a guard: ask, call, then [`record_success`](Self::record_success) or
    /// [`record_failure`](Self::record_failure). A yes takes a place until then, at most for `half_open_timeout`.
    pub fn allow_request(&self) -> Result<(), Refused> {
        let change = self.stage.allow_request(self.policy.clock().now()).map_err(|refusal| refusal.to_refused())?;
        self.tell(change);
        Ok(())
    }

    /// Records a success for the oldest request that was allowed and has no result; does nothing if there is none.
    pub fn record_success(&self) {
        self.record(&Verdict::success());
    }

    /// Records a failure of this kind for the oldest request that was allowed and has no result; does nothing if there
    /// is none.
    pub fn record_failure(&self, kind: &str) {
        self.record(&Verdict::failure(kind));
    }

    fn record(&self, verdict: &Verdict<'_>) {
        let change = self.stage.record(self.policy.clock().now(), verdict);
        self.tell(change);
    }

    fn tell(&self, change: Option<Change>) {
        if let Some(change) = change {
            self.policy.tell(Kind::of_change(self.name(), change));
        }
    }
}

/// A bulkhead: so many calls at once, a bounded queue behind them, first come first served.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stormproof::{bulkhead, Bulkhead};
///
/// let bulkhead = Bulkhead::with_config("api", bulkhead::Config { max_concurrent: 10, ..Default::default() })?;
/// let slot = bulkhead.acquire().await?;
/// assert_eq!(bulkhead.stats().active, 1);
/// drop(slot);
/// assert_eq!(bulkhead.stats().active, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Bulkhead {
    policy: Policy,
    stage: Arc<core::Bulkhead>,
}

stage!(Bulkhead, bulkhead, bulkhead::Config);

impl Bulkhead {
    /// With the default configuration on the system's clock.
    pub fn new(name: impl Into<Name>) -> Self {
        Self::from_core(core::Bulkhead::new(name), &Clock::system())
    }

    /// With `config` on `clock`, or all that is wrong with it.
    pub fn with_clock(name: impl Into<Name>, config: bulkhead::Config, clock: &Clock) -> Result<Self, Mistakes> {
        core::Bulkhead::with_config(name, config).map(|stage| Self::from_core(stage, clock))
    }

    /// Waits for a slot. Dropping what comes back frees it.
    pub async fn acquire(&self) -> Result<Held, Error<std::convert::Infallible>> {
        self.policy.admit().await
    }

    /// [`acquire`](Self::acquire) for a thread that may block.
    pub fn acquire_sync(&self) -> Result<Held, Error<std::convert::Infallible>> {
        self.policy.admit_sync()
    }

    /// Active, queued and refused callers.
    pub fn stats(&self) -> bulkhead::Stats {
        self.stage.stats()
    }

    /// Changes the configuration and keeps the state, or says all that is wrong with it.
    pub fn update(&self, config: bulkhead::Config) -> Result<(), Mistakes> {
        self.stage.update(config)?.into_iter().for_each(waiters::wake);
        Ok(())
    }

    /// Changes the number of slots. Growing lets waiters in, shrinking sends nobody away.
    pub fn resize(&self, max_concurrent: u32) -> Result<(), Mistakes> {
        self.stage.resize(max_concurrent)?.into_iter().for_each(waiters::wake);
        Ok(())
    }
}

/// A rate limiter: so many in a time, with a burst; who has to wait does so in order.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stormproof::{rate, RateLimiter};
///
/// let limiter = RateLimiter::with_config("anthropic", rate::Config { rate: 10, burst: Some(20), ..Default::default() })?;
/// limiter.acquire(1).await?; // waits if it must
/// assert!(limiter.try_acquire(1)); // does not wait
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RateLimiter {
    policy: Policy,
    stage: Arc<core::RateLimiter>,
}

stage!(RateLimiter, tokens, rate::Config);

impl RateLimiter {
    /// With the default configuration on the system's clock.
    pub fn new(name: impl Into<Name>) -> Self {
        Self::from_core(core::RateLimiter::new(name), &Clock::system())
    }

    /// With `config` on `clock`, or all that is wrong with it.
    pub fn with_clock(name: impl Into<Name>, config: rate::Config, clock: &Clock) -> Result<Self, Mistakes> {
        core::RateLimiter::with_config(name, config).map(|stage| Self::from_core(stage, clock))
    }

    /// Waits until `cost` is allowed, and takes it.
    pub async fn acquire(&self, cost: u32) -> Result<(), Error<std::convert::Infallible>> {
        self.reserve(cost).await.map(drop)
    }

    /// Waits until `cost` is allowed, and reserves it: settle what comes back with [`Verdict::used`] to correct the cost,
    /// or release it to give the cost back. Dropped, the cost stays taken.
    pub async fn reserve(&self, cost: u32) -> Result<Held, Error<std::convert::Infallible>> {
        self.policy.admit_cost(cost).await
    }

    /// [`acquire`](Self::acquire) for a thread that may block.
    pub fn acquire_sync(&self, cost: u32) -> Result<(), Error<std::convert::Infallible>> {
        self.reserve_sync(cost).map(drop)
    }

    /// [`reserve`](Self::reserve) for a thread that may block.
    pub fn reserve_sync(&self, cost: u32) -> Result<Held, Error<std::convert::Infallible>> {
        self.policy.admit_cost_sync(cost)
    }

    /// Takes `cost` if that is allowed now.
    pub fn try_acquire(&self, cost: u32) -> bool {
        self.stage.try_acquire(self.policy.clock().now(), cost).is_ok()
    }

    /// How long a caller would have to wait for `cost` now; takes nothing. [`Duration::MAX`](std::time::Duration::MAX)
    /// if it can never pass.
    pub fn peek(&self, cost: u32) -> std::time::Duration {
        self.stage.peek(self.policy.clock().now(), cost)
    }

    /// Changes the configuration and keeps the state, or says all that is wrong with it.
    pub fn update(&self, config: rate::Config) -> Result<(), Mistakes> {
        self.stage.update(self.policy.clock().now(), config)?.into_iter().for_each(waiters::wake);
        Ok(())
    }

    /// Allowed and refused requests, who waits, what is left.
    pub fn stats(&self) -> rate::Stats {
        self.stage.stats(self.policy.clock().now())
    }
}

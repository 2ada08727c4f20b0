//! A circuit breaker by itself.

use std::sync::Arc;

use stormproof_core as core;
use stormproof_core::breaker::{self, Change, Mode, State, Transition};
use stormproof_core::event::Kind;
use stormproof_core::{Mistakes, Name, Refused, Verdict};

use crate::clock::Clock;
use crate::policy::Policy;
use crate::telemetry::events::Listener;

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

super::stage!(CircuitBreaker, breaker, breaker::Config);

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

    /// Takes over what a former process has left of this breaker, once. If it has had results since, these are later: then
    /// it takes over the totals alone.
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

    /// Ends an operator's mode, so that the configured one holds, and forgets windows and waits. The circuit closes, unless
    /// it is configured to be held open.
    pub fn reset(&self) {
        let transition = self.stage.reset(self.policy.clock().now());
        self.tell(transition.map(Change::Moved));
    }

    /// Hands the decision to an operator, or back.
    pub fn set_mode(&self, mode: Mode) {
        let transition = self.stage.set_mode(self.policy.clock().now(), mode);
        self.tell(transition.map(Change::Moved));
    }

    /// Changes the configuration and keeps state and counts, or says all that is wrong with it. A mode that an operator set
    /// stays, unless `config` has another mode than the configuration before.
    pub fn update(&self, config: breaker::Config) -> Result<(), Mistakes> {
        let transition = self.stage.update(self.policy.clock().now(), config)?;
        self.tell(transition.map(Change::Moved));
        Ok(())
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

    pub(crate) fn tell(&self, change: Option<Change>) {
        if let Some(change) = change {
            self.policy.tell(Kind::of_change(self.name(), change));
        }
    }
}

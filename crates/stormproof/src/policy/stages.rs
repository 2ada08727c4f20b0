//! Each stage by itself: a policy with that stage alone, and what only that stage can do.
//!
//! The same handle can be given to any number of policies, which then share it. Owns what all handles have in common.

/// What the handle of any stage can do; written in the module of the stage.
macro_rules! stage {
    ($stage:ident, $field:ident, $config:ty) => {
        crate::telemetry::events::tells!($stage, policy.0.listeners);

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
            pub fn call<'p, F, R, T, E>(&'p self, op: F) -> $crate::Calling<'p, F, T, E>
            where
                F: FnMut($crate::Cx<'p>) -> R,
                R: std::future::IntoFuture<Output = Result<T, E>>,
            {
                self.policy.call(op)
            }

            /// Calls the synchronous `op` through this stage alone, see [`Policy::call_sync`].
            pub fn call_sync<'p, F, T, E>(&'p self, op: F) -> $crate::Calling<'p, F, T, E>
            where
                F: FnMut($crate::Cx<'p>) -> Result<T, E>,
            {
                self.policy.call_sync(op)
            }

            pub(crate) fn core(&self) -> &Arc<core::$stage> {
                &self.stage
            }

            fn from_core(stage: core::$stage, clock: &Clock) -> Self {
                let stage = Arc::new(stage);
                Self { policy: Self::alone(&stage, clock), stage }
            }

            /// The handle that holds `policy`.
            pub(super) fn of(policy: &Policy) -> Option<Self> {
                let stage = policy.0.core.$field.clone()?;
                Some(Self { policy: policy.clone(), stage })
            }

            /// A policy with `stage` alone, and listeners of its own.
            pub(super) fn alone(stage: &Arc<core::$stage>, clock: &Clock) -> Policy {
                let mut policy = core::Policy::new(stage.name().clone());
                policy.$field = Some(stage.clone());
                Policy::from_core(policy, clock.clone())
            }
        }
    };
}
use stage;

mod breaker;
mod budget;
mod bulkhead;
mod limiter;
mod throttle;

pub use breaker::CircuitBreaker;
pub use budget::RetryBudget;
pub use bulkhead::Bulkhead;
pub use limiter::RateLimiter;
pub use throttle::Throttle;

use stormproof_core as core;

use crate::policy::Policy;

/// A stage's handle, and the same of a stage in `stages`, which may have more than the policy lets calls through.
macro_rules! handles {
    ($($(#[$doc:meta])* $field:ident, $within:ident: $stage:ident;)*) => {$(
        $(#[$doc])*
        pub fn $field(&self) -> Option<$stage> {
            self.$within(&self.0.core)
        }

        pub(crate) fn $within(&self, stages: &core::Policy) -> Option<$stage> {
            let stage = stages.$field.as_ref()?;
            let alone = self.0.handles.$field.get_or_init(|| {
                let alone = $stage::alone(stage, self.clock());
                self.0.listeners.share_buses(&alone.0.listeners);
                alone
            });
            $stage::of(alone)
        }
    )*};
}

impl Policy {
    handles! {
        /// The circuit breaker, if it has one: the same handle each time, with listeners of its own.
        breaker, breaker_in: CircuitBreaker;
        /// The bulkhead, if it has one; see [`breaker`](Self::breaker).
        bulkhead, bulkhead_in: Bulkhead;
        /// The limit of requests, if it has one; see [`breaker`](Self::breaker).
        rate, rate_in: RateLimiter;
        /// The limit of tokens, if it has one; see [`breaker`](Self::breaker).
        tokens, tokens_in: RateLimiter;
    }
}

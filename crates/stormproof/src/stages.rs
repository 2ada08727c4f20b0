//! Each stage by itself: a policy with that stage alone, and what only that stage can do.
//!
//! The same handle can be given to any number of policies, which then share it. Owns what all handles have in common.

/// What the handle of any stage can do; written in the module of the stage.
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
                Self::on_core(&Arc::new(stage), clock)
            }

            /// A handle of `stage`, with listeners of its own.
            pub(crate) fn on_core(stage: &Arc<core::$stage>, clock: &Clock) -> Self {
                let mut policy = core::Policy::new(stage.name().clone());
                policy.$field = Some(stage.clone());
                Self { policy: Policy::from_core(policy, clock.clone()), stage: stage.clone() }
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

//! Health at the edge: handles with a clock and listeners around what the core decides.
//!
//! [`HealthTracker`] follows the outcomes of calls, [`HealthAggregator`] puts trackers and breakers together, and
//! [`HealthChecker`] asks for itself.

mod aggregator;
mod check;
mod checker;
mod follow;
mod tracker;

pub use aggregator::{HealthAggregator, Overall, ServiceHealth, Source};
pub use check::{AlreadyRegistered, CheckReport, Finding, Registration};
pub use checker::HealthChecker;
pub use follow::Followed;
pub use stormproof_core::health::{
    CALLS, Checks, Config, ERROR_BYTES, RecentError, Report, Status, Strategy, Transition, check_policy,
};
pub use tracker::HealthTracker;

//! What is seen of policies: events, metrics, and statistics in the shapes of other systems.

pub mod events;
pub mod metrics;
#[cfg(all(feature = "compat", feature = "serde"))]
pub mod shapes;

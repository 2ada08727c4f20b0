//! What stands beside policies: health of what is called, degradation of answers, work that waits, and the loop guard of an
//! agent.

mod caught;
pub mod degrade;
pub mod executor;
pub mod health;
pub mod loop_guard;
pub mod queue;
pub mod resource;

//! Shows what the journal promises, from outside: processes on one journal are killed, stopped and started again at
//! random while they work through runs of twenty steps, and afterwards the callee, the tables and the answers must agree.
//!
//! The [`conductor`] starts a [`bank`] and some [`worker`]s as processes, starts the runs, and does harm as [`faults`] says.
//! Meanwhile an [`auditor`] reads the tables. What must hold in the end is in [`verdict`].
#![cfg(unix)]

pub mod auditor;
pub mod bank;
pub mod conductor;
mod crew;
pub mod faults;
pub mod options;
pub mod plan;
pub mod process;
pub mod tables;
pub mod verdict;
pub mod worker;
pub mod workflow;

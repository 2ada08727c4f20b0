//! The loop guard in a real agent loop: a model that chooses calls, tools that are carried out, and a driver that does what
//! the guard says. Runs that go in circles are found in so many calls; long runs that get somewhere are left alone.
#![cfg(test)]
#![allow(missing_docs)]

mod agent;
mod bad;
mod good;
mod random;
mod state;
mod transcripts;

//! The breaker against the obvious: lists of everything that happened, searched anew for every question.
#![cfg(not(loom))]
#![cfg(test)]
#![allow(clippy::cast_possible_truncation, reason = "the numbers are small")]

mod breaker;
mod model;
mod operations;
mod rules;

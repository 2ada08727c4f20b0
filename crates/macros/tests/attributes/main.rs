//! What functions with attributes do (T27, T28, acceptance A14, A15, C11, C12, C18, C19, F1 to F3, G1, G2).
#![cfg(test)]
#![allow(clippy::unnecessary_wraps, clippy::unused_async, reason = "what is called is as users have it")]

mod fallbacks;
mod functions;
mod stages;

use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};

use stormproof::{Interrupted, Reason, Verdict};

/// An error of a user's own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ApiError {
    RateLimit,
    Unauthorized,
    Interrupted(Interrupted),
}

impl From<Interrupted> for ApiError {
    fn from(interrupted: Interrupted) -> Self {
        Self::Interrupted(interrupted)
    }
}

pub(crate) fn kinds<'a, T>(result: Result<&'a T, &'a ApiError>) -> Verdict<'a> {
    match result {
        Ok(_) => Verdict::success(),
        Err(ApiError::RateLimit) => Verdict::failure("RateLimitError"),
        Err(ApiError::Unauthorized) => Verdict::failure("AuthenticationError"),
        Err(ApiError::Interrupted(_)) => Verdict::ignored("Interrupted"),
    }
}

/// Counts its calls, and fails the first so many.
#[derive(Default)]
pub(crate) struct Calls(AtomicU32);

impl Calls {
    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn next<E>(&self, failures: u32, error: E) -> Result<u32, E> {
        let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        if number > failures { Ok(number) } else { Err(error) }
    }
}

pub(crate) fn refusal(result: Result<u32, ApiError>) -> Option<Reason> {
    match result {
        Err(ApiError::Interrupted(interrupted)) => Some(interrupted.refused()?.reason),
        _ => None,
    }
}

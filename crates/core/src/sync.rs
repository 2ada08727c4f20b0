//! The atomics and the mutex of this crate, or loom's in their place.
//!
//! Built with `--cfg loom` the same code runs under loom's model checker. Nothing else in the crate names
//! `std::sync::atomic` or `Mutex`.

#[cfg(loom)]
use loom::sync::Mutex as RawMutex;
#[cfg(not(loom))]
use std::sync::Mutex as RawMutex;

#[cfg(loom)]
pub(crate) use loom::sync::MutexGuard;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::MutexGuard;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A mutex whose lock cannot fail: no user code runs under it, so a panic under it is a bug of ours, and the
/// invariants it guards hold between any two statements.
#[derive(Debug)]
pub(crate) struct Mutex<T>(RawMutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(RawMutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Keeps what several threads write apart from what they only read, so that neither evicts the other's cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

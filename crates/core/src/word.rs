//! A state in one atomic word, with a flag that leaves it to the holder of a mutex.
//!
//! Owns the flag and the exchange. What the other 63 bits mean, and which mutex it is, is the stage's affair: the word says
//! what the state behind the mutex says, so that whoever need not wait does not need the mutex.

use crate::sync::{AtomicU64, Ordering};

/// Set while somebody waits or while the mutex is held to change the word: then only the mutex's holder may.
const LOCKED: u64 = 1 << 63;

/// The largest value of a word.
pub(crate) const LARGEST: u64 = LOCKED - 1;

#[derive(Debug)]
pub(crate) struct Word(AtomicU64);

impl Word {
    pub(crate) fn new(value: u64) -> Self {
        Self(AtomicU64::new(value & LARGEST))
    }

    /// The value, whoever may change it.
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Acquire) & LARGEST
    }

    /// Replaces the value by what `change` makes of it. Does nothing and says `None` if that is left to the mutex's
    /// holder; does nothing and says why if `change` does not want to.
    #[inline]
    pub(crate) fn update<E>(&self, change: impl Fn(u64) -> Result<u64, E>) -> Result<(), Option<E>> {
        let mut word = self.0.load(Ordering::Acquire);
        while word & LOCKED == 0 {
            let after = change(word).map_err(Some)?;
            match self.0.compare_exchange_weak(word, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(present) => word = present,
            }
        }
        Err(None)
    }

    /// Takes the value into the hands of the mutex's holder, who alone may call this.
    pub(crate) fn lock(&self) -> u64 {
        self.0.fetch_or(LOCKED, Ordering::AcqRel) & LARGEST
    }

    /// Gives a value back; `waiting`: somebody waits, so that it stays with the mutex.
    pub(crate) fn unlock(&self, value: u64, waiting: bool) {
        let flag = if waiting { LOCKED } else { 0 };
        self.0.store(value.min(LARGEST) | flag, Ordering::Release);
    }
}

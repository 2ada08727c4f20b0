//! A slot, as its holder has it.

use crate::time::Instant;

/// A slot taken; [`Bulkhead::release`](super::Bulkhead::release) gives it back.
#[derive(Debug)]
#[must_use = "a slot stays taken until it is given to `release`"]
pub struct Slot {
    pub(super) stay: Stay,
    pub(super) began: Instant,
}

/// What becomes of a slot. As wide as what stands beside it: a slot is copied for each call, and in whole words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Stay {
    Held,
    /// Its holder waits for something else.
    Parked,
    Released,
}

impl Slot {
    pub(super) const fn new() -> Self {
        Self { stay: Stay::Held, began: Instant::FAR_FUTURE }
    }
}

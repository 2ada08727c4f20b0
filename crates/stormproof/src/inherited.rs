//! The deadline of the call around this one, for nested policies that do not see the outer context.
//!
//! A thread-local, set around every poll of an attempt: whatever runs inside that poll runs inside that attempt.

use std::cell::Cell;

use stormproof_core::Instant;

use crate::clock::Clock;

thread_local! {
    /// The clock's identity and the deadline on it.
    static CURRENT: Cell<(usize, Instant)> = const { Cell::new((0, Instant::FAR_FUTURE)) };
}

/// The deadline of the attempt this runs in, if there is one on the same clock.
#[inline]
pub(crate) fn deadline(clock: &Clock) -> Instant {
    let (identity, deadline) = CURRENT.get();
    if identity == clock.identity() { deadline } else { Instant::FAR_FUTURE }
}

/// Runs `inside` with a deadline that nested calls inherit; the former one is back afterwards, even after a panic.
#[inline]
pub(crate) fn scope<R>(clock: &Clock, deadline: Instant, inside: impl FnOnce() -> R) -> R {
    struct Restore((usize, Instant));

    impl Drop for Restore {
        #[inline]
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }

    if deadline == Instant::FAR_FUTURE {
        return inside();
    }
    let _restore = Restore(CURRENT.replace((clock.identity(), deadline)));
    inside()
}

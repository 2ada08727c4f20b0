//! The deadline and the class of the call around this one, for nested policies that do not see the outer context.
//!
//! A thread-local, set around every poll of an attempt: whatever runs inside that poll runs inside that attempt.

use std::cell::Cell;

use stormproof_core::{Instant, Priority};

use crate::clock::Clock;

#[derive(Clone, Copy)]
struct Around {
    clock: usize,
    deadline: Instant,
    /// Whoever set it judges the callee by it.
    judges: bool,
}

thread_local! {
    static CURRENT: Cell<Around> =
        const { Cell::new(Around { clock: 0, deadline: Instant::FAR_FUTURE, judges: false }) };
    static PRIORITY: Cell<Option<Priority>> = const { Cell::new(None) };
}

/// The class of the call this runs in, if it or one around it has said any.
pub(crate) fn priority() -> Option<Priority> {
    PRIORITY.get()
}

/// The class of calls made from here on. Dropped, by a panic as well, it leaves the former one.
pub(crate) struct Class {
    former: Option<Priority>,
}

impl Class {
    /// That of a call which says it is of the class `own`, through a policy that gives `default` to its calls.
    #[cold]
    pub(crate) fn enter(own: Option<Priority>, default: Option<Priority>) -> Self {
        Self { former: PRIORITY.replace(own.or_else(priority).or(default)) }
    }
}

impl Drop for Class {
    #[cold]
    fn drop(&mut self) {
        PRIORITY.set(self.former);
    }
}

/// The deadline of the attempt this runs in, if there is one on the same clock.
#[inline]
pub(crate) fn deadline(clock: &Clock) -> Instant {
    let around = CURRENT.get();
    if around.clock == clock.identity() { around.deadline } else { Instant::FAR_FUTURE }
}

/// The same if it stands for a call's own deadline: running out of it then is a failure of the callee.
#[inline]
pub(crate) fn own_deadline(clock: &Clock) -> Instant {
    if CURRENT.get().judges { deadline(clock) } else { Instant::FAR_FUTURE }
}

/// Runs `inside` with a deadline that nested calls inherit; the former one is back afterwards, even after a panic.
#[inline]
pub(crate) fn scope<R>(clock: &Clock, deadline: Instant, inside: impl FnOnce() -> R) -> R {
    if deadline == Instant::FAR_FUTURE {
        return inside();
    }
    within(Around { clock: clock.identity(), deadline, judges: false }, inside)
}

/// Runs `inside` with a deadline that nested calls take for their own.
pub(crate) fn scope_of_own<R>(clock: &Clock, deadline: Instant, inside: impl FnOnce() -> R) -> R {
    within(Around { clock: clock.identity(), deadline, judges: true }, inside)
}

#[inline]
fn within<R>(around: Around, inside: impl FnOnce() -> R) -> R {
    struct Restore(Around);

    impl Drop for Restore {
        #[inline]
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }

    let _restore = Restore(CURRENT.replace(around));
    inside()
}

//! Refusals inside an attempt: whether one of them is what the attempt failed with.
//!
//! A policy inside another one refuses, and the error goes through somebody else's code: through `?`, into a type of the
//! application's, into a box. What became of it cannot be seen, but whether the refusal is still somewhere can. One that was
//! dealt with is dropped; one that is there when the attempt ends with an error is in that error.

use std::cell::{Cell, RefCell};
use std::sync::Weak;

use stormproof_core::{Reason, Refused};

/// Maximum number of refusals watched on one thread; the oldest is forgotten first.
const WATCHED: usize = 64;

thread_local! {
    /// Number of refusals made on this thread.
    static NUMBER: Cell<u64> = const { Cell::new(0) };
    static MADE: RefCell<Vec<(u64, Inner)>> = const { RefCell::new(Vec::new()) };
}

/// A refusal of a policy inside an attempt.
#[derive(Clone, Debug)]
pub(crate) struct Inner {
    reason: Reason,
    there: Weak<()>,
}

/// Number of refusals made on this thread so far.
#[inline]
pub(crate) fn number() -> u64 {
    NUMBER.get()
}

/// Watches a refusal that a call ends with.
#[cold]
pub(crate) fn made(refused: &mut Refused) {
    let inner = Inner { reason: refused.reason, there: refused.watch() };
    let number = NUMBER.get().wrapping_add(1);
    NUMBER.set(number);
    MADE.with_borrow_mut(|made| {
        made.retain(|(_, inner)| inner.there.strong_count() > 0);
        if made.len() >= WATCHED {
            made.remove(0);
        }
        made.push((number, inner));
    });
}

/// Adds to `within` the refusals made on this thread after the `before`-th.
#[cold]
pub(crate) fn collect(before: u64, within: &mut Vec<Inner>) {
    MADE.with_borrow(|made| {
        within.extend(made.iter().filter(|(number, _)| *number > before).map(|(_, inner)| inner.clone()));
    });
}

/// Why the policy inside refused, if its refusal is still there.
#[cold]
pub(crate) fn refused(within: &[Inner]) -> Option<Reason> {
    within.iter().rev().find(|inner| inner.there.strong_count() > 0).map(|inner| inner.reason)
}

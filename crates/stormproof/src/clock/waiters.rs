//! Who waits for which ticket.
//!
//! Tickets are unique in the process, so one table serves all stages: a slot freed under one policy may wake a caller
//! that waits under another. Touched only by calls that queue.
//!
//! Cloning, waking or dropping a waker can run anybody's code, even drop a call that is in this table: none of it is done
//! under a lock.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use stormproof_core::Ticket;

const SHARDS: usize = 16;

static TABLE: LazyLock<[Mutex<HashMap<Ticket, Waker>>; SHARDS]> = LazyLock::new(Default::default);

fn shard(ticket: Ticket) -> MutexGuard<'static, HashMap<Ticket, Waker>> {
    let at = usize::try_from(ticket.number() % SHARDS as u64).unwrap_or(0);
    TABLE[at].lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes whom to wake. Ask the stage again afterwards: it may have granted the ticket just before.
#[cold]
pub(crate) fn park(ticket: Ticket, waker: &Waker) {
    let waker = waker.clone();
    let replaced = shard(ticket).insert(ticket, waker);
    drop(replaced);
}

/// Wakes whoever holds the ticket, if it is parked.
#[cold]
pub(crate) fn wake(ticket: Ticket) {
    let waker = shard(ticket).remove(&ticket);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Forgets a ticket that nobody waits for any more.
#[cold]
pub(crate) fn forget(ticket: Ticket) {
    let forgotten = shard(ticket).remove(&ticket);
    drop(forgotten);
}

//! A thread that waits: for a time on a clock, or for somebody to wake it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use stormproof_core::Instant;

use super::stepping::{Place, Stepping};
use super::{Clock, ManualWait, Source};

/// What wakes one thread. It keeps its own note of having been woken: whoever else parks this thread takes nothing away.
#[derive(Debug)]
pub(crate) struct Parked {
    woken: AtomicBool,
    thread: Thread,
    /// Its place in the queue of a stepping clock, where a thread waits for its turn as well.
    place: Option<(Arc<Stepping>, Place)>,
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        match &self.place {
            None => self.thread.unpark(),
            Some((stepping, place)) => stepping.wake(*place),
        }
    }
}

impl Parked {
    /// Whether it was woken since it was last asked.
    pub(super) fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::Acquire)
    }
}

/// A day at the most, which every platform can wait: who has to wait longer does so again.
fn park(at_most: Duration) {
    std::thread::park_timeout(at_most.min(Duration::from_secs(86_400)));
}

impl Clock {
    /// Blocks the thread for `time` on this clock. On a [stepping](Self::stepping) clock it takes no real time; on a
    /// [manual](Self::manual) one, until another thread moves it on.
    pub fn sleep(&self, time: Duration) {
        let (until, parked) = (self.now() + time, self.parked());
        while self.block_until(until, &parked) < until {}
    }

    /// What wakes the present thread when it waits on this clock.
    pub(crate) fn parked(&self) -> Arc<Parked> {
        let place = match &self.0 {
            Source::Stepping(stepping) => Some((stepping.clone(), stepping.place())),
            Source::System | Source::Tokio(_) | Source::Manual(_) => None,
        };
        Arc::new(Parked { woken: AtomicBool::new(false), thread: std::thread::current(), place })
    }

    /// Blocks the present thread, whose `parked` must be, until it is woken or it is `until`; says what time it is then.
    pub(crate) fn block_until(&self, until: Instant, parked: &Arc<Parked>) -> Instant {
        let woken = match &self.0 {
            // A paused clock stands still while its thread is blocked, so what is slept is real time.
            Source::System | Source::Tokio(_) => {
                let (began, wait) = (std::time::Instant::now(), until.since(self.now()));
                loop {
                    if parked.take_woken() {
                        break true;
                    }
                    let left = wait.saturating_sub(began.elapsed());
                    if left.is_zero() {
                        break false;
                    }
                    park(left);
                }
            }
            Source::Manual(manual) => {
                let waker = Waker::from(parked.clone());
                let mut wait = ManualWait::new(manual.clone(), until);
                while !wait.is_over(&waker) && !parked.take_woken() {
                    std::thread::park();
                }
                manual.lock().now < until
            }
            Source::Stepping(stepping) => match &parked.place {
                Some((_, place)) => stepping.wait(*place, until, || parked.take_woken()),
                None => false,
            },
        };
        if woken { self.now() } else { self.now().max(until) }
    }
}

//! A listener that a storm cannot drown.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stormproof_core::Event;
use stormproof_core::event::damper::{Damper, Suppressed};

use crate::clock::Clock;

/// What a damped listener hears.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Said<'a> {
    /// An event.
    Event(&'a Event),
    /// Events of a kind that were held back, as a number.
    Suppressed(&'a Suppressed),
}

/// Passes on the first event of a kind and policy, and then how many followed, once an interval. Transitions of circuits
/// always pass. Give [`tell`](Self::tell) to a policy or a bus.
///
/// A summary comes with the next event after its interval, whichever that is, or by [`flush`](Self::flush), and the last
/// one when this is dropped. A log that has a timer of its own uses a [`Damper`].
///
/// ```
/// use std::time::Duration;
/// use stormproof::events::{Damped, Said};
/// use stormproof::{Bulkhead, Clock, bulkhead};
///
/// # fn main() -> Result<(), stormproof::Mistakes> {
/// let log = Damped::new(Duration::from_secs(10), &Clock::system(), |said| match said {
///     Said::Event(event) => println!("{}", event.event_type()),
///     Said::Suppressed(more) => println!("{} more: {}", more.event_type, more.count),
/// });
/// let bulkhead = Bulkhead::with_config("api", bulkhead::Config::default())?;
/// bulkhead.policy().on_event(move |event| log.tell(event));
/// # Ok(())
/// # }
/// ```
pub struct Damped<F: Fn(Said<'_>)> {
    damper: Mutex<Damper>,
    clock: Clock,
    listener: F,
}

impl<F: Fn(Said<'_>)> fmt::Debug for Damped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Damped").field("damper", &self.damper).finish_non_exhaustive()
    }
}

impl<F: Fn(Said<'_>)> Damped<F> {
    /// Damps what `listener` hears to one summary an `interval`. `clock` is that of the policies.
    pub fn new(interval: Duration, clock: &Clock, listener: F) -> Self {
        Self { damper: Mutex::new(Damper::new(interval)), clock: clock.clone(), listener }
    }

    /// Takes in an event: passes it on, with the summaries that are due, or counts it.
    pub fn tell(&self, event: &Event) {
        let now = self.clock.now();
        let mut damper = self.lock();
        let (due, told) = (damper.due(now), damper.offer(now, event));
        drop(damper);
        self.say(&due);
        if told {
            (self.listener)(Said::Event(event));
        }
    }

    /// Passes on the summaries that are due.
    pub fn flush(&self) {
        let due = self.lock().due(self.clock.now());
        self.say(&due);
    }

    fn say(&self, due: &[Suppressed]) {
        for suppressed in due {
            (self.listener)(Said::Suppressed(suppressed));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Damper> {
        self.damper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Fn(Said<'_>)> Drop for Damped<F> {
    fn drop(&mut self) {
        let rest = self.lock().finish(self.clock.now());
        // Nobody passes over a panic here but we, and a second one would end the process.
        let _ = catch_unwind(AssertUnwindSafe(|| self.say(&rest)));
    }
}

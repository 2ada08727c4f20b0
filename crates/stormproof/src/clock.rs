//! Where time comes from at the edge: the system, tokio's (pausable) clock, or a test's hand.
//!
//! A plain enum, so that reading it is a static call.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use stormproof_core::Instant;

mod parked;
mod stepping;
pub(crate) mod waiters;

pub(crate) use parked::Parked;
pub use stepping::Joined;
use stepping::Stepping;

/// A source of time and of waiting.
///
/// ```
/// use std::time::Duration;
/// use stormproof::Clock;
///
/// let clock = Clock::manual();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().since(before), Duration::from_secs(60));
/// ```
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Tokio(Arc<tokio::time::Instant>),
    Manual(Arc<Manual>),
    Stepping(Arc<Stepping>),
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl Clock {
    /// The processor's time stamp counter where it is reliable, else the operating system's monotonic clock. The first
    /// use in a process measures the counter, which takes some milliseconds.
    ///
    /// In debug builds, and with the feature `test-util` in all builds, it is tokio's clock: in a test whose runtime is
    /// paused (`start_paused`), deadlines and waits are measured in the runtime's virtual time.
    pub fn system() -> Self {
        LazyLock::force(&SYSTEM);
        Self(Source::System)
    }

    /// Tokio's clock, for tests under `tokio::time::pause`: all waits pass at once, and time moves with them.
    ///
    /// Its origin is the moment it is made, in the runtime it is made in: each paused runtime has a time of its own. So
    /// a policy and its stages share one clock, and a run under it can be repeated exactly. A synchronous call blocks the
    /// runtime that would move the time, so it waits in real time: for those there is [`stepping`](Self::stepping).
    pub fn tokio() -> Self {
        Self(Source::Tokio(Arc::new(tokio::time::Instant::now())))
    }

    /// A clock that stands still until [`advance`](Self::advance).
    pub fn manual() -> Self {
        Self(Source::Manual(Arc::default()))
    }

    /// A clock whose waits move it on at once, for tests without a runtime: of synchronous calls, and of asynchronous ones
    /// whose operations do not wait by themselves. What takes its time in a test calls [`sleep`](Self::sleep) or
    /// [`advance`](Self::advance); what shall run at the same time is started by [`spawn`](Self::spawn).
    ///
    /// ```
    /// use std::time::Duration;
    /// use stormproof::{Clock, Policy, Retry};
    ///
    /// let (clock, retry) = (Clock::stepping(), Retry::constant(Duration::from_secs(60)));
    /// let policy = Policy::builder("slow").retry(retry.max_retries(2)).clock(&clock).seed(1).build().expect("valid");
    /// let began = clock.now();
    /// policy.call_sync(|_| Err::<(), _>("down")).run().unwrap_err();
    /// assert!(clock.now().since(began) > Duration::from_secs(90)); // two waits of a minute ±20 %, in no time
    /// ```
    pub fn stepping() -> Self {
        Self(Source::Stepping(Arc::default()))
    }

    /// The present time. Instants of one clock and its clones can be compared; all system clocks are one.
    #[inline]
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => system_now(),
            Source::Tokio(origin) => Instant::ZERO + tokio::time::Instant::now().saturating_duration_since(**origin),
            Source::Manual(manual) => manual.lock().now,
            Source::Stepping(stepping) => stepping.now(),
        }
    }

    /// Moves a manual or stepping clock on; a manual one wakes whatever was waiting for the time between. Does nothing
    /// to other clocks.
    pub fn advance(&self, by: Duration) {
        match &self.0 {
            Source::Manual(manual) => manual.advance(by).into_iter().for_each(Waker::wake),
            Source::Stepping(stepping) => stepping.move_to(stepping.now() + by),
            Source::System | Source::Tokio(_) => {}
        }
    }

    /// Waits for `time` without blocking: ready when this clock has moved on so far. On the system's and tokio's clock it
    /// needs a tokio runtime with time.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use std::time::Duration;
    /// use stormproof::Clock;
    ///
    /// let clock = Clock::manual();
    /// let wait = clock.wait(Duration::from_secs(60));
    /// clock.advance(Duration::from_secs(60));
    /// wait.await;
    /// # }
    /// ```
    pub fn wait(&self, time: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.sleep_until(self.now() + time)
    }

    /// Two clocks whose instants can be compared have the same identity.
    #[inline]
    pub(crate) fn identity(&self) -> usize {
        match &self.0 {
            Source::System => 0,
            Source::Tokio(origin) => Arc::as_ptr(origin).addr(),
            Source::Manual(manual) => Arc::as_ptr(manual).addr(),
            Source::Stepping(stepping) => Arc::as_ptr(stepping).addr(),
        }
    }

    /// A future that is ready at `until`. On the system's and tokio's clock it needs a tokio runtime with time.
    pub(crate) fn sleep_until(&self, until: Instant) -> Sleep {
        match &self.0 {
            Source::System | Source::Tokio(_) => Sleep::Tokio { timer: tokio::time::sleep(until.since(self.now())) },
            Source::Manual(manual) => Sleep::Manual { wait: ManualWait::new(manual.clone(), until) },
            Source::Stepping(stepping) => Sleep::Stepping { stepping: stepping.clone(), until },
        }
    }
}

/// What the system's clock reads, and its reading at the origin.
#[cfg(not(any(debug_assertions, feature = "test-util")))]
static SYSTEM: LazyLock<(quanta::Clock, u64)> = LazyLock::new(|| {
    let clock = quanta::Clock::new();
    let origin = clock.raw();
    (clock, origin)
});

#[cfg(not(any(debug_assertions, feature = "test-util")))]
#[inline]
fn system_now() -> Instant {
    let (clock, origin) = &*SYSTEM;
    Instant::from_nanos(clock.delta_as_nanos(*origin, clock.raw()))
}

/// A moment of tokio's clock, which outside of paused runtimes is the operating system's.
#[cfg(any(debug_assertions, feature = "test-util"))]
static SYSTEM: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);

/// A runtime that was paused before the origin was taken is behind it, but by less than this.
#[cfg(any(debug_assertions, feature = "test-util"))]
const BEHIND: Duration = Duration::from_secs(86_400);

#[cfg(any(debug_assertions, feature = "test-util"))]
fn system_now() -> Instant {
    let (now, origin) = (tokio::time::Instant::now().into_std(), *SYSTEM);
    let after = now.saturating_duration_since(origin);
    Instant::ZERO + (BEHIND + after).saturating_sub(origin.saturating_duration_since(now))
}

#[derive(Debug, Default)]
struct Manual(Mutex<Hands>);

#[derive(Debug, Default)]
struct Hands {
    now: Instant,
    next_key: u64,
    waiting: BTreeMap<(Instant, u64), Waker>,
}

impl Manual {
    fn lock(&self) -> std::sync::MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, by: Duration) -> Vec<Waker> {
        let mut hands = self.lock();
        let now = hands.now + by;
        hands.now = now;
        let later = hands.waiting.split_off(&(now, u64::MAX));
        std::mem::replace(&mut hands.waiting, later).into_values().collect()
    }
}

pin_project_lite::pin_project! {
    /// A wait until a given time.
    #[project = SleepProjection]
    #[derive(Debug)]
    pub(crate) enum Sleep {
        Tokio { #[pin] timer: tokio::time::Sleep },
        Manual { wait: ManualWait },
        Stepping { stepping: Arc<Stepping>, until: Instant },
    }
}

#[derive(Debug)]
pub(crate) struct ManualWait {
    manual: Arc<Manual>,
    until: Instant,
    key: Option<u64>,
}

impl ManualWait {
    fn new(manual: Arc<Manual>, until: Instant) -> Self {
        Self { manual, until, key: None }
    }

    /// If not, `waker` is woken when it is.
    fn is_over(&mut self, waker: &Waker) -> bool {
        // As in the table of tickets: a waker is neither cloned nor dropped under the lock.
        let waker = waker.clone();
        let mut hands = self.manual.lock();
        if hands.now >= self.until {
            return true;
        }
        let key = *self.key.get_or_insert_with(|| {
            hands.next_key += 1;
            hands.next_key
        });
        let replaced = hands.waiting.insert((self.until, key), waker);
        drop(hands);
        drop(replaced);
        false
    }
}

impl Drop for ManualWait {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let forgotten = self.manual.lock().waiting.remove(&(self.until, key));
            drop(forgotten);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.project() {
            SleepProjection::Tokio { timer } => timer.poll(cx),
            SleepProjection::Manual { wait } => {
                if wait.is_over(cx.waker()) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            }
            SleepProjection::Stepping { stepping, until } => {
                stepping.move_to(*until);
                Poll::Ready(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_paused_runtime_has_a_time_of_its_own() {
        let paused = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (older, newer) = (paused(), paused());
        let time_after_one_second = |runtime: &tokio::runtime::Runtime| {
            runtime.block_on(async {
                let clock = Clock::tokio();
                tokio::time::advance(Duration::from_secs(1)).await;
                clock.now()
            })
        };
        let second = Instant::ZERO + Duration::from_secs(1);
        assert_eq!([&newer, &older].map(time_after_one_second), [second, second]);
    }
}

//! The two clocks of a store in a file: the wall clock for times that people see and for epochs, and the machine's time
//! since it was started for leases, which nobody can set.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::run::{Millis, millis};

/// Both clocks, in milliseconds. Tests move them.
#[derive(Clone)]
pub(crate) struct Clocks {
    /// Since 1970. May be set, also backwards.
    pub(crate) wall: Source,
    /// Since the machine was started, time asleep included. Never goes back while it runs.
    pub(crate) boot: Source,
}

/// Where a time comes from.
pub(crate) type Source = Arc<dyn Fn() -> Millis + Send + Sync>;

/// What both clocks said when a group of writes began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) wall: Millis,
    pub(crate) boot: Millis,
}

impl Clocks {
    /// The machine's own clock for leases, and `wall` for the time of day.
    pub(crate) fn with_wall(wall: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { wall: Arc::new(move || since_1970(wall())), boot: Arc::new(boot) }
    }

    pub(crate) fn now(&self) -> Now {
        Now { wall: (self.wall)(), boot: (self.boot)() }
    }
}

impl Default for Clocks {
    fn default() -> Self {
        Self::with_wall(SystemTime::now)
    }
}

impl fmt::Debug for Clocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clocks").finish_non_exhaustive()
    }
}

/// A clock before 1970 is taken for one that stands at 1970.
fn since_1970(time: SystemTime) -> Millis {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(unix)]
fn boot() -> Millis {
    use rustix::time::{ClockId, clock_gettime};
    // The monotonic clock of Linux stands still while the machine sleeps: a lease would outlive the night.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let id = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let id = ClockId::Monotonic;
    let time = clock_gettime(id);
    time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000)
}

/// No clock that all processes share and nobody can set is to be had without unsafe code.
#[cfg(not(unix))]
fn boot() -> Millis {
    since_1970(SystemTime::now())
}

//! What can be set about a journal, and opening one.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use stormproof::{Backoff, Clock, Invalid, Mistakes, Name};

use crate::error::OpenError;
use crate::journal::Journal;
use crate::store::dispatch::{Opening, Store, Wall, without_password};

/// The fewest heartbeats in a lease.
const BEATS: u32 = 3;

/// Opens a journal with settings of its own; see [`Journal::builder`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use stormproof_journal::Journal;
///
/// let journal = Journal::builder("memory:").lease(Duration::from_secs(10)).max_attempts(3).open().await?;
/// # drop(journal);
///
/// let mistakes = Journal::builder("memory:").lease(Duration::from_secs(1)).heartbeat(Duration::from_secs(5)).open().await;
/// assert_eq!(
///     mistakes.unwrap_err().to_string(),
///     "lease is 1s with a heartbeat of 5s, allowed is at least 3 times the heartbeat"
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `open`"]
pub struct Builder {
    url: String,
    settings: Settings,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = without_password(&self.url);
        f.debug_struct("Builder").field("url", &url).field("settings", &self.settings).finish()
    }
}

/// What is set.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) name: Name,
    pub(crate) lease: Duration,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) max_attempts: u32,
    pub(crate) max_value: usize,
    pub(crate) max_steps: u32,
    pub(crate) poll: Duration,
    pub(crate) retention: Duration,
    pub(crate) most_ended: Option<u64>,
    pub(crate) gc_interval: Duration,
    pub(crate) retry_delay: Backoff,
    pub(crate) host: String,
    pub(crate) worker_version: String,
    pub(crate) clock: Clock,
    pub(crate) wall: Option<Wall>,
    pub(crate) create: bool,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("lease", &self.lease)
            .field("max_attempts", &self.max_attempts)
            .finish_non_exhaustive()
    }
}

impl Settings {
    fn new() -> Self {
        Self {
            name: "journal".into(),
            lease: Duration::from_secs(30),
            heartbeat: None,
            max_attempts: 10,
            max_value: 1 << 20,
            max_steps: 10_000,
            poll: Duration::from_secs(1),
            retention: Duration::from_secs(30 * 86_400),
            most_ended: None,
            gc_interval: Duration::from_secs(3600),
            retry_delay: Backoff::exponential(Duration::from_secs(1)).max_delay(Duration::from_secs(300)),
            host: hostname(),
            worker_version: env!("CARGO_PKG_VERSION").into(),
            clock: Clock::system(),
            wall: None,
            create: true,
        }
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        self.heartbeat.unwrap_or(self.lease / BEATS)
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut mistakes = Vec::new();
        let mut check = |valid: bool, field: &str, value: String, allowed: &'static str| {
            if !valid {
                mistakes.push(Invalid::new(field, value, allowed));
            }
        };
        let (lease, beat) = (self.lease, self.heartbeat());
        // A heartbeat that was not set comes of the lease.
        let field = if self.heartbeat.is_none() { "lease" } else { "heartbeat" };
        check(!beat.is_zero(), field, format!("{beat:?}"), "more than 0");
        check(
            lease >= beat.saturating_mul(BEATS),
            "lease",
            format!("{lease:?} with a heartbeat of {beat:?}"),
            "at least 3 times the heartbeat",
        );
        check(lease <= Duration::from_secs(86_400), "lease", format!("{lease:?}"), "at most a day");
        check(self.max_attempts > 0, "max_attempts", self.max_attempts.to_string(), "1 or more");
        check(self.max_value > 0, "max_value", self.max_value.to_string(), "1 byte or more");
        check(self.max_steps > 0, "max_steps", self.max_steps.to_string(), "1 or more");
        check(!self.poll.is_zero(), "poll", format!("{:?}", self.poll), "more than 0");
        check(!self.gc_interval.is_zero(), "gc_interval", format!("{:?}", self.gc_interval), "more than 0");
        mistakes.extend(self.retry_delay.validate().into_iter().map(|mut mistake| {
            mistake.field = format!("retry_delay.{}", mistake.field);
            mistake
        }));
        mistakes
    }
}

fn hostname() -> String {
    let read = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = std::env::var("HOSTNAME").ok().or_else(read).unwrap_or_default();
    format!("{}:{}", name.trim(), std::process::id())
}

impl Builder {
    pub(crate) fn new(url: String) -> Self {
        Self { url, settings: Settings::new() }
    }

    /// The name that events and metrics carry. Default: `journal`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// So long after its last heartbeat the runs of a process are anybody's. Shorter: taken over sooner; longer: a pause of
    /// the process or the store does not cost it its runs. At least three heartbeats. Default: 30 s.
    ///
    /// The heartbeat is a task of the runtime: code that blocks all of its threads for two thirds of a lease costs the
    /// process its runs, as it could not hear of a cancellation or a time limit either. Put such code into
    /// [`spawn_blocking`](tokio::task::spawn_blocking).
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// How often a process says that it lives. Default: a third of the lease.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.settings.heartbeat = Some(interval);
        self
    }

    /// A run that was claimed so often without coming to an end is blocked. Default: 10.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = attempts;
        self
    }

    /// The largest input, result or value of a step, in bytes of JSON. Default: 1 MiB.
    pub fn max_value(mut self, bytes: usize) -> Self {
        self.settings.max_value = bytes;
        self
    }

    /// The most steps a run may have; all of them are in memory while it runs. Default: 10 000.
    pub fn max_steps(mut self, steps: u32) -> Self {
        self.settings.max_steps = steps;
        self
    }

    /// How often to look for what other processes have started, ended or sent, ± 20 %. What happens in this process is seen
    /// at once. Default: 1 s.
    pub fn poll(mut self, interval: Duration) -> Self {
        self.settings.poll = interval;
        self
    }

    /// So long after its end a run is forgotten, unless it was started with a time of its own. Default: 30 days.
    pub fn retention(mut self, time: Duration) -> Self {
        self.settings.retention = time;
        self
    }

    /// At most so many ended runs are kept, the youngest. Those that were started with a time of their own are neither
    /// counted nor forgotten before it is over. Default: any number.
    pub fn most_ended(mut self, runs: u64) -> Self {
        self.settings.most_ended = Some(runs);
        self
    }

    /// How often a process that [serves](Journal::serve) forgets what may be forgotten. Default: 1 h.
    pub fn gc_interval(mut self, interval: Duration) -> Self {
        self.settings.gc_interval = interval;
        self
    }

    /// The wait before a run that panicked, or whose probe failed, is tried again, by the number of its attempts. Default:
    /// exponential from 1 s to 5 min.
    pub fn retry_delay(mut self, backoff: Backoff) -> Self {
        self.settings.retry_delay = backoff;
        self
    }

    /// What is written beside the worker, for people. Default: the name of the machine and the number of the process.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.settings.host = host.into();
        self
    }

    /// The version of the program that is written beside the worker, for people. Default: that of this crate.
    pub fn worker_version(mut self, version: impl Into<String>) -> Self {
        self.settings.worker_version = version.into();
        self
    }

    /// The monotonic clock of leases and of waits in this process. Default: the system's.
    pub fn clock(mut self, clock: &Clock) -> Self {
        self.settings.clock = clock.clone();
        self
    }

    /// The time of day for SQLite, which has no clock of its own; `PostgreSQL` uses the database's. Default: the system's,
    /// and for `memory:` what [`clock`](Self::clock) says.
    pub fn wall_clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.settings.wall = Some(Arc::new(now));
        self
    }

    /// Whether a journal that is not there is made. If not, opening it is an error: a mistake in a path makes no empty
    /// journal. Default: yes.
    pub fn create(mut self, yes: bool) -> Self {
        self.settings.create = yes;
        self
    }

    /// Opens the journal, and makes its tables if they are not there and [`create`](Self::create) allows.
    ///
    /// # Errors
    /// All mistakes in the settings at once; an address that is none; a database that is damaged, cannot be reached, or was
    /// written by a newer stormproof. Nothing is overwritten.
    pub async fn open(self) -> Result<Journal, OpenError> {
        let Self { url, settings } = self;
        Mistakes::none(settings.validate())?;
        let Settings { wall, clock, create, .. } = &settings;
        let opening = Opening { wall: wall.clone(), clock: clock.clone(), create: *create };
        let store = Store::open(&url, &opening).await?;
        Ok(Journal::new(store, settings))
    }
}

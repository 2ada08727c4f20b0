//! What came of a run, as numbers.

use std::time::Duration;

/// What came of a run. Times of clients are from the start of a call to its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Calls that clients made.
    pub calls: u64,
    /// Calls that got what they asked for.
    pub succeeded: u64,
    /// The others by why: what kind of end (`failed`, `refused`, `timed out`), and which; the most frequent first.
    pub failures: Vec<((&'static str, &'static str), u64)>,
    /// Requests that reached the server or tried to.
    pub attempts: u64,
    /// How long a success took: the median, 95 and 99 in a hundred.
    pub latency: [Option<Duration>; 3],
    /// How long a failure took, likewise.
    pub failure_latency: [Option<Duration>; 3],
    /// Time that workers spent on requests.
    pub work: Duration,
    /// Time that workers spent on requests whose clients had given up.
    pub wasted: Duration,
    /// From the fault's beginning until the circuit opened.
    pub detected: Option<Duration>,
    /// From the fault's end until nineteen of twenty calls that succeeded before do so again. `None`: not before the end.
    pub recovered: Option<Duration>,
    /// How often the circuit opened, became half-open and closed.
    pub transitions: [u64; 3],
    /// Jain's index of the clients' successes: 1 if all got the same, 1/n if one got all. `None` without a number of
    /// clients.
    pub fairness: Option<f64>,
    /// The calls of the eager clients, and of the others. Of clients without a number all are others.
    pub tenants: [Tenant; 2],
    /// The run in equal parts of time.
    pub bins: Vec<Bin>,
    /// How long each part is.
    pub width: Duration,
}

/// What came of the calls of some of the clients.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tenant {
    /// Calls that they made.
    pub calls: u64,
    /// Calls that got what they asked for.
    pub succeeded: u64,
    /// What 95 of 100 successes did not take longer than.
    pub p95: Option<Duration>,
}

/// A circuit's state, for a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Circuit {
    /// Closed, or there is none.
    #[default]
    Closed,
    /// Half-open.
    HalfOpen,
    /// Open.
    Open,
}

/// A part of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// Calls that began.
    pub calls: u32,
    /// Requests that reached the server or tried to.
    pub attempts: u32,
    /// Calls that ended.
    pub ended: u32,
    /// Of these, the successes.
    pub succeeded: u32,
    /// Of the successes, those of clients that are not eager.
    pub of_others: u32,
    /// What 95 of 100 successes did not take longer than.
    pub p95: Option<Duration>,
    /// Workers at work, at the end of the part.
    pub busy: u32,
    /// Requests in the server's queue, at the end of the part.
    pub waiting: u32,
    /// The circuit, at the end of the part.
    pub circuit: Circuit,
    /// The slots of the bulkhead, at the end of the part.
    pub limit: Option<u32>,
}

impl Outcome {
    /// The share of calls that succeeded.
    pub fn success_rate(&self) -> f64 {
        share(self.succeeded, self.calls)
    }

    /// Requests at the server for each call.
    pub fn amplification(&self) -> f64 {
        share(self.attempts, self.calls)
    }

    /// The share of the workers' time that was wasted.
    pub fn wasted_share(&self) -> f64 {
        let work = self.work.as_secs_f64();
        if work > 0.0 { self.wasted.as_secs_f64() / work } else { 0.0 }
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

//! The server: workers, a queue in the order of arrival, and answers by the weather.

use std::collections::VecDeque;
use std::time::Duration;

use stormproof_core::{Rng, Verdict};

use super::fault::Weather;
use super::{ServerModel, random};

/// From an answer to its client.
pub(super) const NETWORK: Duration = Duration::from_millis(1);
/// The hint of a server that throttles.
const COME_BACK: Duration = Duration::from_secs(2);
/// Burst of the throttle, as the time in which its rate allows as much.
const BURST: f64 = 0.25;

/// Origin of a request: a client's call and its attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asker {
    pub(super) slot: u32,
    pub(super) generation: u32,
    pub(super) attempt: u32,
}

/// What a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    Ok,
    Failed,
    Busy,
    Throttled,
    Unreachable,
}

impl Answer {
    pub(super) const fn verdict(self) -> Verdict<'static> {
        match self {
            Self::Ok => Verdict::success(),
            Self::Failed => Verdict::failure("ServerError.500"),
            Self::Busy => Verdict::failure("ServerError.503"),
            Self::Throttled => Verdict::failure("RateLimitError.429").retry_after(COME_BACK),
            Self::Unreachable => Verdict::failure("ConnectionError.ConnectionRefused"),
        }
    }
}

/// A call that a worker takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Job {
    pub(super) asker: Asker,
    pub(super) work: Duration,
    pub(super) answer: Answer,
}

/// What becomes of a call as it arrives.
pub(super) enum Taken {
    /// A worker is at it.
    Begun(Job),
    /// It waits for one.
    Queued,
    /// Answered at once.
    Answered(Answer),
    /// Nothing, ever.
    Lost,
}

#[derive(Debug)]
pub(super) struct Server {
    model: ServerModel,
    rng: Rng,
    busy: u32,
    /// With the work that each will be, in calm weather, and its answer.
    queue: VecDeque<Job>,
    /// Calls that may still be taken before throttling.
    credit: f64,
    counted: Duration,
}

impl Server {
    pub(super) fn new(model: ServerModel, seed: u64) -> Self {
        let rng = Rng::new(seed);
        Self { model, rng, busy: 0, queue: VecDeque::new(), credit: 0.0, counted: Duration::ZERO }
    }

    pub(super) fn busy(&self) -> u32 {
        self.busy
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn take(&mut self, asker: Asker, now: Duration, weather: &Weather) -> Taken {
        if weather.refuses {
            return Taken::Answered(Answer::Unreachable);
        }
        if weather.sheds {
            return Taken::Answered(Answer::Busy);
        }
        if weather.hangs {
            return Taken::Lost;
        }
        if weather.throttle.is_some_and(|share| !self.has_credit(now, share)) {
            return Taken::Answered(Answer::Throttled);
        }
        // Drawn on arrival, in the same order whatever the workers do.
        let mut work = random::log_normal(&self.rng, self.model.service.as_secs_f64(), self.model.spread);
        let (tail, fails) = (self.rng.unit(), self.rng.unit());
        let (share, times) = weather.tail;
        if tail < share {
            work *= times;
        }
        let answer = if fails < weather.failing { Answer::Failed } else { Answer::Ok };
        let job = Job { asker, work: seconds(work), answer };
        if self.busy < self.workers(weather) {
            return Taken::Begun(self.begin(job, weather));
        }
        if self.queue.len() >= self.model.queue {
            return Taken::Answered(Answer::Busy);
        }
        self.queue.push_back(job);
        Taken::Queued
    }

    /// A worker is done; the next call that one takes on.
    pub(super) fn done(&mut self, weather: &Weather) -> Option<Job> {
        self.busy = self.busy.saturating_sub(1);
        self.next(weather)
    }

    /// The next call that a free worker takes on, if there are both. To be asked when workers come back.
    pub(super) fn next(&mut self, weather: &Weather) -> Option<Job> {
        if self.busy >= self.workers(weather) {
            return None;
        }
        let job = self.queue.pop_front()?;
        Some(self.begin(job, weather))
    }

    fn begin(&mut self, mut job: Job, weather: &Weather) -> Job {
        self.busy += 1;
        job.work = job.work.mul_f64(weather.slowness);
        job
    }

    fn workers(&self, weather: &Weather) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a number")]
        let there = (f64::from(self.model.workers) * weather.workers).ceil() as u32;
        there.max(1)
    }

    fn has_credit(&mut self, now: Duration, share: f64) -> bool {
        let rate = share * f64::from(self.model.workers) / self.model.service.as_secs_f64();
        let earned = rate * (now.saturating_sub(self.counted)).as_secs_f64();
        self.counted = now;
        self.credit = (self.credit + earned).min((rate * BURST).max(1.0));
        let passes = self.credit >= 1.0;
        if passes {
            self.credit -= 1.0;
        }
        passes
    }
}

/// At least a microsecond: what takes no time at all would not let time pass.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(86_400)).max(Duration::from_micros(1))
}

//! Adaptive concurrency: how many calls at a time a callee can take, found out by watching how long they take.
//!
//! Owns the windows of measurements and the decision at the end of each. Does not own the slots: the
//! [bulkhead](crate::bulkhead) asks for the limit and gives out that many.
//!
//! Up to as many calls as the callee has workers, a call takes its service time; beyond that calls wait for each other,
//! and their time grows with their number. So a limit that is too high shows in latency above the *baseline*, the time
//! of a call that does not wait. Whether a rise is waiting or a slower callee is not guessed: the limit is lowered for
//! one window. Waiting gets shorter then; a slower callee stays as slow, becomes the new baseline, and the limit goes
//! back to where it was.
//!
//! Overload lowers the limit, too. An outage looks like overload and says nothing about a limit, so the limit before is
//! kept: as soon as calls succeed again, the limit doubles with each window until it is back or too high. What a
//! [breaker](crate::breaker) has seen to be an outage is not measured at all.

mod config;
mod window;

use std::time::Duration;

pub use self::config::Config;

use self::window::Window;

use crate::outcome::{Outcome, Verdict};
use crate::time::{Instant, nanos};

/// What has been measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// The present limit.
    pub limit: u32,
    /// What a call takes that does not wait for others; zero as long as that is not known.
    pub baseline: Duration,
    /// What a call took in the last window.
    pub latency: Duration,
    /// Windows that have ended.
    pub windows: u64,
}

/// Minimum length of a window in calls one after another. A shorter one would see the short calls only.
const CALLS_IN_A_WINDOW: u32 = 5;
/// The limit counts as used if the bulkhead was full at one in this number of ends of calls.
const USED: u32 = 4;
/// Less than this above the baseline: nobody waits, the limit may grow.
const NO_QUEUE: f64 = 1.05;
/// More than this above the baseline: perhaps a queue.
const QUEUE: f64 = 1.15;
/// How far the limit goes down at once, at the most and at the least.
const LOWER: std::ops::RangeInclusive<f64> = 0.5..=0.9;
/// How far it goes down to see whether the baseline is still true.
const PROBE: f64 = 0.9;
/// How much further each time that this shows a queue, and nothing but a queue.
const FURTHER: f64 = 0.05;
/// How much less than in proportion latency may fall with the limit and still be called proportional.
const STILL: f64 = 0.25;
/// Windows between two such looks.
const PROBE_EVERY: u32 = 10;
/// Number of windows that one counts as which is neither near the baseline nor well above it.
const IN_DOUBT: u32 = 3;
/// Windows without growth after a queue was seen.
const PAUSE: u32 = 5;
/// Growth in a window; faster the longer it goes well.
const GROWTH: f64 = 0.06;
const FASTEST_GROWTH: f64 = 0.25;
/// The share of calls ended by overload that lowers the limit, and their minimum number.
const OVERLOAD: f64 = 0.1;
const MIN_OVERLOADED: u32 = 2;
/// Growth in a window on the way back from overload.
const RETURN: f64 = 2.0;
/// Latency above the baseline, as a factor, that ends the way back. Its windows are small, and chance is large in them.
const RETURN_QUEUE: f64 = 1.5;
/// How much of a difference the baseline takes over in a window that proves nothing.
const AGEING: f64 = 0.125;
/// A fall of latency to less than this is a faster callee, not chance.
const FASTER: f64 = 0.8;

/// The limit and the window under way.
#[derive(Debug)]
pub(crate) struct Limiter {
    config: Config,
    limit: f64,
    /// In nanoseconds, or not known yet.
    baseline: Option<f64>,
    latency: f64,
    trial: Option<Trial>,
    course: Course,
    outage: Outage,
    streak: u32,
    descent: u32,
    pause: u32,
    since_trial: u32,
    windows: u64,
    window: Window,
}

/// A lowered limit: from where, and what calls took there.
#[derive(Clone, Copy, Debug)]
struct Trial {
    limit: f64,
    latency: f64,
}

/// What overload has done to the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Course {
    /// Nothing.
    Steady,
    /// The last window was one of overload; before the first of them the limit was this.
    Down(f64),
    /// Calls succeed again, and the limit goes back up to this.
    Back(f64),
}

/// What the breaker knows of the callee.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outage {
    /// It is well.
    None,
    /// It is well again, and no window without overload has ended since.
    Over,
    /// It is down.
    Present,
}

impl Limiter {
    pub(crate) fn new(config: Config, start: u32) -> Self {
        let mut limiter = Self {
            config,
            limit: start.into(),
            baseline: None,
            latency: 0.0,
            trial: None,
            course: Course::Steady,
            outage: Outage::None,
            streak: 0,
            descent: 0,
            pause: 0,
            // The first look comes soon: nothing says that the limit to begin with is not far too high.
            since_trial: PROBE_EVERY - 2,
            windows: 0,
            window: Window::new(),
        };
        limiter.set(limiter.limit);
        limiter
    }

    /// The limit in whole calls.
    pub(crate) fn limit(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let whole = self.limit.round() as u32;
        whole.clamp(self.config.min, self.config.max)
    }

    pub(crate) fn stats(&self) -> Stats {
        let duration = |nanos: f64| Duration::from_nanos(saturating(nanos));
        Stats {
            limit: self.limit(),
            baseline: duration(self.baseline.unwrap_or(0.0)),
            latency: duration(self.latency),
            windows: self.windows,
        }
    }

    /// Goes over to another configuration; `start`: and to another limit.
    pub(crate) fn update(&mut self, config: Config, start: Option<u32>) {
        self.config = config;
        self.trial = None;
        if start.is_some() {
            self.course = Course::Steady;
        }
        self.set(start.map_or(self.limit, f64::from));
    }

    /// A call ended while the circuit was not closed: what was measured since the last window is of no use. True if
    /// the limit may have moved.
    pub(crate) fn interrupt(&mut self, now: Instant) -> bool {
        self.window.restart(now);
        let before = std::mem::replace(&mut self.outage, Outage::Present);
        match (before, self.course) {
            (Outage::Present, _) => return false,
            // The windows of overload were the beginning of the outage.
            (Outage::None, Course::Down(limit)) => {
                self.course = Course::Steady;
                self.set(limit);
            }
            (Outage::None, Course::Steady) => {
                let limit = self.trial.take().map_or(self.limit, |trial| trial.limit);
                self.set(limit);
            }
            // It goes down as soon as it is up: perhaps it does so under this limit.
            (Outage::None, Course::Back(_)) | (Outage::Over, _) => self.back_off(1.0, 0.0),
        }
        true
    }

    /// A call that began at `began` ended; `full`: all slots were in use then. True if a window ended with it, so that
    /// the limit may have moved.
    pub(crate) fn record(&mut self, now: Instant, began: Instant, verdict: &Verdict<'_>, full: bool) -> bool {
        // What began before the window ran under another limit.
        let start = *self.window.began.get_or_insert(began.min(now));
        let overloaded = verdict.is_overload(&self.config.overload);
        if began < start || !(overloaded || verdict.outcome == Outcome::Success) {
            return false;
        }
        if self.outage == Outage::Present {
            self.outage = Outage::Over;
        }
        self.window.count(nanos(now.since(began)), overloaded, full);
        let (elapsed, call) = (nanos(now.since(start)), self.window.mean().unwrap_or(self.latency));
        let shortest = nanos(self.config.window).max(saturating(call * f64::from(CALLS_IN_A_WINDOW)));
        if self.window.ended < self.samples() || elapsed < shortest {
            return false;
        }
        self.decide(elapsed as f64);
        self.window.restart(now);
        true
    }

    /// Minimum number of calls in the window. On the way back no more than there can be: a window of twenty calls, one
    /// at a time, would be long.
    fn samples(&self) -> u32 {
        match self.course {
            Course::Steady => self.config.min_samples,
            Course::Down(_) | Course::Back(_) => {
                self.config.min_samples.min(self.limit().saturating_mul(CALLS_IN_A_WINDOW - 1))
            }
        }
    }

    fn decide(&mut self, elapsed: f64) {
        self.windows = self.windows.saturating_add(1);
        self.pause = self.pause.saturating_sub(1);
        let used = self.window.full >= self.window.ended.div_ceil(USED);
        let overload = f64::from(self.window.overloaded) / f64::from(self.window.ended.max(1));
        if let Some(latency) = self.window.typical() {
            self.latency = latency;
        }
        if overload >= OVERLOAD && self.window.overloaded >= MIN_OVERLOADED {
            return self.back_off(overload, self.window.served(elapsed));
        }
        if self.window.succeeded == 0 {
            return;
        }
        self.outage = Outage::None;
        let latency = self.latency;
        if let Course::Down(goal) | Course::Back(goal) = self.course {
            if self.course == Course::Down(goal) && self.limit * RETURN <= goal {
                // So few calls do not wait for each other, and the callee may have come back another one.
                self.baseline = Some(latency);
            }
            let queue = latency > *self.baseline.get_or_insert(latency) * RETURN_QUEUE;
            if !queue && self.limit < goal {
                self.course = Course::Back(goal);
                return self.set(if used { (self.limit * RETURN).min(goal) } else { self.limit });
            }
            self.course = Course::Steady;
        }
        let baseline = self.baseline.unwrap_or(latency);
        // One comes down at once to what has been seen; a difference that may be chance counts half.
        let baseline =
            if latency < baseline * FASTER { latency } else { baseline.min(f64::midpoint(baseline, latency)) };
        self.baseline = Some(baseline);
        match self.trial.take() {
            Some(trial) => self.judge(trial, latency, baseline, used),
            None if used => self.steer(latency, baseline),
            None => {
                self.streak = 0;
                self.age(latency, baseline);
            }
        }
    }

    /// Takes notice of the share of calls that ended by overload, and of the number of calls served at a time.
    fn back_off(&mut self, overload: f64, served: f64) {
        let before = match self.course {
            Course::Steady => self.trial.take().map_or(self.limit, |trial| trial.limit),
            Course::Down(limit) => limit,
            // The last step was too far.
            Course::Back(_) => self.limit / RETURN,
        };
        (self.course, self.streak, self.pause) = (Course::Down(before), 0, PAUSE);
        let lowered = self.limit * (1.0 - overload).max(*LOWER.start());
        self.set(lowered.max(served.min(self.limit)));
    }

    /// Whether the lower limit made calls faster.
    fn judge(&mut self, trial: Trial, latency: f64, baseline: f64, used: bool) {
        if !used {
            // Too few calls to tell.
            self.age(latency, baseline);
            return self.set(trial.limit);
        }
        let lowered = f64::from(self.limit()) / trial.limit.round().max(1.0);
        if latency < trial.latency * f64::midpoint(1.0, lowered) {
            self.pause = PAUSE;
            if latency > baseline * QUEUE {
                self.lower(latency, baseline / latency);
            } else if latency < trial.latency * (lowered * (1.0 - STILL) + STILL) {
                // As much faster as there were fewer: nearly all of it was waiting, and the rest may be, too.
                self.lower(latency, PROBE - FURTHER * f64::from(self.descent));
                self.descent = self.descent.saturating_add(1);
                return;
            }
        } else {
            self.baseline = Some(latency);
            self.set(trial.limit);
        }
        self.descent = 0;
    }

    /// The limit was used: up, down or neither.
    fn steer(&mut self, latency: f64, baseline: f64) {
        let excess = latency / baseline.max(1.0);
        // In doubt whether it is a queue, sooner.
        self.since_trial = self.since_trial.saturating_add(if excess < NO_QUEUE { 1 } else { IN_DOUBT });
        if self.limit() == self.config.min && excess > NO_QUEUE {
            // Nothing to compare with: with no fewer calls at a time there is no shorter wait.
            self.baseline = Some(latency);
        } else if excess > QUEUE {
            self.lower(latency, excess.recip());
        } else if self.since_trial >= PROBE_EVERY {
            self.lower(latency, PROBE);
        } else if excess < NO_QUEUE && self.pause == 0 {
            self.streak = self.streak.saturating_add(1);
            let growth = (GROWTH * f64::midpoint(1.0, f64::from(self.streak))).min(FASTEST_GROWTH);
            self.set((self.limit * (1.0 + growth)).max(self.limit + 0.5));
            return;
        }
        self.streak = 0;
    }

    fn lower(&mut self, latency: f64, factor: f64) {
        self.trial = Some(Trial { limit: self.limit, latency });
        (self.streak, self.since_trial) = (0, 0);
        // By one at least, or there is nothing to be seen.
        let lowered = self.limit * factor.clamp(*LOWER.start(), *LOWER.end());
        self.set(lowered.min(f64::from(self.limit()) - 1.0));
    }

    fn age(&mut self, latency: f64, baseline: f64) {
        self.baseline = Some(baseline + (latency - baseline) * AGEING);
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(self.config.min.into(), self.config.max.max(self.config.min).into());
    }
}

/// Nanoseconds, within their range.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn saturating(nanos: f64) -> u64 {
    nanos as u64
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

//! Tools that ask the same again and again by their nature, and how long they do.

use std::time::Duration;

use super::config::Poll;
use super::recent::Recent;
use super::since;

/// Maximum number of things that can be polled at the same time.
const MOST: usize = 256;

/// What is remembered of polls.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Polls {
    things: Recent<Polled>,
    /// How often anything was asked in time.
    pub(super) asked: u64,
}

/// A thing that is polled: since when, when last, how often.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Polled {
    first: u64,
    last: u64,
    times: u32,
}

/// How it is to ask now.
pub(super) enum Asked {
    InTime,
    /// The time that is left to wait.
    TooSoon(Duration),
    /// The number of polls so far: too many, or over too long a time.
    TooOften(u32),
}

impl Default for Polls {
    fn default() -> Self {
        Self { things: Recent::new(MOST), asked: 0 }
    }
}

impl Polls {
    pub(super) fn resized(self) -> Self {
        Self { things: self.things.resized(MOST), ..self }
    }

    pub(super) fn ask(&mut self, now: u64, poll: Poll, thing: u64) -> Asked {
        let (polled, _) = self.things.touch(thing, || Polled { first: now, last: now, times: 0 });
        if since(now, polled.last) > poll.max_time {
            *polled = Polled { first: now, last: now, times: 0 };
        }
        let waited = since(now, polled.last);
        let times = polled.times.saturating_add(1);
        if polled.times > 0 && waited < poll.min_interval {
            polled.times = times.min(poll.max_polls);
            return Asked::TooSoon(poll.min_interval.saturating_sub(waited));
        }
        if times > poll.max_polls || since(now, polled.first) > poll.max_time {
            return Asked::TooOften(times);
        }
        (polled.last, polled.times) = (now, times);
        self.asked = self.asked.saturating_add(1);
        Asked::InTime
    }

    pub(super) fn forgive(&mut self) {
        self.things = Recent::new(MOST);
    }
}

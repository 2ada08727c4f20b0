//! The window of a throttle in parts, and whether it refuses at present.

use super::{Change, Config};
use crate::time::{Instant, nanos};

/// Requests are the upper half of a word, accepts the lower one.
pub(super) const REQUEST: u64 = 1 << 32;
pub(super) const ACCEPT: u64 = 1;
/// From here on requests do not count: far enough below the end that threads which all pass this at once do not reach it.
pub(super) const MOST: u64 = 1 << 63;

/// The requests and accepts in a word.
#[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
pub(super) const fn parts(counts: u64) -> (u32, u32) {
    ((counts >> 32) as u32, counts as u32)
}

/// Ten parts for the window, and one more because the newest has only begun.
const PARTS: usize = 11;

/// What the mutex guards.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) config: Config,
    width: u64,
    epoch: u64,
    newest: usize,
    /// Counts by part. That of the newest is what the whole window's count has more than all others.
    parts: [u64; PARTS],
    pub(super) refused: u64,
    /// When a request was last refused, and the number refused before that time began.
    refusing: Option<(Instant, u64)>,
}

impl Ledger {
    pub(super) fn new(config: Config) -> Self {
        let width = nanos(config.window).div_ceil(PARTS as u64 - 1).max(1);
        Self { config, width, epoch: 0, newest: 0, parts: [0; PARTS], refused: 0, refusing: None }
    }

    /// When the newest part ends.
    pub(super) fn end(&self) -> u64 {
        self.epoch.saturating_add(1).saturating_mul(self.width)
    }

    /// Begins the part that `now` is in, and returns what is too old of the window's `counts`. A time that goes back
    /// counts as the newest.
    pub(super) fn advance(&mut self, now: Instant, counts: u64) -> u64 {
        let epoch = now.as_nanos() / self.width;
        let passed = epoch.saturating_sub(self.epoch);
        if passed == 0 {
            return 0;
        }
        self.parts[self.newest] = 0;
        self.parts[self.newest] = counts - self.parts.iter().sum::<u64>();
        let mut expired = 0;
        for _ in 0..passed.min(PARTS as u64) {
            self.newest = (self.newest + 1) % PARTS;
            expired += std::mem::take(&mut self.parts[self.newest]);
        }
        self.epoch = epoch;
        expired
    }

    /// Goes over to another configuration, and returns what of the window's `counts` is not in it.
    pub(super) fn configure(&mut self, config: Config, counts: u64) -> u64 {
        if config.window == self.config.window {
            self.config = config;
            return 0;
        }
        let (refused, refusing) = (self.refused, self.refusing);
        // At the beginning of time, so that whoever comes next advances to the present.
        *self = Self { refused, refusing, ..Self::new(config) };
        counts
    }

    /// Counts a refusal.
    pub(super) fn refuse(&mut self, now: Instant, counts: u64) -> Option<Change> {
        let (requests, accepts) = parts(counts);
        let before = self.refusing.replace((now, self.refusing.map_or(self.refused, |(_, before)| before)));
        self.refused = self.refused.saturating_add(1);
        before.is_none().then_some(Change::Began { requests, accepts })
    }

    /// Whether the time since the last refusal is long enough for it to be over.
    pub(super) fn calm(&mut self, now: Instant) -> Option<Change> {
        let (last, before) = self.refusing?;
        if now.since(last) < self.config.window {
            return None;
        }
        self.refusing = None;
        Some(Change::Ended { refused: self.refused - before })
    }
}

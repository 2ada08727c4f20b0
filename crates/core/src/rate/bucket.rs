//! The bucket: the arithmetic of the rate, in nanoseconds.

use super::{Bill, Config, Reservation};

/// Lateness that is credited whatever the burst: 10 ms, which the timers of every platform keep.
const GRAIN: u64 = 10_000_000;
/// Number of lows that are kept. More are rare; the oldest are kept then.
const LOWS: usize = 8;

/// A configuration in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Permits of a full bucket.
    pub(super) burst: u64,
    /// Time between permits.
    interval: u64,
    /// Time in which an empty bucket fills: `burst` intervals.
    pub(super) window: u64,
}

impl Pace {
    pub(super) fn of(config: &Config) -> Self {
        let burst = u64::from(config.burst.unwrap_or(config.rate));
        let interval = config.interval();
        Self { burst, interval, window: burst.saturating_mul(interval) }
    }

    /// The time in which `permits` come.
    #[inline]
    const fn need(self, permits: u64) -> u64 {
        permits.saturating_mul(self.interval)
    }

    /// The instant at which `permits` may be taken from a bucket that is full at `tat`. More than the burst may be taken
    /// when it is full: by one who queued before the burst was made smaller, and who then owes the rest.
    #[inline]
    pub(super) fn turn(self, tat: u64, permits: u64) -> u64 {
        tat.saturating_sub(self.window - self.need(permits).min(self.window))
    }

    /// Lateness of a queued caller that is made up for.
    fn credit(self) -> u64 {
        self.window.max(GRAIN)
    }
}

/// A moment at which little of the burst was used up.
#[derive(Clone, Copy, Debug)]
struct Low {
    at: u64,
    used: u64,
    /// Number of the charge that followed.
    charge: u64,
}

/// How much there is to take, and when there is more.
///
/// Its state is the theoretical arrival time of GCRA, the instant at which it will be full again.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) pace: Pace,
    /// The theoretical arrival time, and the fraction of a nanosecond (in 2⁻³² ns) by which it was rounded up.
    tat: u64,
    fraction: u32,
    /// When permits were last taken or the pace was changed. A `tat` before it is lateness of queued callers that was not
    /// made up for yet.
    taken: u64,
    /// Number of charges so far.
    charges: u64,
    /// The least that was used up just before a newcomer took permits: for each moment, the least since. In the order of
    /// time, hence of `used`. (While somebody waits no time is lost, however full the bucket is.)
    lows: Vec<Low>,
}

impl Bucket {
    pub(super) fn new(config: &Config) -> Self {
        Self { pace: Pace::of(config), tat: 0, fraction: 0, taken: 0, charges: 0, lows: Vec::with_capacity(LOWS) }
    }

    /// The arrival time for a newcomer at `now`: a bucket that is full gets no fuller. What is left of the lateness of
    /// queued callers lapses as fast as time passes.
    #[inline]
    pub(super) fn tat(&self, now: u64) -> u64 {
        let idle = now.saturating_sub(self.taken);
        self.tat.max(now.min(self.tat.saturating_add(idle.saturating_mul(2))))
    }

    /// When a newcomer may take `permits`, if others take `ahead` before.
    #[inline]
    pub(super) fn turn(&self, now: u64, ahead: u64, permits: u64) -> u64 {
        self.pace.turn(self.tat(now).saturating_add(self.pace.need(ahead)), permits)
    }

    /// When a queued caller may take `permits`, if others take `ahead` before: time that has passed counts for it.
    pub(super) fn queued_turn(&self, ahead: u64, permits: u64) -> u64 {
        self.pace.turn(self.tat.saturating_add(self.pace.need(ahead)), permits)
    }

    /// Takes `cost` for a newcomer, whose arrival time is `tat`.
    #[inline]
    pub(super) fn take(&mut self, tat: u64, now: u64, cost: u32) -> Reservation {
        self.spend(tat, now, cost);
        Reservation { cost, bill: Bill::Open, charge: self.charges }
    }

    /// Takes `permits` however many there are: what is missing is owed.
    pub(super) fn owe(&mut self, now: u64, permits: u32) {
        self.spend(self.tat(now), now, permits);
    }

    #[inline]
    fn spend(&mut self, tat: u64, now: u64, permits: u32) {
        self.charge(tat, now, permits);
        // Rounded down, as `tat` is rounded up: no more than was used may come back.
        self.note(tat.saturating_sub(self.taken).saturating_sub(u64::from(self.fraction > 0)));
    }

    /// Takes `cost` for a queued caller whose turn has come. What it comes too late by is not lost for those behind it,
    /// up to the credit.
    pub(super) fn take_late(&mut self, now: u64, cost: u32) -> Reservation {
        let earliest = now.saturating_sub(self.pace.credit());
        let late = earliest.saturating_sub(self.pace.turn(self.tat, cost.into()));
        self.charge(self.tat.saturating_add(late), now, cost);
        Reservation { cost, bill: Bill::Open, charge: self.charges }
    }

    #[inline]
    fn charge(&mut self, tat: u64, now: u64, permits: u32) {
        self.taken = self.taken.max(now);
        self.charges += 1;
        self.move_to(tat.saturating_add(self.pace.need(permits.into())), tat == self.tat);
    }

    /// Moves the arrival time: by whole nanoseconds (`keeps` the fraction), or to another one.
    #[inline]
    fn move_to(&mut self, tat: u64, keeps: bool) {
        self.tat = tat;
        if !keeps {
            self.fraction = 0;
        }
    }

    /// Notes what is used up. One that is higher than the last low matters only once more time has passed than that was:
    /// before, what was taken since is all used up still.
    #[inline]
    fn note(&mut self, used: u64) {
        if self.lows.last().is_some_and(|low| low.used < used && self.taken - low.at <= low.used) {
            return;
        }
        let lower = self.lows.partition_point(|low| low.used < used);
        self.lows.truncate(lower.min(LOWS - 1));
        self.lows.push(Low { at: self.taken, used, charge: self.charges });
    }

    /// Gives back `permits` of what was taken by `charge`, as if they had never been taken. Without them the bucket would have
    /// been fuller since, but never more than full: no more comes back than the least that was used up at any time since.
    /// Only for those who wait (`queued`) time counts beyond a full bucket.
    pub(super) fn give_back(&mut self, charge: u64, permits: u32, queued: bool) {
        let mut back = self.pace.need(permits.into());
        let later = self.lows.partition_point(|low| low.charge <= charge);
        if let Some(least) = self.lows.get(later) {
            back = back.min(least.used);
            let used = least.used - back;
            self.lows[later..].iter_mut().for_each(|low| low.used -= back);
            let lower = self.lows[..later].partition_point(|low| low.used < used);
            self.lows.drain(lower..later);
        }
        let fullest = if queued { 0 } else { self.tat.min(self.taken) };
        let tat = self.tat.saturating_sub(back);
        self.move_to(tat.max(fullest), tat >= fullest);
    }

    /// Goes over to `pace`. What is used up stays used up, as a number of permits, and so does what is owed; `queued`:
    /// somebody waits.
    pub(super) fn change(&mut self, now: u64, pace: Pace, queued: bool) {
        let (old, new) = (self.pace.interval, pace.interval);
        self.pace = pace;
        if old == new {
            return;
        }
        let now = now.max(self.taken);
        if !queued {
            let tat = self.tat(now);
            self.taken = now;
            self.move_to(tat, tat == self.tat);
        }
        let used = ((i128::from(self.tat) - i128::from(now)) << 32) - i128::from(self.fraction);
        let (old, new) = (i128::from(old), i128::from(new));
        let used = used.div_euclid(old).saturating_mul(new).saturating_add(used.rem_euclid(old) * new / old);
        let whole = used.saturating_add(i128::from(u32::MAX)) >> 32;
        self.fraction = u32::try_from((whole << 32) - used).unwrap_or(0);
        self.tat = u64::try_from(whole.saturating_add(now.into()).max(0)).unwrap_or(u64::MAX);
        for low in &mut self.lows {
            let used = i128::from(low.used) * new / old;
            low.used = u64::try_from(used).unwrap_or(u64::MAX);
        }
    }

    /// Whole permits that could be taken, and those that are owed.
    pub(super) fn level(&self, now: u64) -> (u64, u64) {
        let Pace { burst, interval, window } = self.pace;
        let ahead = self.tat(now).saturating_sub(now);
        ((window.saturating_sub(ahead) / interval).min(burst), ahead.saturating_sub(window).div_ceil(interval))
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken
    }
}

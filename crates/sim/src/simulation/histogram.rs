//! Times by their size, to 3 %, in memory that does not grow.

use std::time::Duration;

/// Number of steps between a power of two and the next.
const STEPS: u32 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Microseconds up to half a year.
const SIZE: usize = (44 * STEPS) as usize;

/// Counts of times.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Vec<u32>,
    total: u64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { counts: vec![0; SIZE], total: 0 }
    }

    pub(super) fn add(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let at = index(micros).min(SIZE - 1);
        self.counts[at] = self.counts[at].saturating_add(1);
        self.total += 1;
    }

    pub(super) fn clear(&mut self) {
        if self.total > 0 {
            self.counts.fill(0);
            self.total = 0;
        }
    }

    /// The time that this share of all are not above.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut below = 0;
        let found = self.counts.iter().position(|&count| {
            below += u64::from(count);
            below >= rank
        });
        found.map(|at| Duration::from_micros(middle(at)))
    }
}

fn index(micros: u64) -> usize {
    let steps = u64::from(STEPS);
    if micros < steps {
        return usize::try_from(micros).unwrap_or(0);
    }
    let shift = micros.ilog2() - STEP_BITS;
    let within = (micros >> shift) - steps;
    usize::try_from(u64::from((shift + 1) * STEPS) + within).unwrap_or(usize::MAX)
}

fn middle(at: usize) -> u64 {
    let (at, steps) = (at as u64, u64::from(STEPS));
    if at < steps {
        return at;
    }
    let shift = at / steps - 1;
    ((at % steps + steps) << shift) + ((1 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_three_per_cent() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), None);
        for millis in 1..=1000 {
            histogram.add(Duration::from_millis(millis));
        }
        for share in [0.01, 0.5, 0.95, 0.99, 1.0] {
            let seen = histogram.quantile(share).unwrap().as_secs_f64();
            assert!((seen / share - 1.0).abs() < 0.03, "{share}: {seen}");
        }
        histogram.add(Duration::MAX);
    }
}

//! What harm is done when: drawn from a seed, so that a failure can be tried again with the same draws.

use std::{ops::Range, time::Duration};

use stormproof_core::Rng;

/// What happens to a process or to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Killed, and started again after this.
    Kill(Duration),
    /// Stopped for this long.
    Stop(Duration),
    /// Told to end, and started again when it has.
    Leave,
    /// Forked in the middle of what it does; the copy holds all its files for a while and does nothing.
    Fork,
    /// All connections of the PostgreSQL server are cut.
    Cut,
    /// The PostgreSQL server is ended at once and started again.
    Restart,
}

/// Which faults there are: shares of a hundred draws.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// `kill -9`.
    pub kill: u8,
    /// SIGSTOP. What is left of the hundred in the end is [`Fault::Restart`].
    pub stop: u8,
    /// A fork.
    pub fork: u8,
    /// Ends in order.
    pub leave: u8,
    /// Cuts of connections.
    pub cut: u8,
    /// The mean time between two faults.
    pub every: Duration,
}

impl Mix {
    /// For one machine: kills and stops alike, and some that end in order.
    pub const SQLITE: Self = Self { kill: 40, stop: 40, fork: 0, leave: 20, cut: 0, every: Duration::from_millis(70) };
    /// Also the server.
    pub const POSTGRES: Self =
        Self { kill: 36, stop: 36, fork: 0, leave: 17, cut: 8, every: Duration::from_millis(70) };
    /// Only kills.
    pub const KILLS: Self = Self { kill: 100, stop: 0, fork: 0, leave: 0, cut: 0, every: Duration::from_millis(300) };
    /// Forks, and kills of those that were forked.
    pub const FORKS: Self = Self { kill: 30, stop: 0, fork: 70, leave: 0, cut: 0, every: Duration::from_millis(50) };
    /// Only ends in order, many of them.
    pub const LEAVES: Self = Self { kill: 0, leave: 100, every: Duration::from_millis(25), ..Self::KILLS };
    /// None.
    pub const QUIET: Self = Self { every: Duration::from_secs(3600), ..Self::KILLS };
}

/// The faults of a run, one after the other.
#[derive(Debug)]
pub struct Faults {
    rng: Rng,
    mix: Mix,
    lease: Duration,
}

/// A fault to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// So long after the one before.
    pub after: Duration,
    /// The process, by its place.
    pub worker: usize,
    /// What happens.
    pub fault: Fault,
}

impl Faults {
    /// Faults for processes with this lease.
    pub fn new(seed: u64, mix: Mix, lease: Duration) -> Self {
        Self { rng: Rng::new(seed), mix, lease }
    }

    /// The next of them, for one of `workers` processes.
    pub fn next(&self, workers: usize) -> Due {
        let after = self.mix.every.mul_f64(2.0 * self.rng.unit());
        let worker = usize::try_from(self.rng.next_u64() % workers.max(1) as u64).unwrap_or_default();
        let draw = u8::try_from(self.rng.next_u64() % 100).unwrap_or_default();
        let Mix { kill, stop, fork, leave, cut, .. } = self.mix;
        let fault = if draw < kill {
            Fault::Kill(self.within(0.0..2.0))
        } else if draw < kill + stop {
            // From well within the lease to far beyond it.
            Fault::Stop(self.within(0.1..4.0))
        } else if draw < kill + stop + fork {
            Fault::Fork
        } else if draw < kill + stop + fork + leave {
            Fault::Leave
        } else if draw < kill + stop + fork + leave + cut {
            Fault::Cut
        } else {
            Fault::Restart
        };
        Due { after, worker, fault }
    }

    fn within(&self, leases: Range<f64>) -> Duration {
        self.lease.mul_f64(leases.start + (leases.end - leases.start) * self.rng.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_faults_of_all_kinds() {
        let draw = |seed| {
            let faults = Faults::new(seed, Mix::POSTGRES, Duration::from_millis(150));
            (0..300).map(|_| faults.next(3)).collect::<Vec<_>>()
        };

        let (one, again, other) = (draw(7), draw(7), draw(8));

        assert_eq!(one, again);
        assert_ne!(one, other);
        for wanted in [Fault::Leave, Fault::Cut, Fault::Restart] {
            assert!(one.iter().any(|due| due.fault == wanted), "{wanted:?}");
        }
        for worker in 0..3 {
            assert!(one.iter().any(|due| due.worker == worker && matches!(due.fault, Fault::Kill(_))));
            assert!(one.iter().any(|due| due.worker == worker && matches!(due.fault, Fault::Stop(_))));
        }
    }
}

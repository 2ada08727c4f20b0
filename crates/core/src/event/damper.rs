//! How many events of a kind are told in a storm: the first, and then one summary an interval.
//!
//! Decides only. Who writes a log asks for each event, and when the next summary is due.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Event;
use crate::decision::Name;
use crate::time::Instant;

/// Maximum number of pairs of kind and policy that are counted apart; events of further ones all pass.
const MOST: usize = 4096;

/// Holds back repetitions: of each kind and policy the first is told, then how many followed in each interval. What is
/// not caused by calls, such as a circuit's transitions, always passes.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::event::{Kind, damper::Damper};
/// use stormproof_core::{Event, Instant, Limit};
///
/// let mut damper = Damper::new(Duration::from_secs(10));
/// let event = Event::new(Instant::ZERO, "openai".into(), Kind::TimedOut { limit: Limit::Call, after: Duration::ZERO });
/// assert!(damper.offer(Instant::ZERO, &event));
/// assert!(!damper.offer(Instant::ZERO, &event));
///
/// let end = Instant::ZERO + Duration::from_secs(10);
/// assert_eq!(damper.next_due(), end);
/// assert_eq!(damper.due(end)[0].count, 1);
/// ```
#[derive(Clone, Debug)]
pub struct Damper {
    interval: Duration,
    storms: BTreeMap<(Name, &'static str), Storm>,
    /// No interval is over before: until then nobody has to look at all of them.
    quiet_until: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Storm {
    began: Instant,
    suppressed: u64,
}

/// How many events were held back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suppressed {
    /// The policy they happened in.
    pub policy: Name,
    /// Their name in snake case.
    pub event_type: &'static str,
    /// How many.
    pub count: u64,
    /// Time in which they were suppressed.
    pub over: Duration,
}

impl Damper {
    /// One summary an `interval` for each kind and policy. With zero every event is told.
    pub fn new(interval: Duration) -> Self {
        Self { interval, storms: BTreeMap::new(), quiet_until: Instant::ZERO }
    }

    /// Whether this event is to be told. If not, it is in the next summary.
    pub fn offer(&mut self, now: Instant, event: &Event) -> bool {
        if self.interval.is_zero() || !event.kind.is_per_call() {
            return true;
        }
        let key = (event.policy.clone(), event.kind.as_str());
        if let Some(storm) = self.storms.get_mut(&key) {
            // Quiet for an interval: this one begins anew. With something to say, that is said first.
            if storm.suppressed == 0 && now >= storm.began + self.interval {
                storm.began = now;
                return true;
            }
            storm.suppressed = storm.suppressed.saturating_add(1);
            return false;
        }
        if self.storms.len() >= MOST {
            // Those with nothing to say are never due, so that nobody may have asked for summaries.
            let interval = self.interval;
            self.storms.retain(|_, storm| storm.suppressed > 0 || now < storm.began + interval);
        }
        if self.storms.len() < MOST {
            self.storms.insert(key, Storm { began: now, suppressed: 0 });
        }
        true
    }

    /// The summaries whose interval is over. Where there is one, the next interval begins; where nothing was held back
    /// for an interval, the storm is over.
    pub fn due(&mut self, now: Instant) -> Vec<Suppressed> {
        let mut due = Vec::new();
        if now < self.quiet_until {
            return due;
        }
        let interval = self.interval;
        self.storms.retain(|(policy, event_type), storm| {
            if now < storm.began + interval {
                return true;
            }
            if storm.suppressed == 0 {
                return false;
            }
            due.push(summary(policy, event_type, storm, now));
            *storm = Storm { began: now, suppressed: 0 };
            true
        });
        // Those that begin later are over later.
        self.quiet_until = self.storms.values().map(|storm| storm.began + interval).min().unwrap_or(Instant::ZERO);
        due
    }

    /// All that was held back and not told, and forgets it: for the end of a log.
    pub fn finish(&mut self, now: Instant) -> Vec<Suppressed> {
        let storms = std::mem::take(&mut self.storms);
        self.quiet_until = Instant::ZERO;
        let untold = storms.iter().filter(|(_, storm)| storm.suppressed > 0);
        untold.map(|((policy, event_type), storm)| summary(policy, event_type, storm, now)).collect()
    }

    /// When a summary is due next; [`Instant::FAR_FUTURE`] if none is, as things are.
    pub fn next_due(&self) -> Instant {
        let untold = self.storms.values().filter(|storm| storm.suppressed > 0);
        untold.map(|storm| storm.began + self.interval).min().unwrap_or(Instant::FAR_FUTURE)
    }
}

fn summary(policy: &Name, event_type: &'static str, storm: &Storm, now: Instant) -> Suppressed {
    Suppressed { policy: policy.clone(), event_type, count: storm.suppressed, over: now.since(storm.began) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::{Change, Mode};
    use crate::event::Kind;
    use crate::{CircuitBreaker, Limit, Reason, Stage};

    const TEN: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn refused(policy: &str) -> Event {
        let kind = Kind::Refused {
            stage: Stage::Bulkhead,
            name: policy.into(),
            reason: Reason::QueueFull,
            retry_after: Duration::ZERO,
        };
        Event::new(Instant::ZERO, policy.into(), kind)
    }

    #[test]
    fn a_storm_is_one_event_and_one_count_an_interval() {
        let mut damper = Damper::new(TEN);
        let told = (0..1000).filter(|_| damper.offer(at(0), &refused("p"))).count();
        assert_eq!((told, damper.next_due()), (1, at(10)));
        assert_eq!(damper.due(at(9)), []);
        let due = damper.due(at(10));
        assert_eq!((due.len(), due[0].count, due[0].over, due[0].event_type), (1, 999, TEN, "bulkhead_rejected"));

        assert!(!damper.offer(at(19), &refused("p")), "still the same storm");
        assert_eq!(damper.due(at(20))[0].count, 1);
        assert_eq!(damper.next_due(), Instant::FAR_FUTURE);
        assert_eq!(damper.due(at(30)), []);
        assert!(damper.offer(at(30), &refused("p")), "the storm was over");
    }

    #[test]
    fn kinds_and_policies_are_told_apart() {
        let mut damper = Damper::new(TEN);
        assert!(damper.offer(at(0), &refused("p")));
        assert!(damper.offer(at(0), &refused("q")));
        let late = Kind::TimedOut { limit: Limit::Call, after: TEN };
        assert!(damper.offer(at(0), &Event::new(at(0), "p".into(), late)));
        assert!(!damper.offer(at(0), &refused("q")));
        let rest = damper.finish(at(4));
        assert_eq!((rest.len(), rest[0].policy.as_str(), rest[0].count), (1, "q", 1));
        assert!(damper.offer(at(4), &refused("q")), "forgotten");
    }

    #[test]
    fn nobody_has_to_ask_for_summaries_for_a_quiet_kind_to_be_told_again() {
        let mut damper = Damper::new(TEN);
        assert!(damper.offer(at(0), &refused("p")));
        assert!(damper.offer(at(10), &refused("p")));
        assert!(!damper.offer(at(19), &refused("p")));
    }

    #[test]
    fn transitions_always_pass_and_no_interval_passes_all() {
        let breaker = CircuitBreaker::new("b");
        let mut damper = Damper::new(TEN);
        for mode in [Mode::ForcedOpen, Mode::Normal, Mode::ForcedOpen] {
            let transition = breaker.set_mode(at(0), mode).expect("moved");
            let kind = Kind::of_change(breaker.name(), Change::Moved(transition));
            assert!(damper.offer(at(0), &Event::new(at(0), "b".into(), kind)));
        }
        let mut open = Damper::new(Duration::ZERO);
        assert!(open.offer(at(0), &refused("p")) && open.offer(at(0), &refused("p")));
    }

    #[test]
    fn storms_that_are_over_make_room_though_nobody_asks_for_summaries() {
        let mut damper = Damper::new(TEN);
        for number in 0..MOST {
            assert!(damper.offer(at(0), &refused(&format!("p{number}"))));
        }
        assert_eq!(damper.next_due(), Instant::FAR_FUTURE);
        assert!(damper.offer(at(10), &refused("q")));
        assert!(!damper.offer(at(10), &refused("q")));
    }

    #[test]
    fn an_endless_interval_and_many_names_are_bounded() {
        let mut damper = Damper::new(Duration::MAX);
        for number in 0..MOST + 10 {
            assert!(damper.offer(at(0), &refused(&format!("p{number}"))));
        }
        assert_eq!(damper.storms.len(), MOST);
        assert_eq!(damper.due(Instant::FAR_FUTURE), []);
    }
}

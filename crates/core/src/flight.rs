//! Calls for the same thing at the same time: one is made, the others wait for it.
//!
//! Owns who leads, who is next, and who leads beside one that takes too long. Does not own waiting or answers: who waits
//! holds a [`Ticket`], which the edge maps to whatever it wakes, and finds the answer where the leader left it.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crate::decision::Ticket;
use crate::sync::{Mutex, MutexGuard};
use crate::time::Instant;

/// The calls under way, by what they are for. A key's `Hash` and `Eq` run under a lock.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::Instant;
/// use stormproof_core::flight::{Flights, Place};
///
/// let (flights, now, patience) = (Flights::default(), Instant::ZERO, Duration::from_secs(10));
/// let [leader, second, third] = [(); 3].map(|()| flights.join(&"answer", now, |_| false));
/// assert_eq!(flights.ask(&"answer", leader, now, patience), Place::Leads);
/// assert_eq!(flights.ask(&"answer", second, now, patience), Place::Waits { until: now + patience });
/// assert_eq!(flights.leave(&"answer", leader, now), Some(second), "a leader that gives up hands over");
/// let later = now + patience;
/// assert_eq!(flights.ask(&"answer", third, later, patience), Place::Leads, "beside one that takes too long");
/// ```
#[derive(Debug)]
pub struct Flights<K>(Mutex<HashMap<K, Flight>>);

#[derive(Debug)]
struct Flight {
    /// Those who make the call: more than one if it took one of them too long.
    leaders: Vec<Leader>,
    /// When the last leader began.
    since: Instant,
    /// In the order of arrival.
    waiting: VecDeque<Ticket>,
    /// Those who are still to be told that the call failed, and how.
    failed: Vec<Ticket>,
    failure: Arc<str>,
}

#[derive(Debug)]
struct Leader {
    ticket: Ticket,
    /// Its answer is out of date before it is there.
    spoiled: bool,
}

/// Where the holder of a ticket stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// It makes the call.
    Leads,
    /// Somebody else makes it. At this time to be asked again.
    Waits {
        /// When the call will have taken too long.
        until: Instant,
    },
    /// The call that it waited for has failed like this, and another one is made for those who wait.
    Failed(Arc<str>),
    /// The call is over.
    Landed,
}

impl<K> Default for Flights<K> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Hash + Eq + Clone> Flights<K> {
    /// Joins the call for `key`, or starts it: [`ask`](Self::ask) tells which. Starts another one beside it if one of its
    /// leaders is `around` this: that would wait for itself.
    pub fn join(&self, key: &K, now: Instant, around: impl Fn(Ticket) -> bool) -> Ticket {
        let ticket = Ticket::next();
        let mut flights = self.0.lock();
        match flights.get_mut(key) {
            Some(flight)
                if flight.leaders.iter().all(|leader| !around(leader.ticket)) && !flight.leaders.is_empty() =>
            {
                flight.waiting.push_back(ticket);
            }
            Some(flight) => flight.lead(ticket, now),
            None => _ = flights.insert(key.clone(), Flight::of(ticket, now)),
        }
        ticket
    }

    /// Starts a call for `key` for oneself, beside others.
    pub fn lead(&self, key: &K, now: Instant) -> Ticket {
        self.join(key, now, |_| true)
    }

    /// Where this ticket stands now. If the last leader has had `patience`, it leads from now on itself.
    pub fn ask(&self, key: &K, ticket: Ticket, now: Instant, patience: Duration) -> Place {
        let mut flights = self.0.lock();
        let Some(flight) = flights.get_mut(key) else { return Place::Landed };
        if flight.leader(ticket).is_some() {
            return Place::Leads;
        }
        if flight.failed.contains(&ticket) {
            return Place::Failed(flight.failure.clone());
        }
        let Some(at) = flight.waiting.iter().position(|waiting| *waiting == ticket) else { return Place::Landed };
        let until = flight.since + patience;
        if now < until {
            return Place::Waits { until };
        }
        flight.waiting.remove(at);
        flight.lead(ticket, now);
        Place::Leads
    }

    /// Whether the answer of this leader is still wanted.
    pub fn is_wanted(&self, key: &K, ticket: Ticket) -> bool {
        let mut flights = self.0.lock();
        flights.get_mut(key).and_then(|flight| flight.leader(ticket)).is_some_and(|leader| !leader.spoiled)
    }

    /// What is on its way for `key` is not wanted any more.
    pub fn spoil(&self, key: &K) {
        if let Some(flight) = self.0.lock().get_mut(key) {
            flight.leaders.iter_mut().for_each(|leader| leader.spoiled = true);
        }
    }

    /// The call of a leader has an answer. Returns whom to wake: they find that it has landed. Nobody, if this ticket does
    /// not lead.
    pub fn land(&self, key: &K, ticket: Ticket) -> VecDeque<Ticket> {
        let mut flights = self.0.lock();
        if flights.get_mut(key).is_none_or(|flight| flight.leader(ticket).is_none()) {
            return VecDeque::new();
        }
        let landed = flights.remove_entry(key);
        drop(flights);
        landed.map(|(_, flight)| flight.waiting).unwrap_or_default()
    }

    /// The call of a leader has failed. Unless another one is under way, the one that waits longest leads from now on, and
    /// the rest find that it has failed. Returns whom to wake.
    pub fn fail(&self, key: &K, ticket: Ticket, failure: &str, now: Instant) -> VecDeque<Ticket> {
        let mut flights = self.0.lock();
        let mut woken = VecDeque::new();
        if let Some(flight) = flights.get_mut(key)
            && let Some(next) = flight.leave(ticket, now)
        {
            flight.failure = failure.into();
            flight.failed.extend(&flight.waiting);
            woken.append(&mut flight.waiting);
            woken.push_front(next);
        }
        Self::done(flights, key);
        woken
    }

    /// Gives up. If nobody leads then, the one that waits longest leads from now on: it is returned and should be woken.
    /// Does nothing once the call has landed.
    pub fn leave(&self, key: &K, ticket: Ticket, now: Instant) -> Option<Ticket> {
        let mut flights = self.0.lock();
        let next = flights.get_mut(key)?.leave(ticket, now);
        Self::done(flights, key);
        next
    }

    /// Forgets a flight that nobody has to do with any more.
    fn done(mut flights: MutexGuard<'_, HashMap<K, Flight>>, key: &K) {
        let over = |flight: &Flight| flight.leaders.is_empty() && flight.failed.is_empty();
        let landed = if flights.get(key).is_some_and(over) { flights.remove_entry(key) } else { None };
        // A key that is dropped is the user's.
        drop(flights);
        drop(landed);
    }

    /// Keys for which a call is under way.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether no call is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Flight {
    fn of(leader: Ticket, now: Instant) -> Self {
        let leaders = vec![Leader { ticket: leader, spoiled: false }];
        Self { leaders, since: now, waiting: VecDeque::new(), failed: Vec::new(), failure: "".into() }
    }

    fn leader(&mut self, ticket: Ticket) -> Option<&mut Leader> {
        self.leaders.iter_mut().find(|leader| leader.ticket == ticket)
    }

    /// Returns who leads from now on, if that is another one.
    fn leave(&mut self, ticket: Ticket, now: Instant) -> Option<Ticket> {
        self.waiting.retain(|waiting| *waiting != ticket);
        self.failed.retain(|failed| *failed != ticket);
        self.leaders.retain(|leader| leader.ticket != ticket);
        let next = if self.leaders.is_empty() { self.waiting.pop_front() } else { None }?;
        self.lead(next, now);
        Some(next)
    }

    fn lead(&mut self, ticket: Ticket, now: Instant) {
        self.leaders.push(Leader { ticket, spoiled: false });
        self.since = now;
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a model of one flight has, in the plainest form.
    #[derive(Clone, Debug, Default)]
    struct Model {
        leaders: Vec<Ticket>,
        since: u64,
        waiting: Vec<Ticket>,
        failed: Vec<Ticket>,
    }

    impl Model {
        fn leave(&mut self, ticket: Ticket, now: u64) -> Option<Ticket> {
            for tickets in [&mut self.leaders, &mut self.waiting, &mut self.failed] {
                tickets.retain(|known| *known != ticket);
            }
            if !self.leaders.is_empty() || self.waiting.is_empty() {
                return None;
            }
            self.leaders.push(self.waiting.remove(0));
            self.since = now;
            self.leaders.first().copied()
        }

        fn place(&self, ticket: Ticket) -> Place {
            if self.leaders.contains(&ticket) {
                Place::Leads
            } else if self.waiting.contains(&ticket) {
                Place::Waits { until: Instant::from_nanos(self.since + PATIENCE) }
            } else if self.failed.contains(&ticket) {
                Place::Failed("down".into())
            } else {
                Place::Landed
            }
        }
    }

    const PATIENCE: u64 = 10;

    #[derive(Clone, Copy, Debug)]
    enum Action {
        Join,
        Land(usize),
        Leave(usize),
        Fail(usize),
        /// Is asked.
        Ask(usize),
        Later(u64),
    }

    fn actions() -> impl Strategy<Value = Vec<Action>> {
        let one = prop_oneof![
            6 => Just(Action::Join),
            1 => (0..8_usize).prop_map(Action::Land),
            3 => (0..8_usize).prop_map(Action::Leave),
            2 => (0..8_usize).prop_map(Action::Fail),
            2 => (0..8_usize).prop_map(Action::Ask),
            2 => (0..12_u64).prop_map(Action::Later),
        ];
        proptest::collection::vec(one, 0..80)
    }

    proptest! {
        #[test]
        fn somebody_leads_and_all_others_are_in_the_order_of_arrival(actions in actions()) {
            let flights = Flights::default();
            let (mut all, mut model, mut now): (Vec<Ticket>, _, _) = (Vec::new(), Model::default(), 0);
            let patience = Duration::from_nanos(PATIENCE);
            for action in actions {
                let at = Instant::from_nanos(now);
                let nth = |at: usize| all.iter().rev().nth(at).copied();
                match action {
                    Action::Later(by) => now += by,
                    Action::Join => {
                        let ticket = flights.join(&(), at, |_| false);
                        all.push(ticket);
                        if model.leaders.is_empty() {
                            model.leaders.push(ticket);
                            model.since = now;
                        } else {
                            model.waiting.push(ticket);
                        }
                    }
                    Action::Land(n) => if let Some(ticket) = nth(n) {
                        let woken = flights.land(&(), ticket);
                        if model.leaders.contains(&ticket) {
                            prop_assert_eq!(Vec::from(woken), std::mem::take(&mut model).waiting);
                        } else {
                            prop_assert!(woken.is_empty());
                        }
                    },
                    Action::Leave(n) => if let Some(ticket) = nth(n) {
                        prop_assert_eq!(flights.leave(&(), ticket, at), model.leave(ticket, now));
                    },
                    Action::Fail(n) => if let Some(ticket) = nth(n) {
                        let next = model.leave(ticket, now);
                        let rest = if next.is_some() { std::mem::take(&mut model.waiting) } else { Vec::new() };
                        let woken: Vec<_> = next.into_iter().chain(rest.iter().copied()).collect();
                        model.failed.extend(rest);
                        prop_assert_eq!(Vec::from(flights.fail(&(), ticket, "down", at)), woken);
                    },
                    Action::Ask(n) => if let Some(ticket) = nth(n) {
                        let place = flights.ask(&(), ticket, at, patience);
                        if model.waiting.contains(&ticket) && now >= model.since + PATIENCE {
                            model.waiting.retain(|waiting| *waiting != ticket);
                            model.leaders.push(ticket);
                            model.since = now;
                        }
                        prop_assert_eq!(place, model.place(ticket));
                    },
                }
                for &ticket in &all {
                    // At the beginning of time nobody has waited for too long.
                    prop_assert_eq!(flights.ask(&(), ticket, Instant::ZERO, patience), model.place(ticket));
                }
                prop_assert!(model.waiting.is_empty() || !model.leaders.is_empty());
                prop_assert_eq!(flights.is_empty(), model.leaders.is_empty() && model.failed.is_empty());
            }
        }
    }

    #[test]
    fn of_many_who_wait_too_long_one_leads_at_a_time() {
        let (flights, patience) = (Flights::default(), Duration::from_secs(10));
        let tickets: Vec<_> = (0..50).map(|_| flights.join(&(), Instant::ZERO, |_| false)).collect();
        let leading =
            |now| tickets.iter().filter(|ticket| flights.ask(&(), **ticket, now, patience) == Place::Leads).count();
        for round in 0..4_u32 {
            let now = Instant::ZERO + patience * round;
            assert_eq!(leading(now), round as usize + 1);
        }
        assert_eq!(flights.land(&(), tickets[0]).len(), 46, "an answer that comes late is one");
    }

    #[test]
    fn a_call_inside_the_call_for_the_same_key_leads_beside_it() {
        let (flights, now) = (Flights::default(), Instant::ZERO);
        let outer = flights.join(&(), now, |_| false);
        let inner = flights.join(&(), now, |ticket| ticket == outer);
        assert_eq!(flights.ask(&(), inner, now, Duration::MAX), Place::Leads);
        flights.spoil(&());
        let later = flights.lead(&(), now);
        assert_eq!([outer, inner, later].map(|ticket| flights.is_wanted(&(), ticket)), [false, false, true]);
    }
}

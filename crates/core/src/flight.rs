//! Calls for the same thing at the same time: one is made, the others wait for it.
//!
//! Owns who leads and who is next. Does not own waiting or answers: who waits holds a [`Ticket`], which the edge maps to
//! whatever it wakes, and finds the answer where the leader left it.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use crate::decision::Ticket;
use crate::sync::Mutex;

/// The calls under way, by what they are for. A key's `Hash` and `Eq` run under a lock.
///
/// ```
/// use stormproof_core::flight::{Flights, Place};
///
/// let flights = Flights::default();
/// let (leader, follower) = (flights.join(&"answer"), flights.join(&"answer"));
/// assert_eq!(flights.ask(&"answer", leader), Place::Leads);
/// assert_eq!(flights.ask(&"answer", follower), Place::Waits);
/// assert_eq!(flights.leave(&"answer", leader), Some(follower), "a leader that gives up hands over");
/// assert_eq!(flights.ask(&"answer", follower), Place::Leads);
/// ```
#[derive(Debug)]
pub struct Flights<K>(Mutex<HashMap<K, Flight>>);

#[derive(Debug)]
struct Flight {
    leader: Ticket,
    /// In the order of arrival.
    waiting: VecDeque<Ticket>,
}

/// Where the holder of a ticket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It makes the call.
    Leads,
    /// Somebody else makes it.
    Waits,
    /// The call is over.
    Landed,
}

impl<K> Default for Flights<K> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Hash + Eq + Clone> Flights<K> {
    /// Joins the call for `key`, or starts it: [`ask`](Self::ask) tells which.
    pub fn join(&self, key: &K) -> Ticket {
        let ticket = Ticket::next();
        let mut flights = self.0.lock();
        match flights.get_mut(key) {
            Some(flight) => flight.waiting.push_back(ticket),
            None => _ = flights.insert(key.clone(), Flight { leader: ticket, waiting: VecDeque::new() }),
        }
        ticket
    }

    /// Where this ticket stands now.
    pub fn ask(&self, key: &K, ticket: Ticket) -> Place {
        match self.0.lock().get(key) {
            Some(flight) if flight.leader == ticket => Place::Leads,
            Some(flight) if flight.waiting.contains(&ticket) => Place::Waits,
            _ => Place::Landed,
        }
    }

    /// The call is over. Returns whom to wake: they find that it has landed. Nobody, if this ticket does not lead.
    pub fn land(&self, key: &K, ticket: Ticket) -> VecDeque<Ticket> {
        let mut flights = self.0.lock();
        if flights.get(key).is_none_or(|flight| flight.leader != ticket) {
            return VecDeque::new();
        }
        let landed = flights.remove_entry(key);
        drop(flights);
        landed.map(|(_, flight)| flight.waiting).unwrap_or_default()
    }

    /// Gives up. If this ticket leads, the one that waits longest leads from now on: it is returned and should be woken.
    /// Does nothing once the call has landed.
    pub fn leave(&self, key: &K, ticket: Ticket) -> Option<Ticket> {
        let mut flights = self.0.lock();
        let flight = flights.get_mut(key)?;
        if flight.leader != ticket {
            flight.waiting.retain(|waiting| *waiting != ticket);
            return None;
        }
        if let Some(next) = flight.waiting.pop_front() {
            flight.leader = next;
            return Some(next);
        }
        let landed = flights.remove_entry(key);
        drop(flights);
        drop(landed);
        None
    }

    /// Calls under way.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether no call is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a model of one flight has, in the plainest form: the first of the list leads.
    #[derive(Clone, Copy, Debug)]
    enum Action {
        Join,
        Land(usize),
        Leave(usize),
    }

    fn actions() -> impl Strategy<Value = Vec<Action>> {
        let one = prop_oneof![
            3 => Just(Action::Join),
            1 => (0..8_usize).prop_map(Action::Land),
            2 => (0..8_usize).prop_map(Action::Leave),
        ];
        proptest::collection::vec(one, 0..60)
    }

    proptest! {
        #[test]
        fn there_is_one_leader_and_all_others_are_in_the_order_of_arrival(actions in actions()) {
            let flights = Flights::default();
            let (mut all, mut model): (Vec<Ticket>, Vec<Ticket>) = (Vec::new(), Vec::new());
            for action in actions {
                match action {
                    Action::Join => {
                        let ticket = flights.join(&());
                        all.push(ticket);
                        model.push(ticket);
                    }
                    Action::Land(at) => if let Some(&ticket) = all.iter().rev().nth(at) {
                        let woken = flights.land(&(), ticket);
                        if model.first() == Some(&ticket) {
                            prop_assert_eq!(Vec::from(woken), model.split_off(1));
                            model.clear();
                        } else {
                            prop_assert!(woken.is_empty());
                        }
                    },
                    Action::Leave(at) => if let Some(&ticket) = all.iter().rev().nth(at) {
                        let led = model.first() == Some(&ticket);
                        model.retain(|known| *known != ticket);
                        let next = if led { model.first().copied() } else { None };
                        prop_assert_eq!(flights.leave(&(), ticket), next);
                    },
                }
                for &ticket in &all {
                    let expected = match model.iter().position(|known| *known == ticket) {
                        Some(0) => Place::Leads,
                        Some(_) => Place::Waits,
                        None => Place::Landed,
                    };
                    prop_assert_eq!(flights.ask(&(), ticket), expected);
                }
                prop_assert_eq!(flights.len(), usize::from(!model.is_empty()));
            }
        }
    }
}

//! All interleavings of callers for one key: exactly one leads at a time, and whoever is left is told.
#![cfg(loom)]
#![cfg(test)]

use loom::sync::Arc;
use loom::thread;
use stormproof_core::flight::{Flights, Place};

#[test]
fn a_leader_that_gives_up_leaves_nobody_behind() {
    loom::model(|| {
        let flights = Arc::new(Flights::default());
        let leader = flights.join(&());
        let other = flights.clone();
        let thread = thread::spawn(move || {
            let ticket = other.join(&());
            (ticket, other.ask(&(), ticket))
        });
        let woken = flights.leave(&(), leader);
        let (ticket, place) = thread.join().unwrap();
        match place {
            Place::Leads => assert!(woken.is_none() || woken == Some(ticket)),
            Place::Waits => assert_eq!(woken, Some(ticket)),
            Place::Landed => unreachable!("nobody landed"),
        }
        assert_eq!(flights.ask(&(), ticket), Place::Leads);
    });
}

#[test]
fn a_flight_that_lands_tells_all_who_waited_and_none_of_those_who_came_later() {
    loom::model(|| {
        let flights = Arc::new(Flights::default());
        let leader = flights.join(&());
        let other = flights.clone();
        let thread = thread::spawn(move || {
            let ticket = other.join(&());
            (ticket, other.ask(&(), ticket))
        });
        let woken = flights.land(&(), leader);
        let (ticket, place) = thread.join().unwrap();
        assert_eq!(woken.contains(&ticket), place != Place::Leads);
        let now = flights.ask(&(), ticket);
        assert_eq!(now, if woken.contains(&ticket) { Place::Landed } else { Place::Leads });
    });
}

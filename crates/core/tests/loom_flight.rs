//! All interleavings of callers for one key: exactly one leads at a time, and whoever is left is told.
#![cfg(loom)]
#![cfg(test)]

use loom::sync::Arc;
use loom::thread;
use stormproof_core::flight::{Flights, Place};
use stormproof_core::{Instant, Ticket};

const NOW: Instant = Instant::ZERO;

fn join(flights: &Flights<()>) -> Ticket {
    flights.join(&(), NOW, |_| false)
}

fn ask(flights: &Flights<()>, ticket: Ticket) -> Place {
    flights.ask(&(), ticket, NOW, std::time::Duration::MAX)
}

#[test]
fn a_leader_that_gives_up_leaves_nobody_behind() {
    loom::model(|| {
        let flights = Arc::new(Flights::default());
        let leader = join(&flights);
        let other = flights.clone();
        let thread = thread::spawn(move || {
            let ticket = join(&other);
            (ticket, ask(&other, ticket))
        });
        let woken = flights.leave(&(), leader, NOW);
        let (ticket, place) = thread.join().unwrap();
        match place {
            Place::Leads => assert!(woken.is_none() || woken == Some(ticket)),
            Place::Waits { .. } => assert_eq!(woken, Some(ticket)),
            Place::Failed(_) | Place::Landed => unreachable!("nobody landed"),
        }
        assert_eq!(ask(&flights, ticket), Place::Leads);
    });
}

#[test]
fn a_flight_that_lands_tells_all_who_waited_and_none_of_those_who_came_later() {
    loom::model(|| {
        let flights = Arc::new(Flights::default());
        let leader = join(&flights);
        let other = flights.clone();
        let thread = thread::spawn(move || {
            let ticket = join(&other);
            (ticket, ask(&other, ticket))
        });
        let woken = flights.land(&(), leader);
        let (ticket, place) = thread.join().unwrap();
        assert_eq!(woken.contains(&ticket), place != Place::Leads);
        let now = ask(&flights, ticket);
        assert_eq!(now, if woken.contains(&ticket) { Place::Landed } else { Place::Leads });
    });
}

#[test]
fn a_leader_that_fails_hands_over_to_one_and_tells_the_rest() {
    loom::model(|| {
        let flights = Arc::new(Flights::default());
        let leader = join(&flights);
        let others: Vec<_> = (0..2)
            .map(|_| {
                let other = flights.clone();
                thread::spawn(move || join(&other))
            })
            .collect();
        let woken = flights.fail(&(), leader, "down", NOW);
        let tickets: Vec<_> = others.into_iter().map(|thread| thread.join().unwrap()).collect();
        let places: Vec<_> = tickets.iter().map(|ticket| ask(&flights, *ticket)).collect();
        assert_eq!(places.iter().filter(|place| **place == Place::Leads).count(), 1, "{places:?}");
        for (ticket, place) in tickets.iter().zip(&places) {
            assert!(woken.contains(ticket) || !matches!(place, Place::Failed(_)), "told without being woken");
        }
        for ticket in tickets {
            flights.leave(&(), ticket, NOW);
        }
        assert!(flights.is_empty());
    });
}

#[test]
fn of_two_who_have_waited_too_long_one_leads() {
    loom::model(|| {
        let flights = Arc::new(Flights::default());
        let _unpolled = join(&flights);
        let patience = std::time::Duration::from_secs(1);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (other, ticket) = (flights.clone(), join(&flights));
                thread::spawn(move || other.ask(&(), ticket, NOW + patience, patience))
            })
            .collect();
        let places: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(places.iter().filter(|place| **place == Place::Leads).count(), 1, "{places:?}");
    });
}

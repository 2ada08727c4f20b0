//! Every interleaving of a few threads, by loom: `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test --release`.
#![cfg(loom)]
#![cfg(test)]

use std::time::Duration;

use loom::sync::Arc;
use loom::thread;
use stormproof_core::bulkhead::{self, Slot};
use stormproof_core::rate::{self, Reservation};
use stormproof_core::{Admission, Bulkhead, Instant, Priority, Progress, RateLimiter, Ticket, Verdict, adaptive};

const NOW: Instant = Instant::from_nanos(1_000_000_000_000);

fn bulkhead(max_concurrent: u32, max_queue: u32) -> Arc<Bulkhead> {
    let config = bulkhead::Config { max_concurrent, max_queue, ..Default::default() };
    Arc::new(Bulkhead::with_config("loom", config).unwrap())
}

fn limiter(burst: u32) -> Arc<RateLimiter> {
    let config = rate::Config { rate: 1, burst: Some(burst), ..Default::default() };
    Arc::new(RateLimiter::with_config("loom", config).unwrap())
}

/// Polls this ticket, and whether it got a slot.
fn follow(bulkhead: &Bulkhead, ticket: Ticket) -> Option<Slot> {
    match bulkhead.poll(NOW, ticket).0 {
        Progress::Granted(slot) => Some(slot),
        Progress::Waiting { .. } | Progress::Refused(_) => None,
    }
}

/// Polls whoever is to be woken, as an edge does; how many passed.
fn follow_all(limiter: &RateLimiter, mut woken: Vec<Ticket>) -> Vec<Reservation> {
    let mut passed = Vec::new();
    while let Some(ticket) = woken.pop() {
        let (progress, others) = limiter.poll(NOW, ticket);
        woken.extend(others);
        if let Progress::Granted(reservation) = progress {
            passed.push(reservation);
        }
    }
    passed
}

#[test]
fn one_slot_is_held_once_at_a_time() {
    loom::model(|| {
        let bulkhead = bulkhead(1, 0);
        let inside = Arc::new(loom::sync::atomic::AtomicUsize::new(0));
        let enter = |bulkhead: &Bulkhead, inside: &loom::sync::atomic::AtomicUsize| {
            if let Ok(mut slot) = bulkhead.try_acquire() {
                assert_eq!(inside.fetch_add(1, loom::sync::atomic::Ordering::Relaxed), 0);
                inside.fetch_sub(1, loom::sync::atomic::Ordering::Relaxed);
                let _ = bulkhead.release(&mut slot);
            }
        };
        let other = {
            let (bulkhead, inside) = (bulkhead.clone(), inside.clone());
            thread::spawn(move || enter(&bulkhead, &inside))
        };
        enter(&bulkhead, &inside);
        other.join().unwrap();
        assert_eq!(bulkhead.stats().active, 0);
        assert!(bulkhead.try_acquire().is_ok());
    });
}

#[test]
fn a_caller_that_queues_while_a_slot_is_released_gets_it() {
    loom::model(|| {
        let bulkhead = bulkhead(1, 2);
        let mut held = bulkhead.try_acquire().unwrap();
        let other = {
            let bulkhead = bulkhead.clone();
            thread::spawn(move || bulkhead.release(&mut held))
        };
        let admission = bulkhead.acquire(NOW);
        let woken = other.join().unwrap();
        let slot = match admission {
            Admission::Granted(slot) => {
                assert_eq!(woken, []);
                Some(slot)
            }
            Admission::Queued(ticket) => {
                assert_eq!(woken, [ticket], "nobody is left sleeping");
                follow(&bulkhead, ticket)
            }
            Admission::Refused(_) => None,
        };
        assert_eq!((slot.is_some(), bulkhead.stats().active), (true, 1));
    });
}

#[test]
fn a_slot_released_to_a_caller_that_gives_up_goes_to_the_next() {
    loom::model(|| {
        let bulkhead = bulkhead(1, 2);
        let mut held = bulkhead.try_acquire().unwrap();
        let (Admission::Queued(first), Admission::Queued(second)) = (bulkhead.acquire(NOW), bulkhead.acquire(NOW))
        else {
            unreachable!()
        };
        let other = {
            let bulkhead = bulkhead.clone();
            thread::spawn(move || bulkhead.release(&mut held))
        };
        let from_cancel = bulkhead.cancel(first);
        let from_release = other.join().unwrap();
        let woken = [from_cancel, from_release].concat();
        assert!(woken.contains(&second), "nobody is left sleeping");
        let mut slot = follow(&bulkhead, second).unwrap();
        assert_eq!((bulkhead.stats().active, bulkhead.stats().queued), (1, 0));
        let _ = bulkhead.release(&mut slot);
        assert!(bulkhead.try_acquire().is_ok());
    });
}

#[test]
fn a_caller_that_is_shed_while_a_slot_is_released_hears_of_one_or_the_other() {
    loom::model(|| {
        let bulkhead = bulkhead(1, 1);
        let mut held = bulkhead.try_acquire().unwrap();
        let Admission::Queued(low) = bulkhead.acquire_as(NOW, Priority::Low.into()) else { unreachable!() };
        let other = {
            let bulkhead = bulkhead.clone();
            thread::spawn(move || bulkhead.release(&mut held))
        };
        let Admission::Queued(high) = bulkhead.acquire_as(NOW, Priority::High.into()) else { unreachable!() };
        let (progress, mut woken) = bulkhead.poll(NOW, high);
        woken.extend(other.join().unwrap());
        assert!(woken.contains(&low), "granted or shed, it is woken");
        let high = match progress {
            Progress::Granted(slot) => Some(slot),
            Progress::Waiting { .. } | Progress::Refused(_) => follow(&bulkhead, high),
        };
        let low = follow(&bulkhead, low);
        assert!(high.is_some() ^ low.is_some(), "one of them has the slot");
        assert_eq!(bulkhead.stats().shed, u64::from(high.is_some()));
        assert_eq!((bulkhead.stats().active, bulkhead.stats().queued), (1, usize::from(low.is_some())));
    });
}

#[test]
fn a_limit_that_moves_and_a_reload_strand_nobody() {
    loom::model(|| {
        let second = Duration::from_secs(1);
        let adaptive = adaptive::Config { min_samples: 5, ..adaptive::Config::default() };
        let config =
            bulkhead::Config { max_concurrent: 2, max_queue: 2, adaptive: Some(adaptive), ..Default::default() };
        let bulkhead = Arc::new(Bulkhead::with_config("loom", config.clone()).unwrap());
        let [mut first, mut second_slot] = [(); 2].map(|()| bulkhead.try_acquire().unwrap());
        let Admission::Queued(ticket) = bulkhead.acquire(NOW) else { unreachable!() };
        let end = |number: u32| Instant::ZERO + second * number;
        bulkhead.begin(end(1), &mut first);
        for number in 2..6 {
            assert!(bulkhead.observe(end(number), &first, &Verdict::failure("TimeoutError")).is_none());
        }
        let other = {
            let bulkhead = Arc::clone(&bulkhead);
            thread::spawn(move || {
                bulkhead.update(bulkhead::Config { adaptive: None, max_concurrent: 1, ..config }).unwrap()
            })
        };
        // The window ends here: overload, so the limit goes down to 1, unless the reload has made it 1 before.
        let adjusted = bulkhead.observe(end(7), &first, &Verdict::failure("TimeoutError"));
        assert!(adjusted.is_none_or(|adjusted| adjusted.wake.is_empty()));
        assert!(other.join().unwrap().is_empty());
        assert_eq!(bulkhead.stats().max_concurrent, 1);
        let woken = [bulkhead.release(&mut first), bulkhead.release(&mut second_slot)];
        assert_eq!(woken, [vec![], vec![ticket]]);
        assert!(follow(&bulkhead, ticket).is_some());
    });
}

#[test]
fn a_resize_and_a_release_free_two_slots_for_two_who_wait() {
    loom::model(|| {
        let bulkhead = bulkhead(1, 2);
        let mut held = bulkhead.try_acquire().unwrap();
        let (Admission::Queued(first), Admission::Queued(second)) = (bulkhead.acquire(NOW), bulkhead.acquire(NOW))
        else {
            unreachable!()
        };
        let other = {
            let bulkhead = bulkhead.clone();
            thread::spawn(move || bulkhead.release(&mut held))
        };
        let mut woken = bulkhead.resize(2).unwrap();
        woken.extend(other.join().unwrap());
        woken.sort();
        woken.dedup();
        assert_eq!(woken, [first, second]);
        assert_eq!((bulkhead.stats().active, bulkhead.stats().queued), (2, 0));
    });
}

#[test]
fn a_limit_that_shrinks_holds_for_whoever_comes_later_and_evicts_nobody() {
    loom::model(|| {
        let bulkhead = bulkhead(2, 1);
        let mut held = bulkhead.try_acquire().unwrap();
        let other = {
            let bulkhead = bulkhead.clone();
            thread::spawn(move || {
                assert!(bulkhead.resize(1).unwrap().is_empty());
                assert!(bulkhead.try_acquire().is_err(), "one is held");
            })
        };
        let second = bulkhead.acquire(NOW);
        other.join().unwrap();
        match second {
            Admission::Granted(mut slot) => {
                assert_eq!((bulkhead.stats().active, bulkhead.release(&mut slot)), (2, vec![]));
                assert_eq!(bulkhead.release(&mut held), []);
            }
            Admission::Queued(ticket) => {
                assert_eq!(bulkhead.release(&mut held), [ticket]);
                let _ = bulkhead.release(&mut follow(&bulkhead, ticket).unwrap());
            }
            Admission::Refused(refusal) => panic!("the queue has a place: {refusal:?}"),
        }
        assert_eq!(bulkhead.stats().active, 0);
        let _only = bulkhead.try_acquire().unwrap();
        assert!(bulkhead.try_acquire().is_err());
    });
}

#[test]
fn the_last_permit_passes_one_of_two() {
    loom::model(|| {
        let limiter = limiter(1);
        let other = {
            let limiter = limiter.clone();
            thread::spawn(move || limiter.try_acquire(NOW, 1).is_ok())
        };
        let mine = limiter.try_acquire(NOW, 1).is_ok();
        assert!(mine ^ other.join().unwrap());
        assert_eq!(limiter.peek(NOW, 1), Duration::from_secs(1));
    });
}

#[test]
fn a_caller_that_queues_while_a_permit_is_refunded_is_not_stranded() {
    loom::model(|| {
        let limiter = limiter(1);
        let mut taken = limiter.try_acquire(NOW, 1).unwrap();
        let other = {
            let limiter = limiter.clone();
            thread::spawn(move || {
                let woken = limiter.release(&mut taken);
                follow_all(&limiter, woken).len()
            })
        };
        let mut passed = match limiter.acquire(NOW, 1, Instant::FAR_FUTURE) {
            Admission::Granted(_) => 1,
            Admission::Queued(ticket) => follow_all(&limiter, vec![ticket]).len(),
            Admission::Refused(_) => 0,
        };
        passed += other.join().unwrap();
        assert_eq!(passed, 1);
        assert_eq!((limiter.stats(NOW).waiting, limiter.stats(NOW).available), (0, 0));
    });
}

#[test]
fn a_refund_finds_the_new_head_when_the_old_one_gives_up() {
    loom::model(|| {
        let limiter = limiter(1);
        let mut taken = limiter.try_acquire(NOW, 1).unwrap();
        let queue = || limiter.acquire(NOW, 1, Instant::FAR_FUTURE);
        let (Admission::Queued(first), Admission::Queued(_)) = (queue(), queue()) else { unreachable!() };
        let other = {
            let limiter = limiter.clone();
            thread::spawn(move || {
                let woken = limiter.release(&mut taken);
                follow_all(&limiter, woken.into_iter().filter(|&ticket| ticket != first).collect()).len()
            })
        };
        let woken = limiter.cancel(first);
        let mut passed = follow_all(&limiter, woken).len();
        passed += other.join().unwrap();
        assert_eq!((passed, limiter.stats(NOW).waiting), (1, 0));
    });
}

#[test]
fn an_update_and_an_admission_happen_one_after_the_other() {
    loom::model(|| {
        let limiter = limiter(2);
        let other = {
            let limiter = limiter.clone();
            thread::spawn(move || limiter.try_acquire(NOW, 1).is_ok())
        };
        let slower = rate::Config { rate: 1, per: Duration::from_secs(60), burst: Some(2), ..Default::default() };
        assert_eq!(limiter.update(NOW, slower), Ok(vec![]));
        assert!(other.join().unwrap());
        // One permit is used at the new interval, whichever came first.
        assert_eq!(limiter.peek(NOW, 2), Duration::from_secs(60));
    });
}

#[test]
fn an_update_and_a_refund_happen_one_after_the_other() {
    loom::model(|| {
        let limiter = limiter(2);
        let mut taken = limiter.try_acquire(NOW, 2).unwrap();
        let other = {
            let limiter = limiter.clone();
            thread::spawn(move || limiter.settle(NOW, &mut taken, 1))
        };
        let faster = rate::Config { rate: 1_000, burst: Some(2), ..Default::default() };
        assert_eq!(limiter.update(NOW, faster), Ok(vec![]));
        assert_eq!(other.join().unwrap(), []);
        assert_eq!(limiter.peek(NOW, 2), Duration::from_millis(1));
    });
}

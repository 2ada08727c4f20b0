//! Every interleaving of calls, transitions and the word that lets calls pass without the lock.
#![cfg(loom)]
#![cfg(test)]

use std::time::Duration;

use loom::sync::Arc;
use loom::thread;
use stormproof_core::breaker::{Change, Config, Mode, Permit, State, Transition};
use stormproof_core::{CircuitBreaker, Instant, Reason, Trip, Verdict};

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

/// Opens after so many failures in a row, for 100 ms, and closes after one probe.
fn closed(failures: u32) -> Arc<CircuitBreaker> {
    let config = Config {
        trip: vec![Trip::consecutive(failures)],
        open_duration: Duration::from_millis(100),
        half_open_timeout: Some(Duration::from_millis(10)),
        half_open_max_calls: 1,
        success_threshold: 1,
        ..Config::default()
    };
    Arc::new(CircuitBreaker::with_config("loom", config).unwrap())
}

/// Open since 0 ms.
fn open() -> Arc<CircuitBreaker> {
    opened(closed(1))
}

/// The same, but two successes close it.
fn open_until_two_succeed() -> Arc<CircuitBreaker> {
    let breaker = closed(1);
    breaker.update(Instant::ZERO, Config { success_threshold: 2, ..breaker.config() }).unwrap();
    opened(breaker)
}

fn opened(breaker: Arc<CircuitBreaker>) -> Arc<CircuitBreaker> {
    assert!(fail(&breaker, &mut breaker.admit(at(0)).unwrap(), at(0)).is_some());
    breaker
}

fn moved(change: Option<Change>) -> Option<Transition> {
    if let Some(Change::Moved(transition)) = change { Some(transition) } else { None }
}

fn fail(breaker: &CircuitBreaker, permit: &mut Permit, now: Instant) -> Option<Transition> {
    moved(breaker.settle(permit, now, &Verdict::failure("E")))
}

fn succeed(breaker: &CircuitBreaker, permit: &mut Permit, now: Instant) -> Option<Transition> {
    moved(breaker.settle(permit, now, &Verdict::success()))
}

/// Runs `work` on a thread of its own.
fn spawn<T: 'static>(
    breaker: &Arc<CircuitBreaker>,
    work: impl FnOnce(&CircuitBreaker) -> T + 'static,
) -> thread::JoinHandle<T> {
    let breaker = Arc::clone(breaker);
    thread::spawn(move || work(&breaker))
}

#[test]
fn one_of_three_gets_the_only_probe() {
    loom::model(|| {
        let breaker = open();
        let admit = |breaker: &CircuitBreaker| breaker.admit(at(100)).ok();
        let others = [spawn(&breaker, admit), spawn(&breaker, admit)];
        let mine = admit(&breaker);
        let all: Vec<_> = others.into_iter().map(|other| other.join().unwrap()).chain([mine]).flatten().collect();
        assert_eq!(all.len(), 1);
        assert!(all[0].is_probe() && breaker.transition(&all[0]).is_some());
        assert_eq!(breaker.stats(at(100)).refused, 2);
    });
}

#[test]
fn successes_on_the_fast_path_race_a_failure_and_all_count() {
    loom::model(|| {
        let breaker = closed(2);
        let other = spawn(&breaker, |breaker| {
            for _ in 0..2 {
                assert_eq!(succeed(breaker, &mut breaker.admit(at(0)).unwrap(), at(0)), None);
            }
        });
        assert_eq!(fail(&breaker, &mut breaker.admit(at(0)).unwrap(), at(0)), None);
        other.join().unwrap();
        let stats = breaker.stats(at(0));
        assert_eq!((stats.successes, stats.failures, stats.stale), (2, 1, 0));
        // A success that came after the failure has reset the count, and the word knows which it was.
        let in_a_row = stats.consecutive_failures;
        assert!(in_a_row <= 1);
        let opened = fail(&breaker, &mut breaker.admit(at(0)).unwrap(), at(0));
        assert_eq!(opened.is_some(), in_a_row == 1);
    });
}

#[test]
fn a_success_after_a_failure_resets_the_count_whoever_else_succeeds() {
    loom::model(|| {
        let breaker = closed(2);
        let succeed = |breaker: &CircuitBreaker| succeed(breaker, &mut breaker.admit(at(0)).unwrap(), at(0));
        let other = spawn(&breaker, succeed);
        assert_eq!(fail(&breaker, &mut breaker.admit(at(0)).unwrap(), at(0)), None);
        assert_eq!(succeed(&breaker), None);
        assert_eq!(other.join().unwrap(), None);
        assert_eq!(breaker.stats(at(0)).consecutive_failures, 0, "a word that said quiet hid the failure");
        assert_eq!(fail(&breaker, &mut breaker.admit(at(0)).unwrap(), at(0)), None);
    });
}

#[test]
fn two_failures_and_a_success_race_and_it_opens_at_most_once() {
    loom::model(|| {
        let breaker = closed(1);
        let call = |breaker: &CircuitBreaker| breaker.admit(at(0)).ok().map(|mut p| fail(breaker, &mut p, at(0)));
        let other = spawn(&breaker, call);
        let third = spawn(&breaker, |breaker: &CircuitBreaker| {
            let permit = breaker.admit(at(0)).ok();
            permit.map(|mut permit| succeed(breaker, &mut permit, at(0)))
        });
        let outcomes = [call(&breaker), other.join().unwrap(), third.join().unwrap()];
        assert_eq!(outcomes.iter().flatten().flatten().count(), 1);
        let stats = breaker.stats(at(0));
        assert_eq!((stats.state, stats.opened, breaker.history().len()), (State::Open, 1, 1));
        let admitted = outcomes.iter().flatten().count() as u64;
        assert_eq!((stats.successes + stats.failures, stats.refused), (admitted, 3 - admitted));
        assert!(breaker.admit(at(99)).is_err());
    });
}

#[test]
fn a_release_races_the_reclaim_of_its_place() {
    loom::model(|| {
        let breaker = open();
        let mut late = breaker.admit(at(100)).unwrap();
        let other = spawn(&breaker, move |breaker| breaker.release(&mut late));
        let first = breaker.admit(at(110)).unwrap();
        assert!(breaker.admit(at(110)).is_err(), "the late release gave back a place that was another's");
        other.join().unwrap();
        assert!(first.is_probe() && breaker.admit(at(110)).is_err());
        assert_eq!(breaker.stats(at(110)).half_open_calls, 1);
    });
}

#[test]
fn a_result_races_the_reclaim_of_its_place() {
    loom::model(|| {
        let breaker = open();
        let mut late = breaker.admit(at(100)).unwrap();
        let other = spawn(&breaker, move |breaker| fail(breaker, &mut late, at(110)));
        let next = breaker.admit(at(110));
        // A failure reopens whether or not its place was taken, and then nobody else comes in.
        assert!(other.join().unwrap().is_some() && breaker.state(at(110)) == State::Open);
        if let Ok(mut next) = next {
            assert_eq!(succeed(&breaker, &mut next, at(110)), None, "its episode is over");
        }
    });
}

#[test]
fn a_late_success_races_the_reclaim_and_frees_one_place() {
    loom::model(|| {
        let breaker = open_until_two_succeed();
        let mut late = breaker.admit(at(100)).unwrap();
        let other = spawn(&breaker, move |breaker| succeed(breaker, &mut late, at(110)));
        let next = breaker.admit(at(110));
        assert_eq!(other.join().unwrap(), None);
        let mut next = next.unwrap();
        assert!(breaker.admit(at(110)).is_err(), "the late success gave back a place that was another's");
        assert_eq!(succeed(&breaker, &mut next, at(110)).map(|transition| transition.to), Some(State::Closed));
    });
}

#[test]
fn a_refusal_is_never_made_of_two() {
    loom::model(|| {
        let breaker = open();
        let other = spawn(&breaker, |breaker| breaker.set_mode(at(1), Mode::ForcedOpen));
        for _ in 0..2 {
            let refusal = breaker.look(at(1)).unwrap_err();
            let expected = match refusal.reason {
                Reason::ForcedOpen => Duration::ZERO,
                Reason::Open => Duration::from_millis(99),
                other => panic!("{other:?}"),
            };
            assert_eq!(refusal.retry_after, expected);
        }
        assert_eq!(other.join().unwrap(), None);
        let closing = spawn(&breaker, |breaker| breaker.reset(at(1)));
        if let Err(refusal) = breaker.look(at(1)) {
            assert_eq!((refusal.reason, refusal.retry_after), (Reason::ForcedOpen, Duration::ZERO));
        }
        assert!(closing.join().unwrap().is_some() && breaker.look(at(1)).is_ok());
    });
}

#[test]
fn a_result_races_a_reset() {
    loom::model(|| {
        let breaker = closed(1);
        let mut permit = breaker.admit(at(0)).unwrap();
        let other = spawn(&breaker, move |breaker| fail(breaker, &mut permit, at(0)));
        let reset = breaker.reset(at(0));
        let opened = other.join().unwrap();
        assert_eq!(reset.is_some(), opened.is_some(), "who comes second undoes or is too late");
        if let (Some(opened), Some(reset)) = (opened, reset) {
            assert!(opened.seq < reset.seq);
        }
        assert_eq!(breaker.state(at(0)), State::Closed);
        let mut next = breaker.admit(at(0)).unwrap();
        assert!(fail(&breaker, &mut next, at(0)).is_some(), "the word carries the generation of the reset");
    });
}

#[test]
fn once_it_is_open_nobody_passes_by_an_older_word() {
    loom::model(|| {
        let breaker = closed(1);
        let mut early = breaker.admit(at(0)).unwrap();
        let other = spawn(&breaker, |breaker| {
            let mut permit = breaker.admit(at(0)).ok()?;
            let opened = fail(breaker, &mut permit, at(0));
            // Opened by this permit or, if it came too late, by the early one.
            assert!(breaker.admit(at(1)).is_err() && breaker.look(at(1)).is_err());
            opened
        });
        let mine = fail(&breaker, &mut early, at(0));
        assert!(breaker.admit(at(1)).is_err() && breaker.look(at(1)).is_err());
        let theirs = other.join().unwrap();
        assert!(mine.is_some() != theirs.is_some());
        assert_eq!(breaker.history().len(), 1);
    });
}

#[test]
fn a_stale_result_races_the_recovery_and_moves_nothing() {
    loom::model(|| {
        let breaker = closed(1);
        let mut early = breaker.admit(at(0)).unwrap();
        assert!(fail(&breaker, &mut breaker.admit(at(0)).unwrap(), at(0)).is_some());
        let other = spawn(&breaker, move |breaker| fail(breaker, &mut early, at(100)));
        let mut probe = breaker.admit(at(100)).unwrap();
        assert_eq!(succeed(&breaker, &mut probe, at(100)).map(|transition| transition.to), Some(State::Closed));
        assert_eq!(other.join().unwrap(), None);
        assert_eq!((breaker.state(at(100)), breaker.history().len()), (State::Closed, 3));
    });
}

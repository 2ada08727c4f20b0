//! Rate: behaviour of the stage alone.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const START: Instant = Instant::from_nanos(1_000_000_007);

fn limiter(rate: u32, burst: u32) -> RateLimiter {
    RateLimiter::with_config("tests", Config { rate, burst: Some(burst), ..Config::default() }).unwrap()
}

/// How many permits can be taken one by one at `now`.
fn drain(limiter: &RateLimiter, now: Instant) -> usize {
    std::iter::from_fn(|| limiter.try_acquire(now, 1).ok()).take(1_000_000).count()
}

fn queue(limiter: &RateLimiter, now: Instant, cost: u32) -> Ticket {
    match limiter.acquire(now, cost, Instant::FAR_FUTURE) {
        Admission::Queued(ticket) => ticket,
        other => unreachable!("{other:?}"),
    }
}

/// Whom the granted caller wakes, or until when it waits.
fn granted(limiter: &RateLimiter, now: Instant, ticket: Ticket) -> Result<Vec<Ticket>, Instant> {
    match limiter.poll(now, ticket) {
        (Progress::Granted(_), woken) => Ok(woken),
        (Progress::Waiting { until }, _) => Err(until),
        (Progress::Refused(refusal), _) => unreachable!("{refusal:?}"),
    }
}

fn refusal(limiter: &RateLimiter, now: Instant, cost: u32, deadline: Instant) -> (Reason, Duration) {
    match limiter.acquire(now, cost, deadline) {
        Admission::Refused(refusal) => (refusal.reason, refusal.retry_after),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_burst_passes_at_once_then_one_an_interval() {
    let limiter = limiter(10, 20);
    assert_eq!(drain(&limiter, START), 20);
    assert_eq!(limiter.try_acquire(START, 1).unwrap_err().retry_after, Duration::from_millis(100));
    assert_eq!(drain(&limiter, START + Duration::from_nanos(99_999_999)), 0);
    assert_eq!(drain(&limiter, START + Duration::from_millis(100)), 1);
    assert_eq!(drain(&limiter, START + SECOND), 9);
    assert_eq!(drain(&limiter, START + 100 * SECOND), 20, "refills to the burst, not past it");
}

#[test]
fn a_hundred_callers_at_once_pass_in_order_the_last_after_nine_seconds() {
    let limiter = limiter(10, 10);
    let admissions: Vec<_> = (0..100).map(|_| limiter.acquire(START, 1, Instant::FAR_FUTURE)).collect();
    let waiting: Vec<_> =
        admissions.into_iter().filter_map(|a| if let Admission::Queued(t) = a { Some(t) } else { None }).collect();
    assert_eq!(waiting.len(), 90);
    let mut now = START;
    // Each knows its own turn from the beginning, and has to wake nobody.
    let turns: Vec<_> = waiting.iter().map(|&ticket| granted(&limiter, now, ticket).unwrap_err()).collect();
    for (&ticket, &turn) in waiting.iter().zip(&turns) {
        now = turn;
        assert_eq!(granted(&limiter, now, ticket), Ok(vec![]));
    }
    assert_eq!(now.since(START), 9 * SECOND);
    assert_eq!(limiter.stats(now).allowed, 100);
}

#[test]
fn a_wait_past_the_deadline_is_refused_at_once_and_a_smaller_call_still_fits() {
    let limiter = limiter(10, 20);
    assert!(limiter.try_acquire(START, 15).is_ok());
    let deadline = START + Duration::from_millis(400);
    assert_eq!(refusal(&limiter, START, 10, deadline), (Reason::WaitTooLong, Duration::from_millis(500)));
    assert!(limiter.try_acquire(START, 5).is_ok());
    let patient = queue(&limiter, START, 4);
    assert_eq!(refusal(&limiter, START, 1, deadline), (Reason::WaitTooLong, Duration::from_millis(500)));
    assert!(granted(&limiter, deadline, patient).is_ok());
}

#[test]
fn nobody_waits_longer_than_allowed() {
    let config = Config { rate: 1, max_wait: 2 * SECOND, ..Config::default() };
    let limiter = RateLimiter::with_config("tests", config).unwrap();
    assert!(limiter.try_acquire(START, 1).is_ok());
    let _ = (queue(&limiter, START, 1), queue(&limiter, START, 1));
    assert_eq!(refusal(&limiter, START, 1, Instant::FAR_FUTURE), (Reason::WaitTooLong, 3 * SECOND));
}

#[test]
fn a_cost_above_the_burst_is_refused_as_such_and_a_cost_of_nothing_always_passes() {
    let limiter = limiter(10, 20);
    assert_eq!(refusal(&limiter, START, 21, Instant::FAR_FUTURE).0, Reason::AboveBurst);
    assert_eq!(limiter.try_acquire(START, 21).unwrap_err().reason, Reason::AboveBurst);
    assert_eq!(limiter.peek(START, 21), Duration::MAX);
    let mut all = limiter.try_acquire(START, 20).unwrap();
    assert_eq!(limiter.settle(START, &mut all, u32::MAX), []);
    assert!(limiter.try_acquire(START, 0).is_ok());
    assert_eq!(limiter.peek(START, 0), Duration::ZERO);
}

#[test]
fn unused_permits_come_back_and_missing_ones_are_owed() {
    let limiter = limiter(1_000, 1_000);
    let mut reserved = limiter.try_acquire(START, 1_000).unwrap();
    let _ = limiter.settle(START, &mut reserved, 400);
    assert_eq!(limiter.stats(START).available, 600);
    let _ = limiter.settle(START, &mut reserved, 0);
    let _ = limiter.release(&mut reserved);
    assert_eq!(limiter.stats(START).available, 600, "only the first settlement counts");

    let later = START + 10 * SECOND;
    let mut reserved = limiter.try_acquire(later, 1_000).unwrap();
    let _ = limiter.settle(later, &mut reserved, 1_500);
    assert_eq!((limiter.stats(later).available, limiter.stats(later).owed), (0, 500));
    assert_eq!(limiter.peek(later, 1), Duration::from_millis(501));
}

#[test]
fn a_released_reservation_leaves_no_trace() {
    let limiter = limiter(7, 5);
    for now in [START, START + Duration::from_nanos(1), START + SECOND] {
        let before = limiter.peek(now, 5);
        let mut reservation = limiter.try_acquire(now, 3).unwrap();
        let _ = limiter.release(&mut reservation);
        assert_eq!(limiter.peek(now, 5), before);
    }
}

#[test]
fn nobody_passes_those_who_wait_and_a_cancelled_place_is_given_back() {
    let limiter = limiter(10, 10);
    assert_eq!(drain(&limiter, START), 10);
    let (first, second, third) = (queue(&limiter, START, 5), queue(&limiter, START, 1), queue(&limiter, START, 1));
    let soon = START + Duration::from_millis(300);
    let refused = limiter.try_acquire(soon, 1).unwrap_err();
    assert_eq!((refused.reason, refused.retry_after), (Reason::RateExceeded, Duration::from_millis(500)));
    assert_eq!(limiter.cancel(second), []);
    assert_eq!(limiter.cancel(first), [third]);
    assert_eq!(limiter.cancel(first), []);
    assert_eq!(granted(&limiter, soon, third), Ok(vec![]));
    assert_eq!(drain(&limiter, soon), 2);
}

#[test]
fn a_refund_wakes_the_head() {
    let limiter = limiter(10, 10);
    let mut reservation = limiter.try_acquire(START, 10).unwrap();
    let head = queue(&limiter, START, 4);
    assert_eq!(limiter.release(&mut reservation), [head]);
    assert_eq!(granted(&limiter, START, head), Ok(vec![]));
}

#[test]
fn an_update_keeps_what_is_used_up_and_wakes_the_head() {
    let limiter = limiter(1, 10);
    assert!(limiter.try_acquire(START, 10).is_ok());
    let head = queue(&limiter, START, 1);
    let faster = Config { rate: 1_000, burst: Some(20), ..Config::default() };
    assert_eq!(limiter.update(START, faster.clone()).unwrap(), [head]);
    assert_eq!(limiter.config(), faster);
    assert_eq!(limiter.stats(START).available, 9, "one of the ten that are there now is the head's");
    assert_eq!(granted(&limiter, START, head), Ok(vec![]));
    assert_eq!(drain(&limiter, START), 9);
}

#[test]
fn a_higher_rate_brings_the_burst_that_follows_it_at_once() {
    let config = |rate| Config { rate, ..Config::default() };
    let limiter = RateLimiter::with_config("tests", config(10)).unwrap();
    assert!(limiter.try_acquire(START, 10).is_ok());
    limiter.update(START, config(100)).unwrap();
    assert_eq!(drain(&limiter, START), 90);
    limiter.update(START, config(10)).unwrap();
    assert_eq!(limiter.stats(START).owed, 90, "and a lower one takes it back");
}

#[test]
fn who_waits_for_more_than_a_shrunken_burst_passes_when_it_is_full() {
    let limiter = limiter(10, 10);
    assert!(limiter.try_acquire(START, 10).is_ok());
    let head = queue(&limiter, START, 8);
    let smaller = Config { rate: 10, burst: Some(5), ..Config::default() };
    assert_eq!(limiter.update(START, smaller).unwrap(), [], "its turn comes later now");
    let full = granted(&limiter, START, head).unwrap_err();
    assert_eq!(full.since(START).as_millis(), 1_000);
    assert_eq!(granted(&limiter, full, head), Ok(vec![]));
    assert_eq!(limiter.stats(full).owed, 3);
}

#[test]
fn mistakes_are_all_named() {
    let config = Config { rate: 0, per: Duration::ZERO, burst: Some(0), max_wait: Duration::MAX };
    let mistakes = RateLimiter::with_config("tests", config).unwrap_err();
    assert_eq!(mistakes.iter().map(|m| m.field.as_str()).collect::<Vec<_>>(), ["per", "rate", "burst"]);

    let too_fast = Config { rate: u32::MAX, ..Config::default() };
    let text = "rate is 4294967295, allowed is 1 up to 10 for each microsecond of `per`";
    assert_eq!(too_fast.validate()[0].to_string(), text);
    let endless = Config { rate: 1, burst: Some(u32::MAX), ..Config::default() };
    assert_eq!(endless.validate()[0].field, "burst");
}

#[test]
fn extremes_neither_panic_nor_wrap() {
    let limiter = limiter(10, 10);
    for now in [Instant::FAR_FUTURE, Instant::ZERO, Instant::from_nanos(1 << 63), START] {
        for cost in [0, 1, 10, u32::MAX] {
            let _ = limiter.peek(now, cost);
            if let Admission::Granted(mut reservation) = limiter.acquire(now, cost, now) {
                let _ = limiter.settle(now, &mut reservation, u32::MAX);
            }
        }
        let _ = limiter.update(now, Config { per: Duration::from_secs(86_400), rate: 1, ..Config::default() });
        let _ = (limiter.stats(now), limiter.snapshot(now));
    }
}

#[test]
fn a_snapshot_shows_refusals_by_reason() {
    let limiter = limiter(10, 2);
    assert_eq!(drain(&limiter, START), 2);
    let _ = (limiter.acquire(START, 3, START), limiter.acquire(START, 1, START), queue(&limiter, START, 1));
    let snapshot = limiter.snapshot(START);
    let shown = ["rate_exceeded", "wait_too_long", "above_burst"].map(|reason| snapshot.get("refused", reason));
    assert_eq!(shown, [Some(1.0); 3]);
    assert_eq!((snapshot.get("allowed", ""), snapshot.get("waiting", "")), (Some(2.0), Some(1.0)));
}

#[cfg(feature = "serde")]
#[test]
fn a_table_is_a_configuration() {
    use serde::Deserialize;
    use serde::de::value::{Error, MapDeserializer};

    let fields = [("rate", 25_u32), ("per", 2), ("max_wait", 3)];
    let config = Config::deserialize(MapDeserializer::<_, Error>::new(fields.into_iter())).unwrap();
    assert_eq!(config, Config { rate: 25, per: 2 * SECOND, burst: None, max_wait: 3 * SECOND });
}

/// How many permits so many callers get in 10 s who ask again at once, with timers that keep whole milliseconds.
fn passed_in_ten_seconds(limiter: &RateLimiter, callers: usize, cost: u32) -> u64 {
    const GRAIN: u64 = 1_000_000;
    let ask = |now| match limiter.acquire(now, cost, Instant::FAR_FUTURE) {
        Admission::Queued(ticket) => Some((now, ticket)),
        _ => None,
    };
    let mut waiting: Vec<(Instant, Ticket)> = Vec::new();
    let (mut now, mut passed) = (Instant::ZERO, 0);
    while now < Instant::ZERO + 10 * SECOND {
        for (due, ticket) in std::mem::take(&mut waiting) {
            match if due <= now { granted(limiter, now, ticket) } else { Err(due) } {
                Ok(_) => passed += u64::from(cost),
                Err(turn) => waiting.push((Instant::from_nanos(turn.as_nanos().next_multiple_of(GRAIN)), ticket)),
            }
        }
        while waiting.len() < callers {
            match ask(now) {
                Some(place) => waiting.push(place),
                None => passed += u64::from(cost),
            }
        }
        let next = waiting.iter().map(|(due, _)| *due).min().unwrap();
        now = next.max(now);
    }
    passed
}

#[test]
fn coarse_timers_lose_nothing_of_the_rate() {
    for (rate, burst, cost) in [(300, 1, 1), (1_500, 1, 1), (5_000, 1, 1), (5_000, 3, 3), (100_000, 7_000, 7_000)] {
        for callers in [1, 3, 50] {
            let passed = passed_in_ten_seconds(&limiter(rate, burst), callers, cost);
            let expected = u64::from(rate) * 10;
            let (least, most) = (expected - expected / 200 - 7_000.min(expected / 10), expected + expected / 200);
            let most = most + u64::from(burst) * 2;
            assert!((least..=most).contains(&passed), "{callers} callers get {passed} of {expected}");
        }
    }
}

#[test]
fn a_long_pause_lets_no_flood_pass() {
    for (rate, burst, most) in [(10, 1, 2), (10, 10, 11), (1_000, 1, 11), (1_000, 500, 501)] {
        let config = Config { rate, burst: Some(burst), max_wait: 3_600 * SECOND, ..Config::default() };
        let limiter = RateLimiter::with_config("tests", config).unwrap();
        assert_eq!(drain(&limiter, START), burst as usize);
        let waiting: Vec<_> = (0..6_000).map(|_| queue(&limiter, START, 1)).collect();
        let later = START + 60 * SECOND;
        assert_eq!(waiting.iter().filter(|&&ticket| granted(&limiter, later, ticket).is_ok()).count(), most);
        assert_eq!(limiter.stats(later).waiting, 6_000 - most);
    }
}

#[test]
fn a_head_that_is_not_polled_holds_up_nobody() {
    let limiter = limiter(10, 1);
    assert_eq!(drain(&limiter, START), 1);
    let (unpolled, second) = (queue(&limiter, START, 1), queue(&limiter, START, 1));
    // Each knows its own turn, and whoever polls lets those before it pass.
    let turn = granted(&limiter, START, second).unwrap_err();
    assert_eq!(turn.since(START), Duration::from_millis(200));
    assert_eq!(granted(&limiter, turn, second), Ok(vec![unpolled]));
    // A newcomer passes as well, and the sleeper keeps what was its own.
    let third = queue(&limiter, turn, 1);
    assert!(limiter.try_acquire(turn + SECOND, 1).is_ok());
    assert_eq!(limiter.stats(turn + SECOND).waiting, 0);
    assert_eq!(granted(&limiter, turn + SECOND, unpolled), Ok(vec![third]));
}

#[test]
fn a_refund_lets_those_behind_a_sleeper_pass_too() {
    let limiter = limiter(10, 10);
    let mut reserved = limiter.try_acquire(START, 10).unwrap();
    let waiting = [queue(&limiter, START, 4), queue(&limiter, START, 4), queue(&limiter, START, 4)];
    assert_eq!(limiter.release(&mut reserved), waiting, "the third learns its new turn");
    assert_eq!(granted(&limiter, START, waiting[1]), Ok(vec![]));
    assert_eq!(granted(&limiter, START, waiting[2]), Err(START + Duration::from_millis(200)));
}

#[test]
fn a_wait_ends_when_its_time_is_over() {
    let config = Config { rate: 10, burst: Some(10), max_wait: 2 * SECOND, ..Config::default() };
    let limiter = RateLimiter::with_config("tests", config.clone()).unwrap();
    let mut reserved = limiter.try_acquire(START, 10).unwrap();
    let (unpolled, waiting) = (queue(&limiter, START, 1), queue(&limiter, START, 1));
    // When: a call was far dearer than thought.
    let _ = limiter.settle(START, &mut reserved, 10_000);
    let end = START + 2 * SECOND;
    assert_eq!(granted(&limiter, START, waiting), Err(end));
    // Then: both waits end, also that of the one who does not ask.
    let refusal = |now, ticket| match limiter.poll(now, ticket) {
        (Progress::Refused(refusal), _) => (refusal.reason, refusal.retry_after),
        other => unreachable!("{other:?}"),
    };
    assert_eq!(refusal(end, waiting), (Reason::WaitTooLong, 997 * SECOND + Duration::from_millis(100)));
    assert_eq!((limiter.stats(end).waiting, limiter.stats(end).refused), (0, 2));
    assert_eq!(refusal(end + SECOND, unpolled).0, Reason::WaitTooLong);

    // The same when the rate becomes slower.
    let limiter = RateLimiter::with_config("tests", config.clone()).unwrap();
    assert_eq!(drain(&limiter, START), 10);
    let waiting = queue(&limiter, START, 1);
    let slower = Config { rate: 1, per: 3_600 * SECOND, ..config };
    assert_eq!(limiter.update(START, slower).unwrap(), []);
    assert_eq!(granted(&limiter, START, waiting), Err(end));
    assert_eq!(refusal(end, waiting).0, Reason::WaitTooLong);
}

#[test]
fn who_was_due_in_time_passes_however_late_it_asks() {
    let config = Config { rate: 10, burst: Some(1), max_wait: SECOND, ..Config::default() };
    let limiter = RateLimiter::with_config("tests", config).unwrap();
    assert_eq!(drain(&limiter, START), 1);
    let sleeper = queue(&limiter, START, 1);
    assert_eq!(granted(&limiter, START + 3_600 * SECOND, sleeper), Ok(vec![]));
}

#[test]
fn an_update_to_the_same_changes_nothing() {
    let limiter = limiter(10, 10);
    for now in [Instant::ZERO, Instant::ZERO + SECOND] {
        let _ = limiter.update(now, limiter.config()).unwrap();
        assert_eq!(limiter.stats(now).available, 10);
    }
    let config = Config { rate: 1, burst: Some(1), max_wait: SECOND / 2, ..Config::default() };
    let limiter = RateLimiter::with_config("tests", config.clone()).unwrap();
    assert_eq!(drain(&limiter, START), 1);
    let _ = limiter.update(START, Config { max_wait: SECOND, ..config }).unwrap();
    let waiting = queue(&limiter, START, 1);
    assert_eq!(granted(&limiter, START, waiting), Err(START + SECOND));
}

#[test]
fn a_hundred_thousand_updates_lose_less_than_a_nanosecond() {
    let limiter = limiter(3, 3);
    assert!(limiter.try_acquire(START, 2).is_ok());
    for round in 0..100_000 {
        let rate = [7_000_003, 3][round % 2];
        let _ = limiter.update(START, Config { rate, burst: Some(3), ..Config::default() }).unwrap();
    }
    let left = limiter.peek(START, 3);
    assert!(left.abs_diff(Duration::from_nanos(666_666_668)) <= Duration::from_micros(1), "{left:?}");
}

#[test]
fn what_is_given_back_late_lets_no_more_than_the_burst_pass() {
    // The bucket has been full since: there is nothing to give back.
    let limiter = limiter(10, 10);
    let mut early = limiter.try_acquire(START, 10).unwrap();
    let later = START + Duration::from_millis(1_500);
    assert_eq!(drain(&limiter, later), 10);
    let _ = limiter.release(&mut early);
    assert_eq!(drain(&limiter, later), 0);

    // It would have been full: what came then would have been lost.
    for settles in [false, true] {
        let limiter = super::tests::limiter(10, 10);
        let (mut first, mut second) = (limiter.try_acquire(START, 5).unwrap(), limiter.try_acquire(START, 5).unwrap());
        let later = START + Duration::from_millis(900);
        assert_eq!(drain(&limiter, later), 9);
        let _ = if settles { limiter.settle(later, &mut first, 0) } else { limiter.release(&mut first) };
        let _ = limiter.release(&mut second);
        assert_eq!(drain(&limiter, later), 1, "as if the first ten had never been taken");
    }

    // It was never full: all comes back, however late.
    let limiter = super::tests::limiter(10, 10);
    let mut slow = limiter.try_acquire(START, 8).unwrap();
    let mut now = START;
    for _ in 0..500 {
        let _ = limiter.try_acquire(now, 2);
        now = now + Duration::from_millis(200);
    }
    let before = limiter.stats(now).available;
    let _ = limiter.settle(now, &mut slow, 3);
    assert_eq!(limiter.stats(now).available, before + 5);
}

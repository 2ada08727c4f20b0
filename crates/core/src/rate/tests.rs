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
fn granted(limiter: &RateLimiter, now: Instant, ticket: Ticket) -> Result<Option<Ticket>, Instant> {
    match limiter.poll(now, ticket) {
        (Progress::Granted(_), woken) => Ok(woken.first().copied()),
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
    for (place, &ticket) in waiting.iter().enumerate() {
        let (Progress::Waiting { until }, _) = limiter.poll(now, ticket) else { unreachable!() };
        now = until;
        assert_eq!(granted(&limiter, now, ticket), Ok(waiting.get(place + 1).copied()));
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
    assert_eq!(limiter.settle(START, &mut all, u32::MAX), None);
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
    assert_eq!(granted(&limiter, soon, third), Ok(None));
    assert_eq!(drain(&limiter, soon), 2);
}

#[test]
fn a_refund_wakes_the_head() {
    let limiter = limiter(10, 10);
    let mut reservation = limiter.try_acquire(START, 10).unwrap();
    let head = queue(&limiter, START, 4);
    assert_eq!(limiter.release(&mut reservation), Some(head));
    assert_eq!(granted(&limiter, START, head), Ok(None));
}

#[test]
fn an_update_keeps_what_is_used_up_and_wakes_the_head() {
    let limiter = limiter(1, 10);
    assert!(limiter.try_acquire(START, 10).is_ok());
    let head = queue(&limiter, START, 1);
    let faster = Config { rate: 1_000, burst: Some(20), ..Config::default() };
    assert_eq!(limiter.update(START, faster.clone()).unwrap(), Some(head));
    assert_eq!(limiter.config(), faster);
    assert_eq!(limiter.stats(START).available, 10);
    assert_eq!(granted(&limiter, START, head), Ok(None));
    assert_eq!(drain(&limiter, START), 9);
}

#[test]
fn who_waits_for_more_than_a_shrunken_burst_passes_when_it_is_full() {
    let limiter = limiter(10, 10);
    assert!(limiter.try_acquire(START, 10).is_ok());
    let head = queue(&limiter, START, 8);
    let smaller = Config { rate: 10, burst: Some(5), ..Config::default() };
    assert_eq!(limiter.update(START, smaller).unwrap(), Some(head));
    let full = granted(&limiter, START, head).unwrap_err();
    assert_eq!(full.since(START).as_millis(), 1_000);
    assert_eq!(granted(&limiter, full, head), Ok(None));
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

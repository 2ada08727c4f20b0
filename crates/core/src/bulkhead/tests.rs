//! Bulkhead: behaviour of the stage alone.

use std::collections::VecDeque;

use super::*;
use crate::caller::Flow;

const SECOND: Duration = Duration::from_secs(1);
const START: Instant = Instant::from_nanos(1_000_000_007);

fn bulkhead(max_concurrent: u32, max_queue: u32) -> Bulkhead {
    Bulkhead::with_config("tests", Config { max_concurrent, max_queue, ..Config::default() }).unwrap()
}

fn take(bulkhead: &Bulkhead, count: usize) -> Vec<Slot> {
    (0..count).map(|_| bulkhead.try_acquire().unwrap()).collect()
}

fn queue(bulkhead: &Bulkhead) -> Ticket {
    match bulkhead.acquire(START) {
        Admission::Queued(ticket) => ticket,
        other => unreachable!("{other:?}"),
    }
}

fn join(bulkhead: &Bulkhead, caller: impl Into<Caller>) -> Option<Ticket> {
    match bulkhead.acquire_as(START, caller.into()) {
        Admission::Queued(ticket) => Some(ticket),
        Admission::Refused(_) => None,
        Admission::Granted(slot) => unreachable!("{slot:?}"),
    }
}

/// Who of `waiting` is served, in order, as one slot goes round. Numbers are places in `waiting`.
fn order(bulkhead: &Bulkhead, mut slot: Slot, waiting: &[Ticket]) -> Vec<usize> {
    let mut order = Vec::new();
    while let Some(&next) = bulkhead.release(&mut slot).first() {
        let (Progress::Granted(its), _) = bulkhead.poll(START, next) else { unreachable!() };
        slot = its;
        order.push(waiting.iter().position(|&ticket| ticket == next).unwrap());
    }
    order
}

fn refusal(bulkhead: &Bulkhead, ticket: Ticket) -> Reason {
    match bulkhead.poll(START, ticket).0 {
        Progress::Refused(refusal) => refusal.reason,
        other => unreachable!("{other:?}"),
    }
}

fn granted(bulkhead: &Bulkhead, ticket: Ticket) -> bool {
    matches!(bulkhead.poll(START, ticket), (Progress::Granted(_), _))
}

/// (active, queued)
fn load(bulkhead: &Bulkhead) -> (u32, usize) {
    (bulkhead.stats().active, bulkhead.stats().queued)
}

#[test]
fn three_slots_and_a_queue_of_two_refuse_the_sixth() {
    let bulkhead = bulkhead(3, 2);
    let _slots = take(&bulkhead, 3);
    let _waiting = (queue(&bulkhead), queue(&bulkhead));
    let Admission::Refused(refusal) = bulkhead.acquire(START) else { unreachable!() };
    assert_eq!((refusal.reason, refusal.retry_after), (Reason::QueueFull, Duration::ZERO));
    assert_eq!(bulkhead.snapshot().get("refused", "queue_full"), Some(1.0));
}

#[test]
fn without_a_queue_a_free_slot_is_still_given() {
    let bulkhead = bulkhead(1, 0);
    let Admission::Granted(mut slot) = bulkhead.acquire(START) else { unreachable!() };
    assert!(matches!(bulkhead.acquire(START), Admission::Refused(_)));
    assert!(bulkhead.release(&mut slot).is_empty());
    assert!(bulkhead.try_acquire().is_ok());
}

#[test]
fn a_slot_goes_to_those_who_wait_in_order_and_to_nobody_else() {
    let bulkhead = bulkhead(1, 5);
    let mut slots = take(&bulkhead, 1);
    let (first, second) = (queue(&bulkhead), queue(&bulkhead));
    assert_eq!(bulkhead.release(&mut slots[0]), [first, second]);
    assert!(bulkhead.try_acquire().is_err());
    assert!(!granted(&bulkhead, second));
    let (Progress::Granted(mut token), _) = bulkhead.poll(START, first) else { unreachable!() };
    assert!(!granted(&bulkhead, first), "a ticket is good for one slot");
    assert_eq!(bulkhead.release(&mut token), [second]);
    assert!(granted(&bulkhead, second));
}

#[test]
fn a_slot_is_released_once() {
    let bulkhead = bulkhead(2, 5);
    let mut slots = take(&bulkhead, 2);
    let _ = (bulkhead.release(&mut slots[0]), bulkhead.release(&mut slots[0]));
    assert_eq!(load(&bulkhead), (1, 0));
}

#[test]
fn a_cancelled_caller_leaves_no_trace() {
    let bulkhead = bulkhead(1, 2);
    let mut slots = take(&bulkhead, 1);
    let (first, second) = (queue(&bulkhead), queue(&bulkhead));
    assert_eq!(bulkhead.cancel(first), []);
    assert_eq!(bulkhead.cancel(first), []);
    let third = queue(&bulkhead);
    assert_eq!(bulkhead.release(&mut slots[0]), [second, third]);
    assert_eq!(bulkhead.cancel(second), [third], "a slot that was granted goes to the next");
    assert_eq!(bulkhead.cancel(third), []);
    assert_eq!(load(&bulkhead), (0, 0));
    assert!(bulkhead.try_acquire().is_ok());
}

#[test]
fn a_queued_caller_whose_time_is_over_is_refused_and_counted_once() {
    let bulkhead = bulkhead(1, 2);
    let mut slots = take(&bulkhead, 1);
    let (first, second) = (queue(&bulkhead), queue(&bulkhead));
    let end = START + Config::default().queue_timeout;
    let refusal = |ticket| match bulkhead.poll(end, ticket) {
        (Progress::Refused(refusal), woken) if woken.is_empty() => refusal.reason,
        other => unreachable!("{other:?}"),
    };
    assert_eq!([refusal(second), refusal(second)], [Reason::QueueTimeout; 2]);
    assert_eq!(bulkhead.snapshot().get("refused", "queue_timeout"), Some(2.0), "the first one's time is over as well");
    let Admission::Queued(third) = bulkhead.acquire(end) else { unreachable!() };
    assert_eq!(bulkhead.release(&mut slots[0]), [third], "nobody else waits");
    assert_eq!(refusal(first), Reason::QueueTimeout);
    assert!(granted(&bulkhead, third), "a slot that came at the last moment");
}

#[test]
fn a_slot_that_is_not_collected_goes_to_the_next_who_asks_and_its_place_in_the_queue_stays() {
    let bulkhead = bulkhead(1, 5);
    let mut slots = take(&bulkhead, 1);
    let (unpolled, second, third) = (queue(&bulkhead), queue(&bulkhead), queue(&bulkhead));
    assert_eq!(bulkhead.release(&mut slots[0]), [unpolled, second]);
    // When: the second is woken, it learns when the slot lapses.
    let (Progress::Waiting { until }, _) = bulkhead.poll(START, second) else { unreachable!() };
    assert_eq!(until.since(START), Duration::from_millis(10));
    let (Progress::Granted(mut slot), _) = bulkhead.poll(until, second) else { unreachable!() };
    assert_eq!(load(&bulkhead), (1, 2));
    // Then: who does not ask is passed over until it does.
    assert_eq!(bulkhead.release(&mut slot), [third]);
    assert!(granted(&bulkhead, third));
    assert!(!granted(&bulkhead, unpolled));
    let late = queue(&bulkhead);
    assert_eq!(bulkhead.release(&mut Slot::new()), [unpolled, late]);
}

#[test]
fn who_sleeps_in_the_queue_keeps_no_newcomer_from_a_free_slot() {
    let bulkhead = bulkhead(1, 1);
    let mut slots = take(&bulkhead, 1);
    let unpolled = queue(&bulkhead);
    assert_eq!(bulkhead.release(&mut slots[0]), [unpolled]);
    let newcomer = queue(&bulkhead);
    assert!(!granted(&bulkhead, newcomer));
    let later = START + Duration::from_millis(10);
    let (Progress::Granted(mut slot), _) = bulkhead.poll(later, newcomer) else { unreachable!() };
    assert!(bulkhead.release(&mut slot).is_empty());
    let mut slot = bulkhead.try_acquire().expect("a free slot, though somebody sleeps in the queue");
    assert!(bulkhead.release(&mut slot).is_empty());
    assert!(granted(&bulkhead, unpolled));
}

#[test]
fn growing_wakes_and_shrinking_evicts_nobody() {
    let bulkhead = bulkhead(1, 5);
    let mut slots = take(&bulkhead, 1);
    let waiting = [queue(&bulkhead), queue(&bulkhead), queue(&bulkhead)];
    assert_eq!(bulkhead.resize(3).unwrap(), waiting);
    assert_eq!(load(&bulkhead), (3, 1));
    assert_eq!(bulkhead.resize(1).unwrap(), []);
    assert!(granted(&bulkhead, waiting[0]));
    assert!(bulkhead.release(&mut slots[0]).is_empty());
    assert_eq!(load(&bulkhead), (2, 1));
    assert!(bulkhead.cancel(waiting[1]).is_empty());
    assert_eq!(load(&bulkhead), (1, 1));
}

#[test]
fn a_mistake_changes_nothing() {
    let bulkhead = bulkhead(1, 5);
    assert_eq!(bulkhead.resize(0).unwrap_err()[0].field, "max_concurrent");
    assert_eq!(bulkhead.resize(u32::MAX).unwrap_err()[0].value, "4294967295");
    assert_eq!(bulkhead.config(), Config { max_concurrent: 1, max_queue: 5, ..Config::default() });
    assert!(Bulkhead::with_config("tests", Config { max_concurrent: 0, ..Config::default() }).is_err());
}

#[cfg(feature = "serde")]
#[test]
fn a_table_is_a_configuration() {
    use serde::Deserialize;
    use serde::de::value::{Error, MapDeserializer};

    let fields = [("max_concurrent", 20_u32), ("max_queue", 100), ("queue_timeout", 2)];
    let config = Config::deserialize(MapDeserializer::<_, Error>::new(fields.into_iter())).unwrap();
    let expected = Config { max_concurrent: 20, max_queue: 100, queue_timeout: Duration::from_secs(2), adaptive: None };
    assert_eq!(config, expected);
}

#[test]
fn an_adaptive_bulkhead_gives_new_slots_to_those_who_wait_and_tells_of_it() {
    let config = Config {
        max_concurrent: 4,
        adaptive: Some(adaptive::Config { max: 20, ..Default::default() }),
        ..Config::default()
    };
    let bulkhead = Bulkhead::with_config("tests", config).unwrap();
    let (mut now, mut told) = (Instant::ZERO, Vec::new());
    let mut slots = take(&bulkhead, 4);
    let mut waiting: VecDeque<Ticket> = (0..40).map(|_| queue(&bulkhead)).collect();
    for _ in 0..200 {
        for slot in &mut slots {
            bulkhead.begin(now, slot);
        }
        now = now + SECOND;
        for mut slot in std::mem::take(&mut slots) {
            let adjusted = bulkhead.observe(now, &slot, &Verdict::success());
            told.extend(adjusted.and_then(|adjusted| adjusted.told));
            let _ = bulkhead.release(&mut slot);
        }
        while waiting.front().is_some_and(|&ticket| match bulkhead.poll(START, ticket).0 {
            Progress::Granted(token) => {
                slots.push(token);
                true
            }
            Progress::Waiting { .. } | Progress::Refused(_) => false,
        }) {
            waiting.pop_front();
            waiting.push_back(queue(&bulkhead));
        }
        assert_eq!(load(&bulkhead), (u32::try_from(slots.len()).unwrap(), 40));
        assert!(slots.len() >= bulkhead.stats().max_concurrent as usize, "a slot is free while somebody waits");
    }
    // Calls always take a second, however many: there is no reason not to let more in.
    assert!(bulkhead.stats().max_concurrent > 10, "{told:?}");
    assert!(told.iter().all(|(from, to)| from.abs_diff(*to) * 4 >= *from), "{told:?}");
    assert_eq!(bulkhead.snapshot().get("baseline_seconds", ""), Some(1.0));
}

#[test]
fn a_reload_keeps_the_limit_that_was_found() {
    let config = Config { max_concurrent: 4, adaptive: Some(adaptive::Config::default()), ..Config::default() };
    let bulkhead = Bulkhead::with_config("tests", config.clone()).unwrap();
    let _ = bulkhead.resize(7).unwrap();
    assert_eq!(bulkhead.stats().max_concurrent, 7);
    let narrower = adaptive::Config { max: 8, ..adaptive::Config::default() };
    let _ = bulkhead.update(Config { max_concurrent: 7, adaptive: Some(narrower), ..config.clone() }).unwrap();
    assert_eq!(bulkhead.stats().max_concurrent, 7);
    let fixed = Config { max_concurrent: 3, adaptive: None, ..config };
    let _ = bulkhead.update(fixed).unwrap();
    assert_eq!((bulkhead.stats().max_concurrent, bulkhead.adapts()), (3, false));
}

#[test]
fn a_slot_is_in_use_from_the_beginning_of_its_work_on() {
    let adaptive = adaptive::Config { min_samples: 5, ..Default::default() };
    let config = Config { max_concurrent: 2, adaptive: Some(adaptive), ..Default::default() };
    for (parks, grown) in [(false, true), (true, false)] {
        let bulkhead = Bulkhead::with_config("rate-limited", config.clone()).unwrap();
        let mut other = bulkhead.try_acquire().unwrap();
        if parks {
            bulkhead.park(&mut other);
        }
        for call in 0..100 {
            let now = START + SECOND * call;
            let mut slot = bulkhead.try_acquire().unwrap();
            bulkhead.begin(now, &mut slot);
            let _ = bulkhead.observe(now + SECOND, &slot, &Verdict::success());
            let _ = bulkhead.release(&mut slot);
            // Given: what is given up while it waits does so without a trace.
            let mut cancelled = std::mem::replace(&mut other, slot);
            let _ = bulkhead.release(&mut cancelled);
            other = bulkhead.try_acquire().unwrap();
            if parks {
                bulkhead.park(&mut other);
            }
        }
        assert_eq!(bulkhead.stats().max_concurrent > 2, grown);
    }
}

#[test]
fn the_highest_class_is_served_first_and_each_in_the_order_of_arrival() {
    let bulkhead = bulkhead(1, 10);
    let slot = take(&bulkhead, 1).remove(0);
    let (low, normal, high, critical) = (Priority::Low, Priority::Normal, Priority::High, Priority::Critical);
    let waiting =
        [low, normal, high, critical, low, normal, high, critical].map(|class| join(&bulkhead, class).unwrap());
    let gauge = |class| bulkhead.snapshot().get("waiting", class);
    assert_eq!((gauge("critical"), gauge("low")), (Some(2.0), Some(2.0)));
    assert_eq!(order(&bulkhead, slot, &waiting), [3, 7, 2, 6, 1, 5, 0, 4]);
    assert_eq!(load(&bulkhead), (0, 0));
}

#[test]
fn flows_of_one_class_are_served_in_turn() {
    let bulkhead = bulkhead(1, 10);
    let slot = take(&bulkhead, 1).remove(0);
    let (a, b, c) = (Flow::of("a"), Flow::of("b"), Flow::of("c"));
    // Given: a is greedy, one call names no flow.
    let mut waiting: Vec<_> = [a, a, a, a, b, b, c].map(|flow| join(&bulkhead, flow).unwrap()).into();
    waiting.push(queue(&bulkhead));
    assert_eq!(order(&bulkhead, slot, &waiting), [0, 4, 6, 7, 1, 5, 2, 3]);
}

#[test]
fn a_flow_that_comes_back_waits_for_its_turn() {
    let bulkhead = bulkhead(1, 10);
    let mut slot = take(&bulkhead, 1).remove(0);
    let (a, b) = (Flow::of("a"), Flow::of("b"));
    let greedy: Vec<_> = (0..4).map(|_| join(&bulkhead, a).unwrap()).collect();
    let other = join(&bulkhead, b).unwrap();
    for expected in [greedy[0], other] {
        assert_eq!(bulkhead.release(&mut slot)[0], expected);
        let (Progress::Granted(next), _) = bulkhead.poll(START, expected) else { unreachable!() };
        slot = next;
    }
    let again = join(&bulkhead, b).unwrap();
    assert_eq!(order(&bulkhead, slot, &[greedy[1], again, greedy[2], greedy[3]]), [0, 1, 2, 3]);
}

#[test]
fn a_full_queue_sheds_the_newest_of_the_lowest_class_for_a_higher_one() {
    let bulkhead = bulkhead(1, 3);
    let slot = take(&bulkhead, 1).remove(0);
    let [first, low] = [Priority::Normal, Priority::Low].map(|class| join(&bulkhead, class).unwrap());
    let newest = join(&bulkhead, Priority::Low).unwrap();
    assert_eq!(join(&bulkhead, Priority::Low), None);
    let high = join(&bulkhead, Priority::High).unwrap();
    // Then: whoever polls next wakes it.
    let (Progress::Waiting { .. }, woken) = bulkhead.poll(START, high) else { unreachable!() };
    assert_eq!(woken, [newest]);
    assert_eq!(bulkhead.poll(START, high).1, []);
    assert_eq!([refusal(&bulkhead, newest), refusal(&bulkhead, newest)], [Reason::Shed, Reason::QueueTimeout]);
    // Then: one that leaves of itself does no harm, and tells of the other.
    let critical = join(&bulkhead, Priority::Critical).unwrap();
    assert_eq!(bulkhead.cancel(critical), [low]);
    assert_eq!(bulkhead.cancel(low), []);
    assert_eq!((bulkhead.stats().queued, bulkhead.stats().refused, bulkhead.stats().shed), (2, 3, 2));
    let counted = |reason| bulkhead.snapshot().get("refused", reason);
    let counted = [counted("queue_full"), counted("shed"), counted("queue_timeout")];
    assert_eq!(counted, [Some(1.0), Some(2.0), Some(0.0)]);
    assert_eq!(order(&bulkhead, slot, &[first, high]), [1, 0]);
}

#[test]
fn a_full_queue_is_shared_among_the_flows_of_a_class() {
    let bulkhead = bulkhead(1, 4);
    let _slot = take(&bulkhead, 1);
    let (a, b, c) = (Flow::of("a"), Flow::of("b"), Flow::of("c"));
    let greedy: Vec<_> = (0..4).map(|_| join(&bulkhead, a).unwrap()).collect();
    assert_eq!(join(&bulkhead, a), None);
    // Then: the longest flow makes room until a newcomer's would be as long.
    let (one, _two) = (join(&bulkhead, b).unwrap(), join(&bulkhead, b).unwrap());
    assert_eq!([join(&bulkhead, b), join(&bulkhead, a)], [None, None]);
    assert!(join(&bulkhead, c).is_some());
    assert_eq!([join(&bulkhead, c), join(&bulkhead, b)], [None, None]);
    let shed = greedy.iter().filter(|&&ticket| matches!(bulkhead.poll(START, ticket).0, Progress::Refused(_)));
    assert_eq!(shed.count(), 2);
    assert_eq!(bulkhead.stats().shed, 3);
    assert!(matches!(bulkhead.poll(START, one).0, Progress::Waiting { .. }));
    assert_eq!(bulkhead.snapshot().get("waiting", "normal"), Some(4.0));
}

#[test]
fn without_a_queue_nobody_makes_room() {
    let bulkhead = bulkhead(1, 0);
    let _slot = take(&bulkhead, 1);
    assert_eq!(join(&bulkhead, Priority::Critical), None);
}

#[test]
fn a_time_in_the_queue_that_was_made_shorter_ends_in_time() {
    let bulkhead = bulkhead(1, 5);
    let _slot = take(&bulkhead, 1);
    let patient = queue(&bulkhead);
    let _ = bulkhead.update(Config { queue_timeout: SECOND, ..bulkhead.config() }).unwrap();
    let brief = queue(&bulkhead);
    let (Progress::Waiting { until }, _) = bulkhead.poll(START, brief) else { unreachable!() };
    assert_eq!(until, START + SECOND);
    assert!(matches!(bulkhead.poll(until, brief).0, Progress::Refused(_)), "not only when the one before it ends");
    assert!(matches!(bulkhead.poll(until, patient).0, Progress::Waiting { .. }));
}

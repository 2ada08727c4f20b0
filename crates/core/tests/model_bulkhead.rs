//! The bulkhead against a model that is obviously right: a count of slots and a list of who waits.
#![cfg(not(loom))]
#![cfg(test)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use proptest::prelude::*;
use stormproof_core::bulkhead::{Config, Slot};
use stormproof_core::{Admission, Bulkhead, Instant, Progress, Reason, Ticket};

#[derive(Clone, Debug)]
enum Op {
    Try,
    Acquire,
    Release(usize),
    Poll(usize),
    Cancel(usize),
    Pass(Duration),
    Update { max_concurrent: u32, max_queue: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => Just(Op::Try),
        6 => Just(Op::Acquire),
        5 => any::<usize>().prop_map(Op::Release),
        4 => any::<usize>().prop_map(Op::Poll),
        2 => any::<usize>().prop_map(Op::Cancel),
        3 => (0..15_u64).prop_map(|millis| Op::Pass(Duration::from_millis(millis))),
        1 => (1..6_u32, 0..5_u32).prop_map(|(max_concurrent, max_queue)| Op::Update { max_concurrent, max_queue }),
    ]
}

/// Time in the queue.
const LONGEST: Duration = Duration::from_millis(40);
/// Time to collect a slot, once another has asked.
const GRACE: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug)]
struct Waiter {
    ticket: Ticket,
    end: Instant,
    asleep: bool,
}

#[derive(Debug, Default)]
struct Model {
    slots: usize,
    places: usize,
    /// Held by callers.
    held: usize,
    /// Handed over and not asked for yet, with the time at which another found it so.
    granted: Vec<(Waiter, Option<Instant>)>,
    /// In the order of arrival.
    waiting: Vec<Waiter>,
    admitted: u64,
    refused: u64,
}

impl Model {
    fn free(&self) -> bool {
        self.held + self.granted.len() < self.slots
    }

    /// Whether a newcomer has to queue: nobody passes those who wait and ask.
    fn passes(&self) -> bool {
        self.free() && self.waiting.iter().all(|waiter| waiter.asleep)
    }

    /// Hands free slots to those who wait; whom to poll.
    fn settle(&mut self) -> Vec<Ticket> {
        let mut woken = Vec::new();
        while let Some(next) = self.waiting.iter().position(|waiter| !waiter.asleep) {
            if !self.free() {
                if !woken.is_empty() {
                    woken.push(self.waiting[next].ticket);
                }
                break;
            }
            let next = self.waiting.remove(next);
            self.granted.push((next, None));
            woken.push(next.ticket);
        }
        woken
    }

    fn leave(&mut self, ticket: Ticket) -> Vec<Ticket> {
        self.waiting.retain(|waiter| waiter.ticket != ticket);
        self.granted.retain(|(waiter, _)| waiter.ticket != ticket);
        self.settle()
    }

    /// Ends the waits whose time is over.
    fn expire(&mut self, now: Instant, spared: Option<Ticket>) {
        let before = self.waiting.len();
        self.waiting.retain(|waiter| waiter.end > now || Some(waiter.ticket) == spared);
        self.refused += (before - self.waiting.len()) as u64;
    }

    /// One that waits asks: slots that others do not collect lapse. Whom to poll.
    fn poll(&mut self, now: Instant, ticket: Ticket) -> Vec<Ticket> {
        let Some(asking) = self.waiting.iter_mut().find(|waiter| waiter.ticket == ticket) else { return Vec::new() };
        asking.asleep = false;
        self.expire(now, Some(ticket));
        for (waiter, noticed) in std::mem::take(&mut self.granted) {
            let noticed = noticed.unwrap_or(now);
            if now.since(noticed) < GRACE {
                self.granted.push((waiter, Some(noticed)));
            } else {
                self.waiting.push(Waiter { asleep: true, ..waiter });
            }
        }
        self.waiting.sort_by_key(|waiter| waiter.ticket);
        let woken = self.settle();
        woken.into_iter().filter(|&other| other != ticket).collect()
    }
}

fn pick<T: Copy>(all: &[T], index: usize) -> Option<T> {
    (!all.is_empty()).then(|| all[index % all.len()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn behaves_like_a_count_and_a_list(slots in 1..5_u32, places in 0..5_u32, ops in prop::collection::vec(op(), 1..120)) {
        let config = Config { max_concurrent: slots, max_queue: places, queue_timeout: LONGEST, adaptive: None };
        let bulkhead = Bulkhead::with_config("model", config.clone()).unwrap();
        let mut model = Model { slots: slots as usize, places: places as usize, ..Model::default() };
        let mut held: Vec<Slot> = Vec::new();
        let mut tickets: Vec<Ticket> = Vec::new();
        let mut now = Instant::ZERO;
        for op in ops {
            match op {
                Op::Try => {
                    let expected = model.passes();
                    let answer = bulkhead.try_acquire();
                    prop_assert_eq!(answer.is_ok(), expected);
                    model.held += usize::from(expected);
                    model.admitted += u64::from(expected);
                    model.refused += u64::from(!expected);
                    held.extend(answer.ok());
                }
                Op::Acquire => match bulkhead.acquire(now) {
                    Admission::Granted(slot) => {
                        prop_assert!(model.passes());
                        model.held += 1;
                        model.admitted += 1;
                        held.push(slot);
                    }
                    Admission::Queued(ticket) => {
                        prop_assert!(!model.passes());
                        model.expire(now, None);
                        prop_assert!(model.waiting.len() < model.places);
                        model.waiting.push(Waiter { ticket, end: now + LONGEST, asleep: false });
                        tickets.push(ticket);
                    }
                    Admission::Refused(refusal) => {
                        prop_assert_eq!(refusal.reason, Reason::QueueFull);
                        prop_assert!(!model.passes());
                        model.expire(now, None);
                        prop_assert!(model.waiting.len() >= model.places);
                        model.refused += 1;
                    }
                },
                Op::Release(index) => if !held.is_empty() {
                    let mut slot = held.remove(index % held.len());
                    model.held -= 1;
                    prop_assert_eq!(bulkhead.release(&mut slot), model.settle());
                    prop_assert_eq!(bulkhead.release(&mut slot), []);
                },
                Op::Poll(index) => if let Some(ticket) = pick(&tickets, index) {
                    let (progress, woken) = bulkhead.poll(now, ticket);
                    prop_assert_eq!(woken, model.poll(now, ticket));
                    let is_granted = model.granted.iter().any(|(waiter, _)| waiter.ticket == ticket);
                    if !is_granted {
                        model.expire(now, None);
                    }
                    let waits = model.waiting.iter().find(|waiter| waiter.ticket == ticket);
                    match progress {
                        Progress::Granted(token) => {
                            prop_assert!(is_granted);
                            model.granted.retain(|(waiter, _)| waiter.ticket != ticket);
                            model.held += 1;
                            model.admitted += 1;
                            held.push(token);
                        }
                        Progress::Waiting { until } => {
                            let lapse = model.granted.iter().filter_map(|(_, noticed)| *noticed).min();
                            let lapse = lapse.map_or(Instant::FAR_FUTURE, |noticed| noticed + GRACE);
                            prop_assert_eq!(waits.map(|waiter| waiter.end.min(lapse)), Some(until));
                        }
                        Progress::Refused(refusal) => {
                            prop_assert!(!is_granted && waits.is_none());
                            prop_assert_eq!(refusal.reason, Reason::QueueTimeout);
                        }
                    }
                },
                Op::Cancel(index) => if let Some(ticket) = pick(&tickets, index) {
                    let expected = model.leave(ticket);
                    prop_assert_eq!(bulkhead.cancel(ticket), expected);
                },
                Op::Pass(time) => now = now + time,
                Op::Update { max_concurrent, max_queue } => {
                    (model.slots, model.places) = (max_concurrent as usize, max_queue as usize);
                    let woken = bulkhead.update(Config { max_concurrent, max_queue, ..config.clone() }).unwrap();
                    prop_assert_eq!(woken, model.settle());
                }
            }
            let stats = bulkhead.stats();
            prop_assert_eq!(stats.active as usize, model.held + model.granted.len());
            prop_assert_eq!(stats.queued, model.waiting.len());
            prop_assert_eq!((stats.admitted, stats.refused), (model.admitted, model.refused));
        }
        // Given: everybody leaves. Then: all slots are free again.
        for ticket in tickets {
            let _ = bulkhead.cancel(ticket);
        }
        for mut slot in held {
            let _ = bulkhead.release(&mut slot);
        }
        prop_assert_eq!((bulkhead.stats().active, bulkhead.stats().queued), (0, 0));
    }
}

#[test]
fn threads_never_hold_more_slots_than_there_are_and_all_come_back() {
    const SLOTS: usize = 3;
    let config = Config { max_concurrent: 3, max_queue: 100, ..Config::default() };
    let bulkhead = Bulkhead::with_config("stress", config).unwrap();
    let inside = AtomicUsize::new(0);
    let wakers = std::sync::Mutex::new(std::collections::HashMap::<Ticket, mpsc::Sender<()>>::new());
    let wake = |woken: Vec<Ticket>| {
        for ticket in woken {
            if let Some(waker) = wakers.lock().unwrap().get(&ticket).cloned() {
                let _ = waker.send(());
            }
        }
    };
    let enter = |round: usize| -> Option<Slot> {
        let ticket = match bulkhead.acquire(Instant::ZERO) {
            Admission::Granted(slot) => return Some(slot),
            Admission::Queued(ticket) => ticket,
            Admission::Refused(_) => panic!("the queue has room for all"),
        };
        let (waker, woken) = mpsc::channel();
        wakers.lock().unwrap().insert(ticket, waker);
        let slot = loop {
            if let (Progress::Granted(token), _) = bulkhead.poll(Instant::ZERO, ticket) {
                break Some(token);
            }
            if round.is_multiple_of(7) {
                wake(bulkhead.cancel(ticket));
                break None;
            }
            woken.recv_timeout(Duration::from_secs(20)).expect("nobody is left sleeping");
        };
        wakers.lock().unwrap().remove(&ticket);
        slot
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..5_000 {
                    let Some(mut slot) = enter(round) else { continue };
                    assert!(inside.fetch_add(1, Ordering::SeqCst) < SLOTS);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    wake(bulkhead.release(&mut slot));
                }
            });
        }
    });
    assert_eq!((bulkhead.stats().active, bulkhead.stats().queued), (0, 0));
}

#[test]
fn slots_of_an_adaptive_bulkhead_are_neither_lost_nor_doubled_by_threads() {
    use stormproof_core::{Verdict, adaptive};
    let adaptive = adaptive::Config { min: 2, max: 8, window: Duration::from_millis(1), ..Default::default() };
    let config = Config { max_concurrent: 4, adaptive: Some(adaptive), ..Default::default() };
    let bulkhead = Bulkhead::with_config("stress", config).unwrap();
    let clock = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (bulkhead, clock) = (&bulkhead, &clock);
            scope.spawn(move || {
                let now = || Instant::from_nanos(clock.fetch_add(7_000, std::sync::atomic::Ordering::Relaxed));
                let settle = |mut slot| {
                    let verdict = if thread == 0 { Verdict::failure("TimeoutError") } else { Verdict::success() };
                    let adjusted = bulkhead.observe(now(), &slot, &verdict);
                    // Whoever got a slot by this leaves it to the next: nobody polls here but those who wait.
                    let _ = (adjusted, bulkhead.release(&mut slot));
                };
                for _ in 0..20_000 {
                    let mut slot = match bulkhead.acquire(Instant::ZERO) {
                        Admission::Granted(slot) => slot,
                        Admission::Queued(ticket) => loop {
                            if let (Progress::Granted(token), _) = bulkhead.poll(Instant::ZERO, ticket) {
                                break token;
                            }
                            std::thread::yield_now();
                        },
                        Admission::Refused(_) => continue,
                    };
                    bulkhead.begin(now(), &mut slot);
                    assert!((2..=8).contains(&bulkhead.stats().max_concurrent));
                    settle(slot);
                }
            });
        }
    });
    assert_eq!((bulkhead.stats().active, bulkhead.stats().queued), (0, 0));
    assert!(bulkhead.adaptive().unwrap().windows > 100);
}

//! The bulkhead against a model that is obviously right: a count of slots, a list of who waits, and for each line of them
//! the number of its last turn.
#![cfg(not(loom))]
#![cfg(test)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use proptest::prelude::*;
use stormproof_core::bulkhead::{Config, Slot};
use stormproof_core::{Admission, Bulkhead, Caller, Flow, Instant, Priority, Progress, Reason, Ticket};

#[derive(Clone, Debug)]
enum Op {
    Try,
    Acquire(Caller),
    Release(usize),
    Poll(usize),
    Cancel(usize),
    Pass(Duration),
    Update { max_concurrent: u32, max_queue: u32 },
}

/// Half of the histories are of callers that say nothing of themselves.
fn callers() -> impl Strategy<Value = Caller> {
    let priority = prop_oneof![3 => Just(None), 4 => prop::sample::select(&Priority::ALL[..]).prop_map(Some)];
    let flow = prop_oneof![1 => Just(None), 3 => (0..3).prop_map(|key| Some(Flow::of(key)))];
    (priority, flow).prop_map(|(priority, flow)| Caller { priority, flow })
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let history = |caller: BoxedStrategy<Caller>| prop::collection::vec(op(caller), 1..120);
    prop_oneof![history(Just(Caller::default()).boxed()), history(callers().boxed())]
}

fn op(caller: BoxedStrategy<Caller>) -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => Just(Op::Try),
        6 => caller.prop_map(Op::Acquire),
        5 => any::<usize>().prop_map(Op::Release),
        4 => any::<usize>().prop_map(Op::Poll),
        2 => any::<usize>().prop_map(Op::Cancel),
        3 => (0..15_u64).prop_map(|millis| Op::Pass(Duration::from_millis(millis))),
        1 => (1..6_u32, 0..8_u32).prop_map(|(max_concurrent, max_queue)| Op::Update { max_concurrent, max_queue }),
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
    caller: Caller,
}

impl Waiter {
    fn class(&self) -> Priority {
        self.caller.priority.unwrap_or_default()
    }

    fn is_beside(&self, other: &Self) -> bool {
        (self.class(), self.caller.flow) == (other.class(), other.caller.flow)
    }
}

#[derive(Debug, Default)]
struct Model {
    slots: usize,
    places: usize,
    /// Held by callers.
    held: usize,
    /// Handed over and not asked for yet, with the time at which another found it so.
    granted: Vec<(Waiter, Option<Instant>)>,
    /// In the order of arrival, each with the number of its line's last turn, or of when its line began.
    waiting: Vec<(Waiter, u64)>,
    turns: u64,
    /// Made room and have not asked since, and those of them of whom nobody has been told.
    shed: Vec<Ticket>,
    unheard: Vec<Ticket>,
    admitted: u64,
    refused: u64,
}

impl Model {
    fn free(&self) -> bool {
        self.held + self.granted.len() < self.slots
    }

    /// Whether a newcomer has to queue: nobody passes those who wait and ask.
    fn passes(&self) -> bool {
        self.free() && self.waiting.iter().all(|(waiter, _)| waiter.asleep)
    }

    fn next(&self) -> Option<Waiter> {
        let asking = self.waiting.iter().filter(|(waiter, _)| !waiter.asleep);
        let next = asking.min_by_key(|(waiter, turn)| (std::cmp::Reverse(waiter.class()), *turn, waiter.ticket));
        next.map(|(waiter, _)| *waiter)
    }

    /// Hands free slots to those who wait; whom to poll.
    fn settle(&mut self) -> Vec<Ticket> {
        let mut woken = Vec::new();
        while let Some(next) = self.next() {
            if !self.free() {
                if !woken.is_empty() {
                    woken.push(next.ticket);
                }
                break;
            }
            self.turns += 1;
            self.waiting.retain(|(waiter, _)| waiter.ticket != next.ticket);
            let its_line = self.waiting.iter_mut().filter(|(waiter, _)| waiter.is_beside(&next));
            its_line.for_each(|(_, turn)| *turn = self.turns);
            self.granted.push((next, None));
            woken.push(next.ticket);
        }
        woken
    }

    fn length(&self, line: &Waiter) -> usize {
        self.waiting.iter().filter(|(waiter, _)| waiter.is_beside(line)).count()
    }

    fn join(&mut self, waiter: Waiter) {
        let line = self.waiting.iter().find(|(other, _)| other.is_beside(&waiter)).map(|(_, turn)| *turn);
        let turn = line.unwrap_or_else(|| {
            self.turns += 1;
            self.turns
        });
        self.waiting.push((waiter, turn));
        self.waiting.sort_by_key(|(waiter, _)| waiter.ticket);
    }

    /// Who makes room for a newcomer when the queue is full.
    fn victim(&self, newcomer: &Waiter) -> Option<Ticket> {
        let lowest = self.waiting.iter().map(|(waiter, _)| waiter.class()).min()?;
        let of_lowest = || self.waiting.iter().filter(|(waiter, _)| waiter.class() == lowest);
        let longest = of_lowest().map(|(waiter, _)| self.length(waiter)).max()?;
        let (victim, _) = of_lowest()
            .filter(|(waiter, _)| self.length(waiter) == longest)
            .max_by_key(|(waiter, turn)| (*turn, waiter.ticket))?;
        let goes_first = lowest < newcomer.class();
        (goes_first || lowest == newcomer.class() && self.length(newcomer) + 1 < longest).then_some(victim.ticket)
    }

    fn leave(&mut self, ticket: Ticket) -> Vec<Ticket> {
        self.waiting.retain(|(waiter, _)| waiter.ticket != ticket);
        self.granted.retain(|(waiter, _)| waiter.ticket != ticket);
        self.shed.retain(|&shed| shed != ticket);
        let mut woken = std::mem::take(&mut self.unheard);
        woken.extend(self.settle());
        woken.retain(|&other| other != ticket);
        woken
    }

    /// Ends the waits whose time is over.
    fn expire(&mut self, now: Instant, spared: Option<Ticket>) {
        let before = self.waiting.len();
        self.waiting.retain(|(waiter, _)| waiter.end > now || Some(waiter.ticket) == spared);
        self.refused += (before - self.waiting.len()) as u64;
    }

    /// One that waits asks: slots that others do not collect lapse. Whom to poll.
    fn poll(&mut self, now: Instant, ticket: Ticket) -> Vec<Ticket> {
        let mut woken = std::mem::take(&mut self.unheard);
        woken.retain(|&other| other != ticket);
        let Some((asking, _)) = self.waiting.iter_mut().find(|(waiter, _)| waiter.ticket == ticket) else {
            return woken;
        };
        asking.asleep = false;
        self.expire(now, Some(ticket));
        for (waiter, noticed) in std::mem::take(&mut self.granted) {
            let noticed = noticed.unwrap_or(now);
            if now.since(noticed) < GRACE {
                self.granted.push((waiter, Some(noticed)));
            } else {
                self.join(Waiter { asleep: true, ..waiter });
            }
        }
        woken.extend(self.settle());
        woken.retain(|&other| other != ticket);
        woken
    }
}

/// A ticket of nobody, for a caller that got none.
fn refused() -> Ticket {
    let config = Config { max_concurrent: 1, ..Config::default() };
    let other = Bulkhead::with_config("other", config).unwrap();
    let _slot = other.try_acquire().unwrap();
    match other.acquire(Instant::ZERO) {
        Admission::Queued(ticket) => ticket,
        answer => unreachable!("{answer:?}"),
    }
}

fn pick<T: Copy>(all: &[T], index: usize) -> Option<T> {
    (!all.is_empty()).then(|| all[index % all.len()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn behaves_like_a_count_and_a_list(slots in 1..5_u32, places in 0..8_u32, ops in ops()) {
        let config = Config { max_concurrent: slots, max_queue: places, queue_timeout: LONGEST, adaptive: None };
        let bulkhead = Bulkhead::with_config("model", config.clone()).unwrap();
        let mut model = Model { slots: slots as usize, places: places as usize, ..Model::default() };
        let mut held: Vec<Slot> = Vec::new();
        let mut tickets: Vec<Ticket> = Vec::new();
        let (mut now, mut shed) = (Instant::ZERO, 0);
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
                Op::Acquire(caller) => match bulkhead.acquire_as(now, caller) {
                    Admission::Granted(slot) => {
                        prop_assert!(model.passes());
                        model.held += 1;
                        model.admitted += 1;
                        held.push(slot);
                    }
                    Admission::Queued(ticket) => {
                        prop_assert!(!model.passes());
                        model.expire(now, None);
                        let newcomer = Waiter { ticket, end: now + LONGEST, asleep: false, caller };
                        if model.waiting.len() >= model.places {
                            let victim = model.victim(&newcomer);
                            prop_assert!(victim.is_some(), "nobody makes room");
                            model.waiting.retain(|(waiter, _)| Some(waiter.ticket) != victim);
                            model.shed.extend(victim);
                            model.unheard.extend(victim);
                            model.refused += 1;
                            shed += 1;
                        }
                        model.join(newcomer);
                        tickets.push(ticket);
                    }
                    Admission::Refused(refusal) => {
                        prop_assert_eq!(refusal.reason, Reason::QueueFull);
                        prop_assert!(!model.passes());
                        model.expire(now, None);
                        prop_assert!(model.waiting.len() >= model.places);
                        let newcomer = Waiter { ticket: refused(), end: now, asleep: false, caller };
                        prop_assert_eq!(model.victim(&newcomer), None);
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
                    let waits = model.waiting.iter().find(|(waiter, _)| waiter.ticket == ticket);
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
                            prop_assert_eq!(waits.map(|(waiter, _)| waiter.end.min(lapse)), Some(until));
                        }
                        Progress::Refused(refusal) => {
                            prop_assert!(!is_granted && waits.is_none());
                            let shed = model.shed.contains(&ticket);
                            model.shed.retain(|&shed| shed != ticket);
                            prop_assert_eq!(refusal.reason, if shed { Reason::Shed } else { Reason::QueueTimeout });
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
            prop_assert_eq!((stats.admitted, stats.refused, stats.shed), (model.admitted, model.refused, shed));
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

//! Carries out the steps of many calls on virtual time.
//!
//! Owns a heap of what is due, and the map from tickets to clients that an edge needs. Decides nothing: the order of
//! events at one instant is the order in which they were scheduled, so that a run with the same operation and the same
//! seeds is the same run.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use stormproof_core::{self as core, Caller, Edge, Event, Input, Instant, Limit, Policy, Step, Ticket};

use crate::reply::Reply;
use crate::trace::{CallTrace, End};

/// The operation that is called. A closure `FnMut(client, attempt, now) -> (Duration, Reply)` is one.
pub trait Operation {
    /// An attempt starts: how long it will take ([`Duration::MAX`]: for ever), and what it answers.
    fn attempt(&mut self, client: usize, attempt: u32, now: Instant) -> (Duration, Reply);
}

impl<F: FnMut(usize, u32, Instant) -> (Duration, Reply)> Operation for F {
    fn attempt(&mut self, client: usize, attempt: u32, now: Instant) -> (Duration, Reply) {
        self(client, attempt, now)
    }
}

/// A client that makes one call.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Which of the driver's policies it calls through.
    pub policy: usize,
    /// When the call must be over.
    pub deadline: Instant,
    /// Tokens to reserve.
    pub cost: u32,
    /// Class and flow.
    pub caller: Caller,
}

/// Steps that the clients may take at one instant, each, before it is called a livelock.
const STEPS_AT_ONCE: u64 = 1_000;

/// Runs calls on virtual time.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{Caller, Instant, Policy};
/// use stormproof_sim::{Driver, End, Reply, Start};
///
/// let policies = [Policy::new("tool")];
/// let mut driver = Driver::new(&policies, |_client, _attempt, _now| (Duration::from_secs(2), Reply::ok()));
/// driver.start(Start { policy: 0, deadline: Instant::FAR_FUTURE, cost: 0, caller: Caller::default() });
/// driver.run();
/// assert_eq!(driver.now(), Instant::ZERO + Duration::from_secs(2));
/// assert_eq!(driver.finish().0[0].end, End::Ok);
/// ```
#[derive(Debug)]
pub struct Driver<'p, O> {
    policies: &'p [Policy],
    operation: O,
    now: Instant,
    due: BinaryHeap<Reverse<Due>>,
    scheduled: u64,
    clients: Vec<Client>,
    parked: HashMap<Ticket, usize>,
    edge: Notes,
    steps_now: u64,
    tick: Duration,
}

/// Something that will happen; ordered by time, then by when it was scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Instant,
    scheduled: u64,
    client: usize,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The client takes its next step, unless it has taken it since: the number of steps it had taken.
    Resume(u64),
    /// The attempt with this number ends, unless it was dropped before.
    Answer(u32),
    Cancel,
}

#[derive(Debug)]
struct Client {
    policy: usize,
    caller: Caller,
    call: core::Call,
    steps: u64,
    started: u32,
    /// The attempts under way, and what they will answer.
    running: Vec<(u32, Reply)>,
    /// The last result; an `Ok` only until the next attempt starts.
    last: Option<Reply>,
    ticket: Option<Ticket>,
    attempts: Vec<Instant>,
    over: Option<(End, Instant)>,
}

impl Client {
    /// Ends an attempt; what it would have answered, or has answered.
    fn stop(&mut self, attempt: u32) -> Option<Reply> {
        let at = self.running.iter().position(|(number, _)| *number == attempt)?;
        Some(self.running.remove(at).1)
    }
}

/// The driver's edge: collects the tickets to wake and the events.
#[derive(Debug, Default)]
struct Notes {
    woken: Vec<Ticket>,
    events: Vec<Event>,
    /// Who makes the call that is asked.
    caller: Caller,
}

impl Edge for Notes {
    fn wake(&mut self, ticket: Ticket) {
        self.woken.push(ticket);
    }

    fn listens(&self) -> bool {
        true
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    fn caller(&self) -> Caller {
        self.caller
    }
}

impl<'p, O: Operation> Driver<'p, O> {
    /// A driver without calls.
    pub fn new(policies: &'p [Policy], operation: O) -> Self {
        Self {
            policies,
            operation,
            now: Instant::ZERO,
            due: BinaryHeap::new(),
            scheduled: 0,
            clients: Vec::new(),
            parked: HashMap::new(),
            edge: Notes::default(),
            steps_now: 0,
            tick: Duration::from_nanos(1),
        }
    }

    /// Timers fire at multiples of `tick`, as those of a runtime do. Default: exactly when they are due.
    #[must_use]
    pub fn tick(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    /// The present.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The operation, to look at or to change.
    pub fn operation(&mut self) -> &mut O {
        &mut self.operation
    }

    /// The edge, for code that acts on a stage from outside. Calls that it wakes run next.
    pub fn edge(&mut self) -> &mut impl Edge {
        &mut self.edge
    }

    /// A client begins its call now. Returns its number.
    pub fn start(&mut self, start: Start) -> usize {
        self.start_within(start, Instant::FAR_FUTURE)
    }

    /// The same inside a call that must be over at `inherited`.
    pub fn start_within(&mut self, start: Start, inherited: Instant) -> usize {
        let client = self.clients.len();
        let mut call = core::Call::new(self.now, start.deadline);
        call.inherit(inherited);
        call.cost(start.cost);
        self.clients.push(Client {
            policy: start.policy,
            caller: start.caller,
            call,
            steps: 0,
            started: 0,
            running: Vec::new(),
            last: None,
            ticket: None,
            attempts: Vec::new(),
            over: None,
        });
        self.step(client, None);
        client
    }

    /// The client drops its call then, if it is not over.
    pub fn cancel_at(&mut self, client: usize, at: Instant) {
        self.schedule(at, client, What::Cancel);
    }

    /// Lets all that is due up to `time` happen; then it is `time`.
    pub fn run_until(&mut self, time: Instant) {
        self.run_while(|at| at <= time);
        self.move_to(time);
    }

    /// Lets all happen that will happen.
    pub fn run(&mut self) {
        self.run_while(|_| true);
    }

    /// What came of each call, and the events.
    ///
    /// # Panics
    /// If a call is not over: then nothing would ever end it.
    pub fn finish(self) -> (Vec<CallTrace>, Vec<Event>) {
        let since_start = |at: Instant| at.since(Instant::ZERO);
        let trace = |(number, client): (usize, Client)| {
            assert!(client.over.is_some(), "call {number} never ends: {client:?}");
            let (end, ended) = client.over.unwrap_or((End::Cancelled, self.now));
            let attempts = client.attempts.into_iter().map(since_start).collect();
            CallTrace { end, attempts, ended: since_start(ended) }
        };
        (self.clients.into_iter().enumerate().map(trace).collect(), self.edge.events)
    }

    fn run_while(&mut self, wanted: impl Fn(Instant) -> bool) {
        self.resume_woken();
        while let Some(Reverse(due)) = self.due.peek().copied().filter(|due| wanted(due.0.at)) {
            self.due.pop();
            let client = &self.clients[due.client];
            let runs = |attempt| client.running.iter().any(|(number, _)| *number == attempt);
            match due.what {
                _ if client.over.is_some() => {}
                What::Resume(steps) if client.steps != steps => {}
                What::Answer(attempt) if !runs(attempt) => {}
                What::Resume(_) => {
                    self.move_to(due.at);
                    self.step(due.client, None);
                }
                What::Answer(attempt) => {
                    self.move_to(due.at);
                    self.answer(due.client, attempt);
                }
                What::Cancel => {
                    self.move_to(due.at);
                    self.drop_call(due.client, End::Cancelled);
                }
            }
        }
    }

    fn move_to(&mut self, time: Instant) {
        if time > self.now {
            (self.now, self.steps_now) = (time, 0);
        }
    }

    fn schedule(&mut self, at: Instant, client: usize, what: What) {
        if at != Instant::FAR_FUTURE {
            self.scheduled += 1;
            let at = self.next_tick(at.max(self.now));
            self.due.push(Reverse(Due { at, scheduled: self.scheduled, client, what }));
        }
    }

    fn next_tick(&self, at: Instant) -> Instant {
        let tick = u64::try_from(self.tick.as_nanos()).unwrap_or(u64::MAX).max(1);
        Instant::from_nanos(at.as_nanos().div_ceil(tick).saturating_mul(tick))
    }

    /// An attempt of a client has ended.
    fn answer(&mut self, client: usize, attempt: u32) {
        if let Some(reply) = self.clients[client].stop(attempt) {
            if reply.panics {
                return self.drop_call(client, End::Panicked);
            }
            self.step(client, Some((attempt, reply)));
        }
    }

    /// Performs steps of one client until it has to wait.
    fn step(&mut self, number: usize, mut answer: Option<(u32, Reply)>) {
        loop {
            self.count_step();
            let client = &mut self.clients[number];
            client.steps += 1;
            if let Some(ticket) = client.ticket.take() {
                self.parked.remove(&ticket);
            }
            let input = answer.map_or(Input::Resume, |(attempt, reply)| Input::Finished(attempt, reply.verdict()));
            client.last = answer.take().map(|(_, reply)| reply).or(client.last);
            let policy = &self.policies[client.policy];
            let steps = client.steps;
            self.edge.caller = client.caller;
            match client.call.next(policy, self.now, input, &mut self.edge) {
                Step::Attempt { number: attempt, until, .. } => {
                    if attempt > client.started {
                        match self.begin(number, attempt) {
                            Some(reply) if reply.panics => {
                                self.drop_call(number, End::Panicked);
                                break;
                            }
                            Some(reply) => {
                                answer = Some((attempt, reply));
                                continue;
                            }
                            None => {}
                        }
                    }
                    self.schedule(until, number, What::Resume(steps));
                }
                Step::Ready { .. } => continue,
                Step::Cancel { number: attempt } => {
                    assert!(client.stop(attempt).is_some(), "attempt {attempt} is not under way");
                    continue;
                }
                Step::Queued { ticket, until } => {
                    client.ticket = Some(ticket);
                    self.parked.insert(ticket, number);
                    self.schedule(until, number, What::Resume(steps));
                }
                Step::BackOff { until } => self.schedule(until, number, What::Resume(steps)),
                Step::Done(end) => {
                    assert!(client.running.is_empty(), "attempts outlive their call: {client:?}");
                    client.over = Some((conclude(&end, client.last, client.call.timed_out()), self.now));
                }
            }
            break;
        }
        self.resume_woken();
    }

    /// Starts an attempt. Returns its answer if that is there at once.
    fn begin(&mut self, number: usize, attempt: u32) -> Option<Reply> {
        let (time, reply) = self.operation.attempt(number, attempt, self.now);
        let client = &mut self.clients[number];
        assert_eq!(attempt, client.started + 1, "attempts are numbered without a gap");
        client.started = attempt;
        client.last = client.last.filter(Reply::is_error);
        client.attempts.push(self.now);
        if time.is_zero() {
            return Some(reply);
        }
        client.running.push((attempt, reply));
        self.schedule(self.now + time, number, What::Answer(attempt));
        None
    }

    fn count_step(&mut self) {
        self.steps_now += 1;
        let allowed = STEPS_AT_ONCE * (self.clients.len() as u64 + 1);
        assert!(self.steps_now <= allowed, "livelock: {} steps at {:?}", self.steps_now, self.now);
    }

    fn drop_call(&mut self, number: usize, end: End) {
        let client = &mut self.clients[number];
        if let Some(ticket) = client.ticket.take() {
            self.parked.remove(&ticket);
        }
        client.call.abandon(&self.policies[client.policy], &mut self.edge);
        client.over = Some((end, self.now));
        self.resume_woken();
    }

    fn resume_woken(&mut self) {
        for ticket in std::mem::take(&mut self.edge.woken) {
            if let Some(&client) = self.parked.get(&ticket) {
                let steps = self.clients[client].steps;
                self.schedule(self.now, client, What::Resume(steps));
            }
        }
    }
}

/// The end of a call as its caller sees it.
fn conclude(end: &core::End<'_>, last: Option<Reply>, timed_out: Option<Limit>) -> End {
    if last.is_some_and(|reply| !reply.is_error()) {
        return End::Ok;
    }
    let last_error = last.map(|reply| reply.kind());
    match end {
        core::End::Finished(stop) => match last_error {
            Some(kind) => End::Failed { kind, stop: stop.unwrap_or(core::retry::Stop::NotRetryable) },
            None => End::Ok,
        },
        core::End::Refused(refusal) => End::refused(refusal.to_refused(), last_error, timed_out),
        core::End::TimedOut(limit, stop) => End::TimedOut { limit: *limit, stop: *stop, last: last_error },
    }
}

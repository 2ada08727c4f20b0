//! The loop that runs events in their order until none is left.
//!
//! Owns virtual time, the calls under way and the map from tickets to calls. Decides nothing about a call: that is
//! [`Call`]. Events of one instant run in the order in which they were added, so a run can be repeated.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use stormproof_core::breaker::State;
use stormproof_core::event::Kind;
use stormproof_core::{Call, Caller, Edge, End, Event, Input, Instant, Policy, Rng, Step, Ticket};

use super::fault::Weather;
use super::outcome::{Circuit, Outcome};
use super::recorder::Recorder;
use super::server::{Answer, Asker, Job, NETWORK, Server, Taken};
use super::{Setup, random};

pub(super) struct Engine<'a> {
    setup: &'a Setup,
    policy: &'a Policy,
    span: Option<(Duration, Duration)>,
    now: Instant,
    due: BinaryHeap<Reverse<Due>>,
    noted: u64,
    /// Calls under way, and places of calls that are over.
    calls: Vec<Active>,
    free: Vec<u32>,
    parked: HashMap<Ticket, u32>,
    edge: Notes,
    server: Server,
    /// When clients call. Apart from all else that is drawn, so that two policies meet the same calls.
    arrivals: Rng,
    recorder: Recorder,
}

/// Something that will happen; ordered by time, then by when it was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Instant,
    noted: u64,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// Some client calls, and the next one after it.
    Arrival,
    /// This client calls.
    Client(u32),
    /// A call goes on, unless it has done so since: the number of steps it had taken.
    Resume { slot: u32, steps: u64 },
    /// A client gets an answer.
    Answer(Asker, Answer),
    /// A worker is done.
    Done(Job),
    /// A part of the run is over.
    Turn,
}

#[derive(Debug)]
struct Active {
    call: Call,
    /// Which call in this place.
    generation: u32,
    /// Steps taken by all calls in this place.
    steps: u64,
    client: Option<u32>,
    started: u32,
    running: Vec<u32>,
    last: Option<Answer>,
    ticket: Option<Ticket>,
}

#[derive(Debug)]
struct Notes {
    woken: Vec<Ticket>,
    moved: Vec<(Instant, State)>,
    listens: bool,
    /// Who makes the call that is asked.
    caller: Caller,
}

impl Edge for Notes {
    fn wake(&mut self, ticket: Ticket) {
        self.woken.push(ticket);
    }

    fn listens(&self) -> bool {
        self.listens
    }

    fn caller(&self) -> Caller {
        self.caller
    }

    fn event(&mut self, event: Event) {
        if let Kind::Circuit { transition, .. } = event.kind {
            self.moved.push((event.at, transition.to));
        }
    }
}

impl<'a> Engine<'a> {
    pub(super) fn new(setup: &'a Setup, policy: &'a Policy) -> Self {
        Self {
            setup,
            policy,
            span: setup.fault.span(setup),
            now: Instant::ZERO,
            due: BinaryHeap::new(),
            noted: 0,
            calls: Vec::new(),
            free: Vec::new(),
            parked: HashMap::new(),
            edge: Notes {
                woken: Vec::new(),
                moved: Vec::new(),
                listens: policy.breaker.is_some(),
                caller: Caller::default(),
            },
            server: Server::new(setup.server, setup.seed ^ 0x5e),
            arrivals: Rng::new(setup.seed ^ 0xa1),
            recorder: Recorder::new(setup),
        }
    }

    pub(super) fn run(mut self) -> Outcome {
        match self.setup.clients {
            None => self.note_arrival(),
            Some(clients) => (0..clients).for_each(|client| self.note_client(client)),
        }
        self.note(self.now + self.recorder.width(), What::Turn);
        while let Some(Reverse(due)) = self.due.pop() {
            self.now = due.at;
            match due.what {
                What::Arrival => {
                    self.call(None);
                    self.note_arrival();
                }
                What::Client(client) => self.call(Some(client)),
                What::Resume { slot, steps } => {
                    if self.calls[slot as usize].steps == steps {
                        self.step(slot, None);
                    }
                }
                What::Answer(asker, answer) => {
                    if self.is_awaited(asker) {
                        self.step(asker.slot, Some((asker.attempt, answer)));
                    }
                }
                What::Done(job) => self.worked(job),
                What::Turn => self.turn(),
            }
            if self.is_over() {
                break;
            }
        }
        self.recorder.finish()
    }

    fn is_over(&self) -> bool {
        self.free.len() == self.calls.len() && self.time() >= self.setup.duration
    }

    fn time(&self) -> Duration {
        self.now.since(Instant::ZERO)
    }

    fn weather(&self) -> Weather {
        self.setup.fault.weather(self.span, self.time())
    }

    fn note(&mut self, at: Instant, what: What) {
        if at != Instant::FAR_FUTURE {
            self.noted += 1;
            self.due.push(Reverse(Due { at, noted: self.noted, what }));
        }
    }

    /// The next call of an unlimited number of clients.
    fn note_arrival(&mut self) {
        let pause = random::exponential(&self.arrivals, 1.0 / (self.setup.rate * self.weather().demand));
        self.note_begin(pause, What::Arrival);
    }

    /// The next call of a client, after it has thought.
    fn note_client(&mut self, client: u32) {
        let clients = f64::from(self.setup.clients.unwrap_or(1));
        let haste = if self.setup.is_eager(client) { 10.0 } else { 1.0 };
        let mean = clients / (self.setup.rate * self.weather().demand * haste);
        let pause = random::exponential(&self.arrivals, mean);
        self.note_begin(pause, What::Client(client));
    }

    fn note_begin(&mut self, pause: f64, what: What) {
        let at = self.now + Duration::try_from_secs_f64(pause).unwrap_or(Duration::MAX);
        if at.since(Instant::ZERO) < self.setup.duration {
            self.note(at, what);
        }
    }

    /// A client calls.
    fn call(&mut self, client: Option<u32>) {
        self.recorder.call(client);
        let deadline = self.policy.deadline_at(self.now).min(self.now + self.setup.patience);
        let call = Call::new(self.now, deadline);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.calls.push(Active {
                call: Call::new(self.now, deadline),
                generation: 0,
                steps: 0,
                client: None,
                started: 0,
                running: Vec::new(),
                last: None,
                ticket: None,
            });
            u32::try_from(self.calls.len() - 1).unwrap_or(u32::MAX)
        });
        let active = &mut self.calls[slot as usize];
        (active.call, active.client, active.started, active.last) = (call, client, 0, None);
        self.step(slot, None);
    }

    /// Performs steps of one call until it has to wait.
    fn step(&mut self, slot: u32, mut answer: Option<(u32, Answer)>) {
        loop {
            let active = &mut self.calls[slot as usize];
            active.steps += 1;
            let steps = active.steps;
            if let Some(ticket) = active.ticket.take() {
                self.parked.remove(&ticket);
            }
            let input = answer.take().map_or(Input::Resume, |(attempt, answer)| {
                active.running.retain(|running| *running != attempt);
                active.last = Some(answer);
                Input::Finished(attempt, answer.verdict())
            });
            let is_eager = active.client.is_some_and(|client| self.setup.is_eager(client));
            self.edge.caller = self.setup.says.caller(is_eager);
            match active.call.next(self.policy, self.now, input, &mut self.edge) {
                Step::Attempt { number, until, .. } => {
                    if number > active.started {
                        active.started = number;
                        active.running.push(number);
                        let asker = Asker { slot, generation: active.generation, attempt: number };
                        self.send(asker);
                    }
                    self.note(until, What::Resume { slot, steps });
                }
                Step::Ready { .. } => continue,
                Step::Cancel { number } => {
                    active.running.retain(|running| *running != number);
                    continue;
                }
                Step::Queued { ticket, until } => {
                    active.ticket = Some(ticket);
                    self.parked.insert(ticket, slot);
                    self.note(until, What::Resume { slot, steps });
                }
                Step::BackOff { until } => self.note(until, What::Resume { slot, steps }),
                Step::Done(end) => self.conclude(slot, &end),
            }
            break;
        }
        self.tell();
    }

    /// Wakes the calls whose tickets were granted and records changes of the circuit.
    fn tell(&mut self) {
        while let Some(ticket) = self.edge.woken.pop() {
            if let Some(&slot) = self.parked.get(&ticket) {
                let steps = self.calls[slot as usize].steps;
                self.note(self.now, What::Resume { slot, steps });
            }
        }
        for (at, to) in self.edge.moved.drain(..) {
            self.recorder.moved(at.since(Instant::ZERO), to);
        }
    }

    /// A request goes out.
    fn send(&mut self, asker: Asker) {
        self.recorder.attempt();
        let weather = self.weather();
        match self.server.take(asker, self.time(), &weather) {
            Taken::Begun(job) => self.note(self.now + job.work, What::Done(job)),
            Taken::Answered(answer) => self.note(self.now + NETWORK, What::Answer(asker, answer)),
            Taken::Queued | Taken::Lost => {}
        }
    }

    fn is_awaited(&self, asker: Asker) -> bool {
        let call = &self.calls[asker.slot as usize];
        call.generation == asker.generation && call.running.contains(&asker.attempt)
    }

    /// A worker has finished, whether or not a client still waits, and takes the next request.
    fn worked(&mut self, job: Job) {
        let awaited = self.is_awaited(job.asker);
        self.recorder.worked(job.work, awaited);
        if awaited {
            self.note(self.now + NETWORK, What::Answer(job.asker, job.answer));
        }
        let weather = self.weather();
        if let Some(next) = self.server.done(&weather) {
            self.note(self.now + next.work, What::Done(next));
        }
    }

    fn turn(&mut self) {
        let weather = self.weather();
        while let Some(next) = self.server.next(&weather) {
            self.note(self.now + next.work, What::Done(next));
        }
        let circuit = match self.policy.breaker.as_ref().map(|breaker| breaker.state(self.now)) {
            Some(State::Open) => Circuit::Open,
            Some(State::HalfOpen) => Circuit::HalfOpen,
            _ => Circuit::Closed,
        };
        let limit = self.policy.bulkhead.as_ref().map(|bulkhead| bulkhead.stats().max_concurrent);
        self.recorder.turn(self.server.busy(), self.server.waiting(), circuit, limit);
        if self.time() < self.setup.duration {
            self.note(self.now + self.recorder.width(), What::Turn);
        }
    }

    /// A call is over.
    fn conclude(&mut self, slot: u32, end: &End<'_>) {
        let active = &mut self.calls[slot as usize];
        let took = self.now.since(active.call.started());
        let client = active.client;
        match (end, active.last) {
            (_, Some(Answer::Ok)) => self.recorder.succeeded(client, took),
            (End::Refused(refusal), _) => self.recorder.failed(("refused", refusal.reason.as_str()), took),
            (End::TimedOut(limit, _), _) => self.recorder.failed(("timed out", limit.as_str()), took),
            (End::Finished(_), last) => {
                self.recorder.failed(("failed", last.map_or("", |answer| answer.verdict().kind)), took);
            }
        }
        active.generation = active.generation.wrapping_add(1);
        active.running.clear();
        self.free.push(slot);
        if let Some(client) = client {
            self.note_client(client);
        }
    }
}

//! Callers and what they hold, with the time in which they act.

use std::time::Duration;

use stormproof_core::breaker::{self, Mode, Scope};
use stormproof_core::event::{Event, Kind};
use stormproof_core::{
    Call, Edge, End, Input, Instant, Outcome, Permits, Policy, Stage, Step, Ticket, Verdict, policy,
};

use crate::acts::{Act, Back, DAY, Judged};

/// Notes who was woken, and what was told.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) woken: Vec<Ticket>,
    pub(crate) events: Vec<Event>,
    who: stormproof_core::Caller,
}

impl Edge for Notes {
    fn caller(&self) -> stormproof_core::Caller {
        self.who
    }

    fn wake(&mut self, ticket: Ticket) {
        self.woken.push(ticket);
    }

    fn listens(&self) -> bool {
        true
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// What a call is about, by its last step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Doing {
    Queued(Ticket, Instant),
    BackingOff(Instant),
    Readying(Instant),
    Attempting(Instant),
    Over,
}

#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) call: Call,
    pub(crate) doing: Doing,
    /// Attempts as its driver has seen them begin.
    pub(crate) runs: u32,
    /// Those of them that are under way.
    pub(crate) running: Vec<u32>,
    pub(crate) cost: u32,
    who: stormproof_core::Caller,
}

impl Caller {
    /// One of the attempts that are under way.
    pub(crate) fn pick(&self, which: usize) -> u32 {
        self.running[which % self.running.len()]
    }

    pub(crate) fn until(&self) -> Instant {
        match self.doing {
            Doing::Queued(_, until) | Doing::BackingOff(until) | Doing::Readying(until) | Doing::Attempting(until) => {
                until
            }
            Doing::Over => Instant::FAR_FUTURE,
        }
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) policy: Policy,
    pub(crate) now: Instant,
    pub(crate) callers: Vec<Caller>,
    pub(crate) held: Vec<(Permits, u32)>,
    pub(crate) notes: Notes,
    /// Nobody is ever late: time does not pass the moment at which a call is due.
    pub(crate) prompt: bool,
    /// Calls wait until what they call is ready.
    pub(crate) readies: bool,
    pub(crate) runs: u64,
    /// Those of them that turned out not to have been made.
    pub(crate) unready: u64,
    /// Requests and tokens that must be found spent.
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
    pub(crate) first_runs: u64,
}

impl World {
    pub(crate) fn new(config: policy::Config, prompt: bool, readies: bool) -> Self {
        let policy = config.build("model", 7).unwrap();
        Self {
            policy,
            now: Instant::from_nanos(1_000_000_000),
            callers: Vec::new(),
            held: Vec::new(),
            notes: Notes::default(),
            prompt,
            readies,
            runs: 0,
            unready: 0,
            requests: 0,
            tokens: 0,
            first_runs: 0,
        }
    }

    /// One of those for whom `can` holds.
    pub(crate) fn choose(&self, which: usize, can: impl Fn(&Caller) -> bool) -> Option<usize> {
        let able: Vec<_> = (0..self.callers.len()).filter(|&at| can(&self.callers[at])).collect();
        (!able.is_empty()).then(|| able[which % able.len()])
    }

    pub(crate) fn is_due(&self, caller: &Caller) -> bool {
        let woken = matches!(caller.doing, Doing::Queued(ticket, _) if self.notes.woken.contains(&ticket));
        caller.doing != Doing::Over && (woken || caller.until() <= self.now)
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        if self.callers.iter().any(|caller| self.is_due(caller)) {
            return Some(self.now);
        }
        self.callers.iter().map(Caller::until).min().filter(|&until| until != Instant::FAR_FUTURE)
    }

    pub(crate) fn run(&mut self, act: Act) {
        let attempting = |caller: &Caller| matches!(caller.doing, Doing::Attempting(_));
        let alive = |caller: &Caller| caller.doing != Doing::Over;
        match act {
            Act::Begin { limit, cost, caller } => self.begin(limit, cost, caller),
            Act::Advance(by) => {
                let to = self.now + by;
                let latest = self.next_due().filter(|_| self.prompt).unwrap_or(Instant::FAR_FUTURE);
                self.now = to.min(latest).max(self.now);
            }
            Act::ToNextDue => self.now = self.next_due().unwrap_or(self.now).max(self.now),
            Act::Resume(which) => {
                if let Some(at) = self.choose(which, |caller| self.is_due(caller)) {
                    self.step(at, None);
                }
            }
            Act::Ready(which, ready) => {
                if let Some(at) = self.choose(which, |caller| matches!(caller.doing, Doing::Readying(_))) {
                    self.perform(at, if ready { Input::Resume } else { Input::Unready(0) });
                }
            }
            Act::Unready(which, attempt) => {
                if let Some(at) = self.choose(which, attempting) {
                    let caller = &mut self.callers[at];
                    let attempt = caller.pick(attempt);
                    caller.running.retain(|number| *number != attempt);
                    self.unready += 1;
                    self.perform(at, Input::Unready(attempt));
                }
            }
            Act::Finish(which, attempt, judged) => {
                if let Some(at) = self.choose(which, attempting) {
                    let attempt = self.callers[at].pick(attempt);
                    self.step(at, Some((attempt, judged)));
                }
            }
            Act::Spurious(which, finished) => {
                // For one that waits to be ready, coming back says that it is.
                let waits = |caller: &Caller| alive(caller) && !matches!(caller.doing, Doing::Readying(_));
                if let Some(at) = self.choose(which, waits) {
                    let (before, due) = (self.callers[at].doing, self.is_due(&self.callers[at]));
                    let nobody = if finished { u32::MAX } else { 0 };
                    self.step(at, finished.then_some((nobody, Judged::Success { used: Some(3) })));
                    let after = self.callers[at].doing;
                    // The head of a rate limiter's queue may learn a better time, nobody else learns anything.
                    let queued = |doing| if let Doing::Queued(ticket, _) = doing { Some(ticket) } else { None };
                    let same = before == after || queued(before).is_some_and(|ticket| queued(after) == Some(ticket));
                    assert!(due || same, "{before:?} became {after:?} for no reason");
                }
            }
            Act::Abandon(which) => {
                if let Some(at) = self.choose(which, alive) {
                    let caller = &mut self.callers[at];
                    self.requests += caller.running.len() as u64;
                    self.tokens += caller.running.len() as u64 * u64::from(caller.cost);
                    caller.running.clear();
                    caller.doing = Doing::Over;
                    caller.call.abandon(&self.policy, &mut self.notes);
                    caller.call.abandon(&self.policy, &mut self.notes);
                }
            }
            Act::Hold(which, attempt) => {
                if let Some(at) = self.choose(which, alive) {
                    let caller = &mut self.callers[at];
                    assert!(caller.call.hold().is_empty(), "it is not over");
                    if attempting(caller) {
                        let attempt = caller.pick(attempt);
                        caller.running.retain(|number| *number != attempt);
                        self.perform(at, Input::Answered(attempt, Outcome::Success));
                        let caller = &mut self.callers[at];
                        assert_eq!(caller.doing, Doing::Over, "an answer ends a call");
                        self.held.push((caller.call.hold(), caller.cost));
                    }
                }
            }
            Act::GiveBack(which, back) => {
                if !self.held.is_empty() {
                    let (permits, cost) = self.held.swap_remove(which % self.held.len());
                    self.give_back(permits, cost, &back);
                }
            }
        }
        self.check();
    }

    pub(crate) fn begin(&mut self, limit: Option<Duration>, cost: u32, caller: stormproof_core::Caller) {
        let inherited = limit.map_or(Instant::FAR_FUTURE, |limit| self.now + limit);
        let mut call = Call::new(self.now, self.policy.deadline_at(self.now).min(inherited));
        call.cost(cost);
        if self.readies {
            call.readies();
        }
        self.callers.push(Caller {
            call,
            doing: Doing::BackingOff(self.now),
            runs: 0,
            running: Vec::new(),
            cost,
            who: caller,
        });
        self.step(self.callers.len() - 1, None);
    }

    pub(crate) fn give_back(&mut self, mut permits: Permits, cost: u32, back: &Back) {
        match back {
            Back::Settle(judged) => {
                let verdict = judged.verdict();
                permits.settle(&self.policy, self.now, &verdict, &mut self.notes);
                self.requests += 1;
                self.tokens += u64::from(verdict.used.unwrap_or(cost));
            }
            Back::Release => permits.release(&self.policy, &mut self.notes),
            Back::Abandon => {
                permits.abandon(&self.policy, &mut self.notes);
                self.requests += 1;
                self.tokens += u64::from(cost);
            }
        }
        assert!(permits.is_empty());
        permits.settle(&self.policy, self.now, &Verdict::failure("E"), &mut self.notes);
        permits.release(&self.policy, &mut self.notes);
    }

    /// Lets a call go on, and does what it says.
    pub(crate) fn step(&mut self, at: usize, judged: Option<(u32, Judged)>) {
        let Some((attempt, judged)) = judged else { return self.perform(at, Input::Resume) };
        let verdict = judged.verdict();
        self.end_attempt(at, attempt, verdict.used);
        self.perform(at, Input::Finished(attempt, verdict));
    }

    /// An attempt is no longer under way: what it took is spent.
    pub(crate) fn end_attempt(&mut self, at: usize, attempt: u32, used: Option<u32>) -> bool {
        let caller = &mut self.callers[at];
        let ran = caller.running.contains(&attempt);
        caller.running.retain(|number| *number != attempt);
        self.requests += u64::from(ran);
        self.tokens += if ran { u64::from(used.unwrap_or(caller.cost)) } else { 0 };
        ran
    }

    pub(crate) fn perform(&mut self, at: usize, mut input: Input<'_>) {
        let caller = &mut self.callers[at];
        let (now, deadline) = (self.now, caller.call.deadline());
        if let Doing::Queued(ticket, _) = caller.doing {
            self.notes.woken.retain(|&woken| woken != ticket);
        }
        loop {
            let caller = &mut self.callers[at];
            self.notes.who = caller.who;
            let step = caller.call.next(&self.policy, now, input, &mut self.notes);
            caller.doing = match step {
                Step::Attempt { number, limit, until } => {
                    assert!(until <= deadline && limit <= deadline && until <= limit.max(now).max(until));
                    assert!(until > now || caller.runs < number || self.policy.hedge.is_some());
                    if number != caller.runs {
                        assert!(now < deadline, "an attempt begins after the deadline");
                        assert_eq!(number, caller.runs + 1);
                        caller.runs = number;
                        caller.running.push(number);
                        self.runs += 1;
                        self.first_runs += u64::from(number == 1);
                    }
                    assert!(!caller.running.is_empty(), "nothing is under way");
                    Doing::Attempting(until)
                }
                Step::Cancel { number } => {
                    assert!(self.end_attempt(at, number, None), "{number} is not under way");
                    input = Input::Resume;
                    continue;
                }
                Step::Ready { number, until } => {
                    assert_eq!((number, until), (caller.runs + 1, deadline));
                    assert!(caller.running.is_empty() && now < deadline);
                    Doing::Readying(until)
                }
                Step::Queued { ticket, until } => {
                    assert!(until <= deadline);
                    Doing::Queued(ticket, until)
                }
                Step::BackOff { until } => {
                    assert!(until < deadline || deadline == Instant::FAR_FUTURE);
                    Doing::BackingOff(until)
                }
                Step::Done(end) => {
                    assert!(!self.prompt || now <= deadline, "it took longer than it may");
                    if let End::Refused(refusal) = end {
                        let first = refusal.stage == Stage::Breaker && self.policy.scope() == Scope::Operation;
                        assert!(
                            !first || caller.runs == 0,
                            "with the operation's scope it is asked once, at the beginning"
                        );
                    }
                    Doing::Over
                }
            };
            break;
        }
        let caller = &self.callers[at];
        let attempting = matches!(caller.doing, Doing::Attempting(_));
        assert!(attempting || caller.running.is_empty(), "attempts go on unseen");
        assert_eq!(caller.call.attempts(), caller.runs);
        assert!(caller.runs == 0 || self.policy.may_repeat_after(caller.runs - 1) || caller.runs == 1);
    }

    /// What holds all the time.
    pub(crate) fn check(&self) {
        let attempting = self.callers.iter().map(|caller| caller.running.len()).sum::<usize>();
        if let Some(bulkhead) = &self.policy.bulkhead {
            let (stats, using) = (bulkhead.stats(), attempting + self.held.len());
            assert!(using <= stats.active as usize && stats.active <= stats.max_concurrent, "{using} {stats:?}");
        }
        if let Some(breaker) = &self.policy.breaker {
            let stats = breaker.stats(self.now);
            assert!(stats.half_open_calls <= breaker.config().half_open_max_calls);
            assert!(self.policy.scope() == Scope::Operation || breaker.mode() != Mode::ForcedOpen || self.runs == 0);
        }
    }

    /// Drives all calls to their ends. Attempts that nothing limits end as they come.
    pub(crate) fn finish(&mut self, back: &Back, judged: &[Judged]) {
        while let Some((permits, cost)) = self.held.pop() {
            self.give_back(permits, cost, back);
        }
        let mut verdicts = judged.iter().copied().cycle();
        for _ in 0..10_000 {
            if let Some(at) = self.choose(0, |caller| self.is_due(caller)) {
                self.step(at, None);
            } else if let Some(at) = self.choose(0, |caller| caller.doing == Doing::Attempting(Instant::FAR_FUTURE)) {
                let attempt = self.callers[at].pick(0);
                self.step(at, verdicts.next().map(|judged| (attempt, judged)));
            } else if let Some(at) = self.choose(0, |caller| matches!(caller.doing, Doing::Readying(_))) {
                self.perform(at, Input::Resume);
            } else if let Some(due) = self.next_due() {
                self.now = due;
            } else {
                break;
            }
            self.check();
        }
        let waiting: Vec<_> = self.callers.iter().filter(|caller| caller.doing != Doing::Over).collect();
        assert!(waiting.is_empty(), "wait for ever: {waiting:?}");
    }

    /// What holds when all is over.
    pub(crate) fn check_nothing_is_kept(&self) {
        if let Some(bulkhead) = &self.policy.bulkhead {
            let stats = bulkhead.stats();
            assert_eq!((stats.active, stats.queued), (0, 0), "slots");
        }
        for (limiter, spent) in [(&self.policy.rate, self.requests), (&self.policy.tokens, self.tokens)] {
            let Some(limiter) = limiter else { continue };
            let stats = limiter.stats(self.now);
            assert_eq!(stats.waiting, 0, "queue");
            if limiter.config().per == DAY && self.now.since(Instant::ZERO) < DAY {
                let left = u64::from(stats.burst) + stats.owed - u64::from(stats.available);
                assert_eq!(left, spent, "permits: {stats:?}");
            }
            let later = limiter.stats(self.now + 1_000 * DAY);
            assert_eq!((later.available, later.owed), (later.burst, 0));
        }
        let told =
            |wanted: fn(&Kind) -> bool| self.notes.events.iter().filter(|event| wanted(&event.kind)).count() as u64;
        let retries = told(|kind| matches!(kind, Kind::RetryAttempted { .. }));
        let hedges = told(|kind| matches!(kind, Kind::HedgeStarted { .. }));
        let waits = told(|kind| matches!(kind, Kind::HalfOpenAwaited { .. }));
        assert!(self.runs - self.first_runs <= retries + hedges);
        if let Some(retry) = &self.policy.retry {
            let stats = retry.stats();
            assert_eq!((stats.retries, stats.half_open_waits), (retries + waits, waits));
        }
        if let Some(hedge) = &self.policy.hedge {
            let (stats, won) = (hedge.stats(), told(|kind| matches!(kind, Kind::HedgeWon { .. })));
            assert_eq!((stats.after_delay + stats.after_failure, stats.won), (hedges, won));
            assert!(won <= hedges);
        }
        if let Some(budget) = &self.policy.budget {
            let (stats, config) = (budget.stats(self.now), budget.config());
            let paid = retries + hedges + waits;
            assert_eq!((stats.calls, stats.withdrawn), (self.first_runs, paid));
            assert!(paid as f64 <= f64::from(config.floor) + config.ratio * self.first_runs as f64 + 1e-6);
        }
        if let Some(breaker) = &self.policy.breaker {
            let stats = breaker.stats(self.now);
            assert_eq!(stats.half_open_calls, 0, "probes");
            let settled = stats.successes + stats.failures + stats.ignored;
            if self.policy.scope() == Scope::Operation {
                // Who waits for a half-open circuit was refused, and comes back.
                let most = self.callers.len() as u64 + waits - stats.refused;
                assert!(self.first_runs <= settled && settled <= most, "a permit a call");
            } else {
                // But the hedges beside a probe, which share its place.
                assert!(settled <= self.runs && self.runs <= settled + hedges, "a permit an attempt");
            }
            let moves = told(|kind| matches!(kind, Kind::Circuit { .. }));
            let history = breaker.history();
            let before = usize::from(breaker.config().mode == Mode::ForcedOpen) as u64;
            assert!(history.len() == breaker::HISTORY || history.len() as u64 == moves + before);
        }
    }
}

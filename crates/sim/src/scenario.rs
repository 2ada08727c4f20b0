//! The common table of the conformance cases: what happens when, as data.

use std::time::Duration;

use stormproof_core::breaker::{self, Mode};
use stormproof_core::{Caller, policy};

use crate::reply::Reply;

/// A policy, and what happens to it.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{breaker, policy, Reason, Trip};
/// use stormproof_sim::{CoreDoor, Door, Reply, Scenario};
///
/// let breaker = breaker::Config { trip: vec![Trip::consecutive(1)], ..Default::default() };
/// let config = policy::Config { breaker: Some(breaker), ..Default::default() };
/// let scenario = Scenario::new(config).every(Duration::from_millis(1), [Reply::fail("E"), Reply::ok()]);
/// assert_eq!(CoreDoor::EXACT.run(&scenario).calls[1].end.reason(), Some(Reason::Open));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Scenario {
    /// The policy, called [`NAME`].
    pub config: policy::Config,
    /// What happens, in order of time.
    pub timeline: Vec<(Duration, Action)>,
    /// Whether an operation or a whole call is ended from outside: by a timeout, a caller that goes away, the winner
    /// of a hedge. A door that blocks cannot, and leaves such a scenario out.
    pub preempts: bool,
}

/// The name of a scenario's policy.
pub const NAME: &str = "p";

/// The seed of its chance.
pub const SEED: u64 = 7;

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Action {
    /// A caller calls.
    Call(Call),
    /// An operator sets the breaker's mode.
    SetMode(Mode),
    /// An operator resets the breaker.
    Reset,
    /// An operator changes the breaker.
    Update(breaker::Config),
    /// An operator changes the number of slots.
    Resize(u32),
    /// A caller of the protocol without permits asks; the answer is not noted.
    Ask,
    /// A caller of the protocol without permits reports its outcome.
    Record(Reply),
    /// All stages are read.
    Look,
}

/// A caller: what its operation answers, and how it calls.
#[derive(Clone, Debug)]
#[must_use]
pub struct Call {
    /// The answers, attempt by attempt; the last one stays.
    pub replies: Vec<Reply>,
    /// Tokens to reserve.
    pub cost: u32,
    /// Class and flow.
    pub caller: Caller,
    /// A deadline of its own.
    pub deadline: Option<Duration>,
    /// What a call around it has left.
    pub inherited: Option<Duration>,
    /// When it is dropped, from the start of the run.
    pub cancel_at: Option<Duration>,
}

impl Call {
    /// A call whose attempts are answered like this; the last answer stays.
    pub fn of(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies = replies.into_iter().collect();
        Self { replies, cost: 0, caller: Caller::default(), deadline: None, inherited: None, cancel_at: None }
    }

    /// Reserves tokens.
    pub fn cost(mut self, tokens: u32) -> Self {
        self.cost = tokens;
        self
    }

    /// Is of this class, of this flow, or both.
    pub fn by(mut self, caller: impl Into<Caller>) -> Self {
        self.caller = caller.into();
        self
    }

    /// Has a deadline of its own.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }

    /// Runs inside a call that has this much time left.
    pub fn inherited(mut self, left: Duration) -> Self {
        self.inherited = Some(left);
        self
    }

    /// Is dropped at that time.
    pub fn cancel_at(mut self, at: Duration) -> Self {
        self.cancel_at = Some(at);
        self
    }

    /// The answer to the attempt with this number, from 1.
    pub fn reply(&self, attempt: u32) -> Reply {
        let at = usize::try_from(attempt).unwrap_or(usize::MAX).saturating_sub(1);
        self.replies.get(at).or(self.replies.last()).copied().unwrap_or(Reply::ok())
    }
}

impl From<Call> for Action {
    fn from(call: Call) -> Self {
        Self::Call(call)
    }
}

impl From<Reply> for Action {
    fn from(reply: Reply) -> Self {
        Self::Call(Call::of([reply]))
    }
}

impl From<Mode> for Action {
    fn from(mode: Mode) -> Self {
        Self::SetMode(mode)
    }
}

impl Scenario {
    /// Nothing happens yet.
    pub fn new(config: policy::Config) -> Self {
        Self { preempts: config.hedge.is_some(), config, timeline: Vec::new() }
    }

    /// Something happens at that time.
    pub fn at(mut self, time: Duration, action: impl Into<Action>) -> Self {
        let action = action.into();
        self.preempts |= matches!(&action, Action::Call(call) if call.cancel_at.is_some());
        let place = self.timeline.partition_point(|(other, _)| *other <= time);
        self.timeline.insert(place, (time, action));
        self
    }

    /// These happen one after another: the first now, if nothing has happened yet, else one step after the last thing.
    pub fn every<A: Into<Action>>(mut self, step: Duration, actions: impl IntoIterator<Item = A>) -> Self {
        let mut time = self.timeline.last().map_or(Duration::ZERO, |(last, _)| *last + step);
        for action in actions {
            self = self.at(time, action);
            time += step;
        }
        self
    }

    /// All of these happen at that time.
    pub fn all_at<A: Into<Action>>(self, time: Duration, actions: impl IntoIterator<Item = A>) -> Self {
        actions.into_iter().fold(self, |scenario, action| scenario.at(time, action))
    }

    /// Marks that an operation is ended from outside. A call that [is dropped](Call::cancel_at) says so itself.
    pub fn preempts(mut self) -> Self {
        self.preempts = true;
        self
    }

    /// The calls, in order.
    pub fn calls(&self) -> impl Iterator<Item = (Duration, &Call)> {
        self.timeline.iter().filter_map(|(at, action)| match action {
            Action::Call(call) => Some((*at, call)),
            _ => None,
        })
    }
}

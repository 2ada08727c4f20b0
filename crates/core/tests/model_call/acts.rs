//! What callers do, and the policies they do it with, at random.

use std::time::Duration;

use proptest::prelude::*;
use stormproof_core::breaker::{self, Mode, Scope};
use stormproof_core::{
    Backoff, Caller, Flow, Jitter, Priority, Trip, Verdict, budget, bulkhead, hedge, policy, rate, retry, throttle,
};

/// What happens next, as far as it can; `usize` chooses among the calls to which it can happen.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Begin {
        limit: Option<Duration>,
        cost: u32,
        caller: Caller,
    },
    /// Time passes, or it jumps to when the next call is due.
    Advance(Duration),
    ToNextDue,
    /// A call that is due comes back.
    Resume(usize),
    /// One of a call's attempts ends.
    Finish(usize, usize, Judged),
    /// A call comes back for no reason, as if an attempt had ended that does not run, or not.
    Spurious(usize, bool),
    Abandon(usize),
    /// What a call waits for to be ready is so, or never will be.
    Ready(usize, bool),
    /// One of a call's attempts turns out not to have been made.
    Unready(usize, usize),
    /// One of a call's attempts has an answer that is judged later.
    Hold(usize, usize),
    GiveBack(usize, Back),
}

#[derive(Clone, Debug)]
pub(crate) enum Back {
    Settle(Judged),
    Release,
    Abandon,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Judged {
    Success { used: Option<u32> },
    Failure { hint: Option<Duration>, used: Option<u32> },
    Permanent,
    Ignored,
}

impl Judged {
    pub(crate) fn verdict(self) -> Verdict<'static> {
        let with = |used, verdict: Verdict<'static>| Verdict { used, ..verdict };
        match self {
            Self::Success { used } => with(used, Verdict::success()),
            Self::Failure { hint, used } => {
                Verdict { retry_after: hint, ..with(used, Verdict::failure("TimeoutError")) }
            }
            Self::Permanent => Verdict::failure("Quota").retry(false),
            Self::Ignored => Verdict::ignored("BadRequest"),
        }
    }
}

pub(crate) fn ms(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

pub(crate) fn maybe<T: std::fmt::Debug + Clone + 'static>(
    some: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.6, some)
}

fn caller() -> impl Strategy<Value = Caller> {
    let priority = prop::option::weighted(0.3, prop::sample::select(&Priority::ALL[..]));
    let flow = prop::option::weighted(0.3, (0..3).prop_map(Flow::of));
    (priority, flow).prop_map(|(priority, flow)| Caller { priority, flow })
}

pub(crate) fn judged() -> impl Strategy<Value = Judged> {
    let used = || prop::option::of(0u32..40);
    prop_oneof![
        4 => used().prop_map(|used| Judged::Success { used }),
        6 => (prop::option::weighted(0.2, ms(0..100)), used()).prop_map(|(hint, used)| Judged::Failure { hint, used }),
        1 => Just(Judged::Permanent),
        1 => Just(Judged::Ignored),
    ]
}

pub(crate) fn act() -> impl Strategy<Value = Act> {
    let which = || any::<prop::sample::Index>().prop_map(|index| index.index(1 << 16));
    let back = prop_oneof![3 => judged().prop_map(Back::Settle), 1 => Just(Back::Release), 1 => Just(Back::Abandon)];
    prop_oneof![
        6 => (prop::option::weighted(0.2, ms(0..200)), 0u32..30, caller())
            .prop_map(|(limit, cost, caller)| Act::Begin { limit, cost, caller }),
        3 => prop_oneof![4 => ms(0..10), 1 => ms(0..200)].prop_map(Act::Advance),
        4 => Just(Act::ToNextDue),
        10 => which().prop_map(Act::Resume),
        8 => (which(), which(), judged()).prop_map(|(which, attempt, judged)| Act::Finish(which, attempt, judged)),
        2 => (which(), any::<bool>()).prop_map(|(which, finished)| Act::Spurious(which, finished)),
        1 => which().prop_map(Act::Abandon),
        4 => (which(), prop::bool::weighted(0.9)).prop_map(|(which, ready)| Act::Ready(which, ready)),
        1 => (which(), which()).prop_map(|(which, attempt)| Act::Unready(which, attempt)),
        1 => (which(), which()).prop_map(|(which, attempt)| Act::Hold(which, attempt)),
        1 => (which(), back).prop_map(|(which, back)| Act::GiveBack(which, back)),
    ]
}

pub(crate) fn breaker() -> impl Strategy<Value = breaker::Config> {
    let scope = prop_oneof![Just(Scope::Attempt), Just(Scope::Operation)];
    let mode = prop_oneof![8 => Just(Mode::Normal), 1 => Just(Mode::MetricsOnly), 1 => Just(Mode::ForcedOpen)];
    (1u32..6, ms(1..60), 1u32..3, 1u32..3, scope, mode).prop_map(|(failures, open, successes, probes, scope, mode)| {
        breaker::Config {
            trip: vec![Trip::consecutive(failures)],
            open_duration: open,
            success_threshold: successes,
            half_open_max_calls: probes,
            scope,
            mode,
            ..Default::default()
        }
    })
}

/// Either as fast as the test, or so slow that what is spent stays spent.
pub(crate) fn limiter() -> impl Strategy<Value = rate::Config> {
    let wait = prop_oneof![Just(Duration::ZERO), ms(1..200), Just(Duration::from_secs(60))];
    prop_oneof![
        (1u32..60, 1u32..30, wait).prop_map(|(rate, burst, max_wait)| rate::Config {
            rate,
            burst: Some(burst),
            max_wait,
            ..Default::default()
        }),
        (1u32..500).prop_map(|burst| rate::Config { rate: 1, per: DAY, burst: Some(burst), ..Default::default() }),
    ]
}

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn config() -> impl Strategy<Value = policy::Config> {
    let bulkhead = (1u32..4, 0u32..5, prop_oneof![ms(1..100), Just(Duration::MAX)]).prop_map(
        |(max_concurrent, max_queue, queue_timeout)| bulkhead::Config {
            max_concurrent,
            max_queue,
            queue_timeout,
            adaptive: None,
        },
    );
    let retry = (0u32..4, ms(0..40), any::<bool>()).prop_map(|(max_retries, base, wait_for_half_open)| retry::Config {
        max_retries,
        wait_for_half_open,
        backoff: Backoff::exponential(base).jitter(Jitter::Full),
        ..Default::default()
    });
    // So long a window that nothing leaves it.
    let budget = (0u32..4, prop_oneof![Just(0.0), Just(0.2), Just(1.0)]).prop_map(|(floor, ratio)| budget::Config {
        ratio,
        floor,
        window: DAY,
    });
    let percentile = (ms(0..30), 1u32..4).prop_map(|(otherwise, minimum_samples)| hedge::Delay::Percentile {
        percentile: 0.5,
        minimum_samples,
        at_least: Duration::from_millis(1),
        otherwise,
    });
    let delay = prop_oneof![3 => ms(0..30).prop_map(hedge::Delay::After), 1 => percentile];
    let hedge = (delay, 1u32..4).prop_map(|(delay, max_hedges)| hedge::Config { delay, max_hedges });
    let throttle = (1.0..2.0, 1u32..20).prop_map(|(multiplier, min_requests)| throttle::Config {
        multiplier,
        min_requests,
        ..Default::default()
    });
    let limits = (maybe(ms(1..300)), maybe(ms(1..60)), maybe(hedge), maybe(throttle));
    (limits, maybe(retry), maybe(budget), maybe(breaker()), maybe(bulkhead), maybe(limiter()), maybe(limiter()))
        .prop_map(|((deadline, attempt_timeout, hedge, throttle), retry, budget, breaker, bulkhead, rate, tokens)| {
            policy::Config {
                deadline,
                attempt_timeout,
                budget: budget.filter(|_| retry.is_some() || hedge.is_some()),
                retry,
                hedge,
                latency: None,
                priority: None,
                throttle,
                breaker,
                bulkhead,
                rate,
                tokens,
            }
        })
}

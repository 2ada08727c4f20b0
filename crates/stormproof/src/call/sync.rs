//! The sync door: performs the steps of [`core::Call`] by blocking the thread. It decides nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use stormproof_core as core;
use stormproof_core::{End, Input, Instant, Outcome, Permits, Step, Ticket};

use crate::call::answer::{Give, Served, Source};
use crate::call::classify::Classify;
use crate::call::error::Error;
use crate::call::fallback::Falling;
use crate::call::held::Held;
use crate::call::inherited::{self, Class};
use crate::call::nested;
use crate::call::run::{conclude, finish, judge};
use crate::call::{Asked, CallEdge, Calling, Cx, Hear, Nth, Options, Said};
use crate::clock::Parked;
use crate::clock::waiters;
use crate::policy::{DoorEdge, Policy};

impl Policy {
    /// Calls the synchronous `op` through the stages, on this thread: backoffs sleep, and whoever waits for a slot or for
    /// a rate is parked. It needs no runtime. Within one it blocks the thread like any other blocking call, so it belongs
    /// on a thread that may block (`tokio::task::spawn_blocking`).
    ///
    /// ```
    /// use std::time::Duration;
    /// use stormproof::{Policy, Retry};
    ///
    /// let policy = Policy::builder("disk").retry(Retry::constant(Duration::from_millis(1))).build().expect("valid");
    /// let answer = policy.call_sync(|cx| if cx.attempt() < 3 { Err("not yet") } else { Ok(42) }).run();
    /// assert_eq!(answer, Ok(42));
    /// ```
    ///
    /// Nobody can end a function from outside, so the limits of an attempt are for `op` to keep: by
    /// [`cx.remaining()`](Cx::remaining), for instance as the timeout of a socket. What ends late is judged by its result
    /// as if it had been in time. The deadline of the call bounds its waits, and no attempt begins after it. There is one
    /// attempt at a time: a hedge follows one that has failed, and never runs beside one that is slow.
    ///
    /// Nested calls on the same thread inherit the deadline, whichever door either of them goes through. If `op` panics,
    /// whatever was taken is given back.
    pub fn call_sync<'p, F, T, E>(&'p self, op: F) -> Calling<'p, F, T, E>
    where
        F: FnMut(Cx<'p>) -> Result<T, E>,
    {
        Calling::new(self, op)
    }

    /// [`admit`](Self::admit) for a thread that may block.
    pub fn admit_sync(&self) -> Result<Held, Error<Infallible>> {
        self.admit_cost_sync(1)
    }

    /// [`admit_cost`](Self::admit_cost) for a thread that may block.
    pub fn admit_cost_sync(&self, tokens: u32) -> Result<Held, Error<Infallible>> {
        self.call_sync(|_| Ok(())).admission(tokens).hold().run().map(|((), held)| held)
    }
}

impl<'p, F, T, E, C, N, G> Calling<'p, F, T, E, C, N, G>
where
    F: FnMut(Cx<'p>) -> Result<T, E>,
    C: Classify<T, E>,
    N: Hear<T, E>,
    G: Give<T>,
{
    /// Makes a synchronous call, on this thread.
    pub fn run(mut self) -> Result<G::Output, Error<E>> {
        let (policy, mut thread) = (self.policy, None);
        let (result, permits) = self.make(&mut thread);
        let result = match self.after.ended(result, policy, &self.said.classifier) {
            Ok(result) => result,
            Err(falling) => self.fall_back(*falling, thread),
        };
        result.map(|served| G::give(served, &self.said.classifier, || Held::new(policy.clone(), permits)))
    }

    /// What comes of the call itself or of its cache, and what the call still holds.
    fn make(&mut self, thread: &mut Option<Arc<Parked>>) -> (Result<Served<T>, Error<E>>, Permits) {
        let (policy, clock) = (self.policy, self.policy.clock());
        loop {
            let waker = || Waker::from(thread.get_or_insert_with(|| clock.parked()).clone());
            match self.after.ask(policy, &mut self.said.options, waker) {
                Asked::Call => break,
                Asked::Wait(until) => {
                    clock.block_until(until, thread.get_or_insert_with(|| clock.parked()));
                }
                Asked::Ended(result) => return (result, Permits::default()),
            }
        }
        let mut running = Running::new(policy, self.said.options, G::HOLDS);
        let result = self.after.run(|| running.run(&mut self.op, &mut self.said, G::HOLDS));
        let permits = if G::HOLDS { running.call.hold() } else { Permits::default() };
        (result.map(|value| Served::new(value, Source::Call)), permits)
    }

    /// Goes through the fallbacks; what of them waits blocks the thread.
    #[cold]
    fn fall_back(&self, mut falling: Falling<'p, T, E>, thread: Option<Arc<Parked>>) -> Result<Served<T>, Error<E>> {
        let clock = self.policy.clock();
        let thread = thread.unwrap_or_else(|| clock.parked());
        let waker = Waker::from(thread.clone());
        loop {
            match falling.poll(self.policy, || self.after.kept(), &mut Context::from_waker(&waker)) {
                Poll::Ready(result) => return result,
                Poll::Pending => clock.block_until(Instant::FAR_FUTURE, &thread),
            };
        }
    }
}

/// A call under way. Dropped, by a panic as well, it gives back what it has.
struct Running<'p> {
    policy: &'p Policy,
    call: core::Call,
    ticket: Option<Ticket>,
    thread: Option<Arc<Parked>>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.call.abandon(&self.policy.0.core, &mut DoorEdge(&self.policy.0));
        self.leave();
    }
}

impl<'p> Running<'p> {
    fn new(policy: &'p Policy, options: Options, hold: bool) -> Self {
        Self { policy, call: options.begin(policy, hold), ticket: None, thread: None }
    }

    fn run<F, T, E, C, N>(&mut self, op: &mut F, said: &mut Said<C, N>, hold: bool) -> Result<T, Error<E>>
    where
        F: FnMut(Cx<'p>) -> Result<T, E>,
        C: Classify<T, E>,
        N: Hear<T, E>,
    {
        let Said { classifier, note, options } = said;
        let policy = self.policy;
        let (core, clock) = (&policy.0.core, &policy.0.clock);
        let mut edge = CallEdge(DoorEdge(&policy.0), options);
        let (mut last, mut nth) = (None, Nth::default());
        let mut now = self.call.started();
        let mut step = self.call.next(core, now, Input::Resume, &mut edge);
        loop {
            let until = match step {
                // One at a time: a hedge begins when the attempt before it has failed.
                Step::Attempt { number, limit, .. } => {
                    self.leave();
                    drop(last.take());
                    nth = nth.next(number, self.call.retries());
                    let (before, mut refusals) = (nested::number(), Vec::new());
                    // Most calls have no class, and leave that of the call around them as it is.
                    let class = options.priority.or(core.priority);
                    let class = class.map(|_| Class::enter(options.priority, core.priority));
                    let result = inherited::scope(clock, limit, || op(Cx::new(policy, nth, limit)));
                    drop(class);
                    if nested::number() != before {
                        nested::collect(before, &mut refusals);
                    }
                    let verdict = judge(classifier, &result, &refusals);
                    if core.success_needs_time() || verdict.outcome != Outcome::Success || result.is_err() {
                        now = clock.now();
                    }
                    // Without a value there is nobody to hand the permits to.
                    let input = if hold && result.is_ok() && verdict.outcome != Outcome::Failure {
                        Input::Answered(number, verdict.outcome)
                    } else {
                        Input::Finished(number, verdict)
                    };
                    step = self.call.next(core, now, input, &mut edge);
                    if let Step::Done(End::Finished(stop)) = step {
                        if result.is_err() {
                            self.call.abandon(core, &mut edge);
                        }
                        return finish(&self.call, now, result, stop);
                    }
                    if let Step::BackOff { until } = step {
                        note.retrying(self.call.retries(), Some(result.as_ref()), until.since(now));
                    }
                    last = Some(result);
                    continue;
                }
                // Not reached: what runs here has ended when the core hears of anything, and is ready at any time.
                Step::Cancel { .. } | Step::Ready { .. } => {
                    step = self.call.next(core, now, Input::Resume, &mut edge);
                    continue;
                }
                Step::Queued { ticket, .. } if self.ticket != Some(ticket) => {
                    // Park first, then ask again: the ticket may have been granted in between.
                    self.leave();
                    waiters::park(ticket, &Waker::from(self.thread().clone()));
                    self.ticket = Some(ticket);
                    step = self.call.next(core, now, Input::Resume, &mut edge);
                    continue;
                }
                Step::Queued { until, .. } | Step::BackOff { until } => until,
                Step::Done(end) => return conclude(policy, &self.call, now, end, last),
            };
            now = if until > now { clock.block_until(until, self.thread()) } else { clock.now().max(until) };
            // Whoever was woken is in the table no more.
            self.leave();
            step = self.call.next(core, now, Input::Resume, &mut edge);
        }
    }

    fn thread(&mut self) -> &Arc<Parked> {
        self.thread.get_or_insert_with(|| self.policy.clock().parked())
    }

    fn leave(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            waiters::forget(ticket);
        }
    }
}

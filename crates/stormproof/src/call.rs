//! A call as its caller sees it: what can be said of it before it is made, whichever door makes it.

use std::future::{Future, IntoFuture};
use std::hash::Hash;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;
use std::time::Duration;

use stormproof_core as core;
use stormproof_core::{Caller, Edge, Event, Flow, Instant, Name, Priority, Ticket};

mod admission;
pub(crate) mod answer;
mod begin;
#[cfg(feature = "cache")]
pub mod cache;
pub(crate) mod classify;
pub(crate) mod error;
pub mod fallback;
mod future;
pub(crate) mod held;
pub(crate) mod inherited;
pub(crate) mod inside;
pub(crate) mod interrupted;
pub(crate) mod kind;
mod lent;
pub(crate) mod nested;
pub(crate) mod run;
#[cfg(feature = "tower")]
pub mod service;
mod sync;

pub(crate) use begin::Begin;
pub use future::CallFuture;
#[cfg(feature = "tower")]
pub(crate) use future::Called;
pub use lent::Lent;

use crate::call::answer::{Plain, Served, WithHeld, WithSource};
use crate::call::classify::{ByFn, Classify, ErrIsFailure, Judge};
use crate::call::error::Error;
use crate::call::fallback::{Chain, Fallback, Falling, Given};
use crate::policy::{DoorEdge, Policy};

/// What an attempt may know about itself.
#[derive(Clone, Copy, Debug)]
pub struct Cx<'p> {
    policy: &'p Policy,
    nth: Nth,
    until: Instant,
}

/// Which attempt of a call it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nth {
    /// Its number, from 1.
    pub(crate) number: u32,
    /// Retries before it.
    pub(crate) retries: u32,
    is_hedge: bool,
}

impl Nth {
    /// The attempt after this one. Without a retry between them it is a hedge.
    #[inline]
    pub(crate) fn next(self, number: u32, retries: u32) -> Self {
        Self { number, retries, is_hedge: self.number > 0 && self.retries == retries }
    }
}

impl<'p> Cx<'p> {
    #[inline]
    pub(crate) fn new(policy: &'p Policy, nth: Nth, until: Instant) -> Self {
        Self { policy, nth, until }
    }

    /// The attempt's number, from 1.
    pub fn attempt(&self) -> u32 {
        self.nth.number
    }

    /// Number of retries before this attempt. Hedges are none, so it may be less than the attempts before it.
    pub fn retries(&self) -> u32 {
        self.nth.retries
    }

    /// Whether the attempt is a hedge: started beside another one, or at once when one failed.
    pub fn is_hedge(&self) -> bool {
        self.nth.is_hedge
    }

    /// The time left until this attempt is given up; `None` for no limit.
    pub fn remaining(&self) -> Option<Duration> {
        (self.until != Instant::FAR_FUTURE).then(|| self.until.since(self.policy.clock().now()))
    }

    /// The policy's name.
    pub fn name(&self) -> &'p Name {
        self.policy.name()
    }
}

impl Policy {
    /// Calls `op` through the stages. The operation is made anew for each attempt, from its own context.
    ///
    /// A value that the classifier judges a failure is retried like an error; after the last attempt it comes back as the
    /// `Ok` it is. It is kept until the next attempt starts: if that is refused, or the time runs out before it, the value
    /// comes back in place of the refusal, which is told as an event. Nested calls inherit the deadline as long as they run in the same task: what is spawned does not.
    ///
    /// Dropping the returned future at any point gives back whatever was taken. An operation that panics does the same.
    #[inline]
    pub fn call<'p, F, R, T, E>(&'p self, op: F) -> Calling<'p, F, T, E>
    where
        F: FnMut(Cx<'p>) -> R,
        R: IntoFuture<Output = Result<T, E>>,
    {
        Calling::new(self, op)
    }
}

/// What hears of retries: a closure, see [`Calling::on_retry`], or `()` where nobody does.
pub trait Hear<T, E> {
    /// Hears that `result` (`None`: the attempt ran out of time) is followed by another attempt, the `retry`-th (from 1),
    /// after `delay`.
    fn retrying(&mut self, retry: u32, result: Option<Result<&T, &E>>, delay: Duration);
}

impl<T, E> Hear<T, E> for () {
    fn retrying(&mut self, _: u32, _: Option<Result<&T, &E>>, _: Duration) {}
}

impl<T, E, N: FnMut(u32, Option<Result<&T, &E>>, Duration)> Hear<T, E> for N {
    fn retrying(&mut self, retry: u32, result: Option<Result<&T, &E>>, delay: Duration) {
        // As with listeners: a panic is reported by the panic hook and breaks nothing.
        let _ = catch_unwind(AssertUnwindSafe(|| self(retry, result, delay)));
    }
}

/// A call through a policy: made by [`Policy::call`] and awaited, or made by [`Policy::call_sync`] and
/// [run](Calling::run).
///
/// It is data until then, and what can be said of it is the same for both. To have a future before it is awaited (to
/// spawn it, or for `join_all`), ask for it by [`into_future`](IntoFuture::into_future).
#[must_use = "a call does nothing until it is awaited, or run if it is synchronous"]
pub struct Calling<'p, Op, T, E, C = ErrIsFailure, N = (), G = Plain> {
    pub(crate) policy: &'p Policy,
    pub(crate) op: Op,
    pub(crate) said: Said<C, N>,
    pub(crate) after: After<'p, T, E>,
    pub(crate) give: PhantomData<fn() -> G>,
}

/// What a policy is told of a call.
pub(crate) struct Said<C, N> {
    pub(crate) classifier: C,
    pub(crate) note: N,
    pub(crate) options: Options,
}

/// What stands around a call: earlier answers, and what answers when it fails.
pub(crate) struct After<'p, T, E> {
    pub(crate) chain: Chain<'p, T, E>,
    #[cfg(feature = "cache")]
    pub(crate) cache: Option<Box<dyn Ask<T> + Send + 'p>>,
}

/// What a call does before its first attempt, when it has asked its cache.
pub(crate) enum Asked<T, E> {
    /// It goes through the policy.
    Call,
    #[cfg_attr(not(feature = "cache"), expect(dead_code, reason = "it is a cache that makes it"))]
    /// Somebody else is calling: ask again when woken, or at this time.
    Wait(Instant),
    #[cfg_attr(not(feature = "cache"), expect(dead_code, reason = "as above"))]
    /// It has come to its end already.
    Ended(Result<Served<T>, Error<E>>),
}

/// What a call asks of its cache, whatever the cache's keys are.
#[cfg(feature = "cache")]
pub(crate) trait Ask<T> {
    /// What the call does next. To be asked again when it has waited.
    fn ask(&mut self, policy: &Policy, options: &mut Options, waker: &Waker) -> Asked<T, std::convert::Infallible>;

    /// What tells a call that others may wait for from other calls.
    fn leads(&self) -> Option<usize>;

    /// Keeps the value of a call that succeeded, or hears of what kind its failure is, and lets those that wait know.
    fn ended(&mut self, result: Result<&T, &str>);

    /// An earlier answer that may be served after a failure.
    fn kept(&self) -> Option<Served<T>>;
}

/// The answer of a call, or the fallbacks that it goes on with.
pub(crate) type Ended<'p, T, E> = Result<Result<Served<T>, Error<E>>, Box<Falling<'p, T, E>>>;

/// The numbers of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) deadline: Option<Duration>,
    pub(crate) flow: Option<Flow>,
    pub(crate) tokens: u32,
    pub(crate) priority: Option<Priority>,
    /// Whether nothing is called: the call only takes what a call takes.
    pub(crate) admission: bool,
    /// Whether the call waits for nothing.
    pub(crate) at_once: bool,
}

impl Default for Options {
    #[inline]
    fn default() -> Self {
        Self { deadline: None, flow: None, tokens: 1, priority: None, admission: false, at_once: false }
    }
}

/// The edge of a call: that of its policy, and who makes it.
pub(crate) struct CallEdge<'a>(pub(crate) DoorEdge<'a>, pub(crate) &'a Options);

impl Edge for CallEdge<'_> {
    #[inline]
    fn wake(&mut self, ticket: Ticket) {
        self.0.wake(ticket);
    }

    #[inline]
    fn listens(&self) -> bool {
        self.0.listens()
    }

    fn event(&mut self, event: Event) {
        self.0.event(event);
    }

    #[cold]
    fn caller(&self) -> Caller {
        let Options { priority, flow, .. } = *self.1;
        Caller { priority: priority.or_else(inherited::priority), flow }
    }
}

impl Options {
    /// A call that begins now.
    #[inline]
    pub(crate) fn begin(self, policy: &Policy, hold: bool) -> core::Call {
        let clock = policy.clock();
        let now = clock.now();
        let own = policy.deadline_at(now, self.deadline).min(inherited::own_deadline(clock));
        let mut call = core::Call::new(now, own);
        call.inherit(inherited::deadline(clock));
        call.cost(self.tokens);
        if hold {
            call.keep();
        }
        if self.admission {
            call.unmeasured();
        }
        if self.at_once {
            call.at_once();
        }
        call
    }
}

impl<'p, T, E> After<'p, T, E> {
    #[inline]
    pub(crate) fn nothing() -> Self {
        Self {
            chain: Chain::Empty,
            #[cfg(feature = "cache")]
            cache: None,
        }
    }

    #[cfg(feature = "tower")]
    pub(crate) fn falling_back_to(fallback: Option<Fallback<T, E>>) -> Self {
        let chain = fallback.map_or(Chain::Empty, Chain::Shared);
        let mut after = Self::nothing();
        after.chain = chain;
        after
    }

    /// Asks the cache, if the call has one.
    #[inline]
    #[cfg_attr(not(feature = "cache"), expect(clippy::unused_self, reason = "there is no cache"))]
    pub(crate) fn ask(&mut self, policy: &Policy, options: &mut Options, waker: impl FnOnce() -> Waker) -> Asked<T, E> {
        #[cfg(feature = "cache")]
        if let Some(cache) = &mut self.cache {
            return match cache.ask(policy, options, &waker()) {
                Asked::Call => Asked::Call,
                Asked::Wait(until) => Asked::Wait(until),
                Asked::Ended(result) => Asked::Ended(result.map_err(|error| error.map(|never| match never {}))),
            };
        }
        let _ = (policy, options, waker);
        Asked::Call
    }

    /// Runs the call itself, or a part of it.
    #[inline]
    #[cfg_attr(not(feature = "cache"), expect(clippy::unused_self, reason = "there is no cache"))]
    pub(crate) fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        #[cfg(feature = "cache")]
        if let Some(leader) = self.cache.as_ref().and_then(|cache| cache.leads()) {
            return inside::scope(leader, work);
        }
        work()
    }

    /// An earlier answer of the call's cache.
    #[cfg_attr(not(feature = "cache"), expect(clippy::unused_self, reason = "without caches there is none to ask"))]
    pub(crate) fn kept(&self) -> Option<Served<T>> {
        #[cfg(feature = "cache")]
        return self.cache.as_ref()?.kept();
        #[cfg(not(feature = "cache"))]
        None
    }

    /// The call has ended: keeps its answer if it is a success, begins the fallbacks if it has failed and there are some.
    #[inline]
    pub(crate) fn ended(
        &mut self,
        result: Result<Served<T>, Error<E>>,
        policy: &Policy,
        classifier: &impl Classify<T, E>,
    ) -> Ended<'p, T, E> {
        #[cfg(feature = "cache")]
        if let Some(cache) = &mut self.cache {
            match &result {
                Ok(served) => {
                    let verdict = classifier.classify(Ok(&served.value));
                    let success = verdict.outcome == core::Outcome::Success;
                    cache.ended(if success { Ok(&served.value) } else { Err(verdict.kind) });
                }
                Err(error) => cache.ended(Err(&crate::call::fallback::kind(classifier, error))),
            }
        }
        match result {
            Err(error) if !self.chain.is_empty() => {
                match Falling::of(std::mem::take(&mut self.chain), error, policy, classifier) {
                    Ok(falling) => Err(Box::new(falling)),
                    Err(error) => Ok(Err(error)),
                }
            }
            result => Ok(result),
        }
    }
}

impl<'p, Op, T, E> Calling<'p, Op, T, E> {
    #[inline]
    pub(crate) fn new(policy: &'p Policy, op: Op) -> Self {
        let said = Said { classifier: ErrIsFailure, note: (), options: Options::default() };
        Self { policy, op, said, after: After::nothing(), give: PhantomData }
    }
}

impl<'p, Op, T, E, C, N, G> Calling<'p, Op, T, E, C, N, G> {
    /// Judges results by `classifier`. Default: every `Err` is a failure.
    pub fn classify<D: Classify<T, E>>(self, classifier: D) -> Calling<'p, Op, T, E, D, N, G> {
        let Self { policy, op, said: Said { note, options, .. }, after, give } = self;
        Calling { policy, op, said: Said { classifier, note, options }, after, give }
    }

    /// Judges results by a closure, best written in place: elsewhere the compiler does not see that it takes any lifetime.
    /// A kind that it gives is `'static` or of the result; one that is kept elsewhere needs a type that implements
    /// [`Classify`].
    pub fn classify_with<D: Judge<T, E>>(self, judge: D) -> Calling<'p, Op, T, E, ByFn<D>, N, G> {
        self.classify(ByFn(judge))
    }

    /// Calls `note` before each wait for another attempt: the retry's number from 1, the result that is retried (`None` if
    /// the attempt ran out of time), and the wait. A `note` that panics is ignored.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use stormproof::Retry;
    /// let policy = Retry::constant(Duration::from_millis(1)).build("flaky")?;
    /// let answer = policy
    ///     .call(|cx| async move { if cx.attempt() == 1 { Err("no") } else { Ok(42) } })
    ///     .on_retry(|retry, result, delay| println!("retry {retry} of {result:?} in {delay:?}"));
    /// assert_eq!(answer.await, Ok(42));
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_retry<M>(self, note: M) -> Calling<'p, Op, T, E, C, M, G>
    where
        M: FnMut(u32, Option<Result<&T, &E>>, Duration),
    {
        let Self { policy, op, said: Said { classifier, options, .. }, after, give } = self;
        Calling { policy, op, said: Said { classifier, note, options }, after, give }
    }

    /// The longest this call may take in all, instead of what the policy says. The deadline of a call around it still
    /// holds.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.said.options.deadline = Some(limit);
        self
    }

    /// Calls nothing: what is measured of it is the work that follows, by who holds it.
    pub(crate) fn admission(mut self, tokens: u32) -> Self {
        self.said.options.tokens = tokens;
        self.said.options.admission = true;
        self
    }

    /// Number of tokens to reserve for each attempt; default: 1. [`Verdict::used`](core::Verdict::used) corrects it
    /// afterwards.
    pub fn cost(mut self, tokens: u32) -> Self {
        self.said.options.tokens = tokens;
        self
    }

    /// The class of this call and of those made in it. A bulkhead's queue serves the highest class first, and sheds the
    /// lowest first when it is full. Default: that of the call around this one, else that of the policy, else
    /// [`Priority::Normal`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use stormproof::{Bulkhead, Policy, Priority};
    ///
    /// let policy = Policy::builder("chat").bulkhead(&Bulkhead::new("gpu")).build()?;
    /// let answer = policy.call(|_| async { Ok::<_, &str>(42) }).priority(Priority::High).flow("tenant-7").await;
    /// assert_eq!(answer, Ok(42));
    /// # Ok(())
    /// # }
    /// ```
    pub fn priority(mut self, priority: Priority) -> Self {
        self.said.options.priority = Some(priority);
        self
    }

    /// The flow that this call is one of, by its key: a tenant, a user, an agent. Callers that wait in a bulkhead's queue
    /// are served one of each flow in turn. Default: all calls that name none are one flow. Calls made in this one do not
    /// inherit it.
    pub fn flow(mut self, key: impl Hash) -> Self {
        self.said.options.flow = Some(Flow::of(key));
        self
    }

    /// [Class](Self::priority) and [flow](Self::flow) at once, in place of what was said of them before.
    pub fn caller(mut self, caller: Caller) -> Self {
        (self.said.options.priority, self.said.options.flow) = (caller.priority, caller.flow);
        self
    }

    /// Waits for no slot, requests or tokens.
    pub(crate) fn at_once(mut self) -> Self {
        self.said.options.at_once = true;
        self
    }

    /// Gives the answer together with what was taken for the last attempt: for a response whose body is still coming. If
    /// the value is judged a failure, that is counted at once, and slot and tokens are kept all the same.
    pub fn hold(self) -> Calling<'p, Op, T, E, C, N, WithHeld> {
        self.give()
    }

    /// Gives the answer together with its source.
    pub fn served(self) -> Calling<'p, Op, T, E, C, N, WithSource> {
        self.give()
    }

    fn give<H>(self) -> Calling<'p, Op, T, E, C, N, H> {
        let Self { policy, op, said, after, .. } = self;
        Calling { policy, op, said, after, give: PhantomData }
    }
}

/// Fallbacks. They stand outside everything else: a deadline of the policy that runs out leads to them, too. Once the
/// deadline of a call *around* this one is over they are skipped. Dropping the call's future calls nothing.
///
/// The first that answers ends the chain. If fallbacks were tried and all failed the error is [`Error::AllFailed`]; if
/// there was none to try, it is that of the call. What waits blocks the thread of a synchronous call.
impl<'p, Op, T, E, C, N, G> Calling<'p, Op, T, E, C, N, G> {
    /// Answers with `value` if the call fails.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let policy = stormproof::Policy::builder("chat").build()?;
    /// let answer = policy.call(|_| async { Err::<&str, _>("down") }).fallback("Sorry, not now.").await;
    /// assert_eq!(answer, Ok("Sorry, not now."));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fallback(mut self, value: T) -> Self {
        self.after.chain.value(value);
        self
    }

    /// Answers with the result of a function of the failure, if the call fails.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let policy = stormproof::Policy::builder("chat").build()?;
    /// let answer = policy
    ///     .call(|_| async { Err("down") })
    ///     .fallback_with(|cause| {
    ///         let text = format!("no answer: {cause}");
    ///         async move { Ok(text) }
    ///     });
    /// assert_eq!(answer.await.unwrap(), "no answer: down");
    /// # Ok(())
    /// # }
    /// ```
    pub fn fallback_with<A, Fut>(mut self, other: A) -> Self
    where
        A: FnOnce(&Error<E>) -> Fut + Send + 'p,
        Fut: Future<Output = Result<T, E>> + Send + 'p,
    {
        self.after.chain.function(move |cause| Given::later(other(cause)));
        self
    }

    /// Answers with the result of a function of the failure that does not wait, if the call fails.
    pub fn fallback_sync<A>(mut self, other: A) -> Self
    where
        A: FnOnce(&Error<E>) -> Result<T, E> + Send + 'p,
    {
        self.after.chain.function(move |cause| Given::now(other(cause)));
        self
    }

    /// Answers with the result of a call through another policy, if this one fails.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use stormproof::Policy;
    /// let (openai, local) = (Policy::builder("openai").build()?, Policy::builder("local").build()?);
    /// let answer = openai
    ///     .call(|_| async { Err("down") })
    ///     .fallback_to(|_| local.call(|_| async { Ok("from the local model") }));
    /// assert_eq!(answer.await, Ok("from the local model"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fallback_to<A, Call>(mut self, other: A) -> Self
    where
        A: FnOnce(&Error<E>) -> Call + Send + 'p,
        Call: IntoFuture<Output = Result<T, Error<E>>>,
        Call::IntoFuture: Send + 'p,
    {
        self.after.chain.function(move |cause| Given::call(other(cause)));
        self
    }

    /// Answers with a [`Fallback`] that other calls use too, if the call fails. Attaching one allocates nothing.
    pub fn fallback_shared(mut self, fallback: &Fallback<T, E>) -> Self {
        self.after.chain.shared(fallback);
        self
    }

    /// Only failures for which `wants` is true are followed by the fallbacks. Default: all.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let policy = stormproof::Policy::builder("chat").build()?;
    /// let call = policy.call(|_| async { Err("bad request") }).fallback("a cached answer");
    /// // Only if a stage refused, such as a circuit that is open.
    /// let answer = call.fallback_when(|cause| cause.refused().is_some()).await;
    /// assert_eq!(answer.unwrap_err().into_last(), Some("bad request"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fallback_when(mut self, wants: impl Fn(&Error<E>) -> bool + Send + 'p) -> Self {
        self.after.chain.only(wants);
        self
    }
}

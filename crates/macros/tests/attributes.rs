//! What functions with attributes do (T27, T28, acceptance A14, A15, C11, C12, C18, C19, F1 to F3, G1, G2).
#![cfg(test)]
#![allow(clippy::unnecessary_wraps, clippy::unused_async, reason = "what is called is as users have it")]

use std::fmt::Debug;
use std::io;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use stormproof::breaker::{self, State};
use stormproof::{
    CircuitBreaker, Error, Interrupted, Policy, Reason, Registry, Retry, Verdict, circuit_breaker, policy, retry,
    with_fallback, with_timeout,
};

/// An error of a user's own.
#[derive(Clone, Debug, PartialEq)]
enum ApiError {
    RateLimit,
    Unauthorized,
    Interrupted(Interrupted),
}

impl From<Interrupted> for ApiError {
    fn from(interrupted: Interrupted) -> Self {
        Self::Interrupted(interrupted)
    }
}

fn kinds<'a, T>(result: Result<&'a T, &'a ApiError>) -> Verdict<'a> {
    match result {
        Ok(_) => Verdict::success(),
        Err(ApiError::RateLimit) => Verdict::failure("RateLimitError"),
        Err(ApiError::Unauthorized) => Verdict::failure("AuthenticationError"),
        Err(ApiError::Interrupted(_)) => Verdict::ignored("Interrupted"),
    }
}

/// Counts its calls, and fails the first so many.
#[derive(Default)]
struct Calls(AtomicU32);

impl Calls {
    fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn next<E>(&self, failures: u32, error: E) -> Result<u32, E> {
        let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        if number > failures { Ok(number) } else { Err(error) }
    }
}

fn refusal(result: Result<u32, ApiError>) -> Option<Reason> {
    match result {
        Err(ApiError::Interrupted(interrupted)) => Some(interrupted.refused()?.reason),
        _ => None,
    }
}

#[tokio::test]
async fn a_15_a_breaker_with_parameters_opens_and_lets_probes_through() {
    #[circuit_breaker(failure_threshold = 3, recovery_time = 0.05)]
    async fn fetch(calls: &Calls) -> Result<u32, ApiError> {
        calls.next(3, ApiError::RateLimit)
    }

    let calls = Calls::default();
    for _ in 0..3 {
        assert_eq!(fetch(&calls).await, Err(ApiError::RateLimit));
    }
    assert_eq!(refusal(fetch(&calls).await), Some(Reason::Open));
    assert_eq!(calls.count(), 3);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(fetch(&calls).await, Ok(4));
}

static SHARED: LazyLock<CircuitBreaker> = LazyLock::new(|| {
    let config = breaker::Config { trip: vec![stormproof::Trip::consecutive(1)], ..Default::default() };
    CircuitBreaker::with_config("shared", config).unwrap()
});

#[tokio::test]
async fn a_14_a_breaker_made_elsewhere_serves_several_functions() {
    #[circuit_breaker(breaker = SHARED)]
    async fn one() -> Result<u32, ApiError> {
        Err(ApiError::RateLimit)
    }

    #[circuit_breaker(breaker = SHARED)]
    async fn another() -> Result<u32, ApiError> {
        Ok(1)
    }

    assert_eq!(one().await, Err(ApiError::RateLimit));
    assert_eq!(SHARED.state(), State::Open);
    assert_eq!(refusal(another().await), Some(Reason::Open));
}

#[tokio::test]
async fn a_named_breaker_is_the_registrys() {
    #[circuit_breaker(name = "billing agent", failure_threshold = 1)]
    async fn bill() -> Result<u32, ApiError> {
        Err(ApiError::RateLimit)
    }

    assert_eq!(bill().await, Err(ApiError::RateLimit));
    let breaker = Registry::global().breaker("billing agent");
    assert_eq!(breaker.state(), State::Open);
    breaker.reset();
    assert_eq!(bill().await, Err(ApiError::RateLimit));
}

#[tokio::test]
async fn c_18_a_function_is_called_again() {
    #[retry(max_retries = 3, base_delay = "1ms", backoff = "constant", jitter = "none")]
    async fn fetch(calls: &Calls, failures: u32) -> io::Result<u32> {
        calls.next(failures, io::Error::other("down"))
    }

    let calls = Calls::default();
    assert_eq!(fetch(&calls, 2).await.unwrap(), 3);
    let calls = Calls::default();
    assert_eq!(fetch(&calls, 9).await.unwrap_err().to_string(), "down");
    assert_eq!(calls.count(), 4);
}

#[tokio::test]
async fn c_11_c_12_c_19_kinds_say_what_is_called_again() {
    #[retry(max_attempts = 3, base_delay = "1ms", retry_on = ["RateLimitError", "TimeoutError"], classify = kinds)]
    async fn listed(calls: &Calls, error: ApiError) -> Result<u32, ApiError> {
        calls.next(9, error)
    }

    #[retry(max_attempts = 3, base_delay = "1ms", dont_retry_on = ["AuthenticationError"], classify = kinds)]
    async fn denied(calls: &Calls, error: ApiError) -> Result<u32, ApiError> {
        calls.next(9, error)
    }

    // The kind of an error is the name of its type, if nobody says otherwise.
    #[retry(max_attempts = 3, base_delay = "1ms", never_on = ["ApiError"])]
    async fn by_type(calls: &Calls) -> Result<u32, ApiError> {
        calls.next(9, ApiError::RateLimit)
    }

    for (error, attempts) in [(ApiError::RateLimit, 3), (ApiError::Unauthorized, 1)] {
        let (one, other) = (Calls::default(), Calls::default());
        assert_eq!(listed(&one, error.clone()).await, Err(error.clone()));
        assert_eq!(denied(&other, error.clone()).await, Err(error));
        assert_eq!((one.count(), other.count()), (attempts, attempts));
    }
    let calls = Calls::default();
    assert_eq!(by_type(&calls).await, Err(ApiError::RateLimit));
    assert_eq!(calls.count(), 1);
}

async fn secondary(question: &str, _tokens: u32) -> io::Result<String> {
    Err(io::Error::other(format!("no second answer to {question}")))
}

#[tokio::test]
async fn f_1_f_2_f_3_values_functions_and_chains_answer() {
    #[with_fallback(default = "Sorry.".to_owned())]
    async fn with_value(_question: String) -> io::Result<String> {
        Err(io::Error::other("down"))
    }

    async fn backup(question: &str, tokens: u32) -> io::Result<String> {
        Ok(format!("{question} {tokens}"))
    }

    #[with_fallback(fallback = backup)]
    async fn with_function(question: &str, tokens: u32) -> io::Result<String> {
        let _ = (question, tokens);
        Err(io::Error::other("down"))
    }

    #[with_fallback(fallback = || async { "cached".to_owned() })]
    async fn with_thunk() -> io::Result<String> {
        Err(io::Error::other("down"))
    }

    #[with_fallback(fallbacks = [secondary, |question: &str, _| format!("third: {question}"), || String::new()])]
    async fn with_chain(question: &str, _tokens: u32) -> io::Result<String> {
        Err(io::Error::other(question.to_owned()))
    }

    #[with_fallback(fallbacks = [secondary])]
    async fn all_fail(_question: &str, _tokens: u32) -> io::Result<String> {
        Err(io::Error::other("down"))
    }

    assert_eq!(with_value("why".to_owned()).await.unwrap(), "Sorry.");
    assert_eq!(with_function("why", 7).await.unwrap(), "why 7");
    assert_eq!(with_thunk().await.unwrap(), "cached");
    assert_eq!(with_chain("why", 7).await.unwrap(), "third: why");
    assert_eq!(all_fail("why", 7).await.unwrap_err().to_string(), "down", "the function's own error");
}

#[tokio::test]
async fn a_fallback_can_be_for_some_failures_only() {
    #[circuit_breaker(failure_threshold = 1)]
    #[with_fallback(default = 0, on = |cause| cause.refused().is_some())]
    async fn fetch() -> Result<u32, ApiError> {
        Err(ApiError::RateLimit)
    }

    assert_eq!(fetch().await, Err(ApiError::RateLimit));
    assert_eq!(fetch().await, Ok(0));
}

#[tokio::test]
async fn g_1_g_2_time_is_limited() {
    #[with_timeout(0.01)]
    async fn hangs() -> Result<u32, ApiError> {
        std::future::pending().await
    }

    #[with_timeout("10ms", fallback = "Operation timed out")]
    async fn excused(hang: bool) -> io::Result<&'static str> {
        if hang { std::future::pending().await } else { Err(io::Error::other("another failure")) }
    }

    assert!(matches!(hangs().await, Err(ApiError::Interrupted(cause)) if cause.is_timeout()));
    assert_eq!(excused(true).await.unwrap(), "Operation timed out");
    assert_eq!(excused(false).await.unwrap_err().to_string(), "another failure");
}

#[tokio::test]
async fn attributes_of_one_function_are_one_policy_in_the_fixed_order() {
    // The breaker's own refusal is not retried, wherever the breaker is written.
    #[retry(max_retries = 5, base_delay = "1ms")]
    #[circuit_breaker(failure_threshold = 2)]
    async fn fetch(calls: &Calls) -> Result<u32, ApiError> {
        calls.next(9, ApiError::RateLimit)
    }

    // A deadline is that of all attempts, wherever it is written.
    #[stormproof::retry(max_retries = 100, base_delay = "5ms", backoff = "constant")]
    #[with_timeout("100ms", attempt = "10ms")]
    async fn hangs(calls: &Calls) -> Result<u32, ApiError> {
        calls.next(0, ApiError::RateLimit)?;
        std::future::pending().await
    }

    let calls = Calls::default();
    assert_eq!(fetch(&calls).await, Err(ApiError::RateLimit), "the last failure, as there was one");
    assert_eq!(calls.count(), 2);
    let (calls, began) = (Calls::default(), Instant::now());
    assert!(hangs(&calls).await.is_err());
    assert!(began.elapsed() >= Duration::from_millis(80) && calls.count() > 1, "{}", calls.count());
}

static FLAKY: LazyLock<Policy> =
    LazyLock::new(|| Retry::constant(Duration::from_millis(1)).max_retries(1).build("flaky").unwrap());

#[tokio::test]
async fn a_policy_comes_from_elsewhere() {
    #[policy(FLAKY)]
    async fn at_a_path(calls: &Calls) -> Result<u32, ApiError> {
        calls.next(1, ApiError::RateLimit)
    }

    #[policy("reloaded")]
    async fn by_name(calls: &Calls) -> Result<u32, ApiError> {
        calls.next(1, ApiError::RateLimit)
    }

    assert_eq!(at_a_path(&Calls::default()).await, Ok(2));
    assert_eq!(by_name(&Calls::default()).await, Err(ApiError::RateLimit));
    let retry = Retry::constant(Duration::from_millis(1)).into();
    Registry::global()
        .configure("reloaded", stormproof::config::Config { retry: Some(retry), ..Default::default() })
        .unwrap();
    assert_eq!(by_name(&Calls::default()).await, Ok(2), "a reload takes effect");
}

/// Says what it is.
///
/// In two paragraphs.
#[must_use = "kept"]
#[retry(base_delay = "1ms")]
pub(crate) async fn documented<T, const N: usize>(
    mut list: [T; N],
    (first, _): (usize, usize),
) -> Result<T, Error<ApiError>>
where
    T: Clone + Debug,
{
    list.rotate_left(first);
    let found = list.first().cloned();
    found.ok_or(ApiError::RateLimit).map_err(|_| Error::AllFailed { causes: Vec::new() })
}

#[tokio::test]
async fn t_27_generics_patterns_and_bounds_stay() {
    let function: fn([u8; 3], (usize, usize)) -> _ = documented::<u8, 3>;
    assert_eq!(function([1, 2, 3], (1, 0)).await, Ok(2));
    // The policy has the function's name.
    #[with_timeout("5ms")]
    async fn slow() -> io::Result<()> {
        std::future::pending().await
    }
    assert!(slow().await.unwrap_err().to_string().starts_with("slow timed out after 0.0"));
}

struct Client {
    calls: Calls,
    log: Vec<u32>,
}

impl Client {
    #[retry(base_delay = "1ms")]
    async fn fetch(&self, failures: u32) -> Result<u32, ApiError> {
        let number = self.calls.next(failures, ApiError::RateLimit)?;
        Ok(number)
    }

    /// What does not run again may change what it is given, and need not be `Clone`.
    #[circuit_breaker]
    async fn write(&mut self, into: &mut Vec<u32>, once: Box<dyn FnOnce() -> u32 + Send>) -> Result<u32, ApiError> {
        self.log.push(once());
        into.push(1);
        Ok(1)
    }

    #[with_fallback(fallback = || self.cached())]
    async fn read(&self) -> Result<u32, ApiError> {
        Err(ApiError::RateLimit)
    }

    async fn cached(&self) -> Result<u32, ApiError> {
        Ok(self.calls.count())
    }
}

#[tokio::test]
async fn methods_have_policies_too() {
    let mut client = Client { calls: Calls::default(), log: Vec::new() };
    assert_eq!(client.fetch(2).await, Ok(3));
    assert_eq!(client.read().await, Ok(3));
    let mut into = Vec::new();
    assert_eq!(client.write(&mut into, Box::new(|| 7)).await, Ok(1));
    assert_eq!((client.log, into), (vec![7], vec![1]));
}

#[tokio::test]
async fn a_body_of_one_expression_draws_no_warning() {
    #![deny(unused_braces)]

    #[rustfmt::skip]
    #[retry(max_retries = 0)]
    async fn read() -> io::Result<u32> { Ok(1) }

    #[rustfmt::skip]
    #[policy("one expression")]
    fn read_now() -> io::Result<u32> { Ok(2) }

    assert_eq!((read().await.unwrap(), read_now().unwrap()), (1, 2));
}

#[tokio::test]
async fn t_28_success_and_failure_count_and_a_return_ends_the_body_alone() {
    #[circuit_breaker(name = "t28", failure_threshold = 9)]
    async fn fetch(fail: bool) -> Result<u32, ApiError> {
        if fail {
            return Err(ApiError::RateLimit);
        }
        Ok(1)
    }

    assert_eq!((fetch(true).await, fetch(false).await), (Err(ApiError::RateLimit), Ok(1)));
    let stats = Registry::global().breaker("t28").stats();
    assert_eq!((stats.failures, stats.successes), (1, 1));
}

#[tokio::test]
async fn boxed_errors_can_hold_everything() {
    #[with_timeout("5ms")]
    async fn boxed(hang: bool) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
        if hang { std::future::pending().await } else { Ok("7".parse()?) }
    }

    assert_eq!(boxed(false).await.unwrap(), 7);
    let error = boxed(true).await.unwrap_err();
    assert!(error.downcast_ref::<Interrupted>().unwrap().is_timeout());
}

#[test]
fn synchronous_functions_go_through_the_sync_door() {
    fn third(key: &str) -> io::Result<String> {
        Ok(format!("third {key}"))
    }

    #[retry(base_delay = "1ms")]
    fn fetch(calls: &Calls, failures: u32) -> Result<u32, ApiError> {
        let number = calls.next(failures, ApiError::RateLimit)?;
        if number == 0 {
            return Ok(0);
        }
        Ok(number)
    }

    #[circuit_breaker(failure_threshold = 1)]
    fn change(list: &mut Vec<u8>) -> Result<(), ApiError> {
        list.push(1);
        Err(ApiError::RateLimit)
    }

    #[with_fallback(fallbacks = [|_| Err(io::Error::other("no second")), third])]
    fn read(_key: &str) -> io::Result<String> {
        Err(io::Error::other("down"))
    }

    #[with_fallback(default = 7)]
    fn value() -> io::Result<u8> {
        Err(io::Error::other("down"))
    }

    assert_eq!(fetch(&Calls::default(), 2), Ok(3));
    let mut list = Vec::new();
    assert_eq!(change(&mut list), Err(ApiError::RateLimit));
    assert!(matches!(change(&mut list), Err(ApiError::Interrupted(_))));
    assert_eq!((list, read("key").unwrap(), value().unwrap()), (vec![1], "third key".to_owned(), 7));
}

mod only_here {
    #![deny(unused_imports)]
    use stormproof::{circuit_breaker, retry};

    #[circuit_breaker]
    #[retry(base_delay = "1ms")]
    pub(super) async fn fetch(value: u32) -> std::io::Result<u32> {
        Ok(value)
    }
}

#[tokio::test]
async fn an_attribute_that_another_one_takes_in_is_used() {
    assert_eq!(only_here::fetch(7).await.unwrap(), 7);
}

#[tokio::test]
async fn the_future_can_be_spawned() {
    #[retry(base_delay = "1ms")]
    #[with_fallback(fallbacks = [|_: String| "second".to_owned()])]
    async fn fetch(key: String) -> io::Result<String> {
        tokio::task::yield_now().await;
        Err(io::Error::other(key))
    }

    assert_eq!(tokio::spawn(fetch("key".to_owned())).await.unwrap().unwrap(), "second");
}

//! Breakers, retries, time limits and whole policies.

use std::io;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use stormproof::breaker::{self, State};
use stormproof::{CircuitBreaker, Policy, Reason, Registry, Retry, circuit_breaker, policy, retry, with_timeout};

use crate::*;

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

/// Row 2: attributes know the names that files know.
#[tokio::test]
async fn row_2_a_setting_has_the_names_that_it_has_in_a_file() {
    #[circuit_breaker(name = "row 2", failure_threshold = 1, timeout_seconds = 7, excluded_exceptions = ["Other"])]
    #[retry(
        max_attempts = 3, backoff_strategy = "exponential", initial_delay = 0.001, backoff_factor = 3.0, jitter = true,
        jitter_factor = 0.3, retry_exceptions = ["ApiError"], exclude_exceptions = ["Never"]
    )]
    async fn fetch(calls: &Calls) -> Result<u32, ApiError> {
        calls.next(9, ApiError::RateLimit)
    }

    let calls = Calls::default();
    fetch(&calls).await.unwrap_err();
    let breaker = Registry::global().breaker("row 2");
    let config = breaker.policy().stages().breaker.as_ref().unwrap().config();
    assert_eq!((config.open_duration, config.ignore), (Duration::from_secs(7), vec!["Other".to_owned()]));

    #[circuit_breaker(name = "row 2 b", trip = 1, reset_timeout = "8s")]
    #[retry(max_retries = 0, base = "1s", multiplier = 2.0, jitter = false, exclude = ["X"])]
    async fn other(calls: &Calls) -> Result<u32, ApiError> {
        calls.next(9, ApiError::RateLimit)
    }
    other(&calls).await.unwrap_err();
    assert_eq!(Registry::global().breaker("row 2 b").state(), State::Open);
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

#[test]
fn a_misspelt_name_is_known_from_the_start_of_the_program() {
    #[allow(dead_code)]
    #[policy("qoutes")]
    async fn misspelt() -> Result<u32, ApiError> {
        Ok(1)
    }

    let registry = Registry::global();
    let mistakes = registry.check_attributes().unwrap_err();
    let mistake = mistakes.iter().find(|mistake| mistake.field == "qoutes").unwrap();
    assert!(mistake.value.contains("stages.rs:"), "{mistake}");

    let config = stormproof::config::Config { deadline: Some(Duration::from_secs(1)), ..Default::default() };
    let file = [("quotes".to_owned(), config.clone())].into();
    registry.strict(true);
    let refused = registry.apply(file);
    registry.strict(false);
    assert!(refused.unwrap_err().to_string().contains("qoutes"));
    assert!(registry.find::<Policy>("quotes").is_none(), "nothing has changed");
    registry.configure("qoutes", config).unwrap();
    assert!(!registry.check_attributes().is_err_and(|mistakes| mistakes.to_string().contains("qoutes")));
}

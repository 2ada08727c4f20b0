//! What functions may look like: generics, methods, bodies, blocking ones.

use std::fmt::Debug;
use std::io;

use stormproof::{Error, Interrupted, Registry, circuit_breaker, policy, retry, with_fallback, with_timeout};

use crate::*;

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

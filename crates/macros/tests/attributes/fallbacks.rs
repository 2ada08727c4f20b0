//! Values, functions and chains that answer instead.

use std::io;

use stormproof::{circuit_breaker, with_fallback};

use crate::*;

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

//! Calls over HTTP for stormproof: a client, what its answers mean, and Retry-After.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use stormproof::{CircuitBreaker, Policy, Retry};
//! use stormproof_http::{Client, Statuses};
//!
//! let client = Client::new(&stormproof_http::client::Config::default())?;
//! let policy = Policy::builder("tool").retry(Retry::default()).breaker(&CircuitBreaker::new("tool")).build()?;
//! let (client, statuses) = (&client, Statuses::default());
//! let answer = policy
//!     .call(|_| async move {
//!         let request = http::Request::get("http://127.0.0.1:9000/search").body(String::new()).unwrap();
//!         client.send(request).await
//!     })
//!     .classify(&statuses)
//!     .await?;
//! println!("{}", answer.status());
//! # Ok(())
//! # }
//! ```

mod answer;
mod classify;
pub mod client;
mod connect;
mod error;
#[cfg(feature = "reqwest")]
mod reqwest;
pub mod retry_after;

pub use answer::{Unanswered, whole_seconds};
pub use classify::{Answer, Failure, Reading, Statuses, kinds};
pub use client::Client;
pub use error::{BrokenRequest, Error};
pub use stormproof::service::may_repeat;

/// Compiles and runs what the page shows.
#[cfg(all(doctest, feature = "reqwest"))]
mod pages {
    #[doc = include_str!("../../../docs/src/http.md")]
    struct Http;
}

//! The tower door: a policy around any [`Service`](tower_service::Service). It is not called `tower`, so that a glob import
//! of this crate leaves that name to the crate.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use stormproof::service::PolicyLayer;
//! use stormproof::{CircuitBreaker, Policy, Retry};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! let policy = Policy::builder("search").retry(Retry::default()).breaker(&CircuitBreaker::new("search")).build()?;
//! let search = ServiceBuilder::new()
//!     .layer(PolicyLayer::new(&policy))
//!     .service(service_fn(|query: String| async move { Ok::<_, std::io::Error>(format!("found {query}")) }));
//! assert_eq!(search.oneshot("it".to_owned()).await?, "found it");
//! # Ok(())
//! # }
//! ```
//!
//! First the policy admits, then the inner service becomes ready, then it is called: all of it in the response's future.
//! So a caller that waits for a slot, for rate or between attempts holds nothing of the inner service, and services that
//! hand out readiness like permits (`concurrency_limit`, `buffer`) have one order with the policy's own limits.
//! [`poll_ready`](tower_service::Service::poll_ready) itself is always ready: what bounds the number of requests that wait is
//! the policy's bulkhead. To wait for readiness, and to fail to become ready, is no attempt: neither breaker nor budget
//! hears of it, and such a failure ends the call as [`Stop::Unready`](crate::Stop::Unready).
//!
//! A request is copied before an attempt that could be followed by another, and never else: not without retry, and not
//! before the last attempt. A request says itself whether it may be sent again ([`Repeat`]): over HTTP only what is
//! idempotent may. [`Describe`] says it in its place; requests that cannot be copied go through [`PolicyLayer::once`].
//!
//! Errors are [`Error<S::Error>`](crate::Error), which is an error like any other and so fits wherever a stack takes
//! boxed ones. Around a service whose errors are boxed already, [`Error::into_boxed`](crate::Error::into_boxed) makes
//! one of them.

#[cfg(feature = "http")]
mod body;
mod describe;
mod future;
mod layer;
mod repeat;

#[cfg(feature = "http")]
pub use body::{HeldBody, InBody};
pub use describe::{Cloned, Describe, IfSafe, Once};
pub use future::ResponseFuture;
pub use layer::{NoFallback, PolicyLayer, PolicyService};
pub use repeat::Repeat;
#[cfg(feature = "http")]
pub use repeat::may_repeat;

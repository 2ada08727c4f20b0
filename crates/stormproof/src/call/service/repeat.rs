//! Whether a request may be sent again.

use std::sync::Arc;

/// A request that says whether it may be sent again, and how it is copied: what a layer asks that was told nothing else.
///
/// Plain values are repeated. A request over HTTP is repeated if its method is idempotent (RFC 9110, section 9.2.2) or it
/// carries an `Idempotency-Key`; any other is sent once: neither retried nor hedged.
///
/// A type without this trait needs to be said to the layer:
///
/// ```compile_fail,E0277
/// use stormproof::{Policy, service::PolicyService};
/// use tower::{Service, service_fn};
///
/// #[derive(Clone)]
/// struct Prompt;
///
/// let policy = Policy::builder("chat").build().unwrap();
/// let chat = service_fn(|_: Prompt| async { Ok::<_, std::io::Error>("…") });
/// let _ = PolicyService::new(chat, &policy).call(Prompt);
/// ```
///
/// It is, by [`cloned`](super::PolicyLayer::cloned):
///
/// ```
/// use stormproof::{Policy, service::PolicyLayer};
/// use tower::{Layer, Service, service_fn};
///
/// #[derive(Clone)]
/// struct Prompt;
///
/// let policy = Policy::builder("chat").build().unwrap();
/// let chat = service_fn(|_: Prompt| async { Ok::<_, std::io::Error>("…") });
/// let _ = PolicyLayer::new(&policy).cloned().layer(chat).call(Prompt);
/// ```
#[diagnostic::on_unimplemented(
    message = "it is not known whether a `{Self}` may be sent twice",
    label = "a retry or a hedge would send this request again",
    note = "tell the layer: `.cloned()` if it may always be repeated, `.once()` if never, `.describe(…)` to decide for each",
    note = "a request over HTTP says it itself with the feature `http`, one of reqwest with the feature `reqwest`"
)]
pub trait Repeat: Sized {
    /// How this request is copied; `None`: it is sent once.
    fn copier(&self) -> Option<fn(&Self) -> Self>;
}

macro_rules! plain {
    ([$($generics:tt)*] $request:ty) => {
        impl<$($generics)*> Repeat for $request {
            fn copier(&self) -> Option<fn(&Self) -> Self> {
                Some(Self::clone)
            }
        }
    };
    ($($request:ty),*) => { $(plain!([] $request);)* };
}

plain!((), bool, char, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64, String);
plain!([T: ?Sized] &T);
plain!([T: ?Sized] Arc<T>);
plain!([T: Clone] Box<T>);
plain!([T: Clone] Option<T>);
plain!([T: Clone] Vec<T>);

/// Whether a request over HTTP may be sent again: its method is idempotent (RFC 9110, section 9.2.2), or it carries an
/// `Idempotency-Key` by which the server knows it again.
///
/// ```
/// use http::{HeaderMap, Method, header::HeaderName};
/// use stormproof::service::may_repeat;
///
/// let mut headers = HeaderMap::new();
/// assert!(may_repeat(&Method::PUT, &headers) && !may_repeat(&Method::POST, &headers));
/// headers.insert(HeaderName::from_static("idempotency-key"), "a1".parse().unwrap());
/// assert!(may_repeat(&Method::POST, &headers));
/// ```
#[cfg(feature = "http")]
pub fn may_repeat(method: &http::Method, headers: &http::HeaderMap) -> bool {
    method.is_idempotent() || headers.get("idempotency-key").is_some_and(|key| !key.is_empty())
}

#[cfg(feature = "http")]
impl<B: Clone> Repeat for http::Request<B> {
    fn copier(&self) -> Option<fn(&Self) -> Self> {
        may_repeat(self.method(), self.headers()).then_some(Self::clone)
    }
}

#[cfg(feature = "reqwest")]
impl Repeat for reqwest::Request {
    fn copier(&self) -> Option<fn(&Self) -> Self> {
        let is_stream = self.body().is_some_and(|body| body.as_bytes().is_none());
        let may = may_repeat(self.method(), self.headers()) && !is_stream;
        // Only a stream cannot be copied.
        may.then_some(|request| {
            request.try_clone().unwrap_or_else(|| Self::new(request.method().clone(), request.url().clone()))
        })
    }
}

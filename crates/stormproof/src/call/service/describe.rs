//! What a policy has to know of a request.

use std::time::Duration;

use stormproof_core::Caller;

use super::repeat::Repeat;

/// Tells of requests, as a [`Classify`](crate::Classify) judges responses.
///
/// ```
/// use stormproof::service::Describe;
///
/// struct Prompt { text: String, tokens: u32, is_idempotent: bool }
/// struct Prompts;
///
/// impl Describe<Prompt> for Prompts {
///     fn copier(&self, prompt: &Prompt) -> Option<fn(&Prompt) -> Prompt> {
///         prompt.is_idempotent.then_some(|prompt| Prompt { text: prompt.text.clone(), ..*prompt })
///     }
///
///     fn cost(&self, prompt: &Prompt) -> u32 {
///         prompt.tokens
///     }
/// }
/// ```
pub trait Describe<Req> {
    /// How this request is copied for another attempt; `None`: it is sent once, and never retried.
    fn copier(&self, request: &Req) -> Option<fn(&Req) -> Req>;

    /// Tokens to reserve for each attempt. Default: 1.
    fn cost(&self, request: &Req) -> u32 {
        let _ = request;
        1
    }

    /// Class and flow of the request, by which a bulkhead's queue serves it. Default: it names neither.
    fn caller(&self, request: &Req) -> Caller {
        let _ = request;
        Caller::default()
    }

    /// The longest the whole call may take, instead of what the policy says. Default: as the policy says.
    fn deadline(&self, request: &Req) -> Option<Duration> {
        let _ = request;
        None
    }
}

/// The default: a request that [says](Repeat) that it may be sent again is copied as it says.
#[derive(Clone, Copy, Debug, Default)]
pub struct IfSafe;

impl<Req: Repeat> Describe<Req> for IfSafe {
    fn copier(&self, request: &Req) -> Option<fn(&Req) -> Req> {
        request.copier()
    }
}

/// All requests are cloned, whatever they ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cloned;

impl<Req: Clone> Describe<Req> for Cloned {
    fn copier(&self, _request: &Req) -> Option<fn(&Req) -> Req> {
        Some(Req::clone)
    }
}

/// No request is sent twice: for those that cannot be copied, and for those that must not be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Once;

impl<Req> Describe<Req> for Once {
    fn copier(&self, _request: &Req) -> Option<fn(&Req) -> Req> {
        None
    }
}

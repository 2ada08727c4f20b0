//! The tables `[upstreams.NAME]`: where calls go, through which policy, and what of that contradicts itself.

use std::time::Duration;

use http::Uri;
use serde::Deserialize;
use stormproof::{Invalid, config as policy};

use crate::body::STALLED;

/// Where calls of one name go, and through which policy.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Upstream {
    /// The base address; a call's path is put behind its path.
    pub url: String,
    /// The statuses that are failures, 400 to 599. Default: 5xx, 408, 425 and 429.
    pub failure_statuses: Option<Vec<u16>>,
    /// The longest wait for the header of an answer if the policy sets neither `attempt_timeout` nor `deadline`.
    /// Default: 5 min.
    #[serde(with = "stormproof_core::time::duration")]
    #[cfg_attr(feature = "schema", schemars(with = "stormproof_core::time::duration::Written"))]
    pub response_timeout: Duration,
    /// The longest silence in the body of an answer. Default: 2 min.
    #[serde(with = "stormproof_core::time::duration")]
    #[cfg_attr(feature = "schema", schemars(with = "stormproof_core::time::duration::Written"))]
    pub stall_timeout: Duration,
    /// The policy. Default: no stage.
    pub policy: policy::Config,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            url: String::new(),
            failure_statuses: None,
            response_timeout: Duration::from_secs(300),
            stall_timeout: Duration::from_secs(120),
            policy: policy::Config::default(),
        }
    }
}

impl Upstream {
    pub(super) fn validate(&self) -> Vec<Invalid> {
        let mut found: Vec<_> = self.base().err().into_iter().collect();
        for status in self.failure_statuses.iter().flatten().filter(|status| !(400..600).contains(*status)) {
            found.push(Invalid::new("failure_statuses", status.to_string(), "400 to 599"));
        }
        for (field, limit) in [("response_timeout", self.response_timeout), ("stall_timeout", self.stall_timeout)] {
            if limit.is_zero() {
                found.push(Invalid::new(field, format!("{limit:?}"), "more than zero"));
            }
        }
        if self.policy.tokens.is_some() {
            // A limit that is never charged would only seem to protect.
            found.push(Invalid::new("policy.tokens", "set", "nothing: the gateway does not count tokens yet"));
        }
        let contradictions = self.contradictions();
        found.extend(self.policy.validate().into_iter().chain(contradictions).map(|mut mistake| {
            mistake.field = format!("policy.{}", mistake.field);
            mistake
        }));
        found
    }

    /// What of the policy can never take effect, or not in a gateway.
    fn contradictions(&self) -> Vec<Invalid> {
        let (policy, mut found) = (&self.policy, Vec::new());
        if let (Some(attempt), Some(deadline)) = (policy.attempt_timeout, policy.deadline)
            && attempt > deadline
            && !deadline.is_zero()
        {
            found.push(Invalid::new("attempt_timeout", format!("{attempt:?}"), "no longer than `deadline`"));
        }
        let (retry_on, never_on) = policy.retry.as_ref().map_or((&[][..], &[][..]), |it| (&it.retry_on, &it.never_on));
        let ignore = policy.breaker.as_ref().map_or(&[][..], |breaker| &breaker.ignore);
        for (field, kinds) in [("retry.retry_on", retry_on), ("retry.never_on", never_on), ("breaker.ignore", ignore)] {
            for kind in kinds.iter().filter(|kind| !is_kind(kind)) {
                found.push(Invalid::new(field, format!("{kind:?}"), KINDS));
            }
        }
        for kind in retry_on.iter().filter(|kind| never_on.contains(kind)) {
            found.push(Invalid::new("retry.retry_on", format!("{kind:?}"), "kinds that are not in `never_on` as well"));
        }
        found
    }

    /// The policy as it runs: an upstream that never answers must not hold a call for ever, so without a deadline the
    /// `response_timeout` limits an attempt.
    pub fn policy_in_force(&self) -> policy::Config {
        let mut policy = self.policy.clone();
        if policy.deadline.is_none() {
            policy.attempt_timeout.get_or_insert(self.response_timeout);
        }
        policy
    }

    /// The base address, or what is wrong with it.
    pub(crate) fn base(&self) -> Result<Uri, Invalid> {
        let wrong = |value: &str| Err(Invalid::new("url", value, "an address such as \"http://127.0.0.1:9000/base\""));
        if self.url.is_empty() {
            return wrong("missing");
        }
        let Ok(uri) = self.url.parse::<Uri>() else { return wrong("no URL") };
        let Some(authority) = uri.authority() else { return wrong("without a host") };
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return wrong("neither http nor https");
        }
        if authority.as_str().contains('@') {
            // The value itself may be a secret.
            return wrong("with a user name");
        }
        if authority.host().is_empty() || authority.port().is_some() != authority.as_str().ends_with(port_of(authority))
        {
            return wrong("without a valid host and port");
        }
        if uri.query().is_some() || self.url.contains('#') {
            return wrong("with a query or a fragment");
        }
        Ok(uri)
    }
}

const KINDS: &str = "ConnectionError, TimeoutError, ServerError, RateLimitError, TooEarlyError, AuthenticationError, \
    ClientError, or a particular one such as ServerError.503 or ConnectionError.ConnectionRefused";

/// Whether a list of kinds can mean something by this name: a kind or a part of one.
fn is_kind(name: &str) -> bool {
    let is_named = |kind: &str| kind == name || kind.split('.').any(|part| part == name);
    is_named(STALLED) || stormproof_http::kinds().any(is_named)
}

fn port_of(authority: &http::uri::Authority) -> &str {
    let text = authority.as_str();
    let after_host = text.rfind(']').map_or(0, |at| at + 1);
    text.get(after_host..).and_then(|rest| rest.rfind(':').map(|at| &rest[at..])).unwrap_or("\0")
}

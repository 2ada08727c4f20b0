//! An upstream as it runs: where it is, and the policy of the calls to it.

use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use stormproof::{Bulkhead, CircuitBreaker, Mistakes, Name, Policy, RateLimiter};
use stormproof_http::Statuses;

use crate::config;

/// An upstream and its policy.
#[derive(Debug)]
pub(crate) struct Upstream {
    name: Name,
    /// The name as a header writes it.
    pub(crate) label: HeaderValue,
    scheme: Scheme,
    authority: Authority,
    /// The path of the base address, without a slash at its end.
    base: String,
    pub(crate) statuses: Statuses,
    pub(crate) stall_timeout: Duration,
    pub(crate) policy: Policy,
    /// The same for calls that must not be repeated.
    pub(crate) once: Policy,
    /// The same for calls whose body streams: the stages without a time limit, which would run on while the client is
    /// waited for. [`patience`](Self::patience) takes its place.
    pub(crate) streamed: Policy,
    /// The longest that a call whose body streams waits for the upstream.
    pub(crate) patience: Duration,
    pub(crate) breaker: Option<CircuitBreaker>,
}

/// The stages of an upstream, put together in two ways.
#[derive(Debug)]
struct Policies {
    whole: Policy,
    streamed: Policy,
    patience: Duration,
    breaker: Option<CircuitBreaker>,
}

impl Upstream {
    /// From its configuration, or all that is wrong with that.
    pub(crate) fn new(name: &str, config: &config::Upstream) -> Result<Self, Mistakes> {
        let base = config.base().map_err(|mistake| Mistakes::from(vec![mistake]))?.into_parts();
        let (Some(scheme), Some(authority)) = (base.scheme, base.authority) else {
            return Err(Mistakes::from(vec![stormproof::Invalid::new("url", "incomplete", "scheme and host")]));
        };
        let name = Name::from(name);
        let Policies { whole: policy, streamed, patience, breaker } = policies(&name, config)?;
        Ok(Self {
            label: HeaderValue::from_str(&name).unwrap_or_else(|_| HeaderValue::from_static("unnamed")),
            scheme,
            authority,
            base: base.path_and_query.map_or_else(String::new, |path| path.path().trim_end_matches('/').to_owned()),
            statuses: config.failure_statuses.clone().map_or_else(Statuses::default, Statuses::only),
            stall_timeout: config.stall_timeout,
            once: policy.once(),
            policy,
            streamed,
            patience,
            breaker,
            name,
        })
    }

    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    /// The address of `path` at this upstream; nothing if it would leave the base path or is no path.
    pub(crate) fn address(&self, path: &str) -> Option<Uri> {
        let only_path = path.split('?').next().unwrap_or_default();
        if !self.base.is_empty() && climbs(only_path) {
            return None;
        }
        let whole = if self.base.is_empty() {
            PathAndQuery::try_from(path)
        } else {
            PathAndQuery::try_from(format!("{}{path}", self.base))
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(whole.ok()?);
        Uri::from_parts(parts).ok()
    }
}

/// Whether a path goes to a directory above, however its dots and slashes are written, parameters aside.
fn climbs(path: &str) -> bool {
    let plain = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    plain.split(['/', '\\']).any(|segment| segment.split(';').next() == Some(".."))
}

fn policies(name: &Name, config: &config::Upstream) -> Result<Policies, Mistakes> {
    let mut stages = config.policy_in_force();
    let limits = [stages.attempt_timeout, stages.deadline];
    let patience = limits.into_iter().flatten().min().unwrap_or(config.response_timeout);
    // Both policies share the stages; the admin API needs a handle to the breaker besides.
    let breaker = stages.breaker.take().map(|config| CircuitBreaker::with_config(name.clone(), config)).transpose()?;
    let bulkhead = stages.bulkhead.take().map(|config| Bulkhead::with_config(name.clone(), config)).transpose()?;
    let rate = stages.rate.take().map(|config| RateLimiter::with_config(name.clone(), config)).transpose()?;
    let shared = |mut builder: stormproof::Builder| {
        if let Some(breaker) = &breaker {
            builder = builder.breaker(breaker);
        }
        if let Some(bulkhead) = &bulkhead {
            builder = builder.bulkhead(bulkhead);
        }
        if let Some(rate) = &rate {
            builder = builder.rate(rate);
        }
        builder.build()
    };
    let whole = shared(Policy::builder(name.clone()).config(stages))?;
    let streamed = shared(Policy::builder(name.clone()))?;
    Ok(Policies { whole, streamed, patience, breaker })
}

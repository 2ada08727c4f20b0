//! An upstream as it runs: where it is, and the policy of the calls to it.

use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use stormproof::{CircuitBreaker, Mistakes, Name, Policy, Registry};
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

impl Upstream {
    /// From its configuration, with the policy that the registry has for its name; or all that is wrong with its address.
    pub(crate) fn new(name: &str, config: &config::Upstream, registry: &Registry) -> Result<Self, Mistakes> {
        let base = config.base().map_err(|mistake| Mistakes::from(vec![mistake]))?.into_parts();
        let (Some(scheme), Some(authority)) = (base.scheme, base.authority) else {
            return Err(Mistakes::from(vec![stormproof::Invalid::new("url", "incomplete", "scheme and host")]));
        };
        let name = Name::from(name);
        let policy = registry.policy(&name);
        let stages = policy.stages();
        let breaker = policy.breaker();
        let limits = [stages.attempt_timeout, stages.deadline];
        Ok(Self {
            label: HeaderValue::from_str(&name).unwrap_or_else(|_| HeaderValue::from_static("unnamed")),
            scheme,
            authority,
            base: base.path_and_query.map_or_else(String::new, |path| path.path().trim_end_matches('/').to_owned()),
            statuses: config.failure_statuses.clone().map_or_else(Statuses::default, Statuses::only),
            stall_timeout: config.stall_timeout,
            patience: limits.into_iter().flatten().min().unwrap_or(config.response_timeout),
            once: policy.once(),
            streamed: policy.once().untimed(),
            policy,
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

//! The configuration file of the gateway: what may stand in it, and what is wrong with it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;
use stormproof::document::{Mistake, Reader};
use stormproof::environment::Environment;
use stormproof::{Invalid, config as policy};

use crate::body::STALLED;

/// Where policies stand in the file: there they may have a `preset`.
pub(crate) const POLICIES: &str = "upstreams.*.policy";

/// Everything that the file says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The gateway itself.
    pub gateway: Settings,
    /// Where calls go, by name.
    pub upstreams: BTreeMap<String, Upstream>,
}

/// How the gateway listens and what it bears.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The address for calls. Default: `127.0.0.1:8080`.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub listen: SocketAddr,
    /// The address of the admin API. Default: `127.0.0.1:8081`.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub admin: SocketAddr,
    /// Names under which the admin API may be addressed, besides loopback names and its own address. Default: none.
    pub admin_hosts: Vec<String>,
    /// After a signal to stop, calls under way may take so long. Default: 30 s.
    #[serde(with = "stormproof_core::time::duration")]
    #[cfg_attr(feature = "schema", schemars(with = "stormproof_core::time::duration::Written"))]
    pub drain_timeout: Duration,
    /// A connection must bring the whole header of its next request within this time; an idle one is closed after it,
    /// too. Default: 30 s.
    #[serde(with = "stormproof_core::time::duration")]
    #[cfg_attr(feature = "schema", schemars(with = "stormproof_core::time::duration::Written"))]
    pub header_timeout: Duration,
    /// A client that sends nothing of a body, or takes nothing of an answer, for so long is hung up on. A body that is
    /// received before the call must come as a whole within this time. Default: 60 s.
    #[serde(with = "stormproof_core::time::duration")]
    #[cfg_attr(feature = "schema", schemars(with = "stormproof_core::time::duration::Written"))]
    pub client_timeout: Duration,
    /// The largest header of a request: 8192 to 1048576. Default: 65536.
    #[cfg_attr(feature = "schema", schemars(range(min = 8_192, max = 1_048_576)))]
    pub max_header_bytes: usize,
    /// Connections of clients at a time; more wait to be accepted. Default: 10000.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    pub max_connections: usize,
    /// The body of a request is kept for a retry up to this size; a call with a larger one is not retried. At most
    /// 67108864; default: 1048576.
    #[cfg_attr(feature = "schema", schemars(range(max = 67_108_864)))]
    pub max_replay_bytes: usize,
    /// Of events that calls cause, such as refusals, the log has the first of a kind and policy, and then one line so
    /// often, which says how many followed. Zero logs each of them. Default: 10 s.
    #[serde(with = "stormproof_core::time::duration")]
    #[cfg_attr(feature = "schema", schemars(with = "stormproof_core::time::duration::Written"))]
    pub log_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin: SocketAddr::from(([127, 0, 0, 1], 8081)),
            admin_hosts: Vec::new(),
            drain_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(30),
            client_timeout: Duration::from_secs(60),
            max_header_bytes: 64 << 10,
            max_connections: 10_000,
            max_replay_bytes: 1 << 20,
            log_interval: Duration::from_secs(10),
        }
    }
}

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

impl Config {
    /// Reads a file's text.
    ///
    /// # Errors
    /// All mistakes, with line and column.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        Reader::new().policies(POLICIES).read(text, Self::validate)
    }

    /// The same with what the environment says, for a gateway whose admin API has a token or has none, which is a mistake
    /// where others can reach it.
    ///
    /// # Errors
    /// All mistakes, with line and column, or with the variable.
    pub fn parse_with(text: &str, has_token: bool, environment: &Environment) -> Result<Self, Vec<Mistake>> {
        Reader::new().policies(POLICIES).environment(environment).read(text, |config: &Self| {
            let mut found = config.validate();
            let admin = config.gateway.admin;
            if !has_token && !admin.ip().is_loopback() {
                let allowed = "a loopback address, or any with the environment variable STORMPROOF_ADMIN_TOKEN set";
                found.push(Invalid::new(
                    "gateway.admin",
                    format!("{admin}, open to everybody who reaches it"),
                    allowed,
                ));
            }
            found
        })
    }

    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut found = self.gateway.validate();
        if self.upstreams.is_empty() {
            found.push(Invalid::new("upstreams", "empty", "at least one table [upstreams.NAME]"));
        }
        for (name, upstream) in &self.upstreams {
            let path = format!("upstreams.{name}");
            if !is_name(name) {
                found.push(Invalid::new(&*path, format!("{name:?}"), "a name of letters, digits, `-` and `_`"));
            }
            found.extend(upstream.validate().into_iter().map(|mut mistake| {
                mistake.field = format!("{path}.{}", mistake.field);
                mistake
            }));
        }
        found
    }
}

/// The JSON Schema of the configuration file.
#[cfg(feature = "schema")]
pub fn schema() -> serde_json::Value {
    stormproof::schema::of::<Config>(Some(POLICIES), "The gateway of stormproof")
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !name.is_empty() && name.len() <= 64 && name.bytes().all(fits)
}

impl Settings {
    fn validate(&self) -> Vec<Invalid> {
        let mut found = Vec::new();
        let mut check = |valid: bool, field: &str, value: String, allowed| {
            if !valid {
                found.push(Invalid::new(format!("gateway.{field}"), value, allowed));
            }
        };
        check(
            !overlap(self.listen, self.admin),
            "admin",
            self.admin.to_string(),
            "an address apart from that of `listen`",
        );
        for (field, limit) in [("header_timeout", self.header_timeout), ("client_timeout", self.client_timeout)] {
            check(!limit.is_zero(), field, format!("{limit:?}"), "more than zero");
        }
        let header = self.max_header_bytes;
        check((8 << 10..=1 << 20).contains(&header), "max_header_bytes", header.to_string(), "8192 to 1048576");
        let replay = self.max_replay_bytes;
        check(replay <= 64 << 20, "max_replay_bytes", replay.to_string(), "0 to 67108864");
        let most = self.max_connections;
        check((1..=1_000_000).contains(&most), "max_connections", most.to_string(), "1 to 1000000");
        for host in &self.admin_hosts {
            let named = host.parse::<http::uri::Authority>().is_ok_and(|name| name.as_str() == name.host());
            check(named, "admin_hosts", format!("{host:?}"), "names of hosts, without a port");
        }
        found
    }
}

/// Whether both cannot be listened on at once.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    // Every address of the other's family; that of IPv6 takes those of IPv4 with it.
    let covers =
        |wide: SocketAddr, narrow: SocketAddr| wide.ip().is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4());
    let same_port = one.port() == other.port() && one.port() != 0;
    same_port && (one.ip() == other.ip() || covers(one, other) || covers(other, one))
}

impl Upstream {
    fn validate(&self) -> Vec<Invalid> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Vec<String> {
        Config::parse(text).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_sample_is_valid_and_its_comments_are_the_defaults() {
        let sample = include_str!("../../../stormproof.sample.toml");
        let written = Config::parse(sample).unwrap();
        assert_eq!(written.upstreams.len(), 2);
        assert_eq!(written.gateway, Settings::default());

        let uncomment = |line: &str| {
            let setting = line.strip_prefix("# ").filter(|rest| rest.split(' ').nth(1) == Some("="));
            setting.unwrap_or(line).to_owned()
        };
        let everything: Vec<_> = sample.lines().map(uncomment).collect();
        let full = Config::parse(&everything.join("\n")).unwrap();
        assert_eq!(full.gateway, Settings::default());
        let (openai, default) = (&full.upstreams["openai"], Upstream::default());
        assert_eq!((openai.response_timeout, openai.stall_timeout), (default.response_timeout, default.stall_timeout));
        let breaker = openai.policy.breaker.clone().unwrap();
        assert_eq!(breaker.half_open_timeout, Some(breaker.open_duration));
        assert_eq!(breaker.max_open_duration, Some(breaker.open_duration * 10));
        let rest = stormproof::breaker::Config { half_open_timeout: None, max_open_duration: None, ..breaker };
        assert_eq!(rest, stormproof::breaker::Config::default());
    }

    #[test]
    fn a_file_that_says_nothing_lacks_upstreams() {
        assert_eq!(shown(""), ["1:1: upstreams: is empty, allowed is at least one table [upstreams.NAME]"]);
    }

    #[test]
    fn addresses_are_judged_without_being_shown() {
        let url = |url: &str| shown(&format!("[upstreams.a]\nurl = {url:?}\n"));
        for good in ["http://127.0.0.1:9000", "https://api.example.com/v1/", "http://[::1]:80"] {
            assert_eq!(url(good), Vec::<String>::new(), "{good}");
        }
        for bad in [
            "",
            "x",
            "/path",
            "ftp://host",
            "http://",
            "http://user:secret@host",
            "http://host?key=secret",
            "http://h:99999",
            "http://h:x",
            "http://h/#part",
            "http:// h",
            "//host",
            "http://:80",
        ] {
            let found = url(bad);
            assert!(found.len() == 1 && found[0].starts_with("2:7: upstreams.a.url: is "), "{bad}: {found:?}");
            assert!(!found[0].contains("secret"), "{found:?}");
        }
        assert!(shown("[upstreams.a]")[0].starts_with("1:12: upstreams.a.url: is missing"));
    }

    #[test]
    fn an_admin_api_for_everybody_needs_a_token() {
        let with = |admin: &str, token| {
            let text = format!("[gateway]\nadmin = '{admin}'\n[upstreams.a]\nurl = 'http://h'\n");
            Config::parse_with(&text, token, &Environment::none())
                .err()
                .unwrap_or_default()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(with("[::1]:8081", false), Vec::<String>::new());
        assert_eq!(with("0.0.0.0:8081", true), Vec::<String>::new());
        let found = with("0.0.0.0:8081", false);
        assert!(found.len() == 1 && found[0].starts_with("2:9: gateway.admin: is 0.0.0.0:8081, open to"), "{found:?}");
        assert!(found[0].contains("STORMPROOF_ADMIN_TOKEN"), "{found:?}");
    }

    #[test]
    fn the_two_addresses_do_not_overlap() {
        let overlapping = |one: &str, other: &str| overlap(one.parse().unwrap(), other.parse().unwrap());
        for (one, other) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("127.0.0.1:1", "[::]:1"),
            ("[::1]:1", "[::]:1"),
        ] {
            assert!(overlapping(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("0.0.0.0:1", "127.0.0.1:2"),
            ("127.0.0.1:1", "127.0.0.2:1"),
            ("0.0.0.0:1", "[::1]:1"),
        ] {
            assert!(!overlapping(one, other), "{one} {other}");
        }
    }

    #[test]
    fn what_could_never_take_effect_is_a_mistake() {
        let policy = |policy: &str| shown(&format!("[upstreams.a]\nurl = 'http://h'\n[upstreams.a.policy]\n{policy}"));
        let found = policy("deadline = 1\nattempt_timeout = 2\n");
        assert_eq!(found, ["5:19: upstreams.a.policy.attempt_timeout: is 2s, allowed is no longer than `deadline`"]);
        let found = policy("retry = { retry_on = ['ServerEror'], never_on = ['503'] }\nbreaker.ignore = ['x']\n");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("retry_on: is \"ServerEror\", allowed is ConnectionError, TimeoutError,"),
            "{found:?}"
        );
        let found = policy("retry = { retry_on = ['503'], never_on = ['503'] }\n");
        assert!(found.len() == 1 && found[0].contains("`never_on`"), "{found:?}");
        let known = "'TimeoutError.Stalled', 'ConnectionError', 'RateLimitError.429', 'ConnectionReset', 'ClientError'";
        assert_eq!(policy(&format!("retry = {{ retry_on = [{known}] }}\n")), Vec::<String>::new());
    }

    #[test]
    fn a_token_limit_that_nothing_charges_is_refused() {
        let found = shown("[upstreams.a]\nurl = 'http://h'\n[upstreams.a.policy.tokens]\nrate = 5\n");
        assert!(found[0].starts_with("3:21: upstreams.a.policy.tokens: is set, allowed is nothing"), "{found:?}");
    }

    #[test]
    fn a_policy_may_start_from_a_preset_and_the_environment_has_a_say() {
        let text = "[upstreams.a]\nurl = 'http://h'\n[upstreams.a.policy]\npreset = 'aragora.grok'\ndeadline = 5\n";
        let environment = Environment::of([
            ("ARAGORA_CB_FAILURE_THRESHOLD", "8"),
            ("STORMPROOF_UPSTREAMS__A__URL", "http://elsewhere"),
            ("STORMPROOF_GATEWAY__MAX_CONNECTIONS", "5"),
        ]);
        let config = Config::parse_with(text, false, &environment).unwrap();
        let policy = &config.upstreams["a"].policy;
        assert_eq!(policy.breaker.as_ref().unwrap().trip, [stormproof::Trip::consecutive(8)]);
        assert_eq!(policy.deadline, Some(Duration::from_secs(5)));
        assert_eq!((config.gateway.max_connections, config.upstreams["a"].url.as_str()), (5, "http://elsewhere"));
        let environment = Environment::of([("STORMPROOF_UPSTREAMS__A__URL", "http://user:secret@h")]);
        let found = Config::parse_with(text, false, &environment).unwrap_err();
        let shown = found[0].to_string();
        assert!(
            shown.starts_with("STORMPROOF_UPSTREAMS__A__URL: upstreams.a.url: is not valid, allowed is"),
            "{shown}"
        );
    }

    /// Arbitrary text, and the sample with a few of its words in other places.
    fn any_text() -> impl Strategy<Value = String> {
        let sample = include_str!("../../../stormproof.sample.toml").replace("\n# ", "\n");
        let words: Vec<String> = sample.split_inclusive([' ', '\n', '.', '"']).map(str::to_owned).collect();
        let moved = prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..8);
        let shuffled = moved.prop_map(move |moved| {
            let mut words = words.clone();
            for (one, other) in moved {
                let (one, other) = (one.index(words.len()), other.index(words.len()));
                words.swap(one, other);
            }
            words.concat()
        });
        prop_oneof![any::<String>(), shuffled]
    }

    proptest! {
        #[test]
        fn any_text_is_a_gateway_or_mistakes_within_it(text in any_text(), has_token in any::<bool>()) {
            if let Err(found) = Config::parse_with(&text, has_token, &Environment::none()) {
                prop_assert!(!found.is_empty());
                for mistake in found {
                    prop_assert!((1..=text.split('\n').count()).contains(&mistake.line), "{mistake}");
                }
            }
        }
    }
}

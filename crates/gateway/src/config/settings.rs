//! The table `[gateway]`: how the gateway listens and what it bears.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use stormproof::Invalid;

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

impl Settings {
    pub(super) fn validate(&self) -> Vec<Invalid> {
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
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    // Every address of the other's family; that of IPv6 takes those of IPv4 with it.
    let covers =
        |wide: SocketAddr, narrow: SocketAddr| wide.ip().is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4());
    let same_port = one.port() == other.port() && one.port() != 0;
    same_port && (one.ip() == other.ip() || covers(one, other) || covers(other, one))
}

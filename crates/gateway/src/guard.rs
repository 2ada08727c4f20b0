//! Who may use the admin API: not a web page, and from elsewhere only who has the token.

use std::net::{IpAddr, SocketAddr};

use http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Uri};

/// What is allowed.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    address: SocketAddr,
    hosts: Vec<String>,
    token: Option<String>,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barred {
    Host,
    Origin,
    Token,
}

impl Guard {
    pub(crate) fn new(address: SocketAddr, hosts: Vec<String>, token: Option<String>) -> Self {
        Self { address, hosts, token }
    }

    /// Judges a request. `public` is for what may be seen without the token.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap, public: bool) -> Result<(), Barred> {
        let host = self.host(uri, headers).ok_or(Barred::Host)?;
        if let Some(origin) = single(headers, &ORIGIN).map_err(|()| Barred::Origin)? {
            let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if !authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str())) {
                return Err(Barred::Origin);
            }
        }
        match &self.token {
            Some(token) if !public => {
                let given = single(headers, &AUTHORIZATION).ok().flatten().and_then(|value| value.split_once(' '));
                let is_token = |(scheme, given): (&str, &str)| {
                    scheme.eq_ignore_ascii_case("bearer") && is_same(given.as_bytes(), token.as_bytes())
                };
                if given.is_some_and(is_token) { Ok(()) } else { Err(Barred::Token) }
            }
            _ => Ok(()),
        }
    }

    /// The host that was asked for, if it is one of ours: a name of somebody else that leads here is an attack.
    fn host(&self, uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
        let named = single(headers, &HOST).ok()?.map(str::parse::<Authority>).transpose().ok()?;
        let authority = match (uri.authority(), named) {
            (Some(target), Some(named)) if *target != named => return None,
            (Some(target), _) => target.clone(),
            (None, named) => named?,
        };
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let allowed = match host.parse::<IpAddr>() {
            // An address is no name that somebody could let point here.
            Ok(ip) => ip.is_loopback() || ip == self.address.ip() || !self.address.ip().is_loopback(),
            Err(_) => {
                host.eq_ignore_ascii_case("localhost")
                    || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
            }
        };
        allowed.then_some(authority)
    }
}

/// The value of a header that may stand there once.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(drop),
        _ => Err(()),
    }
}

/// Compares in a time that does not depend on where the first difference is.
fn is_same(given: &[u8], secret: &[u8]) -> bool {
    let mut difference = u8::from(given.len() != secret.len());
    for (at, byte) in given.iter().enumerate() {
        difference |= std::hint::black_box(byte ^ secret[at % secret.len().max(1)]);
    }
    std::hint::black_box(difference) == 0 && !secret.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(guard: &Guard, headers: &[(&'static str, &str)]) -> Result<(), Barred> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        guard.check(&Uri::from_static("/metrics"), &map, false)
    }

    fn guard(address: &str, token: Option<&str>) -> Guard {
        Guard::new(address.parse().unwrap(), vec!["gateway.internal".into()], token.map(Into::into))
    }

    #[test]
    fn only_names_of_our_own_are_served() {
        let local = guard("127.0.0.1:8081", None);
        for host in ["127.0.0.1:8081", "localhost:8081", "LOCALHOST", "[::1]:8081", "127.9.9.9", "gateway.internal:1"] {
            assert_eq!(check(&local, &[("host", host)]), Ok(()), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "10.0.0.1", "user@localhost", "127.0.0.1.evil.example", ""]
        {
            assert_eq!(check(&local, &[("host", host)]), Err(Barred::Host), "{host}");
        }
        assert_eq!(check(&local, &[]), Err(Barred::Host));
        assert_eq!(check(&local, &[("host", "localhost"), ("host", "localhost")]), Err(Barred::Host));
    }

    #[test]
    fn pages_of_other_origins_are_not_let_in() {
        let local = guard("127.0.0.1:8081", None);
        let from = |origin| check(&local, &[("host", "localhost:8081"), ("origin", origin)]);
        assert_eq!(from("http://localhost:8081"), Ok(()));
        for origin in
            ["http://localhost:3000", "http://evil.example", "null", "http://127.0.0.1:8081", "localhost:8081"]
        {
            assert_eq!(from(origin), Err(Barred::Origin), "{origin}");
        }
    }

    #[test]
    fn the_token_is_asked_for_where_there_is_one() {
        let public = guard("0.0.0.0:8081", Some("secret"));
        let with = |value| check(&public, &[("host", "192.168.1.5:8081"), ("authorization", value)]);
        assert_eq!((with("Bearer secret"), with("bearer secret")), (Ok(()), Ok(())));
        for value in ["Bearer secre", "Bearer secrets", "Bearer ", "secret", "Basic secret", "Bearer secretsecret"] {
            assert_eq!(with(value), Err(Barred::Token), "{value}");
        }
        assert_eq!(check(&public, &[("host", "192.168.1.5")]), Err(Barred::Token));
        assert_eq!(check(&public, &[("host", "evil.example"), ("authorization", "Bearer secret")]), Err(Barred::Host));
    }
}

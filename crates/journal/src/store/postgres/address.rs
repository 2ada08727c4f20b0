//! The address of a journal in PostgreSQL: what libpq reads, and how many connections and how much patience there are.

use std::time::Duration;

use tokio_postgres::config::{Config, Host, SslMode};

use crate::error::OpenError;
use crate::store::dispatch::without_password;

/// What an address says.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) config: Config,
    pub(crate) tls: Tls,
    /// `pool`: connections for the journal's questions, and as many again for `commit`. Default: 4.
    pub(crate) pool: usize,
    /// `timeout`, in seconds: how long one question, and all tries of it together, may take. Default: 10 s.
    pub(crate) timeout: Duration,
    /// Host and database, to be shown.
    pub(crate) shown: Box<str>,
}

/// `sslmode`, as libpq means it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Never.
    Disable,
    /// If the server offers it; whoever it is.
    Prefer,
    /// Always; whoever it is.
    Require,
    /// Always, and the certificate is checked against the system's roots and the host's name.
    VerifyFull,
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, OpenError> {
        let because = |why: String| OpenError::Address { url: without_password(url).into(), why: why.into() };
        let wrong = || because(String::new());
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(wrong());
        }
        let (address, parameters) = url.split_once('?').unwrap_or((url, ""));
        let (mut pool, mut timeout, mut tls) = (4, 10, Tls::Prefer);
        let mut others = String::new();
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let not = |allowed: &str| because(format!("{}: {allowed}", name_of(parameter)));
            match parameter.split_once('=').ok_or_else(|| not("a parameter is NAME=VALUE"))? {
                ("pool", value) => pool = number(value).ok_or_else(|| not("1 to 1000 connections"))?,
                ("timeout", value) => timeout = number(value).ok_or_else(|| not("1 to 1000 seconds"))?,
                ("sslmode", value) => {
                    tls = Tls::parse(value).ok_or_else(|| not("disable, prefer, require or verify-full"))?;
                }
                _ => {
                    others.push(if others.is_empty() { '?' } else { '&' });
                    others.push_str(parameter);
                }
            }
        }
        let mut config: Config = format!("{address}{others}").parse().map_err(|error| because(said(&error)))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host("localhost");
        }
        let timeout = Duration::from_secs(u64::from(timeout));
        config.ssl_mode(match tls {
            Tls::Disable => SslMode::Disable,
            Tls::Prefer => SslMode::Prefer,
            Tls::Require | Tls::VerifyFull => SslMode::Require,
        });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(timeout);
        }
        if config.get_application_name().is_none() {
            config.application_name("stormproof");
        }
        config.tcp_user_timeout(timeout);
        let shown = shown(&config).into();
        Ok(Self { config, tls, pool: usize::from(pool), timeout, shown })
    }
}

impl Tls {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "disable" => Some(Self::Disable),
            "prefer" | "allow" => Some(Self::Prefer),
            "require" => Some(Self::Require),
            "verify-full" => Some(Self::VerifyFull),
            _ => None,
        }
    }
}

/// The name of a parameter: its value may be a password.
fn name_of(parameter: &str) -> &str {
    parameter.split('=').next().unwrap_or_default()
}

/// What is wrong, by name: the source of such an error names a parameter or says what was expected, and no value.
fn said(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(String::new, ToString::to_string)
}

fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|number| (1..=1_000).contains(number))
}

fn shown(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => config.get_hostaddrs().first().map(ToString::to_string).unwrap_or_default(),
    };
    let port = match config.get_ports().first() {
        Some(5432) | None => String::new(),
        Some(port) => format!(":{port}"),
    };
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("postgres://{host}{port}/{database}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_has_defaults_and_may_say_otherwise() {
        let address = Address::parse("postgres://me:secret@db.example/agents").unwrap();
        assert_eq!((address.pool, address.timeout, address.tls), (4, Duration::from_secs(10), Tls::Prefer));
        assert_eq!(&*address.shown, "postgres://db.example/agents");

        let text = "postgresql://me@db:5433/x?pool=9&timeout=2&sslmode=verify-full&application_name=mine";
        let address = Address::parse(text).unwrap();
        assert_eq!((address.pool, address.timeout, address.tls), (9, Duration::from_secs(2), Tls::VerifyFull));
        assert_eq!(address.config.get_application_name(), Some("mine"));
        assert_eq!(&*address.shown, "postgres://db:5433/x");
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let said = |text: &str| Address::parse(text).unwrap_err().to_string();
        assert!(said("postgres://db/x?pool=many").contains("(pool: 1 to 1000 connections)"));
        assert!(said("postgres://db/x?nonsense=1").contains("nonsense"));
    }

    #[test]
    fn what_is_wrong_is_refused_and_the_password_is_not_repeated() {
        for text in [
            "sqlite:agent.db",
            "postgres://me:secret@db/x?pool=0",
            "postgres://me:secret@db/x?timeout=soon",
            "postgres://me:secret@db/x?sslmode=verify-ca",
            "postgres://me:secret@db/x?nonsense=1",
            "postgres://me@db/x?password=secret&nonsense=1",
            "postgres://me:secret@db:port/x",
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(postgres://)?[a-z:@/?&=%0-9.]{0,40}") {
            let _ = Address::parse(&text);
        }
    }
}

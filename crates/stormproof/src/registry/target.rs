//! Names from addresses: what of a URL says whom one talks to, and nothing that is secret.

use std::net::Ipv6Addr;

/// Why a text names no target. The text itself is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address such as https://agent-1:8080/path: {0}")]
pub struct NoTarget(&'static str);

/// The target of a URL as `scheme://host:port`: lower case, without the port that the scheme has anyway, without user,
/// password, path, query and fragment.
///
/// ```
/// use stormproof::registry::target;
///
/// assert_eq!(target("HTTPS://user:secret@Agent-1.Example:443/a2a?key=secret").as_deref(), Ok("https://agent-1.example"));
/// assert_eq!(target("http://[::1]:8080").as_deref(), Ok("http://[::1]:8080"));
/// assert!(target("agent-1").is_err());
/// ```
///
/// # Errors
/// What is missing or not allowed.
pub fn target(url: &str) -> Result<String, NoTarget> {
    let (scheme, rest) = url.trim().split_once("://").ok_or(NoTarget("no scheme"))?;
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(letters) {
        return Err(NoTarget("no scheme"));
    }
    let scheme = scheme.to_ascii_lowercase();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // What reads a backslash as a slash would see another host than we do.
    if authority.contains(|c: char| c == '\\' || c.is_whitespace() || c.is_control()) {
        return Err(NoTarget("a character that cannot stand in a host"));
    }
    let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
    let (host, port) = match address.strip_prefix('[').and_then(|address| address.split_once(']')) {
        Some((ip, "")) => (ipv6(ip)?, None),
        Some((ip, port)) => (ipv6(ip)?, Some(port.strip_prefix(':').ok_or(NoTarget("no port behind the host"))?)),
        None => match address.split_once(':') {
            Some((host, port)) => (name(host)?, Some(port)),
            None => (name(address)?, None),
        },
    };
    let port = match port {
        None | Some("") => None,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(port.parse::<u16>().map_err(|_| NoTarget("a port above 65535"))?)
        }
        Some(_) => return Err(NoTarget("a port that is no number")),
    };
    match port.filter(|port| usual_port(&scheme) != Some(*port)) {
        Some(port) => Ok(format!("{scheme}://{host}:{port}")),
        None => Ok(format!("{scheme}://{host}")),
    }
}

fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

fn ipv6(text: &str) -> Result<String, NoTarget> {
    let ip: Ipv6Addr = text.parse().map_err(|_| NoTarget("no IPv6 address between the brackets"))?;
    Ok(format!("[{ip}]"))
}

/// A host's name or IPv4 address; a dot at its end means the same as none.
fn name(host: &str) -> Result<String, NoTarget> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.split('.').any(str::is_empty) {
        return Err(NoTarget(if host.is_empty() { "no host" } else { "a host with an empty part" }));
    }
    if !host.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_')) {
        return Err(NoTarget("a character that cannot stand in a host"));
    }
    Ok(host.to_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::target;

    #[test]
    fn the_same_target_has_one_name() {
        for same in [
            "http://agent",
            "HTTP://Agent/",
            "http://agent:80/x",
            "http://agent.",
            "http://u:p@agent?q#f",
            " http://agent: ",
        ] {
            assert_eq!(target(same).as_deref(), Ok("http://agent"), "{same}");
        }
        assert_eq!(target("http://agent:443").as_deref(), Ok("http://agent:443"));
        assert_eq!(target("grpc://[0:0::1]:1").as_deref(), Ok("grpc://[::1]:1"));
        assert_eq!(target("http://a@b@agent").as_deref(), Ok("http://agent"));
    }

    #[test]
    fn what_names_no_target_is_said_without_repeating_it() {
        for bad in [
            "",
            "agent",
            "://agent",
            "http://",
            "http://:80",
            "http://a b",
            "http://x\\@y",
            "http://a:secret",
            "http://a:70000",
            "http://[::1",
            "http://[x]",
            "1http://a",
            "http://[::1]80",
        ] {
            let error = target(bad).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_a_name_names_itself(text in ".*", host in "[a-z0-9.-]{1,9}", port in any::<u16>()) {
            let _ = target(&text);
            if let Ok(name) = target(&format!("https://user:secret@{host}:{port}/?token=secret")) {
                prop_assert!(!name.contains("secret"));
                prop_assert_eq!(target(&name), Ok(name.clone()));
            }
        }
    }
}

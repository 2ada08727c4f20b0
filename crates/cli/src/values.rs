//! The values of options: what one may be is said where it is none, as for a setting in a file.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

/// Where to listen.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let allowed = "allowed is an IP address with a port from 0 to 65535, such as 127.0.0.1:8080 or [::1]:8080";
    text.parse().map_err(|_| allowed.to_owned())
}

/// A length of time.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "allowed is a duration such as 250ms, 30s or \"1h 30m\"".to_owned())
}

/// A whole number without a sign, such as `u32`.
pub(crate) fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    let bytes = size_of::<T>().min(8);
    let most = u64::MAX >> (64 - 8 * bytes.max(1));
    text.parse().map_err(|_| format!("allowed is a whole number from 0 to {most}"))
}

/// A number with or without a point.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "allowed is a number, such as 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_none_says_what_is_allowed() {
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert!(address("127.0.0.1:80").is_ok());
        assert!(address("127.0.0.1:99999").is_err_and(|why| why.contains("a port from 0 to 65535")));
        assert!(duration("soon").is_err_and(|why| why.starts_with("allowed is a duration such as ")));
        assert_eq!(whole::<u32>("7"), Ok(7));
        assert_eq!(whole::<u32>("-1"), Err("allowed is a whole number from 0 to 4294967295".to_owned()));
        assert_eq!(whole::<u64>("x"), Err(format!("allowed is a whole number from 0 to {}", u64::MAX)));
        assert_eq!(number("x"), Err("allowed is a number, such as 0.5".to_owned()));
    }
}

//! The header `Retry-After`, in both its forms (RFC 9110, section 10.2.3).

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// How long the server asks to wait, as seen at `now`: a number of seconds, or a date. A date that is past is zero; what
/// is neither form is nothing.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use stormproof_http::retry_after;
///
/// let now = httpdate::parse_http_date("Wed, 21 Oct 2026 07:28:00 GMT").unwrap();
/// assert_eq!(retry_after::parse("120", now), Some(Duration::from_secs(120)));
/// assert_eq!(retry_after::parse("Wed, 21 Oct 2026 07:28:30 GMT", now), Some(Duration::from_secs(30)));
/// assert_eq!(retry_after::parse("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::ZERO));
/// assert_eq!(retry_after::parse("soon", now), None);
/// ```
pub fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if value.is_empty() {
        return None;
    }
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More seconds than can be counted are still a wait without end, not an error.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The same from the headers of an answer; the longest if there are several.
pub fn from_headers(headers: &HeaderMap, now: impl Fn() -> SystemTime) -> Option<Duration> {
    let values = headers.get_all(RETRY_AFTER).iter();
    values.filter_map(|value| parse(value.to_str().ok()?, now())).max()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_three_forms_of_a_date_are_read() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 5);
        for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse(date, now), Some(Duration::from_secs(5)), "{date}");
        }
    }

    #[test]
    fn what_is_neither_form_is_nothing() {
        for value in ["", " ", "-1", "1.5", "+3", "3s", "inf", "NaN", "1, 2", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(parse(value, SystemTime::UNIX_EPOCH), None, "{value:?}");
        }
        assert_eq!(parse(&"9".repeat(40), SystemTime::UNIX_EPOCH), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(parse(" 7 ", SystemTime::UNIX_EPOCH), Some(Duration::from_secs(7)));
    }

    #[test]
    fn the_longest_of_several_holds() {
        let mut headers = HeaderMap::new();
        assert_eq!(from_headers(&headers, SystemTime::now), None);
        for value in ["1", "nonsense", "9", "3"] {
            headers.append(RETRY_AFTER, value.parse().unwrap());
        }
        assert_eq!(from_headers(&headers, SystemTime::now), Some(Duration::from_secs(9)));
    }

    proptest! {
        #[test]
        fn no_value_panics(value in ".*", seconds in any::<u32>()) {
            let _ = parse(&value, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into()));
        }

        #[test]
        fn no_headers_panic_and_none_shortens_the_wait(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..4),
            seconds in any::<u32>(),
        ) {
            let mut headers = HeaderMap::new();
            headers.append(RETRY_AFTER, seconds.into());
            for value in values.into_iter().filter_map(|bytes| http::HeaderValue::from_bytes(&bytes).ok()) {
                headers.append(RETRY_AFTER, value);
            }
            prop_assert!(from_headers(&headers, SystemTime::now) >= Some(Duration::from_secs(seconds.into())));
        }
    }
}

//! How long a server asks to wait: the header `Retry-After` in both its forms (RFC 9110, section 10.2.3), and what
//! providers send besides: fractions of a second in it, and milliseconds in `retry-after-ms`.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{HeaderName, RETRY_AFTER};

/// The value of a `Retry-After`, as seen at `now`: a number of seconds, which may have a fraction, or a date. A date that
/// is past is zero; what is neither form is nothing.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use stormproof_http::retry_after;
///
/// let now = httpdate::parse_http_date("Wed, 21 Oct 2026 07:28:00 GMT").unwrap();
/// assert_eq!(retry_after::parse("120", now), Some(Duration::from_secs(120)));
/// assert_eq!(retry_after::parse("1.5", now), Some(Duration::from_millis(1_500)));
/// assert_eq!(retry_after::parse("Wed, 21 Oct 2026 07:28:30 GMT", now), Some(Duration::from_secs(30)));
/// assert_eq!(retry_after::parse("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::ZERO));
/// assert_eq!(retry_after::parse("soon", now), None);
/// ```
pub fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    if let Some(wait) = number(value, Duration::from_secs(1)) {
        return Some(wait);
    }
    let date = httpdate::parse_http_date(value.trim()).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Reads a number of `unit`s: digits, and a fraction behind a point, to the nanosecond. A number that is too large to count
/// is a wait without end.
fn number(value: &str, unit: Duration) -> Option<Duration> {
    let (whole, fraction) = value.trim().split_once('.').unwrap_or((value.trim(), "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u128 = whole.parse().unwrap_or(u128::MAX);
    let billionths: u128 = format!("{fraction:0<9.9}").parse().ok()?;
    let unit = unit.as_nanos();
    let nanos = unit.saturating_mul(whole).saturating_add(unit * billionths / 1_000_000_000);
    let rest = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
    Some(u64::try_from(nanos / 1_000_000_000).map_or(Duration::MAX, |seconds| Duration::new(seconds, rest)))
}

/// How long the headers of an answer ask to wait: `retry-after-ms` if it is there and can be read, as it is the more exact
/// one, else `Retry-After`. The longest if there are several.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use http::HeaderMap;
/// use stormproof_http::retry_after;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("retry-after", "2".parse().unwrap());
/// headers.insert("retry-after-ms", "1250".parse().unwrap());
/// assert_eq!(retry_after::from_headers(&headers, SystemTime::now), Some(Duration::from_millis(1_250)));
/// ```
pub fn from_headers(headers: &HeaderMap, now: impl Fn() -> SystemTime) -> Option<Duration> {
    let longest = |name: HeaderName, read: &dyn Fn(&str) -> Option<Duration>| {
        headers.get_all(name).iter().filter_map(|value| read(value.to_str().ok()?)).max()
    };
    longest(HeaderName::from_static("retry-after-ms"), &|value| number(value, Duration::from_millis(1)))
        .or_else(|| longest(RETRY_AFTER, &|value| parse(value, now())))
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
        for value in [
            "",
            " ",
            "-1",
            ".5",
            "1.",
            "1.2.3",
            "1e3",
            "+3",
            "3s",
            "inf",
            "NaN",
            "1, 2",
            "Sun, 99 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse(value, SystemTime::UNIX_EPOCH), None, "{value:?}");
        }
        assert!(parse(&"9".repeat(40), SystemTime::UNIX_EPOCH) > Some(Duration::from_secs(100 * 365 * 86_400)));
        assert_eq!(parse(" 7 ", SystemTime::UNIX_EPOCH), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_fraction_is_read_to_the_nanosecond() {
        for (value, nanos) in [("0.5", 500_000_000), ("1.000000001", 1_000_000_001), ("2.0000000009", 2_000_000_000)] {
            assert_eq!(parse(value, SystemTime::UNIX_EPOCH), Some(Duration::from_nanos(nanos)), "{value}");
        }
    }

    #[test]
    fn milliseconds_win_if_they_can_be_read() {
        let of = |milliseconds: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, "3".parse().unwrap());
            headers.insert("retry-after-ms", milliseconds.parse().unwrap());
            from_headers(&headers, SystemTime::now)
        };
        assert_eq!(of("1500"), Some(Duration::from_millis(1_500)));
        assert_eq!(of("0.25"), Some(Duration::from_micros(250)));
        assert_eq!(of("5184000000"), Some(Duration::from_secs(60 * 86_400)));
        assert_eq!(of(&"9".repeat(50)), Some(Duration::MAX));
        assert_eq!(of("soon"), Some(Duration::from_secs(3)));
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

    proptest::proptest! {
        #[test]
        fn any_text_is_a_wait_or_nothing_and_numbers_are_read_as_they_are(
            text in ".{0,40}", seconds in 0_u32.., nanos in 1_u32..1_000_000_000,
        ) {
            // No panic, whatever is sent.
            let _ = (parse(&text, SystemTime::UNIX_EPOCH), number(&text, Duration::from_millis(1)));
            let wait = Duration::new(seconds.into(), nanos);
            let spelt = format!("{seconds}.{nanos:09}");
            let spelt = spelt.trim_end_matches('0');
            proptest::prop_assert_eq!(parse(spelt, SystemTime::UNIX_EPOCH), Some(wait));
            proptest::prop_assert_eq!(number(spelt, Duration::from_millis(1)), Some(wait / 1_000));
            proptest::prop_assert_eq!(parse(&format!("-{spelt}"), SystemTime::UNIX_EPOCH), None);
        }
    }
}

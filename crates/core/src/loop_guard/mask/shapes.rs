//! What looks like an id or a time.

use super::Text;

/// Something that looks like an id or a time, and where it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) end: usize,
    /// Whether it can name a thing: a length of time does not.
    pub(super) known: bool,
}

/// The bytes of a field's name.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// What begins at `at`, if nothing it could be the end of stands before it.
pub(super) fn shape(bytes: &[u8], at: usize, kind: Text) -> Option<Shape> {
    if at > 0 && bytes[at - 1].is_ascii_alphanumeric() {
        return None;
    }
    let rest = &bytes[at..];
    let moment = date_or_time(rest).filter(|len| kind == Text::Output || !is_chosen(&rest[..*len]));
    let long = uuid(rest).or(moment).or_else(|| random(rest)).or_else(|| temporary(rest));
    if let Some(len) = long {
        return Some(Shape { end: at + len, known: true });
    }
    if kind == Text::Output && rest[0].is_ascii_digit() && !(at > 0 && bytes[at - 1] == b'.') {
        return length_of_time(rest).map(|len| Shape { end: at + len, known: false });
    }
    None
}

fn count(bytes: &[u8], is: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| is(byte)).count()
}

fn digits(bytes: &[u8], at: usize, len: usize) -> bool {
    bytes.get(at..at + len).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
}

fn ends(bytes: &[u8], at: usize) -> bool {
    !bytes.get(at).is_some_and(u8::is_ascii_alphanumeric)
}

fn uuid(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for (number, len) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if number > 0 {
            if bytes.get(at) != Some(&b'-') {
                return None;
            }
            at += 1;
        }
        if !bytes.get(at..at + len)?.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        at += len;
    }
    ends(bytes, at).then_some(at)
}

/// `2026-03-01`, the same with a time of day and a zone, a time of day alone, or seconds since 1970 and parts of them.
fn date_or_time(bytes: &[u8]) -> Option<usize> {
    let run = count(bytes, u8::is_ascii_digit);
    if run == 4
        && bytes.get(4) == Some(&b'-')
        && digits(bytes, 5, 2)
        && bytes.get(7) == Some(&b'-')
        && digits(bytes, 8, 2)
    {
        let time = matches!(bytes.get(10), Some(b'T' | b't' | b' ')).then(|| time_of_day(bytes.get(11..)?)).flatten();
        let end = time.map_or(10, |len| zone(bytes, 11 + len));
        return ends(bytes, end).then_some(end);
    }
    if run == 2 {
        let len = time_of_day(bytes).filter(|len| *len >= 8)?;
        return Some(zone(bytes, len));
    }
    // From 2001 to 2096, with the number of digits that seconds, milli-, micro- and nanoseconds have.
    if !matches!(run, 10 | 13 | 16 | 19) || !matches!(bytes[0], b'1' | b'2' | b'3') || !ends(bytes, run) {
        return None;
    }
    let fraction = if bytes.get(run) == Some(&b'.') { count(&bytes[run + 1..], u8::is_ascii_digit) } else { 0 };
    let end = if fraction > 0 { run + 1 + fraction } else { run };
    ends(bytes, end).then_some(end)
}

/// `12:30`, `12:30:05`, `12:30:05.250`.
fn time_of_day(bytes: &[u8]) -> Option<usize> {
    if !(digits(bytes, 0, 2) && bytes.get(2) == Some(&b':') && digits(bytes, 3, 2)) {
        return None;
    }
    if !(bytes.get(5) == Some(&b':') && digits(bytes, 6, 2)) {
        return ends(bytes, 5).then_some(5);
    }
    let fraction = match bytes.get(8) {
        Some(b'.' | b',') => count(&bytes[9..], u8::is_ascii_digit),
        _ => 0,
    };
    Some(if fraction > 0 { 9 + fraction } else { 8 })
}

/// Where the zone that may stand at `at` ends.
fn zone(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at) {
        Some(b'Z' | b'z') => at + 1,
        Some(b'+' | b'-') if digits(bytes, at + 1, 2) => {
            let colon = usize::from(bytes.get(at + 3) == Some(&b':'));
            if digits(bytes, at + 3 + colon, 2) { at + 5 + colon } else { at + 3 }
        }
        _ => at,
    }
}

/// Whether a date or a time names a day or an hour, as one that is not the time of the call does: no seconds, or none left.
fn is_chosen(bytes: &[u8]) -> bool {
    let run = count(bytes, u8::is_ascii_digit);
    if run >= 10 {
        // Seconds since 1970, and parts of them: the zeros that are left say how many.
        let digits = std::str::from_utf8(&bytes[..run]).unwrap_or_default();
        let minute = u32::try_from(run - 10).map_or(u64::MAX, |parts| 10_u64.saturating_pow(parts).saturating_mul(60));
        return digits.parse::<u64>().is_ok_and(|moment| moment.is_multiple_of(minute))
            && bytes[run..].iter().all(|byte| matches!(byte, b'.' | b'0'));
    }
    let Some(hour) = bytes.iter().position(|byte| *byte == b':') else { return true };
    let seconds = bytes[hour..].get(4..).filter(|rest| bytes.get(hour + 3) == Some(&b':') && !rest.is_empty());
    let zone = |byte: &u8| matches!(byte, b'Z' | b'z' | b'+' | b'-');
    seconds.is_none_or(|rest| rest.iter().take_while(|byte| !zone(byte)).all(|byte| matches!(byte, b'0' | b'.' | b',')))
}

/// The name of a temporary file or folder, as `mktemp` and Python make it.
fn temporary(bytes: &[u8]) -> Option<usize> {
    let name = bytes.strip_prefix(b"tmp")?;
    let (start, len) = if name.first() == Some(&b'.') { (1, 10) } else { (0, 8) };
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let run = name[start..].iter().take(len + 1).take_while(|byte| is_part(byte)).count();
    let random = name[start..start + run].iter().any(|byte| !byte.is_ascii_lowercase());
    (run == len && random).then_some(3 + start + len)
}

/// Where a number with a fraction ends that begins at `at`: no part of a version, and no part of a word.
pub(super) fn decimal(bytes: &[u8], at: usize) -> Option<usize> {
    if at > 0 && (is_word(bytes[at - 1]) || bytes[at - 1] == b'.') && bytes[at - 1] != b'-' {
        return None;
    }
    let whole = count(&bytes[at..], u8::is_ascii_digit);
    if whole == 0 || bytes.get(at + whole) != Some(&b'.') {
        return None;
    }
    let fraction = count(&bytes[at + whole + 1..], u8::is_ascii_digit);
    let end = at + whole + 1 + fraction;
    let more = bytes
        .get(end)
        .is_some_and(|byte| is_word(*byte) || *byte == b'.' && bytes.get(end + 1).is_some_and(u8::is_ascii_digit));
    (fraction > 0 && !more).then_some(end)
}

/// An address, a hash, a ULID, or a long mixture of letters and digits.
fn random(bytes: &[u8]) -> Option<usize> {
    if bytes[0] == b'0' && bytes.get(1) == Some(&b'x') {
        let hex = count(&bytes[2..], u8::is_ascii_hexdigit);
        return (hex >= 6 && ends(bytes, 2 + hex)).then_some(2 + hex);
    }
    let run = count(bytes, u8::is_ascii_alphanumeric);
    if run < 16 {
        return None;
    }
    let word = &bytes[..run];
    let numbers = word.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = run - numbers;
    let hex = word.iter().all(u8::is_ascii_hexdigit) && numbers > 0 && letters > 0;
    (hex || run >= 20 && numbers >= 4 && letters >= 2).then_some(run)
}

/// `2.31s`, `15 ms`, `3 seconds`.
fn length_of_time(bytes: &[u8]) -> Option<usize> {
    const UNITS: [&str; 15] = [
        "ns",
        "us",
        "ms",
        "s",
        "sec",
        "secs",
        "second",
        "seconds",
        "min",
        "mins",
        "minutes",
        "minute",
        "hours",
        "hour",
        "milliseconds",
    ];
    let mut at = count(bytes, u8::is_ascii_digit);
    if bytes.get(at) == Some(&b'.') {
        at += 1 + count(&bytes[at + 1..], u8::is_ascii_digit);
    }
    at += usize::from(bytes.get(at) == Some(&b' '));
    let unit = count(&bytes[at..], u8::is_ascii_alphanumeric);
    let word = &bytes[at..at + unit];
    UNITS.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes())).then_some(at + unit)
}

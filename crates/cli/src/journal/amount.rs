//! Ages, sizes, counts and foreign text, as people read them.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use stormproof_journal::Millis;

/// The two largest units of a time between two moments: `2h 5m`, `4m 12s`, `850ms`. Less than none is none.
pub(super) fn between(from: Millis, to: Millis) -> String {
    let millis = to.saturating_sub(from).max(0);
    let seconds = millis / 1000;
    let two = |large: i64, unit: &str, small: i64, of: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit} {small}{of}"),
    };
    match seconds {
        0 => format!("{millis}ms"),
        1..60 => format!("{seconds}s"),
        60..3600 => two(seconds / 60, "m", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// The last moment that can be written: the end of the year 9999.
const LAST: Millis = 253_402_300_799_999;

/// A moment as RFC 3339, if it is one of this era.
pub(super) fn moment(at: Millis) -> Option<String> {
    let since = u64::try_from(at).ok().filter(|_| at <= LAST)?;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(since))?;
    Some(humantime::format_rfc3339_millis(time).to_string())
}

/// A size in bytes: `312 B`, `1.2 KiB`, `3.4 MiB`.
pub(super) fn size(bytes: usize) -> String {
    const KIB: usize = 1024;
    let tenths = |unit: usize, name: &str| {
        let tenths = bytes.saturating_mul(10) / unit;
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    };
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..0x10_0000 => tenths(KIB, "KiB"),
        _ => tenths(KIB * KIB, "MiB"),
    }
}

pub(super) fn count(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// Text that somebody else wrote, on one line, at most so many characters, and nothing that a terminal obeys.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let mut line = String::new();
    for (count, character) in text.trim().chars().enumerate() {
        if count == most {
            line.push('…');
            break;
        }
        match character {
            '\n' | '\r' | '\t' => line.push(' '),
            _ if character.is_control() => {
                let _ = write!(line, "{}", character.escape_default());
            }
            _ => line.push(character),
        }
    }
    line
}

/// Rows with columns of one width, two blanks apart. The last column is not padded.
pub(super) fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_its_two_largest_units() {
        let told = |millis: Millis| between(1000, 1000 + millis);
        assert_eq!(
            [0, 850, 1000, 59_999, 60_000, 252_000, 7_500_000, 86_400_000, 180_000_000].map(told),
            ["0ms", "850ms", "1s", "59s", "1m", "4m 12s", "2h 5m", "1d", "2d 2h"]
        );
        assert_eq!(between(5, 0), "0ms", "a clock that was set back");
        assert_eq!(between(i64::MIN, i64::MAX), "106751991167d 7h");
    }

    #[test]
    fn a_moment_outside_the_era_is_none() {
        assert_eq!(moment(1_763_733_000_123).unwrap(), "2025-11-21T13:50:00.123Z");
        assert_eq!(moment(LAST).unwrap(), "9999-12-31T23:59:59.999Z");
        assert_eq!([moment(LAST + 1), moment(i64::MAX), moment(-1)], [None, None, None]);
    }

    #[test]
    fn a_size_has_a_unit() {
        assert_eq!(
            [0, 1023, 1024, 1536, 1 << 20, 7 << 19].map(size),
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "3.5 MiB"]
        );
        assert!(size(usize::MAX).ends_with(" MiB"));
    }

    #[test]
    fn what_others_wrote_stays_on_its_line() {
        assert_eq!(shortened("two\nlines\u{1b}[2J", 100), "two lines\\u{1b}[2J");
        assert_eq!(shortened("äöü", 2), "äö…");
        assert_eq!(shortened("äöü", 3), "äöü");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["RUN", "STATE"], ["ä/1", "ok"], ["long/one", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows), "RUN       STATE\nä/1       ok\nlong/one\n");
    }
}

//! What stands in a state file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stormproof_core::Name;
use stormproof_core::breaker::Saved;

use super::Error;

/// What every state file begins with.
const FORMAT: &str = "stormproof breakers";
/// The present version. A file of a later one is refused, not guessed at.
const VERSION: u64 = 1;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Document {
    format: String,
    version: u64,
    pub(super) breakers: BTreeMap<Name, Kept>,
}

/// A breaker with the time of day when it was last in a registry, in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) saved_at: u64,
    pub(super) breaker: Saved,
}

/// What can be read of any version.
#[derive(Deserialize)]
struct Header {
    format: String,
    version: u64,
}

impl Document {
    pub(super) fn new(breakers: BTreeMap<Name, Kept>) -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, breakers }
    }

    pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Self, Error> {
        let corrupt = |what: String| Error::Corrupt { path: path.to_owned(), what };
        // serde_json names line and column itself.
        let Header { format, version } = serde_json::from_slice(text).map_err(|error| corrupt(error.to_string()))?;
        if format != FORMAT || version == 0 {
            return Err(corrupt(format!("line 1: its format is not {FORMAT:?}")));
        }
        if version > VERSION {
            return Err(Error::Newer { path: path.to_owned(), found: version, known: VERSION });
        }
        serde_json::from_slice(text).map_err(|error| corrupt(error.to_string()))
    }

    pub(super) fn to_text(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Drops what was last seen longer ago than `keep`. A time to come is taken for now: clocks are set.
    pub(super) fn drop_older(&mut self, now: u64, keep: Duration) {
        self.breakers.retain(|_, kept| now.saturating_sub(kept.saved_at) <= keep.as_secs());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stormproof_core::breaker::{Mode, State};
    use stormproof_core::{CircuitBreaker, Instant, Verdict, breaker};

    use super::*;

    fn parse(text: &[u8]) -> Result<Document, Error> {
        Document::parse(Path::new("x.json"), text)
    }

    fn some_breaker() -> Saved {
        let breaker = CircuitBreaker::new("b");
        for _ in 0..5 {
            let mut permit = breaker.admit(Instant::ZERO).unwrap();
            breaker.settle(&mut permit, Instant::ZERO, &Verdict::failure("TimeoutError"));
        }
        breaker.export(Instant::ZERO + Duration::from_secs(18))
    }

    fn document() -> Document {
        Document::new([("openai".into(), Kept { saved_at: 1_700_000_000, breaker: some_breaker() })].into())
    }

    #[test]
    fn the_file_reads_as_documented() {
        let text = String::from_utf8(document().to_text().unwrap()).unwrap();
        let expected = r#"{
  "format": "stormproof breakers",
  "version": 1,
  "breakers": {
    "openai": {
      "saved_at": 1700000000,
      "breaker": {
        "state": "open",
        "remaining": 42.0,
        "opened_in_a_row": 1,
        "mode": null,
        "configured_mode": "normal",
        "generation": 2,
        "consecutive_failures": 5,
        "rules": [
          {
            "rule": {
              "consecutive": 5
            },
            "calls": 5,
            "failures": 5,
            "slow": 0
          }
        ],
        "successes": 0,
        "failures": 5,
        "ignored": 0,
        "refused": 0,
        "stale": 0,
        "opened": 1,
        "would_open": 0,
        "last_cause": "TimeoutError",
        "last_failure_ago": "18s"
      }
    }
  }
}
"#;
        assert_eq!(text, expected);
        assert_eq!(parse(text.as_bytes()), Ok(document()));
    }

    #[test]
    fn a_file_without_the_time_of_the_last_failure_is_read() {
        let text = String::from_utf8(document().to_text().unwrap()).unwrap();
        let former = text.replace(",\n        \"last_failure_ago\": \"18s\"", "");
        assert_ne!(former, text);
        let (read, mut expected) = (parse(former.as_bytes()).unwrap(), some_breaker());
        expected.last_failure_ago = None;
        assert_eq!(read.breakers[&Name::from("openai")].breaker, expected);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        let text = String::from_utf8(document().to_text().unwrap()).unwrap();
        let told = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
        let advice = "delete it or move it away to start without it, it was left as it is";
        assert_eq!(
            told(&text.replace("1700000000", "-1")),
            format!(
                "x.json is not a readable state file: invalid value: integer `-1`, expected u64 at line 6 column 20; {advice}"
            )
        );
        assert_eq!(
            told(&text.replace("\"version\": 1", "\"version\": 2")),
            format!(
                "x.json has the format version 2, this program knows 1: run the version that wrote it, or {advice}"
            )
        );
        for other in ["", "{}", "[]", "null", r#"{"format":"x","version":1}"#, &text[..text.len() / 2]] {
            assert!(matches!(parse(other.as_bytes()), Err(Error::Corrupt { .. })), "{other}");
        }
    }

    #[test]
    fn the_old_goes_and_a_time_to_come_is_now() {
        let hours = |n: u64| n * 3_600;
        let kept = |saved_at| Kept { saved_at, breaker: Saved::default() };
        let ages = [("fresh", 100), ("edge", 28), ("old", 27), ("to come", 200)];
        let mut document = Document::new(ages.map(|(name, at)| (name.into(), kept(hours(at)))).into());
        document.drop_older(hours(100), Duration::from_secs(hours(72)));
        assert_eq!(document.breakers.keys().map(Name::as_str).collect::<Vec<_>>(), ["edge", "fresh", "to come"]);
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![0..99_u64, any::<u64>()]
    }

    fn saved() -> impl Strategy<Value = Saved> {
        let state = prop_oneof![Just(State::Closed), Just(State::Open), Just(State::HalfOpen)];
        let mode = prop::option::of(prop_oneof![Just(Mode::Normal), Just(Mode::ForcedOpen), Just(Mode::Disabled)]);
        let counts = (any::<u32>(), any::<u32>(), any::<u32>());
        (state, 0..9_000_000_u64, mode, prop::array::uniform7(number()), counts, prop::option::of(".*")).prop_map(
            |(state, ms, mode, n, (calls, failures, slow), cause)| {
                let mut saved = some_breaker();
                (saved.state, saved.remaining, saved.mode) = (state, Duration::from_millis(ms), mode);
                [
                    saved.generation,
                    saved.successes,
                    saved.failures,
                    saved.ignored,
                    saved.refused,
                    saved.stale,
                    saved.opened,
                ] = n;
                (saved.opened_in_a_row, saved.consecutive_failures) = (calls, failures);
                (saved.rules[0].calls, saved.rules[0].failures, saved.rules[0].slow) = (calls, failures, slow);
                saved.last_cause = cause.filter(|cause| !cause.is_empty()).map(Into::into);
                saved
            },
        )
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_damage_panics(at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut text = document().to_text().unwrap();
            let at = at.index(text.len());
            text[at] = with;
            let _ = parse(&text);
            text.truncate(cut.index(text.len()));
            let _ = parse(&text);
        }

        #[test]
        fn what_is_written_is_read(breakers in prop::collection::btree_map(".*", saved(), 0..5), saved_at in any::<u64>()) {
            let kept = |(name, breaker): (String, Saved)| (Name::from(name), Kept { saved_at, breaker });
            let document = Document::new(breakers.into_iter().map(kept).collect());
            prop_assert_eq!(parse(&document.to_text().unwrap()), Ok(document));
        }

        #[test]
        fn whatever_is_taken_over_the_breaker_works(saved in saved(), nanos in any::<u64>(), calls in 1..99_usize) {
            let breaker = CircuitBreaker::with_config("b", breaker::Config::default()).unwrap();
            let now = Instant::from_nanos(nanos);
            breaker.import(now, &saved);
            breaker.import(now, &saved);
            for _ in 0..calls {
                if let Ok(mut permit) = breaker.admit(now) {
                    breaker.settle(&mut permit, now, &Verdict::failure("E"));
                }
            }
            let (stats, again) = (breaker.stats(now), breaker.export(now));
            prop_assert!(again.generation >= 2 && stats.failures >= again.failures);
        }
    }
}

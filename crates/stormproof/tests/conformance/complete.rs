//! That every case has a test: the claim of this folder, kept true.
//!
//! Most cases are scenarios, and [`given::run`](crate::given::run) takes each through every door that can show it. The
//! others have a test for each door they can be seen through, or are about something that has no door:
//!
//! - 10, 12 and 19 ask a breaker that threads share, or how a refusal reads, beside what goes through the doors;
//! - 25 and 28 ask the backoff itself, at numbers no call lives to see;
//! - 33 is about copies, which only tower makes: it counts them in every scenario;
//! - 46 and 53 are about fallbacks, which stand around a call, asynchronous or not;
//! - 55 to 57 are about settings, before there is a call.

use std::collections::BTreeSet;
use std::path::Path;

const CASES: std::ops::RangeInclusive<u32> = 1..=58;

/// The numbers of the tests in a file.
fn numbers(source: &str) -> impl Iterator<Item = u32> {
    let is_test =
        |before: &str| before.ends_with("#[test]") || before.rsplit('\n').any(|line| line.contains("#[tokio::test"));
    source.match_indices("fn case_").filter_map(move |(at, found)| {
        let before: String = source[..at].trim_end().trim_end_matches("async").trim_end().to_owned();
        let attributes = before.rsplit("\n\n").next().unwrap_or_default();
        let number = source[at + found.len()..].split('_').next()?;
        is_test(attributes).then(|| number.parse().ok()).flatten()
    })
}

#[test]
fn every_case_has_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let sources: Vec<String> = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let tested: BTreeSet<u32> = sources.iter().flat_map(|source| numbers(source)).collect();
    assert_eq!(tested, CASES.collect(), "the numbers of the cases, and those of the tests here");
}

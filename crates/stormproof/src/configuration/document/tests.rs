//! What is said of a text, and where.

use proptest::prelude::*;
use stormproof_core::policy::Config;

use super::*;

fn shown(text: &str) -> Vec<String> {
    read(text, Config::validate).map_or_else(|found| found.iter().map(ToString::to_string).collect(), |_| Vec::new())
}

#[test]
fn a_file_without_mistakes_is_a_value() {
    let config = read("deadline = 30\n[breaker]\ntrip = 3\n", Config::validate).unwrap();
    assert_eq!(config.deadline, Some(std::time::Duration::from_secs(30)));
}

#[test]
fn each_mistake_is_named_in_the_order_of_the_text() {
    let text = "\
deadlin = 3
attempt_timeout = -1

[breaker]
trip = [{ consecutive = 0 }, { bogus = 1 }]
open_factor = nan
success_threshold = 'two'

[rate]
rate = 99999999999
per = '0s'
";
    let found = shown(text);
    let starts = [
        "1:1: deadlin: is unknown, allowed is one of `deadline`, ",
        "2:19: attempt_timeout: is -1, allowed is a duration such as ",
        "5:",
        "5:",
        "6:15: breaker.open_factor: is NaN, allowed is 1 or more, finite",
        "7:21: breaker.success_threshold: is 'two', allowed is 1 or more",
        "10:8: rate.rate: is 99999999999, allowed is 1 up to 10 for each microsecond of `per`",
        "11:7: rate.per: is 0ns, allowed is 1 ms to 1 day",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found} should start with {start}");
    }
}

#[test]
fn a_judgement_about_an_unreadable_neighbour_is_not_made() {
    let text =
        "[budget]\nratio = 0.1\n[retry]\nmax_retries = 'x'\n[breaker]\nopen_duration = 'x'\nmax_open_duration = 1\n";
    let found = shown(text);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert_eq!(
        shown("[budget]\n"),
        ["1:2: budget: is set without retry, allowed is only together with retry or hedge"]
    );
}

#[test]
fn no_message_names_a_type_of_rust() {
    let found = shown("retry = 5\n[bulkhead]\nmax_queue = 'x'\n[breaker]\nignore = 'x'\nopen_factor = 'x'\n");
    let ends = ["allowed is a table", "from 0 to 4294967295", "allowed is a list", "allowed is 1 or more, finite"];
    assert_eq!(found.len(), ends.len(), "{found:#?}");
    for (found, end) in found.iter().zip(ends) {
        assert!(found.ends_with(end), "{found} should end with {end}");
    }
}

#[test]
fn what_is_not_toml_says_where() {
    let found = shown("deadline = \n[breaker\n");
    assert!(found[0].starts_with("1:12: "), "{found:#?}");
    assert!(found.iter().any(|found| found.starts_with("2:")), "{found:#?}");
    assert_eq!(shown(&" ".repeat(LONGEST + 1)), ["1:1: longer than 1048576 bytes"]);
}

#[test]
fn mistakes_are_bounded_and_columns_are_characters() {
    let many = (0..500).map(|n| format!("x{n} = 1")).collect::<Vec<_>>().join("\n");
    assert_eq!(shown(&many).len(), MOST);
    assert!(shown("'ä' = 1\nretry = { 'ö' = 1, nope = 2 }")[0].starts_with("1:1: "));
    assert!(shown("retry = { max_retries = 1, 'öö' = 1 }")[0].starts_with("1:28: retry.öö: "));
    assert!(shown("retry = { retry_on = ['ö'], nope = 1 }")[0].starts_with("1:29: retry.nope: "));
}

proptest! {
    #[test]
    fn any_text_is_a_value_or_mistakes_within_it(text in any_text()) {
        if let Err(found) = read(&text, Config::validate) {
            prop_assert!(!found.is_empty() && found.len() <= MOST);
            for mistake in found {
                prop_assert!(mistake.line >= 1 && mistake.line <= text.split('\n').count(), "{mistake}");
                prop_assert!(mistake.column >= 1 && mistake.column <= text.chars().count() + 1, "{mistake}");
            }
        }
    }
}

/// Arbitrary text, and text put together from what configuration files are made of.
fn any_text() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        " = ",
        ",",
        ".",
        "\n",
        "\"",
        "'",
        "'''",
        "#",
        "retry",
        "breaker",
        "rate",
        "trip",
        "deadline",
        "budget",
        "backoff",
        "kind",
        "'linear'",
        "max_retries",
        "consecutive",
        "ratio",
        "window",
        "0",
        "-1",
        "1",
        "nan",
        "inf",
        "1e400",
        "99999999999999999999",
        "'5s'",
        "true",
        "1979-05-27",
        "ä",
        "\u{0}",
        "x",
    ]);
    prop_oneof![any::<String>(), prop::collection::vec(words, 0..40).prop_map(|words| words.concat())]
}

//! Durations as they stand in files: whatever is written is a duration or a mistake, and what we write we read.
#![cfg(test)]

use std::time::Duration;

use proptest::prelude::*;
use stormproof_core::policy::Config;

fn in_toml(value: &str) -> Option<Duration> {
    toml::from_str::<Config>(&format!("deadline = {value}")).ok().and_then(|config| config.deadline)
}

/// Arbitrary text, and text put together from what durations are made of.
fn text() -> impl Strategy<Value = String> {
    let words =
        vec!["1", "9999999999", "18446744073709551616", ".", "5", "-", "ns", "us", "ms", "s", "m", "h", "y", " ", "e"];
    let made = prop::collection::vec(prop::sample::select(words), 0..8).prop_map(|words| words.concat());
    prop_oneof![any::<String>(), made]
}

#[test]
fn a_configuration_is_read_as_it_is_written_also_where_nothing_is_null() {
    let config = Config { deadline: Some(Duration::from_millis(1_500)), ..Config::default() };
    let json = serde_json::to_string(&config).unwrap();
    assert!(json.contains("\"attempt_timeout\":null"), "{json}");
    assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
}

proptest! {

    #[test]
    fn any_text_is_a_duration_or_a_mistake(text in text()) {
        let quoted = toml::Value::String(text.clone()).to_string();
        prop_assert_eq!(in_toml(&quoted).is_some(), humantime::parse_duration(&text).is_ok(), "{}", text);
        let _ = in_toml(&text); // whatever it is without quotes
    }

    #[test]
    fn any_whole_number_is_so_many_seconds(seconds in any::<i64>()) {
        let expected = u64::try_from(seconds).ok().map(Duration::from_secs);
        prop_assert_eq!(in_toml(&seconds.to_string()), expected);
    }

    #[test]
    fn any_other_number_is_so_many_seconds_or_a_mistake(seconds in any::<f64>()) {
        let found = in_toml(&toml::Value::Float(seconds).to_string());
        prop_assert_eq!(found, Duration::try_from_secs_f64(seconds).ok(), "{}", seconds);
    }

    #[test]
    fn what_is_written_is_read(deadline in any::<Duration>()) {
        let config = Config { deadline: Some(deadline), ..Default::default() };
        let text = toml::to_string(&config).unwrap();
        prop_assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
    }
}

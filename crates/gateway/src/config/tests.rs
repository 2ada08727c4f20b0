//! What a configuration file may hold, and what is said of one that does not.

use proptest::prelude::*;

use super::settings::overlap;
use super::*;

fn shown(text: &str) -> Vec<String> {
    Config::parse(text).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn the_sample_is_valid_and_its_comments_are_the_defaults() {
    let sample = include_str!("../../../../stormproof.sample.toml");
    let written = Config::parse(sample).unwrap();
    assert_eq!(written.upstreams.len(), 2);
    assert_eq!(written.gateway, Settings::default());

    let uncomment = |line: &str| {
        let setting = line.strip_prefix("# ").filter(|rest| rest.split(' ').nth(1) == Some("="));
        setting.unwrap_or(line).to_owned()
    };
    let everything: Vec<_> = sample.lines().map(uncomment).collect();
    let full = Config::parse(&everything.join("\n")).unwrap();
    assert_eq!(full.gateway, Settings::default());
    let (openai, default) = (&full.upstreams["openai"], Upstream::default());
    assert_eq!((openai.response_timeout, openai.stall_timeout), (default.response_timeout, default.stall_timeout));
    let breaker = openai.policy.breaker.clone().unwrap();
    assert_eq!(breaker.half_open_timeout, Some(breaker.open_duration));
    assert_eq!(breaker.max_open_duration, Some(breaker.open_duration * 10));
    let rest = stormproof::breaker::Config { half_open_timeout: None, max_open_duration: None, ..breaker };
    assert_eq!(rest, stormproof::breaker::Config::default());
}

#[test]
fn a_file_that_says_nothing_lacks_upstreams() {
    assert_eq!(shown(""), ["1:1: upstreams: is empty, allowed is at least one table [upstreams.NAME]"]);
}

#[test]
fn addresses_are_judged_without_being_shown() {
    let url = |url: &str| shown(&format!("[upstreams.a]\nurl = {url:?}\n"));
    for good in ["http://127.0.0.1:9000", "https://api.example.com/v1/", "http://[::1]:80"] {
        assert_eq!(url(good), Vec::<String>::new(), "{good}");
    }
    for bad in [
        "",
        "x",
        "/path",
        "ftp://host",
        "http://",
        "http://user:secret@host",
        "http://host?key=secret",
        "http://h:99999",
        "http://h:x",
        "http://h/#part",
        "http:// h",
        "//host",
        "http://:80",
    ] {
        let found = url(bad);
        assert!(found.len() == 1 && found[0].starts_with("2:7: upstreams.a.url: is "), "{bad}: {found:?}");
        assert!(!found[0].contains("secret"), "{found:?}");
    }
    assert!(shown("[upstreams.a]")[0].starts_with("1:12: upstreams.a.url: is missing"));
}

#[test]
fn an_admin_api_for_everybody_needs_a_token() {
    let with = |admin: &str, token| {
        let text = format!("[gateway]\nadmin = '{admin}'\n[upstreams.a]\nurl = 'http://h'\n");
        Config::parse_with(&text, token, &Environment::none())
            .err()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(with("[::1]:8081", false), Vec::<String>::new());
    assert_eq!(with("0.0.0.0:8081", true), Vec::<String>::new());
    let found = with("0.0.0.0:8081", false);
    assert!(found.len() == 1 && found[0].starts_with("2:9: gateway.admin: is 0.0.0.0:8081, open to"), "{found:?}");
    assert!(found[0].contains("STORMPROOF_ADMIN_TOKEN"), "{found:?}");
}

#[test]
fn the_two_addresses_do_not_overlap() {
    let overlapping = |one: &str, other: &str| overlap(one.parse().unwrap(), other.parse().unwrap());
    for (one, other) in
        [("127.0.0.1:1", "127.0.0.1:1"), ("0.0.0.0:1", "127.0.0.1:1"), ("127.0.0.1:1", "[::]:1"), ("[::1]:1", "[::]:1")]
    {
        assert!(overlapping(one, other), "{one} {other}");
    }
    for (one, other) in [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("0.0.0.0:1", "127.0.0.1:2"),
        ("127.0.0.1:1", "127.0.0.2:1"),
        ("0.0.0.0:1", "[::1]:1"),
    ] {
        assert!(!overlapping(one, other), "{one} {other}");
    }
}

#[test]
fn what_could_never_take_effect_is_a_mistake() {
    let policy = |policy: &str| shown(&format!("[upstreams.a]\nurl = 'http://h'\n[upstreams.a.policy]\n{policy}"));
    let found = policy("deadline = 1\nattempt_timeout = 2\n");
    assert_eq!(found, ["5:19: upstreams.a.policy.attempt_timeout: is 2s, allowed is no longer than `deadline`"]);
    let found = policy("retry = { retry_on = ['ServerEror'], never_on = ['503'] }\nbreaker.ignore = ['x']\n");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("retry_on: is \"ServerEror\", allowed is ConnectionError, TimeoutError,"), "{found:?}");
    let found = policy("retry = { retry_on = ['503'], never_on = ['503'] }\n");
    assert!(found.len() == 1 && found[0].contains("`never_on`"), "{found:?}");
    let known = "'TimeoutError.Stalled', 'ConnectionError', 'RateLimitError.429', 'ConnectionReset', 'ClientError'";
    assert_eq!(policy(&format!("retry = {{ retry_on = [{known}] }}\n")), Vec::<String>::new());
}

#[test]
fn a_token_limit_that_nothing_charges_is_refused() {
    let found = shown("[upstreams.a]\nurl = 'http://h'\n[upstreams.a.policy.tokens]\nrate = 5\n");
    assert!(found[0].starts_with("3:21: upstreams.a.policy.tokens: is set, allowed is nothing"), "{found:?}");
}

#[test]
fn a_policy_may_start_from_a_preset_and_the_environment_has_a_say() {
    let text = "[upstreams.a]\nurl = 'http://h'\n[upstreams.a.policy]\npreset = 'aragora.grok'\ndeadline = 5\n";
    let environment = Environment::of([
        ("ARAGORA_CB_FAILURE_THRESHOLD", "8"),
        ("STORMPROOF_UPSTREAMS__A__URL", "http://elsewhere"),
        ("STORMPROOF_GATEWAY__MAX_CONNECTIONS", "5"),
    ]);
    let config = Config::parse_with(text, false, &environment).unwrap();
    let policy = &config.upstreams["a"].policy;
    assert_eq!(policy.breaker.as_ref().unwrap().trip, [stormproof::Trip::consecutive(8)]);
    assert_eq!(policy.deadline, Some(std::time::Duration::from_secs(5)));
    assert_eq!((config.gateway.max_connections, config.upstreams["a"].url.as_str()), (5, "http://elsewhere"));
    let environment = Environment::of([("STORMPROOF_UPSTREAMS__A__URL", "http://user:secret@h")]);
    let found = Config::parse_with(text, false, &environment).unwrap_err();
    let shown = found[0].to_string();
    assert!(shown.starts_with("STORMPROOF_UPSTREAMS__A__URL: upstreams.a.url: is not valid, allowed is"), "{shown}");
}

/// Arbitrary text, and the sample with a few of its words in other places.
fn any_text() -> impl Strategy<Value = String> {
    let sample = include_str!("../../../../stormproof.sample.toml").replace("\n# ", "\n");
    let words: Vec<String> = sample.split_inclusive([' ', '\n', '.', '"']).map(str::to_owned).collect();
    let moved = prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..8);
    let shuffled = moved.prop_map(move |moved| {
        let mut words = words.clone();
        for (one, other) in moved {
            let (one, other) = (one.index(words.len()), other.index(words.len()));
            words.swap(one, other);
        }
        words.concat()
    });
    prop_oneof![any::<String>(), shuffled]
}

proptest! {
    #[test]
    fn any_text_is_a_gateway_or_mistakes_within_it(text in any_text(), has_token in any::<bool>()) {
        if let Err(found) = Config::parse_with(&text, has_token, &Environment::none()) {
            prop_assert!(!found.is_empty());
            for mistake in found {
                prop_assert!((1..=text.split('\n').count()).contains(&mistake.line), "{mistake}");
            }
        }
    }
}

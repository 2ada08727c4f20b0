//! Files of settings, and what is wrong with them.

use super::*;

fn shown(text: &str) -> Vec<String> {
    Settings::parse(text).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn a_name_twice_is_a_mistake_where_it_stands() {
    let text = "[policies.p.breaker]\nrecovery_timeout = 5\nopen_duration = 'x'\ntrip = 3\nfailure_threshold = 2\n";
    let found = shown(text);
    assert_eq!(
        found,
        [
            "3:1: policies.p.breaker.open_duration: says the same as `recovery_timeout`: set one of them",
            "5:1: policies.p.breaker.failure_threshold: says the same as `trip`: set one of them",
        ]
    );
    let found = shown("[policies.p]\nretry = { max_retries = 1, max_attempts = 2, retry_on = 'x' }\n");
    assert!(found[0].starts_with("2:28: policies.p.retry.max_attempts: says the same as `max_retries`"), "{found:?}");
    assert!(found[1].starts_with("2:57: policies.p.retry.retry_on: "), "{found:?}");
}

#[test]
fn every_name_that_means_the_same_is_read() {
    for (table, names) in crate::document::tree::SAME {
        for name in *names {
            let value = match names[0] {
                "kind" => "'linear'",
                "ignore" | "retry_on" | "never_on" => "['X']",
                _ => "1",
            };
            let table = if *table == "backoff" { "retry.backoff" } else { table };
            assert_eq!(
                shown(&format!("[policies.p.{table}]\n{name} = {value}\n")),
                Vec::<String>::new(),
                "{table}.{name}"
            );
        }
    }
}

/// C2 to C8: the settings of a retry in the inherited systems are those of its backoff as well.
#[test]
fn the_settings_of_a_backoff_may_stand_beside_it() {
    let read = |retry: &str| Settings::parse(&format!("[policies.p]\n{retry}\n"));
    let retry = |text: &str| read(text).unwrap().policies["p"].retry.clone().unwrap();
    let nested = retry("retry = { max_retries = 5, backoff = { kind = 'linear', base_delay = 2, jitter = 0.1 } }");
    assert_eq!(
        retry("retry = { max_retries = 5, backoff_strategy = 'linear', initial_delay = 2, jitter = 0.1 }"),
        nested
    );
    assert_eq!(retry("[policies.p.retry]\nmax_retries = 5\nkind = 'linear'\nbase = 2\njitter_factor = 0.1"), nested);
    let text = "retry = { backoff = { max_delay = 9 }, base_delay = 3, backoff_factor = 3 }";
    let backoff = "retry = { backoff = { base_delay = 3, factor = 3, max_delay = 9 } }";
    assert_eq!(retry(text), retry(backoff), "some there, some here");
    let over = retry("preset = 'aragora'\nretry.initial_delay = 5\nretry.jitter = true");
    assert_eq!((over.backoff.base_delay.as_secs(), over.backoff.max_delay.as_secs()), (5, 30));
    assert_eq!(over.backoff.jitter, stormproof_core::Jitter::Symmetric(0.1));

    let found = shown("[policies.p.retry]\nbase_delay = 3\nbackoff.base_delay = 3\n");
    assert_eq!(found, ["2:1: policies.p.retry.base_delay: says the same as `backoff.base_delay`: set one of them"]);
    let found = shown("[policies.p.retry]\nbase_delay = 3\nbackoff.initial = 3\n");
    assert!(found[0].contains("says the same as `base_delay`"), "{found:?}");
    let found = shown("[policies.p.retry]\nmax_retries = 2\nbase_delay = 'soon'\nfactor = 0.5\nbogus = 1\n");
    let starts = [
        "3:14: policies.p.retry.backoff.base_delay: ",
        "4:10: policies.p.retry.backoff.factor: ",
        "5:1: policies.p.retry.bogus: ",
    ];
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found.iter().zip(starts).all(|(found, start)| found.starts_with(start)), "{found:#?}");
    let found = shown("[policies.p.retry]\nkind = 'linear'\nfactor = 2\n");
    assert!(found.len() == 1 && found[0].contains("`factor` belongs to the kind"), "{found:#?}");
    assert_eq!(shown("[policies.p.retry]\nbackoff = 'linear'\nbase_delay = 2\n").len(), 1);

    for (file, variable) in [("initial_delay", "BACKOFF__BASE_DELAY"), ("backoff.base_delay", "INITIAL_DELAY")] {
        let environment = Environment::of([(format!("STORMPROOF_POLICIES__P__RETRY__{variable}"), "7")]);
        let text = format!("[policies.p]\nretry.{file} = 3\n");
        let settings = Settings::parse_with(&text, &environment).unwrap();
        assert_eq!(settings.policies["p"].retry.as_ref().unwrap().backoff.base_delay.as_secs(), 7, "{file} {variable}");
    }
}

#[test]
fn names_of_policies_are_bounded() {
    assert!(shown("[policies.'a b']\n")[0].starts_with("1:11: policies.a b: is \"a b\", allowed is a name of"));
    assert_eq!(shown("[policies.'openai.chat-2_x']\n"), Vec::<String>::new());
}

#[test]
fn what_is_unreadable_is_not_missing_as_well() {
    let found = shown("[policies.p]\nbreaker.trip = [{ bogus = 1 }]\n");
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn settings_written_out_are_the_settings_read() {
    for preset in crate::preset::names() {
        let settings = Settings::parse(&format!("[policies.p]\npreset = '{preset}'\n")).unwrap();
        assert_eq!(Settings::parse(&toml::to_string(&settings).unwrap()).unwrap(), settings);
    }
}

#[test]
fn a_file_is_read_or_says_why_not() {
    let missing = Settings::read("no/such/file.toml", &Environment::none()).unwrap_err();
    assert!(missing.to_string().starts_with("cannot read no/such/file.toml: "), "{missing}");
    #[cfg(unix)]
    {
        let endless = Settings::read("/dev/zero", &Environment::none()).unwrap_err();
        assert_eq!(endless.to_string(), "cannot read /dev/zero: it is longer than 1048576 bytes");
    }
}

#[test]
fn what_a_policy_may_hold_is_named_with_the_preset() {
    let found = Settings::parse("[policies.a]\nretries = 3\n").unwrap_err();
    assert!(found[0].message.contains("is unknown, allowed is one of `preset`, `deadline`, "), "{found:?}");
}

//! Files of settings, and what is wrong with them.

use stormproof_compat::aliases::SETTINGS;

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
    assert!(found[0].starts_with("2:28: policies.p.retry.max_attempts: excludes `max_retries`"), "{found:?}");
    assert!(found[1].starts_with("2:57: policies.p.retry.retry_on: "), "{found:?}");
}

#[test]
fn every_name_that_means_the_same_is_read() {
    for (table, name, ours) in names() {
        let value = match ours {
            "kind" => "'linear'",
            "ignore" | "retry_on" | "never_on" => "['X']",
            _ => "1",
        };
        let text = format!("[policies.p.{table}]\n{name} = {value}\n");
        assert_eq!(shown(&text), Vec::<String>::new(), "{table}.{name}");
    }
}

/// The names that other systems have for settings of a policy: table, name, and ours.
fn names() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let of_policies = SETTINGS.iter().filter(|setting| !matches!(setting.table, "queue" | "loop_guard"));
    of_policies.flat_map(|setting| {
        let table = if setting.table == "backoff" { "retry.backoff" } else { setting.table };
        setting.names.iter().map(move |name| (table, *name, setting.names[0]))
    })
}

/// What is wrong with a setting is told under the name that it was given, where it stands: by types and by rules.
#[test]
fn a_mistake_names_what_was_written() {
    for (table, name, ours) in names() {
        let found = shown(&format!("[policies.p.{table}]\n{name} = {{ x = 1 }}\n"));
        let place = format!("policies.p.{table}.{name}");
        assert!(found.len() == 1 && found[0].contains(&place), "{place}: {found:?}");
        assert!(found[0].starts_with("2:"), "{place}: {found:?}");
        // What no type objects to, and a rule does.
        let value = match ours {
            "trip" | "open_duration" | "rate" | "per" | "burst" => "0",
            "factor" => "0.5",
            "jitter" => "1.5",
            "ignore" | "retry_on" | "never_on" => "['']",
            _ => continue,
        };
        let found = shown(&format!("[policies.p.{table}]\n{name} = {value}\n"));
        let column = name.len() + 4;
        assert!(found.len() == 1 && found[0].starts_with(&format!("2:{column}: {place}")), "{place}: {found:?}");
    }
    let found = shown("[policies.p]\nretry = { initial_delay = 120, jitter_factor = 1.5, max_delay = 1 }\n");
    assert!(found[0].starts_with("2:27: policies.p.retry.initial_delay: is 120s, allowed is"), "{found:?}");
    assert!(found[1].starts_with("2:48: policies.p.retry.jitter_factor"), "{found:?}");
}

/// C17, A23: what other systems set here and what has its place elsewhere.
#[test]
fn a_name_that_has_its_place_elsewhere_says_where() {
    let found = shown("[policies.p]\nretry = { timeout = 30, max_retries = 2 }\nbreaker.expected_exception = 'X'\n");
    assert_eq!(
        found,
        [
            "2:11: policies.p.retry.timeout: is unknown: the time limit of all retries is `deadline`, beside `retry`",
            "3:9: policies.p.breaker.expected_exception: is unknown: every failure counts but for those in `ignore`",
        ]
    );
    let found = shown("[policies.p]\nretry.jiter = 0.1\n");
    let known = ["`max_retries`", "`max_attempts`", "`backoff`", "`base_delay`", "`jitter`", "`max_delay`"];
    assert!(known.iter().all(|name| found[0].contains(name)), "{found:?}");
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
    assert_eq!(found, ["3:9: policies.p.retry.backoff.base_delay: says the same as `base_delay`: set one of them"]);
    let found = shown("[policies.p.retry]\nbackoff.base_delay = 3\ninitial_delay = 3\n");
    assert_eq!(found, ["3:1: policies.p.retry.initial_delay: says the same as `backoff.base_delay`: set one of them"]);
    let found = shown("[policies.p.retry]\nbase_delay = 3\nbackoff.initial = 3\n");
    assert!(found[0].contains("says the same as `base_delay`"), "{found:?}");
    let found = shown("[policies.p.retry]\nmax_retries = 2\nbase_delay = 'soon'\nfactor = 0.5\nbogus = 1\n");
    let starts =
        ["3:14: policies.p.retry.base_delay: ", "4:10: policies.p.retry.factor: ", "5:1: policies.p.retry.bogus: "];
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
    for preset in crate::configuration::preset::names() {
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

#[test]
fn the_applications_own_tables_stand_in_the_same_file() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Own {
        listen: String,
        models: Vec<String>,
        since: Option<toml::value::Datetime>,
    }
    let text =
        "[app]\nlisten = '[::]:80'\nmodels = ['a', 'b']\nsince = 2024-01-01\n[app.deep.er]\nx = 1.5\n[policies.p]\n";
    let environment = Environment::of([("STORMPROOF_APP__LISTEN", "'[::1]:8080'")]);
    let settings = Settings::parse_with(text, &environment).unwrap();
    let own: Own = settings.app.clone().try_into().unwrap();
    assert_eq!((own.listen.as_str(), own.models.len(), own.since.is_some()), ("[::1]:8080", 2, true));
    assert_eq!(Settings::parse(&toml::to_string(&settings).unwrap()).unwrap(), settings);
    let found = Settings::parse("[application]\nx = 1\n[policies.p]\nx = 1\n").unwrap_err();
    assert_eq!(found.len(), 2, "everything else is looked at as before: {found:?}");
}

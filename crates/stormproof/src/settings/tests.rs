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

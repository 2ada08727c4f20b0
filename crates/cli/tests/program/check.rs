//! `check`, and files that cannot be served.

use std::net::TcpListener;
use std::process::Command;

use crate::serve::write_config;
use crate::{PROGRAM, run, said};

#[test]
fn check_names_each_mistake_with_line_and_column() {
    let (code, out, err) = said(&run(&["check", "many_mistakes.toml"]));
    let expected = include_str!("../many_mistakes.txt");
    assert!(out == expected, "printed:\n{out}\nexpected:\n{expected}");
    assert_eq!((code, err.as_str()), (1, ""));
    assert!(!out.contains("secret"));
}

#[test]
fn check_says_when_a_file_is_well() {
    let (code, out, _) = said(&run(&["check", "--quiet", "../../../stormproof.sample.toml"]));
    assert_eq!((code, out.as_str()), (0, "../../../stormproof.sample.toml: ok (2 upstreams)\n"));
}

#[test]
fn check_says_where_policies_stand_in_a_file_of_neither_kind() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.toml");
    for command in ["check", "simulate"] {
        std::fs::write(&file, "[policy-a]\nretry.max_retries = 2\n").unwrap();
        let (code, out, err) = said(&run(&[command, file.to_str().unwrap()]));
        assert_eq!(code, 1);
        assert!((out + &err).contains("policies of the library stand in [policies.NAME]"), "{command}");
        std::fs::write(&file, "# nothing\n").unwrap();
        let (code, out, err) = said(&run(&[command, file.to_str().unwrap()]));
        assert_eq!(code, 1);
        assert!((out + &err).contains(":1:1: is empty, allowed is a policy, policies or upstreams"), "{command}");
    }
}

#[test]
fn check_explains_a_policy_that_stands_by_itself_as_simulate_tries_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.toml");
    for text in ["deadline = '5s'\n[breaker]\ntrip = 5\n", "[policy]\ndeadline = '5s'\nbreaker.trip = 5\n"] {
        std::fs::write(&file, text).unwrap();
        let (code, out, err) = said(&run(&["check", file.to_str().unwrap()]));
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        assert!(out.contains(": ok (1 policy)\n\npolicy\n  a call: 5s at most"), "{out}");
    }
    std::fs::write(&file, "deadlin = 5\n").unwrap();
    let (code, out, _) = said(&run(&["check", file.to_str().unwrap()]));
    assert!(code == 1 && out.lines().count() == 1 && out.ends_with("Did you mean `deadline`?\n"), "{out}");
    std::fs::write(&file, "deadline = 'soon'\n").unwrap();
    let (code, out, _) = said(&run(&["check", file.to_str().unwrap()]));
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(code == 1 && out.contains("policy.toml:1:12: deadline: is 'soon', allowed is a duration"), "{out}");
}

#[test]
fn check_explains_each_policy_in_numbers() {
    let (code, out, _) = said(&run(&["check", "../../../stormproof.sample.toml"]));
    assert_eq!(code, 0);
    assert!(
        out.contains("\nopenai\n  a call: 120s at most, 4 attempts at most, 16 when nested in a policy like it\n"),
        "{out}"
    );
    assert!(out.contains("if calls hang, after 60s (all at once) to 300s (one after the other)"), "{out}");
    assert!(out.contains("\nsearch\n  a call: 5s at most, 1 attempt at most\n"), "{out}");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.toml");
    std::fs::write(&file, "[policies.local]\npreset = 'victor.ollama'\n").unwrap();
    let (code, out, _) = said(&run(&["check", file.to_str().unwrap()]));
    assert_eq!(code, 0);
    assert!(out.contains(": ok (1 policy)\n\nlocal\n  a call: no limit of time"), "{out}");
    assert!(out.contains("after 10 failures in a row"), "{out}");
    assert!(out.contains("\n  warning: a call that hangs is held for ever"), "{out}");
    std::fs::write(&file, "[policies.local]\npreset = 'x'\n").unwrap();
    let (code, out, _) = said(&run(&["check", file.to_str().unwrap()]));
    assert!(code == 1 && out.contains("settings.toml:2:10: policies.local.preset: no preset is called"), "{out}");
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    for args in [&["check", "no-such.toml"][..], &["serve", "--config", "no-such.toml"]] {
        let (code, out, err) = said(&run(args));
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.starts_with("stormproof: cannot read no-such.toml: "), "{err}");
    }
    assert_eq!(run(&["check", "."]).status.code(), Some(2));
    assert_eq!(run(&["serve"]).status.code(), Some(2));
}

#[test]
fn serve_does_not_start_with_mistakes() {
    let (code, out, err) = said(&run(&["serve", "--config", "many_mistakes.toml"]));
    assert_eq!((code, out.as_str(), err.as_str()), (1, "", include_str!("../many_mistakes.txt")));
}

#[test]
fn a_port_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let file = write_config(directory.path(), "http://127.0.0.1:9", "");
    let (code, out, err) = said(&run(&["serve", "--config", &file, "--listen", &address]));
    let expected = format!("stormproof: cannot listen on {address} (calls): the port is in use\n");
    assert_eq!((code, out.as_str(), err), (1, "", expected));
}

#[test]
fn a_public_admin_address_without_a_token_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("public.toml");
    std::fs::write(&file, "[gateway]\nlisten = '127.0.0.1:0'\nadmin = '0.0.0.0:0'\n[upstreams.a]\nurl = 'http://h'\n")
        .unwrap();
    let run = |args: &[&str], token: Option<&str>| {
        let mut command = Command::new(PROGRAM);
        command.args(args).arg(&file).env_remove("STORMPROOF_ADMIN_TOKEN");
        said(&command.envs(token.map(|token| ("STORMPROOF_ADMIN_TOKEN", token))).output().unwrap())
    };
    let place = format!("{}:3:9: gateway.admin: is 0.0.0.0:0, open to everybody", file.display());
    let (code, _, err) = run(&["serve", "--config"], None);
    assert!(code == 1 && err.starts_with(&place) && err.contains("STORMPROOF_ADMIN_TOKEN"), "{err}");
    // What serve refuses, check names; and what it would not, check does not.
    let (code, out, _) = run(&["check"], None);
    assert!(code == 1 && out.starts_with(&place), "{out}");
    assert_eq!(run(&["check"], Some("secret")).0, 0);
}

//! `simulate` and `schema`.

use crate::{run, said};

#[test]
fn schema_prints_that_of_either_file() {
    for (args, table) in [(&["schema"][..], "upstreams"), (&["schema", "settings"], "policies")] {
        let (code, out, err) = said(&run(args));
        let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(code == 0 && err.is_empty() && schema["properties"][table].is_object(), "{out}{err}");
    }
}

#[test]
fn simulate_compares_a_policy_with_none_and_draws_it() {
    let directory = tempfile::tempdir().unwrap();
    let (policy, picture, page) =
        (directory.path().join("policy.toml"), directory.path().join("a.svg"), directory.path().join("a.html"));
    let policy_name = policy.to_str().unwrap();
    std::fs::write(&policy, "attempt_timeout = '1s'\n\n[breaker]\ntrip = 5\n").unwrap();
    let arguments = ["simulate", policy_name, "--fault", "outage@5s+5s", "--duration", "30s"];
    let with = |more: &[&str]| said(&run(&[&arguments[..], more].concat()));
    let (code, out, err) = with(&["--report", picture.to_str().unwrap()]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("without") && out.contains("refused (open)"), "{out}");
    assert_eq!(with(&["--report", page.to_str().unwrap()]).1, out, "the same seed, the same table");
    let picture = std::fs::read_to_string(picture).unwrap();
    assert!(picture.starts_with("<svg ") && picture.len() < 60_000);
    assert!(std::fs::read_to_string(page).unwrap().contains("<pre>"));
    let figures: serde_json::Value = serde_json::from_str(&with(&["--json"]).1).unwrap();
    assert!(figures["sides"][1]["calls"].as_u64().unwrap() > 2000);

    // The same policy in a table of its own, and one of several in a gateway's configuration.
    std::fs::write(&policy, "[policy]\nattempt_timeout = '1s'\n[policy.breaker]\ntrip = 5\n").unwrap();
    assert_eq!(with(&[]).1, out);
    let sample = ["simulate", "../../../stormproof.sample.toml", "--duration", "10s", "--upstream", "openai"];
    assert_eq!(run(&sample).status.code(), Some(0));
}

#[test]
fn simulate_names_what_is_allowed() {
    let cases = [
        (&["no-such.toml"][..], 2, "built-in comparisons are retry-budget, breaker"),
        (&["breaker", "--fault", "outrage"], 2, "allowed are none, outage"),
        (&["breaker", "--clients", "many"], 2, "allowed is a whole number from 0 to 4294967295"),
        (&["breaker", "--duration", "long"], 2, "allowed is a duration such as 250ms"),
        (&["breaker", "--clients", "0"], 2, "--clients is 0, allowed is 1 to 1000000"),
        (&["breaker", "--rate", "0"], 2, "--rate is 0, allowed is above 0"),
        (&["breaker", "--duration", "0s"], 2, "--duration is 0s, allowed is 1 s to 30 days"),
        (&["breaker", "--report", "a.png"], 2, "allowed is a file that ends in .svg or .html"),
        (&["../../../stormproof.sample.toml"], 2, "--upstream is not given, allowed is openai, search"),
        (&["../../../stormproof.sample.toml", "--upstream", "x"], 2, "--upstream is x, allowed is openai, search"),
        (&["many_mistakes.toml"], 1, "many_mistakes.toml:"),
    ];
    for (arguments, expected, text) in cases {
        let (code, out, err) = said(&run(&[&["simulate"], arguments].concat()));
        assert_eq!((code, out.as_str()), (expected, ""), "{arguments:?} {err}");
        assert!(err.contains(text), "{arguments:?}: {err}");
    }
}

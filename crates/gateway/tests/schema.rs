//! The schemas of the configuration files: what is valid passes them, and what they reject, the reader rejects.
#![cfg(feature = "schema")]
#![cfg(test)]

use serde_json::Value;
use stormproof::settings::Settings;
use stormproof_gateway::Config;

fn tree(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Value>(text).unwrap()).unwrap()
}

fn mistakes(schema: &Value, text: &str) -> Vec<String> {
    let validator = jsonschema::draft202012::new(schema).unwrap();
    validator.iter_errors(&tree(text)).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_schemas_are_schemas() {
    for schema in [stormproof_gateway::schema(), stormproof::schema::settings(), stormproof::schema::policy()] {
        assert!(jsonschema::draft202012::meta::is_valid(&schema));
    }
}

#[test]
fn the_sample_is_valid_with_and_without_its_comments() {
    let (schema, sample) = (stormproof_gateway::schema(), include_str!("../../../stormproof.sample.toml"));
    assert_eq!(mistakes(&schema, sample), Vec::<String>::new());
    let uncomment = |line: &str| {
        let setting = line.strip_prefix("# ").filter(|rest| rest.split(' ').nth(1) == Some("="));
        setting.unwrap_or(line).to_owned()
    };
    let everything: Vec<_> = sample.lines().map(uncomment).collect();
    assert_eq!(mistakes(&schema, &everything.join("\n")), Vec::<String>::new());
}

#[test]
fn every_preset_is_valid_by_name_and_written_out() {
    let schema = stormproof::schema::settings();
    for preset in stormproof::preset::names() {
        let text = format!("[policies.p]\npreset = '{preset}'\n");
        assert_eq!(mistakes(&schema, &text), Vec::<String>::new());
        let settings = Settings::parse(&text).unwrap();
        assert_eq!(mistakes(&schema, &toml::to_string(&settings).unwrap()), Vec::<String>::new(), "{preset}");
    }
}

/// Policies that are read, in all the ways in which settings are written.
#[test]
fn what_the_reader_takes_the_schema_takes() {
    let schema = stormproof::schema::settings();
    for policy in [
        "deadline = 30",
        "deadline = 0.25",
        "deadline = '1m 30s'",
        "breaker.trip = 5",
        "breaker.failure_threshold = { within = { failures = 5, window = '2m' } }",
        "breaker.trip = [{ cumulative = 5 }, { ratio = { ratio = 0.5, minimum_calls = 2, window = { calls = 9 } } }]",
        "breaker = { timeout_seconds = 9, mode = 'metrics_only', scope = 'operation', open_jitter = { additive = 1 } }",
        "retry = { max_attempts = 2, dont_retry_on = ['X'] }",
        "retry.backoff = { kind = 'linear', initial = 2, increment = '1s', jitter = 'full' }",
        "retry.backoff = { kind = 'fixed', delay = 2, jitter = { range = [0.5, 1.5] } }",
        "retry.backoff = { backoff_strategy = 'exponential', multiplier = 3, jitter = true }",
        "retry.backoff.jitter_factor = 0.3",
        "retry = { backoff_strategy = 'exponential', initial_delay = 1, backoff_multiplier = 2, max_delay = 9, jitter = 0.1 }",
        "bulkhead = { max_waiting = 0, timeout = '5s' }",
        "rate = { requests_per_second = 5, burst_size = 9 }",
        "tokens = { rate = 90000, period = '1m', max_wait = 0 }",
        "preset = 'khive'",
    ] {
        let text = format!("[policies.p]\n{policy}\n");
        assert!(Settings::parse(&text).is_ok(), "{policy}");
        assert_eq!(mistakes(&schema, &text), Vec::<String>::new(), "{policy}");
    }
}

#[test]
fn what_the_schema_rejects_the_reader_rejects() {
    let schema = stormproof::schema::settings();
    for policy in [
        "deadline = -1",
        "deadline = 'soon'",
        "deadlin = 3",
        "breaker.trip = 0",
        "breaker.trip = []",
        "breaker.trip = { nope = 1 }",
        "breaker.trip = { consecutive = 0 }",
        "breaker.trip = { ratio = { ratio = 1.5, minimum_calls = 2, window = { calls = 9 } } }",
        "breaker.trip = { ratio = { ratio = 0.0, minimum_calls = 2, window = { calls = 9 } } }",
        "breaker.trip = { slow = { ratio = 0.5, minimum_calls = 2 } }",
        "breaker.success_threshold = 0",
        "breaker.half_open_max_calls = 4294967296",
        "breaker.open_factor = 0.5",
        "breaker.mode = 'on'",
        "breaker.scope = 'call'",
        "retry.max_retries = -1",
        "retry.max_attempts = 0",
        "retry.retry_on = 'X'",
        "retry.backoff = { kind = 'quadratic' }",
        "retry.backoff.factor = 0.5",
        "retry.backoff.jitter = 1.5",
        "retry.backoff.jitter = { symmetric = -0.1 }",
        "bulkhead.max_concurrent = 0",
        "bulkhead.max_queue = 'many'",
        "rate.rate = 0",
        "rate.burst = 0",
        "rate = 5",
        "retry = { max_retries = 1 }\nbudget.ratio = -0.5",
        "preset = 'victory'",
    ] {
        let text = format!("[policies.p]\n{policy}\n");
        assert!(!mistakes(&schema, &text).is_empty(), "the schema takes {policy}");
        assert!(Settings::parse(&text).is_err(), "the reader takes {policy}");
    }
    let schema = stormproof_gateway::schema();
    for text in [
        "[gateway]\nmax_header_bytes = 1\n",
        "[gateway]\nnope = 1\n",
        "[upstreams.a]\nurl = 5\n",
        "[upstreams.a]\nurl = 'http://h'\nstall_timeout = -1\n",
        "[upstreams.a]\nurl = 'http://h'\npolicy.breaker.nope = 1\n",
    ] {
        assert!(!mistakes(&schema, text).is_empty(), "the schema takes {text}");
        assert!(Config::parse(text).is_err(), "the reader takes {text}");
    }
}

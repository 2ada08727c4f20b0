//! Tests of the tables and of what stands once. That any text is valid is tested through the crate's door.

use stormproof_core::breaker::Mode;
use stormproof_core::snapshot::Sample;
use stormproof_core::{CircuitBreaker, Instant, Snapshot, Stage};

use super::{Exposition, Names, Text, openmetrics, prometheus};

fn breakers<const N: usize>(names: [&str; N]) -> [Snapshot; N] {
    names.map(|name| CircuitBreaker::new(name).snapshot(Instant::ZERO))
}

fn stage(stage: Stage, name: &str, samples: Vec<Sample>) -> Snapshot {
    Snapshot::new(stage, name.into(), samples)
}

fn under(names: Names, snapshots: &[Snapshot]) -> String {
    Text::new(Exposition::Prometheus).names([names]).write(snapshots)
}

#[test]
fn a_family_is_announced_once_and_names_are_escaped() {
    let stages = breakers(["plain", "quo\"te\\new\nline"]);
    let text = prometheus(&stages);
    assert_eq!(text.matches("# TYPE stormproof_breaker_refused_total counter").count(), 1);
    assert!(text.contains("stormproof_breaker_refused_total{name=\"plain\"} 0\n"), "{text}");
    assert_eq!(prometheus(&[stages.clone(), stages].concat()), text, "a series stands there once");
    assert!(text.contains(r#"{name="quo\"te\\new\nline"} 0"#), "{text}");
}

#[test]
fn open_metrics_announces_counters_without_total_and_says_units() {
    let text = openmetrics(&breakers(["b"]));
    assert!(text.contains("# TYPE stormproof_breaker_calls counter\nstormproof_breaker_calls_total{"), "{text}");
    assert!(text.contains("# UNIT stormproof_breaker_open_remaining_seconds seconds\n"), "{text}");
    assert!(text.ends_with("\n# EOF\n"), "{text}");
}

#[test]
fn a_metric_that_ends_in_total_does_not_get_it_twice() {
    let budget = stage(Stage::Retry, "p", vec![Sample::counter("budget_total", "Withdrawals.", 3)]);
    assert!(prometheus(&[budget]).contains("\nstormproof_retry_budget_total{name=\"p\"} 3\n"));
}

#[test]
fn distributions_are_written_whole() {
    let mut samples = Sample::summary("latency_seconds", "Time.", &[("0.5", 0.1), ("0.99", f64::NAN)], 1.5, 9);
    samples.extend(Sample::histogram("duration_seconds", "Time.", &[("0.1", 4), ("1.0", 8)], 1.5, 9));
    let text = prometheus(&[stage(Stage::Retry, "p", samples)]);
    let lines: Vec<_> = text.lines().map(|line| line.trim_start_matches("stormproof_retry_")).collect();
    let expected = [
        "# HELP stormproof_retry_latency_seconds Time.",
        "# TYPE stormproof_retry_latency_seconds summary",
        r#"latency_seconds{name="p",quantile="0.5"} 0.1"#,
        r#"latency_seconds{name="p",quantile="0.99"} NaN"#,
        r#"latency_seconds_sum{name="p"} 1.5"#,
        r#"latency_seconds_count{name="p"} 9"#,
        "# HELP stormproof_retry_duration_seconds Time.",
        "# TYPE stormproof_retry_duration_seconds histogram",
        r#"duration_seconds_bucket{name="p",le="0.1"} 4"#,
        r#"duration_seconds_bucket{name="p",le="1.0"} 8"#,
        r#"duration_seconds_bucket{name="p",le="+Inf"} 9"#,
        r#"duration_seconds_sum{name="p"} 1.5"#,
        r#"duration_seconds_count{name="p"} 9"#,
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_state_is_coded_as_each_system_has_it() {
    let open = CircuitBreaker::new("openai");
    open.set_mode(Instant::ZERO, Mode::ForcedOpen);
    let snapshots = [open.snapshot(Instant::ZERO), CircuitBreaker::new("other").snapshot(Instant::ZERO)];
    for (names, line) in [
        (Names::Stormproof, "stormproof_breaker_state_code{name=\"openai\"} 1\n"),
        (Names::Aragora, "aragora_circuit_breaker_state{name=\"openai\"} 1\n"),
        (Names::Book, "circuit_breaker_state{name=\"openai\"} 1\n"),
        (Names::AragoraCode, "aragora_provider_circuit_breaker_state{provider=\"openai\"} 2\n"),
        (Names::AragoraCode, "\naragora_circuit_breakers_open 1\n"),
    ] {
        let text = under(names, &snapshots);
        assert!(text.contains(line), "{names:?}: {text}");
    }
}

#[test]
fn numbers_are_taken_as_the_other_system_counts_them() {
    let calls = |outcome, count| Sample::counter("calls", "Calls.", count).label("outcome", outcome);
    let gave_up = |reason, count| Sample::counter("gave_up", "Failed.", count).label("reason", reason);
    let snapshots = [
        stage(Stage::Breaker, "p", vec![calls("success", 70), calls("failure", 30), calls("ignored", 1)]),
        stage(
            Stage::Policy,
            "p",
            vec![calls("success", 7), calls("failure", 2), calls("ignored", 1), calls("refused", 1)],
        ),
        stage(Stage::Retry, "p", vec![Sample::counter("budget_total", "Withdrawals.", 9)]),
        stage(
            Stage::Retry,
            "p",
            vec![Sample::counter("retries", "Retries.", 4), gave_up("exhausted", 2), gave_up("deadline", 5)],
        ),
    ];
    let series = |names| {
        let text = under(names, &snapshots);
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        series(Names::Aragora),
        [
            r#"aragora_resilience_requests_total{name="p",outcome="success"} 7"#,
            r#"aragora_resilience_requests_total{name="p",outcome="failure"} 3"#,
            r#"aragora_resilience_retries_total{name="p"} 4"#,
        ]
    );
    assert_eq!(
        series(Names::AragoraCode),
        [
            r#"resilience_retry_attempts_total{operation_name="p"} 4"#,
            r#"resilience_retry_exhausted_total{operation_name="p"} 2"#,
        ]
    );
    assert_eq!(series(Names::Book), [r#"retry_attempts_total{name="p"} 4"#]);
}

#[test]
fn more_names_than_are_wanted_are_counted_and_left_out() {
    let snapshots = breakers(["a", "b", "c"]);
    let text = Text::new(Exposition::Prometheus).most_names(2).write(&snapshots);
    assert!(text.contains("name=\"b\"") && !text.contains("name=\"c\""), "{text}");
    let series = snapshots[2].samples.len();
    assert!(text.ends_with(&format!("\nstormproof_metrics_overflow {series}\n")), "{text}");
    assert!(!prometheus(&snapshots).contains("overflow"));
}

#[test]
fn what_is_accepted_decides_the_format() {
    use Exposition::{OpenMetrics, Prometheus};
    for (accept, expected) in [
        ("", Prometheus),
        ("*/*", Prometheus),
        ("application/openmetrics-text", OpenMetrics),
        ("application/openmetrics-text; version=\"1.0.0\"; charset=utf-8", OpenMetrics),
        ("application/openmetrics-text; version=2.0.0, text/plain;q=0.1", Prometheus),
        ("application/openmetrics-text;q=0.1, text/plain;q=0.9", Prometheus),
        ("application/openmetrics-text;q=0", Prometheus),
        ("application/openmetrics-text;q=NaN", Prometheus),
        (";;q=,=,", Prometheus),
    ] {
        assert_eq!(Exposition::accepted_by(accept), expected, "{accept}");
    }
}

#[test]
fn names_read_themselves() {
    for names in Names::ALL {
        assert_eq!(names.as_str().parse(), Ok(names));
    }
    assert!("nagios".parse::<Names>().is_err());
}

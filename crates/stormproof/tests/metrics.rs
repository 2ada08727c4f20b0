//! Whatever stages are called and whatever they count, the text is one that a strict reader takes.
#![cfg(test)]

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;
use stormproof::metrics::{Exposition, Names, Text};
use stormproof::snapshot::{Sample, Snapshot};
use stormproof::{Clock, Policy, Retry, Stage, breaker, budget, bulkhead, rate};

type Labels = Vec<(String, String)>;

#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: bool,
    unit: Option<String>,
    series: Vec<(String, Labels, f64)>,
}

/// Reads a text as strictly as the format allows, and gives its families.
fn read(text: &str, format: Exposition) -> BTreeMap<String, Family> {
    let open = format == Exposition::OpenMetrics;
    let text = if open { text.strip_suffix("# EOF\n").expect("ends with # EOF") } else { text };
    assert!(!text.contains("# EOF"), "# EOF before the end");
    assert!(text.is_empty() || text.ends_with('\n'));
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut present = String::new();
    for line in text.split_terminator('\n') {
        assert!(!line.is_empty(), "an empty line");
        if let Some(comment) = line.strip_prefix("# ") {
            let (keyword, rest) = comment.split_once(' ').unwrap();
            let (name, rest) = rest.split_once(' ').unwrap();
            assert!(is_name(name), "{name:?}");
            if name != present {
                assert!(!families.contains_key(name), "{name} is interleaved");
                name.clone_into(&mut present);
            }
            let family = families.entry(name.into()).or_default();
            assert!(family.series.is_empty(), "{line} after the first series");
            match keyword {
                "HELP" => assert!(!std::mem::replace(&mut family.help, true)),
                "TYPE" => assert_eq!(std::mem::replace(&mut family.kind, rest.into()), ""),
                "UNIT" => assert_eq!(family.unit.replace(rest.into()), None),
                other => panic!("{other}"),
            }
            continue;
        }
        let end = line.find(['{', ' ']).unwrap();
        let (name, rest) = line.split_at(end);
        assert!(is_name(name), "{name:?}");
        let (labels, value) = match rest.strip_prefix('{') {
            Some(labels) => read_labels(labels),
            None => (Vec::new(), &rest[1..]),
        };
        let value: f64 = match value {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            "NaN" => f64::NAN,
            number => {
                assert!(!number.contains("inf") && !number.contains("nan"), "{number}");
                number.parse().unwrap()
            }
        };
        let family = families.get_mut(&present).unwrap_or_else(|| panic!("{line} without a type"));
        family.series.push((name.strip_prefix(&present).unwrap().into(), labels, value));
    }
    for (name, family) in &families {
        check(name, family, open);
    }
    families
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The labels, and what follows them.
fn read_labels(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut labels = Vec::new();
    loop {
        let (name, after) = rest.split_once("=\"").unwrap();
        assert!(is_name(name), "{name:?}");
        let (mut value, mut chars) = (String::new(), after.chars());
        loop {
            match chars.next().unwrap() {
                '"' => break,
                '\\' => value.push(match chars.next().unwrap() {
                    'n' => '\n',
                    escaped @ ('"' | '\\') => escaped,
                    other => panic!("an escape \\{other}"),
                }),
                c => value.push(c),
            }
        }
        labels.push((name.to_owned(), value));
        let mut after = chars.as_str().chars();
        match after.next() {
            Some(',') => rest = after.as_str(),
            Some('}') => return (labels, after.as_str().strip_prefix(' ').unwrap()),
            other => panic!("{other:?} after a label"),
        }
    }
}

fn check(name: &str, family: &Family, open: bool) {
    assert!(family.help && !family.kind.is_empty() && !family.series.is_empty(), "{name}: {family:?}");
    if let Some(unit) = &family.unit {
        assert!(open && name.ends_with(&format!("_{unit}")), "{name} has the unit {unit}");
    }
    let mut seen = HashSet::new();
    for (suffix, labels, value) in &family.series {
        assert!(seen.insert((suffix, labels)), "{name}{suffix}{labels:?} stands twice");
        let names: HashSet<_> = labels.iter().map(|(label, _)| label).collect();
        assert_eq!(names.len(), labels.len(), "a label stands twice");
        let edge = |wanted: &str| labels.iter().any(|(label, _)| label == wanted);
        match (&*family.kind, &**suffix) {
            ("counter", suffix) => {
                assert_eq!((suffix, name.ends_with("_total")), if open { ("_total", false) } else { ("", true) });
                assert!(*value >= 0.0, "{name} is {value}");
            }
            ("summary", "") => assert!(edge("quantile")),
            ("histogram", "_bucket") => assert!(edge("le")),
            ("gauge", "") | ("summary" | "histogram", "_sum" | "_count") => {}
            (kind, suffix) => panic!("{name}{suffix} of a {kind}"),
        }
    }
    if family.kind == "histogram" {
        check_buckets(name, family);
    }
}

fn check_buckets(name: &str, family: &Family) {
    let mut buckets: HashMap<Labels, Vec<(f64, f64)>> = HashMap::new();
    for (_, labels, value) in family.series.iter().filter(|(suffix, ..)| suffix == "_bucket") {
        let (limit, others): (Vec<_>, Vec<_>) = labels.iter().cloned().partition(|(label, _)| label == "le");
        let limit = if limit[0].1 == "+Inf" { f64::INFINITY } else { limit[0].1.parse().unwrap() };
        buckets.entry(others).or_default().push((limit, *value));
    }
    for (labels, buckets) in buckets {
        assert!(buckets.is_sorted(), "{name}: {buckets:?}");
        let all = family.series.iter().find(|(suffix, own, _)| suffix == "_count" && *own == labels);
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, all.unwrap().2)), "{name}");
    }
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-c]", "[\"\\\\\n{},= #]{0,6}"]
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let stages = [Stage::Breaker, Stage::Bulkhead, Stage::Rate, Stage::Retry, Stage::Degradation];
    let number = prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(1e300)];
    (any_name(), prop::sample::select(stages.to_vec()), any::<u32>(), number).prop_map(
        |(name, stage, count, number)| {
            let all = u64::from(count);
            let mut samples = vec![
                Sample::counter("calls", "Calls.\nAll \"of\" \\ them.", all).label("outcome", "success"),
                Sample::counter("calls", "Calls.", all).label("outcome", "failure"),
                Sample::counter("retries", "Retries.", all),
                Sample::gauge("state", "State.", f64::from(count % 2)).label("state", "open"),
                Sample::gauge("level", "Level.", number),
                Sample::gauge("9 lives-left", "A name that no format allows.", number).label("a b", "\"\n"),
                Sample::gauge("calls", "The same metric with another type.", 1.0),
            ];
            samples.extend(Sample::summary("latency_seconds", "Time.", &[("0.5", number), ("0.99", number)], 1.5, all));
            samples.extend(Sample::histogram("duration_seconds", "Time.", &[("0.5", all / 2), ("1.0", all)], 1.5, all));
            Snapshot::new(stage, name.into(), samples)
        },
    )
}

proptest! {
    #[test]
    fn any_names_and_numbers_give_a_text_that_a_strict_reader_takes(
        snapshots in prop::collection::vec(any_snapshot(), 0..8),
        most in 0_usize..6,
    ) {
        let names: HashSet<&str> = snapshots.iter().map(|snapshot| snapshot.name.as_str()).collect();
        for format in [Exposition::Prometheus, Exposition::OpenMetrics] {
            let text = Text::new(format).names(Names::ALL).most_names(most).write(&snapshots);
            for (family, read) in read(&text, format) {
                let labels = ["name", "provider", "operation_name", "component"];
                let told = read.series.iter().flat_map(|(_, own, _)| own).filter(|(label, _)| labels.contains(&&**label));
                let told: HashSet<&str> = told.map(|(_, name)| name.as_str()).collect();
                prop_assert!(told.is_subset(&names), "{family}: {told:?}");
                prop_assert!(told.len() <= most, "{family}: {told:?}");
            }
        }
    }

    #[test]
    fn any_text_names_a_set_of_metrics_or_is_told_which_there_are(text in any::<String>()) {
        match text.parse::<Names>() {
            Ok(names) => prop_assert_eq!(names.as_str(), text),
            Err(mistake) => prop_assert!(mistake.to_string().chars().count() <= 140 && mistake.to_string().contains("aragora")),
        }
    }

    #[test]
    fn any_accept_header_is_understood(accept in any::<String>()) {
        let _ = Exposition::accepted_by(&accept);
    }
}

#[test]
fn every_stage_of_a_policy_is_written_in_both_formats() {
    let policy = Policy::builder("p")
        .clock(&Clock::manual())
        .breaker(breaker::Config::default())
        .bulkhead(bulkhead::Config::default())
        .rate(rate::Config::default())
        .retry(Retry::default())
        .budget(budget::Config::default())
        .build()
        .unwrap();
    for (format, total) in [(Exposition::Prometheus, "_total"), (Exposition::OpenMetrics, "")] {
        let families = read(&Text::new(format).write(&policy.snapshots()), format);
        for family in ["stormproof_breaker_state", "stormproof_bulkhead_active", "stormproof_rate_available"] {
            assert_eq!(families[family].kind, "gauge");
        }
        assert_eq!(families[&format!("stormproof_breaker_calls{total}")].series.len(), 3);
        assert_eq!(families[&format!("stormproof_retry_budget{total}")].kind, "counter");
    }
}

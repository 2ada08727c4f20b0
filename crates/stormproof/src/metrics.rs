//! Metrics as text, written from snapshots: Prometheus 0.0.4.
//!
//! Knows no pattern: a stage that has a [`Snapshot`] has metrics.

use std::collections::HashSet;
use std::fmt::Write;

use stormproof_core::Snapshot;
use stormproof_core::snapshot::{Kind, Sample};

/// The content type of [`prometheus`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The snapshots in the Prometheus text format: one family a metric, `stormproof_<stage>_<metric>`. Of stages with the
/// same kind and name only the first is written, as a series may stand in a text only once: give stages names of their own.
///
/// ```
/// use stormproof::{metrics, CircuitBreaker};
///
/// let text = metrics::prometheus(&CircuitBreaker::new("openai").policy().snapshots());
/// assert!(text.contains(r#"stormproof_breaker_state{name="openai",state="closed"} 1"#));
/// ```
pub fn prometheus(snapshots: &[Snapshot]) -> String {
    let mut text = String::new();
    for (family, sample) in families(snapshots) {
        let kind = match sample.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing into a string cannot fail.
        let _ = writeln!(text, "# HELP {family} {}\n# TYPE {family} {kind}", sample.help);
        let mut written = HashSet::new();
        for snapshot in snapshots {
            for sample in snapshot.samples.iter().filter(|sample| family_name(snapshot, sample) == family) {
                // A stage that several policies share comes with each of them, and must stand here once.
                if !written.insert((&snapshot.name, sample.label)) {
                    continue;
                }
                let _ = write!(text, "{family}{{name=\"{}\"", escape(&snapshot.name));
                if let Some((label, value)) = sample.label {
                    let _ = write!(text, ",{label}=\"{}\"", escape(value));
                }
                let _ = writeln!(text, "}} {}", sample.value);
            }
        }
    }
    text
}

/// Each family once, with a sample that tells its kind, in the order of first appearance.
fn families(snapshots: &[Snapshot]) -> Vec<(String, Sample)> {
    let mut families: Vec<(String, Sample)> = Vec::new();
    for snapshot in snapshots {
        for sample in &snapshot.samples {
            let name = family_name(snapshot, sample);
            if !families.iter().any(|(known, _)| *known == name) {
                families.push((name, *sample));
            }
        }
    }
    families
}

fn family_name(snapshot: &Snapshot, sample: &Sample) -> String {
    let total = if sample.kind == Kind::Counter { "_total" } else { "" };
    format!("stormproof_{}_{}{total}", snapshot.stage.as_str(), sample.metric)
}

/// Escapes a label's value as the format wants it.
fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use stormproof_core::{CircuitBreaker, Instant};

    use super::prometheus;

    #[test]
    fn a_family_is_announced_once_and_names_are_escaped() {
        let now = Instant::ZERO;
        let stages = ["plain", "quo\"te\\new\nline"].map(|name| CircuitBreaker::new(name).snapshot(now));
        let text = prometheus(&stages);
        assert_eq!(text.matches("# TYPE stormproof_breaker_refused_total counter").count(), 1);
        assert!(text.contains("stormproof_breaker_refused_total{name=\"plain\"} 0\n"), "{text}");
        assert_eq!(prometheus(&[stages.clone(), stages].concat()), text, "a series stands there once");
        assert!(text.contains(r#"{name="quo\"te\\new\nline"} 0"#), "{text}");
    }
}

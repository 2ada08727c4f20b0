//! Metrics as text, written from snapshots: Prometheus 0.0.4 and OpenMetrics 1.0, under our names or those that users of
//! other systems know.
//!
//! Knows no pattern: a stage that has a [`Snapshot`] has metrics. Other systems' names are tables in `stormproof-compat`.

mod families;
#[cfg(feature = "compat")]
mod names;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use stormproof_core::Snapshot;
use stormproof_core::snapshot::Kind;

use families::{Families, Family, Series};
#[cfg(feature = "compat")]
pub use stormproof_compat::metrics::Names;

/// The content type of [`prometheus`].
pub const CONTENT_TYPE: &str = Exposition::Prometheus.content_type();

/// Maximum number of distinct stages written of a metric, unless [another](Text::most_names) is set.
pub const MOST_NAMES: usize = 2000;

/// The snapshots in the Prometheus text format: one family a metric, `stormproof_<stage>_<metric>`. Of stages with the
/// same kind and name only the first is written, as a series may stand in a text only once: give stages names of their own.
///
/// ```
/// use stormproof::{metrics, CircuitBreaker};
///
/// let text = metrics::prometheus(&CircuitBreaker::new("openai").policy().snapshots());
/// assert!(text.contains(r#"stormproof_breaker_state{name="openai",state="closed"} 1"#));
/// assert!(text.contains(r#"stormproof_breaker_state_code{name="openai"} 0"#));
/// ```
pub fn prometheus(snapshots: &[Snapshot]) -> String {
    Text::new(Exposition::Prometheus).write(snapshots)
}

/// The same as OpenMetrics.
///
/// ```
/// use stormproof::{metrics, CircuitBreaker};
///
/// let text = metrics::openmetrics(&CircuitBreaker::new("openai").policy().snapshots());
/// assert!(text.contains("# TYPE stormproof_breaker_calls counter\n"));
/// assert!(text.ends_with("# EOF\n"));
/// ```
pub fn openmetrics(snapshots: &[Snapshot]) -> String {
    Text::new(Exposition::OpenMetrics).write(snapshots)
}

/// How metrics are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Exposition {
    /// The Prometheus text format, version 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics, version 1.0.
    OpenMetrics,
}

impl Exposition {
    /// What somebody who sends this `Accept` header wants: `OpenMetrics` if they name it and do not like plain text
    /// better.
    ///
    /// ```
    /// use stormproof::metrics::Exposition;
    ///
    /// let scraper = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    /// assert_eq!(Exposition::accepted_by(scraper), Exposition::OpenMetrics);
    /// assert_eq!(Exposition::accepted_by("text/html, */*"), Exposition::Prometheus);
    /// ```
    pub fn accepted_by(accept: &str) -> Self {
        let (mut open, mut plain) = (0.0_f64, 0.0_f64);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let range = parts.next().unwrap_or_default();
            let (mut quality, mut version) = (1.0_f64, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            let known = version.is_none_or(|version| matches!(version, "1.0.0" | "1.0" | "0.0.1"));
            if range.eq_ignore_ascii_case("application/openmetrics-text") && known {
                open = open.max(quality);
            } else if range.eq_ignore_ascii_case("text/plain") {
                plain = plain.max(quality);
            }
        }
        if open > 0.0 && open >= plain { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The content type to send it with.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What is written, and how.
///
/// ```
/// # #[cfg(feature = "compat")] {
/// use stormproof::metrics::{Exposition, Names, Text};
/// use stormproof::CircuitBreaker;
///
/// let text = Text::new(Exposition::Prometheus).names([Names::Aragora]);
/// let text = text.write(&CircuitBreaker::new("openai").policy().snapshots());
/// assert!(text.contains(r#"aragora_circuit_breaker_state{name="openai"} 0"#));
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Text {
    exposition: Exposition,
    #[cfg(feature = "compat")]
    names: Vec<Names>,
    most_names: usize,
}

impl Text {
    /// Our names, at most [`MOST_NAMES`] stages of a metric.
    pub fn new(exposition: Exposition) -> Self {
        Self {
            exposition,
            #[cfg(feature = "compat")]
            names: vec![Names::Stormproof],
            most_names: MOST_NAMES,
        }
    }

    /// With the feature `compat`, under these names instead. Several stand one after the other.
    #[cfg(feature = "compat")]
    pub fn names(mut self, names: impl IntoIterator<Item = Names>) -> Self {
        self.names = names.into_iter().collect();
        self
    }

    /// Maximum number of distinct stages written of a metric, the first ones. What is left out is counted in
    /// `stormproof_metrics_overflow`.
    pub fn most_names(mut self, most: usize) -> Self {
        self.most_names = most;
        self
    }

    /// The text.
    pub fn write(&self, snapshots: &[Snapshot]) -> String {
        let mut families = Families::new(self.most_names);
        #[cfg(feature = "compat")]
        for names in &self.names {
            families.add(snapshots, *names);
        }
        #[cfg(not(feature = "compat"))]
        families.add_own(snapshots);
        let mut text = String::new();
        for family in families.finish() {
            // Writing into a string cannot fail.
            let _ = self.write_family(&mut text, &family);
        }
        if self.exposition == Exposition::OpenMetrics {
            text.push_str("# EOF\n");
        }
        text
    }

    fn write_family(&self, text: &mut String, family: &Family<'_>) -> std::fmt::Result {
        let open = self.exposition == Exposition::OpenMetrics;
        // What ends in `_total` is the family in one format, and a number of the family in the other.
        let total = if family.kind == Kind::Counter && !open { "_total" } else { "" };
        let name = &family.name;
        writeln!(text, "# HELP {name}{total} {}", escape(family.help, open))?;
        writeln!(text, "# TYPE {name}{total} {}", family.kind.as_str())?;
        if open && name.ends_with("_seconds") {
            writeln!(text, "# UNIT {name} seconds")?;
        }
        for series in &family.series {
            write_series(text, family, series)?;
        }
        Ok(())
    }
}

fn write_series(text: &mut String, family: &Family<'_>, series: &Series<'_>) -> std::fmt::Result {
    write!(text, "{}{}", family.name, series.part.suffix(family.kind))?;
    let mut before = '{';
    for (label, value) in series.labels().chain(series.part.label()) {
        write!(text, "{before}{label}=\"{}\"", escape(value, true))?;
        before = ',';
    }
    let after = if before == '{' { "" } else { "}" };
    writeln!(text, "{after} {}", number(series.value))
}

/// Escapes a label's value, or a help text (in which only OpenMetrics escapes quotes).
fn escape(value: &str, quotes: bool) -> String {
    let escaped = value.replace('\\', r"\\").replace('\n', r"\n");
    if quotes { escaped.replace('"', "\\\"") } else { escaped }
}

fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        value => value.to_string(),
    }
}

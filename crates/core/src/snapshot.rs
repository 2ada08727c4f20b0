//! What a stage shows of itself, as data: metrics, the admin API and the dashboard are written from it alone.

use crate::decision::{Name, Stage};

/// A stage at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Which stage.
    pub stage: Stage,
    /// Its name.
    pub name: Name,
    /// Its numbers.
    pub samples: Vec<Sample>,
}

impl Snapshot {
    /// The value of the sample called `metric` whose label has the value `label` (empty: no label).
    pub fn get(&self, metric: &str, label: &str) -> Option<f64> {
        let found = |s: &&Sample| s.metric == metric && s.label.map_or("", |(_, value)| value) == label;
        self.samples.iter().find(found).map(|sample| sample.value)
    }
}

/// One number of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// What is counted or measured, in snake case and with its unit.
    pub metric: &'static str,
    /// One sentence for an operator.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// What tells samples of the same metric apart.
    pub label: Option<(&'static str, &'static str)>,
    /// The number.
    pub value: f64,
}

/// Whether a sample only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl Sample {
    /// A number that only grows.
    pub const fn counter(metric: &'static str, help: &'static str, value: u64) -> Self {
        Self { metric, help, kind: Kind::Counter, label: None, value: value as f64 }
    }

    /// A number that goes up and down.
    pub const fn gauge(metric: &'static str, help: &'static str, value: f64) -> Self {
        Self { metric, help, kind: Kind::Gauge, label: None, value }
    }

    /// Tells the sample apart from others of the same metric.
    #[must_use]
    pub const fn label(mut self, name: &'static str, value: &'static str) -> Self {
        self.label = Some((name, value));
        self
    }
}

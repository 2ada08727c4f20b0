//! What a stage shows of itself, as data: metrics, the admin API and the dashboard are written from it alone.

use crate::decision::{Name, Stage};

/// A stage at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Which stage.
    pub stage: Stage,
    /// Its name.
    pub name: Name,
    /// Its numbers.
    pub samples: Vec<Sample>,
}

impl Snapshot {
    /// A stage's numbers.
    pub fn new(stage: Stage, name: Name, samples: Vec<Sample>) -> Self {
        Self { stage, name, samples }
    }

    /// The value of the sample called `metric` whose label has the value `label` (empty: no label). Of a distribution,
    /// its count.
    pub fn get(&self, metric: &str, label: &str) -> Option<f64> {
        let found = |s: &&Sample| {
            s.metric == metric
                && matches!(s.part, Part::Value | Part::Count)
                && s.label.map_or("", |(_, value)| value) == label
        };
        self.samples.iter().find(found).map(|sample| sample.value)
    }
}

/// One number of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// What is counted or measured, in snake case and with its unit.
    pub metric: &'static str,
    /// One sentence for an operator.
    pub help: &'static str,
    /// What kind of metric it belongs to.
    pub kind: Kind,
    /// Which number of that metric it is.
    pub part: Part,
    /// What tells samples of the same metric apart.
    pub label: Option<(&'static str, &'static str)>,
    /// The number.
    pub value: f64,
}

/// What kind of metric a sample belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution by its quantiles.
    Summary,
    /// A distribution by how many were at most so large.
    Histogram,
}

/// Which number of a metric a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// The only one: a counter's or a gauge's.
    Value,
    /// What this share of all was at most: `"0.99"`, of a summary.
    Quantile(&'static str),
    /// How many were at most so large, those of smaller buckets included: `"2.5"`, of a histogram. The last one is
    /// `"+Inf"` and counts all.
    AtMost(&'static str),
    /// The sum of all that was measured.
    Sum,
    /// How many were measured.
    Count,
}

impl Kind {
    /// The kind in lower case, as metrics write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
            Self::Histogram => "histogram",
        }
    }

    /// Whether a metric of this kind has such a number.
    pub const fn has(self, part: Part) -> bool {
        match part {
            Part::Value => matches!(self, Self::Counter | Self::Gauge),
            Part::Quantile(_) => matches!(self, Self::Summary),
            Part::AtMost(_) => matches!(self, Self::Histogram),
            Part::Sum | Part::Count => matches!(self, Self::Summary | Self::Histogram),
        }
    }
}

impl Part {
    /// What the name of a metric of this kind ends in for this number.
    pub const fn suffix(self, kind: Kind) -> &'static str {
        match self {
            Self::Value if matches!(kind, Kind::Counter) => "_total",
            Self::Value | Self::Quantile(_) => "",
            Self::AtMost(_) => "_bucket",
            Self::Sum => "_sum",
            Self::Count => "_count",
        }
    }

    /// The label that tells the number from others of its distribution: `quantile` or `le`, and its value.
    pub const fn label(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Quantile(share) => Some(("quantile", share)),
            Self::AtMost(limit) => Some(("le", limit)),
            Self::Value | Self::Sum | Self::Count => None,
        }
    }
}

impl Sample {
    /// A number that only grows.
    pub const fn counter(metric: &'static str, help: &'static str, value: u64) -> Self {
        Self { metric, help, kind: Kind::Counter, part: Part::Value, label: None, value: value as f64 }
    }

    /// A number that goes up and down.
    pub const fn gauge(metric: &'static str, help: &'static str, value: f64) -> Self {
        Self { metric, help, kind: Kind::Gauge, part: Part::Value, label: None, value }
    }

    /// A distribution by quantiles, such as `("0.99", 0.25)`. A metric's unit is the last word of its name.
    pub fn summary(
        metric: &'static str,
        help: &'static str,
        quantiles: &[(&'static str, f64)],
        sum: f64,
        count: u64,
    ) -> Vec<Self> {
        let sample = |part, value| Self { metric, help, kind: Kind::Summary, part, label: None, value };
        let quantiles = quantiles.iter().map(|&(share, value)| sample(Part::Quantile(share), value));
        quantiles.chain([sample(Part::Sum, sum), sample(Part::Count, count as f64)]).collect()
    }

    /// A distribution by buckets: a limit, growing from one to the next and written with a point (`"1.0"`), and how many
    /// were at most so large, which never shrinks from one to the next. The last bucket, of all, is added.
    pub fn histogram(
        metric: &'static str,
        help: &'static str,
        buckets: &[(&'static str, u64)],
        sum: f64,
        count: u64,
    ) -> Vec<Self> {
        let sample = |part, value| Self { metric, help, kind: Kind::Histogram, part, label: None, value };
        let all = [("+Inf", count)];
        let buckets = buckets.iter().chain(&all).map(|&(limit, value)| sample(Part::AtMost(limit), value as f64));
        buckets.chain([sample(Part::Sum, sum), sample(Part::Count, count as f64)]).collect()
    }

    /// Tells the sample apart from others of the same metric.
    #[must_use]
    pub const fn label(mut self, name: &'static str, value: &'static str) -> Self {
        self.label = Some((name, value));
        self
    }
}

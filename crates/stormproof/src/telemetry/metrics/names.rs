//! Numbers under other systems' names: what a row of `stormproof-compat` makes of a stage's samples.

use stormproof_compat::metrics::{How, Kind as Known};
use stormproof_core::snapshot::{Kind, Part, Sample};

/// Our word for the kind of a metric.
pub(super) const fn kind(kind: Known) -> Kind {
    match kind {
        Known::Counter => Kind::Counter,
        Known::Gauge => Kind::Gauge,
        Known::Summary => Kind::Summary,
        Known::Histogram => Kind::Histogram,
    }
}

/// What becomes of the samples of one metric of a stage.
pub(super) fn apply<'a>(how: &How, samples: impl Iterator<Item = &'a Sample>) -> Vec<Sample> {
    let labelled = |sample: &Sample| sample.label.map_or("", |(_, value)| value);
    match *how {
        How::Sum => sum(samples, None),
        How::SumOf(wanted) => sum(samples.filter(|sample| labelled(sample) == wanted), None),
        How::Grouped(groups) => {
            let samples: Vec<_> = samples.collect();
            let of_group = |(name, values): &(&'static str, &[&str])| {
                let label = samples.first().and_then(|sample| sample.label).map(|(label, _)| (label, *name));
                sum(samples.iter().copied().filter(|sample| values.contains(&labelled(sample))), label)
            };
            groups.iter().flat_map(of_group).collect()
        }
        How::Coded(codes) => {
            let code = |sample: &Sample| {
                let code = codes.iter().find(|(state, _)| *state == labelled(sample) && sample.value > 0.5);
                code.map(|&(_, code)| alone(*sample, None, code))
            };
            samples.filter_map(code).take(1).collect()
        }
        How::CountOf(_) => Vec::new(),
        How::Distribution => samples.copied().collect(),
    }
}

fn sum<'a>(samples: impl Iterator<Item = &'a Sample>, label: Option<(&'static str, &'static str)>) -> Vec<Sample> {
    let sum = samples.copied().reduce(|all, sample| alone(all, None, all.value + sample.value));
    sum.map(|sum| alone(sum, label, sum.value)).into_iter().collect()
}

/// The only number of a metric, in place of this one.
fn alone(mut sample: Sample, label: Option<(&'static str, &'static str)>, value: f64) -> Sample {
    (sample.label, sample.part, sample.value) = (label, Part::Value, value);
    sample
}

//! Snapshots sorted into families, each series once.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

#[cfg(feature = "compat")]
use stormproof_compat::metrics::{How, Names, Row};
use stormproof_core::snapshot::{Kind, Part, Sample};
use stormproof_core::{Name, Snapshot};

/// A label of a sample: its name and its value.
type Label = Option<(&'static str, &'static str)>;

pub(super) struct Families<'a> {
    all: Vec<Family<'a>>,
    by_name: HashMap<String, usize>,
    most_names: usize,
    left_out: u64,
}

/// A metric: its name is without the `_total` of a counter.
pub(super) struct Family<'a> {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) help: &'a str,
    pub(super) series: Vec<Series<'a>>,
    names: HashSet<&'a str>,
    written: HashSet<(&'a str, Label, Part)>,
}

/// One number with what tells it apart.
pub(super) struct Series<'a> {
    pub(super) part: Part,
    pub(super) value: f64,
    /// The label that carries the stage's name, and the name; not there where all stages are one number.
    name: Option<(&'static str, &'a str)>,
    label: Option<(Cow<'static, str>, &'static str)>,
}

impl Series<'_> {
    pub(super) fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let label = self.label.as_ref().map(|(name, value)| (&**name, *value));
        self.name.into_iter().chain(label)
    }
}

impl<'a> Families<'a> {
    pub(super) fn new(most_names: usize) -> Self {
        Self { all: Vec::new(), by_name: HashMap::new(), most_names, left_out: 0 }
    }

    #[cfg(feature = "compat")]
    pub(super) fn add(&mut self, snapshots: &'a [Snapshot], names: Names) {
        match names.rows() {
            None => self.add_own(snapshots),
            Some(rows) => rows.iter().for_each(|row| self.add_row(snapshots, row)),
        }
    }

    pub(super) fn finish(self) -> Vec<Family<'a>> {
        let mut families = self.all;
        if self.left_out > 0 {
            let mut overflow = Family::new(
                "stormproof_metrics_overflow".into(),
                Kind::Gauge,
                "Series left out, because there are more names than are written of a metric.",
            );
            let value = self.left_out as f64;
            overflow.series.push(Series { part: Part::Value, value, name: None, label: None });
            families.push(overflow);
        }
        families.retain(|family| !family.series.is_empty());
        families
    }

    /// Every number under our names: `stormproof_<stage>_<metric>`.
    pub(super) fn add_own(&mut self, snapshots: &'a [Snapshot]) {
        for snapshot in snapshots {
            for sample in &snapshot.samples {
                let metric = sample.metric.strip_suffix("_total").unwrap_or(sample.metric);
                let name = identifier(&format!("stormproof_{}_{metric}", snapshot.stage.as_str())).into_owned();
                let family = self.family(name, sample.kind, sample.help);
                self.put(family, "name", &snapshot.name, sample.kind, *sample);
            }
        }
    }

    #[cfg(feature = "compat")]
    fn add_row(&mut self, snapshots: &'a [Snapshot], row: &'static Row) {
        // The numbers of a name come from the first source that it has, and there from the first snapshot.
        let mut sources: HashMap<&Name, (usize, &str)> = HashMap::new();
        for &(stage, metric) in row.from {
            let of_stage = snapshots.iter().enumerate().filter(|(_, snapshot)| snapshot.stage.as_str() == stage);
            for (index, snapshot) in of_stage {
                if snapshot.samples.iter().any(|sample| sample.metric == metric) {
                    sources.entry(&snapshot.name).or_insert((index, metric));
                }
            }
        }
        let mut sources: Vec<_> = sources.into_values().collect();
        sources.sort_unstable();

        let kind = super::names::kind(row.kind);
        let family = self.family(row.family.into(), kind, row.help);
        let mut count = None;
        for (snapshot, metric) in
            sources.into_iter().filter_map(|(index, metric)| Some((snapshots.get(index)?, metric)))
        {
            let samples = snapshot.samples.iter().filter(|sample| sample.metric == metric);
            if let How::CountOf(state) = row.how {
                let on = samples
                    .filter(|sample| sample.label.is_some_and(|(_, value)| value == state) && sample.value > 0.5);
                count = Some(count.unwrap_or(0.0) + on.count() as f64);
            } else {
                for sample in super::names::apply(&row.how, samples) {
                    self.put(family, row.label, &snapshot.name, kind, sample);
                }
            }
        }
        if let (Some(value), Some(family)) = (count, self.all.get_mut(family))
            && family.series.is_empty()
        {
            family.series.push(Series { part: Part::Value, value, name: None, label: None });
        }
    }

    /// The family of this name, new if it is not there.
    fn family(&mut self, name: String, kind: Kind, help: &'a str) -> usize {
        if let Some(&index) = self.by_name.get(&name) {
            return index;
        }
        self.by_name.insert(name.clone(), self.all.len());
        self.all.push(Family::new(name, kind, help));
        self.all.len() - 1
    }

    /// Adds a number, unless it stands there already: a stage that several policies share comes with each of them.
    fn put(&mut self, family: usize, name_label: &'static str, name: &'a Name, kind: Kind, sample: Sample) {
        let Some(family) = self.all.get_mut(family) else { return };
        if family.kind != kind || !kind.has(sample.part) || family.written.contains(&(name, sample.label, sample.part))
        {
            return;
        }
        if !family.names.contains(name.as_str()) && family.names.len() >= self.most_names {
            self.left_out += 1;
            return;
        }
        family.names.insert(name);
        family.written.insert((name, sample.label, sample.part));
        let label =
            sample.label.filter(|(label, _)| *label != name_label).map(|(label, value)| (identifier(label), value));
        family.series.push(Series { part: sample.part, value: sample.value, name: Some((name_label, name)), label });
    }
}

impl<'a> Family<'a> {
    fn new(name: String, kind: Kind, help: &'a str) -> Self {
        Self { name, kind, help, series: Vec::new(), names: HashSet::new(), written: HashSet::new() }
    }
}

/// A name that the formats allow.
fn identifier(name: &str) -> Cow<'_, str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty();
    if starts && name.chars().all(allowed) {
        return Cow::Borrowed(name);
    }
    let allowed: String = name.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    Cow::Owned(if starts { allowed } else { format!("_{allowed}") })
}

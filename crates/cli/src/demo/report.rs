//! The closing table: the same load, straight and through stormproof.

use std::time::Duration;

use super::load::Call;

/// What one of the two loads came to.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) calls: Vec<Call>,
    /// Calls the upstream received in all, and while it had no chance to answer them.
    pub(super) received: u64,
    pub(super) received_in_outage: u64,
}

impl Side {
    fn times(&self, answered: bool) -> Vec<Duration> {
        let mut times: Vec<Duration> =
            self.calls.iter().filter(|call| call.answered == answered).map(|call| call.took).collect();
        times.sort_unstable();
        times
    }

    fn wasted(&self) -> Duration {
        self.times(false).iter().sum()
    }
}

/// The table as text.
pub(super) fn table(straight: &Side, through: &Side) -> String {
    let line = |name, values: [String; 2]| format!("{name:32} {:>18} {:>18}\n", values[0], values[1]);
    let row = |name, value: &dyn Fn(&Side) -> String| line(name, [value(straight), value(through)]);
    let time = |answered, share| move |side: &Side| percentile(&side.times(answered), share);
    [
        line("", ["without".into(), "with stormproof".into()]),
        row("calls made", &|side| side.calls.len().to_string()),
        row("answered", &|side| {
            let answered = side.times(true).len();
            format!("{answered} ({:.1} %)", 100.0 * answered as f64 / side.calls.len().max(1) as f64)
        }),
        row("time to an answer, median", &time(true, 0.5)),
        row("time to an answer, 99 %", &time(true, 0.99)),
        row("time to a failure, median", &time(false, 0.5)),
        row("time to a failure, 99 %", &time(false, 0.99)),
        row("agents' time lost in failures", &|side| format!("{:.1} s", side.wasted().as_secs_f64())),
        row("calls the upstream received", &|side| side.received.to_string()),
        row("  of them while it stalled", &|side| side.received_in_outage.to_string()),
        "\nThe slowest answers with stormproof are those that would have been failures: retried, or waited for.\n"
            .into(),
    ]
    .concat()
}

fn percentile(sorted: &[Duration], share: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a share of a length is a small whole number
    let at = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(at).map_or_else(|| "-".to_owned(), |took| format!("{:.1} ms", took.as_secs_f64() * 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_compares_both_sides() {
        let call = |answered, ms| Call { at: Duration::ZERO, answered, took: Duration::from_millis(ms) };
        let straight = Side { calls: vec![call(true, 10), call(false, 5000)], received: 2, received_in_outage: 1 };
        let through = Side { calls: vec![call(true, 12), call(true, 20)], received: 3, received_in_outage: 0 };
        let text = table(&straight, &through);
        assert!(text.contains("1 (50.0 %)") && text.contains("2 (100.0 %)"), "{text}");
        assert!(text.lines().any(|line| line.starts_with("agents' time lost") && line.contains("5.0 s")), "{text}");
    }
}

//! The table of figures in the page about benchmarks, as bars.

use stormproof_sim::plot::{Bar, Bars};

use super::book;

const HEAD: &str = "| case | peers: ratio to ours (ns) | ours, ns |";

/// Every row that has peers: ours, then theirs.
pub(crate) fn bars() -> String {
    let page = std::fs::read_to_string(book().join("benchmarks.md")).unwrap();
    let (_, rows) = page.split_once(HEAD).expect("the table of figures");
    let rows = rows.lines().skip(2).take_while(|line| line.starts_with('|'));
    let groups = rows.filter_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, case, peers, ours, ..] = cells[..] else { panic!("{row}") };
        let ours = Bar { name: "stormproof".to_owned(), value: ours.parse().unwrap(), colour: 1 };
        (!peers.is_empty()).then(|| {
            let case = case.trim_end_matches(" ¹").to_owned();
            (case, std::iter::once(ours).chain(peers.split(" · ").map(peer)).collect())
        })
    });
    Bars {
        title: "A call, in nanoseconds".to_owned(),
        scale: "nanoseconds, on a logarithmic scale: shorter is quicker".to_owned(),
        groups: groups.collect(),
    }
    .svg()
}

/// `recloser 2.2 × (16.2)`.
fn peer(text: &str) -> Bar {
    let (name_and_ratio, nanos) = text.split_once(" × (").expect(text);
    let (name, _) = name_and_ratio.rsplit_once(' ').expect(text);
    Bar { name: name.to_owned(), value: nanos.trim_end_matches(')').parse().expect(text), colour: 0 }
}

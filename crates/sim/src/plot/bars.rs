//! Horizontal bars in groups.

use super::{Anchor, COLOURS, Canvas, WIDTH};

const LEFT: f64 = 290.0;
/// Room for the longest label behind a bar.
const RIGHT: f64 = 160.0;
const BAR: f64 = 13.0;
const GAP: f64 = 12.0;
const TOP: f64 = 40.0;

/// Groups of bars on one logarithmic scale: what takes ten times as long is as much longer, wherever it begins.
#[derive(Clone, Debug)]
pub struct Bars {
    /// First line of the picture.
    pub title: String,
    /// Meaning of the length of a bar, with its unit.
    pub scale: String,
    /// The groups with their names, from the top down.
    pub groups: Vec<(String, Vec<Bar>)>,
}

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Name, written behind it.
    pub name: String,
    /// Its length; above 0.
    pub value: f64,
    /// Which of the colours it has.
    pub colour: usize,
}

impl Bars {
    /// The picture.
    pub fn svg(&self) -> String {
        let values = || self.groups.iter().flat_map(|(_, bars)| bars).map(|bar| bar.value);
        let height = TOP + values().count() as f64 * BAR + self.groups.len() as f64 * GAP + 26.0;
        let longest = values().fold(1.0, f64::max);
        let shortest = values().fold(longest, f64::min).max(1e-9) / 2.0;
        let length = |value: f64| {
            (WIDTH - LEFT - RIGHT) * ((value / shortest).ln() / (longest / shortest).ln().max(1e-9)).clamp(0.0, 1.0)
        };
        let mut canvas = Canvas::new(height, &self.title);
        canvas.text("t", Anchor::Start, (LEFT, 22.0), &self.title);
        let mut y = TOP;
        for (group, bars) in &self.groups {
            let middle = y + BAR * bars.len() as f64 / 2.0 + 4.0;
            canvas.text("", Anchor::End, (LEFT - 10.0, middle), group);
            for Bar { name, value, colour } in bars {
                let (colour, end) = (colour % COLOURS, length(*value));
                canvas.put(format_args!(
                    "<rect class=\"f{colour}\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{end:.1}\" height=\"{}\"/>",
                    y + 1.0,
                    BAR - 2.0
                ));
                canvas.text("s", Anchor::Start, (LEFT + end + 6.0, y + BAR - 3.0), &format!("{value} {name}"));
                y += BAR;
            }
            y += GAP;
        }
        canvas.text("s", Anchor::Start, (LEFT, height - 10.0), &self.scale);
        canvas.finish()
    }
}

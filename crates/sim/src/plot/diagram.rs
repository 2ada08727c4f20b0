//! States and the arrows between them.

use super::{Anchor, COLOURS, Canvas, WIDTH};

const BOX: (f64, f64) = (150.0, 54.0);

/// Centre of a state: from 0 to 1 of the width, and units from the top.
pub type Place = (f64, f64);

/// States and the arrows between them.
#[derive(Clone, Debug)]
pub struct Diagram {
    /// Text for readers who cannot see the picture.
    pub title: String,
    /// Height of the picture.
    pub height: f64,
    /// The states.
    pub states: Vec<State>,
    /// The arrows.
    pub arrows: Vec<Arrow>,
}

/// A box with its name.
#[derive(Clone, Debug)]
pub struct State {
    /// The name in the box.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// Which of the colours it has.
    pub colour: usize,
}

/// A transition from one state to another.
#[derive(Clone, Debug)]
pub struct Arrow {
    /// Index of the state it leaves.
    pub from: usize,
    /// Index of the state it reaches.
    pub to: usize,
    /// How far its middle is bent away from the straight line: downwards if above 0.
    pub bend: f64,
    /// Its reason; each text is a line.
    pub labels: Vec<String>,
}

impl Diagram {
    /// The picture.
    pub fn svg(&self) -> String {
        let mut canvas = Canvas::new(self.height, &self.title);
        canvas.put(format_args!(
            "<defs><marker id=\"h\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
             orient=\"auto\"><path class=\"h\" d=\"M0 0L8 4L0 8z\"/></marker></defs>"
        ));
        for arrow in &self.arrows {
            self.draw(&mut canvas, arrow);
        }
        for state in &self.states {
            let (x, y) = centre(state.place);
            let (width, height) = BOX;
            canvas.put(format_args!(
                "<rect class=\"f{}\" rx=\"9\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width}\" height=\"{height}\"/>",
                state.colour % COLOURS,
                x - width / 2.0,
                y - height / 2.0
            ));
            canvas.text("m", Anchor::Middle, (x, y + 5.0), &state.name);
        }
        canvas.finish()
    }

    fn draw(&self, canvas: &mut Canvas, arrow: &Arrow) {
        let (Some(from), Some(to)) = (self.states.get(arrow.from), self.states.get(arrow.to)) else { return };
        let (start, end) = (centre(from.place), centre(to.place));
        let through = (f64::midpoint(start.0, end.0), f64::midpoint(start.1, end.1) + arrow.bend);
        let (start, end) = (edge(start, through), edge(end, through));
        // A quadratic curve reaches half as far as its control point.
        let straight = (f64::midpoint(start.0, end.0), f64::midpoint(start.1, end.1));
        let control = (2.0 * through.0 - straight.0, 2.0 * through.1 - straight.1);
        canvas.put(format_args!(
            "<path class=\"w\" marker-end=\"url(#h)\" d=\"M{:.1} {:.1}Q{:.1} {:.1} {:.1} {:.1}\"/>",
            start.0, start.1, control.0, control.1, end.0, end.1
        ));
        let above = if arrow.bend > 0.0 { 18.0 } else { -8.0 - 14.0 * (arrow.labels.len() as f64 - 1.0) };
        for (at, label) in arrow.labels.iter().enumerate() {
            canvas.text("", Anchor::Middle, (through.0, through.1 + above + 14.0 * at as f64), label);
        }
    }
}

fn centre((x, y): Place) -> (f64, f64) {
    (WIDTH * x, y)
}

/// Where the line from the centre of a box to a point leaves the box, with a little room.
fn edge((x, y): (f64, f64), towards: (f64, f64)) -> (f64, f64) {
    let (across, down) = (towards.0 - x, towards.1 - y);
    let (half_width, half_height) = (BOX.0 / 2.0 + 4.0, BOX.1 / 2.0 + 4.0);
    let reach = (half_width / across.abs().max(1e-9)).min(half_height / down.abs().max(1e-9));
    (x + across * reach, y + down * reach)
}

//! Lines over a common axis, in panels one below the other.

use std::fmt::Write as _;

use super::{Anchor, COLOURS, Canvas, WIDTH, number};

const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const GAP: f64 = 34.0;
/// Height of the title, and of the legend if there is one.
const TITLE: f64 = 40.0;
const LEGEND: f64 = 22.0;

/// Panels that share their horizontal axis, their legend and their shading.
#[derive(Clone, Debug)]
pub struct Figure {
    /// First line of the picture.
    pub title: String,
    /// Names of the lines, in the order that every panel has them in. Empty: no legend.
    pub names: Vec<String>,
    /// Where the horizontal axis ends; it begins at 0.
    pub end: f64,
    /// Labels of the horizontal axis with their places.
    pub ticks: Vec<(f64, String)>,
    /// Parts of the horizontal axis that are shaded, such as the time of a fault.
    pub shaded: Vec<(f64, f64)>,
    /// Height of each panel.
    pub height: f64,
    /// The panels, from the top down.
    pub panels: Vec<Panel>,
}

/// One scale with its lines.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Name of the quantity, with its unit.
    pub title: String,
    /// Least value of the top of the scale; the highest point may raise it.
    pub at_least: f64,
    /// Whether heights have labels. Heights of states, which are no numbers, have none.
    pub labels: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

/// The course of one number.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// How the points are joined.
    pub shape: Shape,
    /// The points in order; `None` interrupts the line.
    pub points: Vec<Option<(f64, f64)>>,
}

/// How the points of a line are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// By straight lines.
    #[default]
    Straight,
    /// Each value holds until the next point.
    Steps,
    /// Not at all: dots.
    Dots,
}

impl Figure {
    /// The picture.
    pub fn svg(&self) -> String {
        let head = if self.names.is_empty() { TITLE } else { TITLE + LEGEND };
        let height = head + self.panels.len() as f64 * (self.height + GAP) + 10.0;
        let mut canvas = Canvas::new(height, &self.title);
        canvas.text("t", Anchor::Start, (LEFT, 22.0), &self.title);
        canvas.legend(LEFT, 40.0, &self.names);
        for (at, panel) in self.panels.iter().enumerate() {
            let top = head + at as f64 * (self.height + GAP) + 14.0;
            for &(start, end) in &self.shaded {
                let (from, to) = (self.x(start), self.x(end));
                canvas.put(format_args!(
                    "<rect class=\"f\" x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{}\"/>",
                    to - from,
                    self.height
                ));
            }
            self.draw(&mut canvas, panel, top);
        }
        for (place, label) in &self.ticks {
            let anchor = match place {
                place if *place <= 0.0 => Anchor::Start,
                place if *place >= self.end => Anchor::End,
                _ => Anchor::Middle,
            };
            canvas.text("s", anchor, (self.x(*place), height - 8.0), label);
        }
        canvas.finish()
    }

    fn x(&self, place: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (place / self.end.max(1e-9)).clamp(0.0, 1.0)
    }

    fn draw(&self, canvas: &mut Canvas, panel: &Panel, top: f64) {
        let values = panel.lines.iter().flat_map(|line| &line.points).flatten().map(|(_, value)| *value);
        let highest = values.fold(panel.at_least, f64::max);
        canvas.text("s", Anchor::Start, (LEFT, top - 4.0), &panel.title);
        for (share, value) in [(0.0, highest), (0.5, highest / 2.0), (1.0, 0.0)] {
            let (y, right) = (top + self.height * share, WIDTH - RIGHT);
            canvas.put(format_args!("<line class=\"g\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>"));
            if panel.labels {
                canvas.text("s", Anchor::End, (LEFT - 6.0, y + 4.0), &number(value));
            }
        }
        for (at, line) in panel.lines.iter().enumerate() {
            let points = line.points.iter().map(|point| {
                point.map(|(place, value)| (self.x(place), top + self.height * (1.0 - value / highest.max(1e-9))))
            });
            line.draw(canvas, at % COLOURS, points);
        }
    }
}

impl Line {
    fn draw(&self, canvas: &mut Canvas, colour: usize, points: impl Iterator<Item = Option<(f64, f64)>>) {
        if self.shape == Shape::Dots {
            for (x, y) in points.flatten() {
                canvas.put(format_args!("<circle class=\"f{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.2\"/>"));
            }
            return;
        }
        let mut path = String::new();
        let mut last_y = None;
        for point in points {
            let Some((x, y)) = point else {
                last_y = None;
                continue;
            };
            // Writing to a string cannot fail.
            let _ = match (last_y, self.shape) {
                (None, _) => write!(path, "M{x:.1} {y:.1}"),
                (Some(last), Shape::Steps) => write!(path, "L{x:.1} {last:.1}L{x:.1} {y:.1}"),
                (Some(_), _) => write!(path, "L{x:.1} {y:.1}"),
            };
            last_y = Some(y);
        }
        if !path.is_empty() {
            canvas.put(format_args!("<path class=\"c{colour}\" d=\"{path}\"/>"));
        }
    }
}

//! Pictures as SVG: lines over a common axis, bars, and states with arrows between them.
//!
//! Each picture is one file that needs nothing else and is readable on light and on dark. Owns how things are drawn;
//! the data are handed in. No picture depends on the time or the machine, so equal data give equal files.

mod bars;
mod diagram;
mod figure;

pub use bars::{Bar, Bars};
pub use diagram::{Arrow, Diagram, Place, State};
pub use figure::{Figure, Line, Panel, Shape};

use std::fmt::Write as _;

/// Width of every picture, in its own units.
const WIDTH: f64 = 860.0;

const STYLE: &str = "\
.p{fill:#fff}text{fill:#222;font:12px system-ui,sans-serif}.s{fill:#666;font-size:11px}.t{font-size:15px;font-weight:600}\
.m{fill:#fff;font-weight:600;font-size:14px}.g{stroke:#ddd}.f{fill:#d33;opacity:.09}\
path{fill:none;stroke-width:1.6;stroke-linejoin:round}.w{stroke:#666}.h{fill:#666;stroke:none}\
.c0{stroke:#c2571a}.c1{stroke:#1769aa}.c2{stroke:#2e7d32}.c3{stroke:#7b1fa2}.c4{stroke:#8d6e00}\
.f0{fill:#c2571a}.f1{fill:#1769aa}.f2{fill:#2e7d32}.f3{fill:#7b1fa2}.f4{fill:#8d6e00}\
@media(prefers-color-scheme:dark){.p{fill:#16181c}text{fill:#e6e6e6}.s{fill:#9aa}.m{fill:#16181c}.g{stroke:#333}\
.f{fill:#f66;opacity:.14}.w{stroke:#9aa}.h{fill:#9aa}\
.c0{stroke:#ff9a5c}.c1{stroke:#6cb6ff}.c2{stroke:#81c784}.c3{stroke:#ce93d8}.c4{stroke:#e6c84b}\
.f0{fill:#ff9a5c}.f1{fill:#6cb6ff}.f2{fill:#81c784}.f3{fill:#ce93d8}.f4{fill:#e6c84b}}";

/// Number of colours. A series beyond them begins again with the first.
const COLOURS: usize = 5;

/// The text of one SVG, while it is written.
struct Canvas(String);

impl Canvas {
    /// Begins a picture of this height, with a title in its first line.
    fn new(height: f64, title: &str) -> Self {
        let title = escaped(title);
        let mut canvas = Self(String::new());
        canvas.put(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             aria-label=\"{title}\"><style>{STYLE}</style><rect class=\"p\" width=\"{WIDTH}\" height=\"{height}\"/>"
        ));
        canvas
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.0.write_fmt(element);
    }

    fn text(&mut self, class: &str, anchor: Anchor, (x, y): (f64, f64), text: &str) {
        let (anchor, text) = (anchor.as_str(), escaped(text));
        self.put(format_args!(
            "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
        ));
    }

    /// Names with their colours, side by side from `left` on.
    fn legend(&mut self, left: f64, y: f64, names: &[String]) {
        let mut x = left;
        for (at, name) in names.iter().enumerate() {
            let colour = at % COLOURS;
            self.put(format_args!(
                "<rect class=\"f{colour}\" x=\"{x}\" y=\"{:.1}\" width=\"18\" height=\"4\"/>",
                y - 6.0
            ));
            self.text("", Anchor::Start, (x + 24.0, y), name);
            x += 60.0 + 7.0 * name.chars().count() as f64;
        }
    }

    fn finish(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

/// Which end of a text is at its position.
#[derive(Clone, Copy, Debug)]
enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A number as the label of a scale.
fn number(value: f64) -> String {
    match value {
        value if value >= 10.0 || value == 0.0 => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

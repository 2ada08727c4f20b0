//! What the agent tells of itself: a line for each thing it does, and its policies' events in the book's words.

use std::io::Write;
use std::time::SystemTime;

use stormproof::EventBus;
use stormproof::event::Category;
use stormproof::events::log::{self, Style};

/// A line. If nobody reads any more, that is no reason to stop.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "agent   {line}");
}

/// Tells the events on a bus.
pub(crate) fn tell_events(bus: &EventBus) {
    bus.subscribe(Category::All, |event| {
        if let Some(line) = log::line(Style::Book, event, SystemTime::now()) {
            say(&format!("    {}: {}", event.policy, line.text));
        }
    })
    .detach();
}

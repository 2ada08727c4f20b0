//! Events through `tracing`: with a level, and each field under its own name.
#![cfg(feature = "tracing")]
#![cfg(test)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stormproof::breaker::Mode;
use stormproof::event::{Category, Kind};
use stormproof::{CircuitBreaker, Event, EventBus, Instant, Stop, events};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

type Seen = Arc<Mutex<Vec<(Level, BTreeMap<String, String>)>>>;

struct Collector(Seen);

struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").trim_matches('"').into());
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "stormproof"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push((*event.metadata().level(), fields.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn events_have_levels_and_fields() {
    let seen = Seen::default();
    let (bus, breaker) = (EventBus::new(), CircuitBreaker::new("openai"));
    bus.attach(&breaker);
    bus.subscribe(Category::All, events::to_tracing).detach();
    tracing::subscriber::with_default(Collector(seen.clone()), || {
        breaker.set_mode(Mode::ForcedOpen);
        breaker.reset();
        let retry = Kind::RetryAttempted { retry: 2, delay: Duration::from_millis(1500), error: "TimeoutError".into() };
        events::to_tracing(&Event::new(Instant::ZERO, "p".into(), retry));
        let gave_up = Kind::GaveUp { stop: Stop::Exhausted, attempts: 3, error: "TimeoutError".into() };
        events::to_tracing(&Event::new(Instant::ZERO, "p".into(), gave_up));
    });
    breaker.set_mode(Mode::ForcedOpen);

    let seen = seen.lock().unwrap();
    let told: Vec<_> = seen.iter().map(|(level, fields)| (*level, fields["event"].as_str())).collect();
    let expected = [
        (Level::ERROR, "circuit_opened"),
        (Level::INFO, "circuit_closed"),
        (Level::INFO, "retry_attempted"),
        (Level::ERROR, "retry_exhausted"),
    ];
    assert_eq!(told, expected);
    let opened = &seen[0].1;
    assert_eq!((opened["policy"].as_str(), opened["breaker"].as_str()), ("openai", "openai"));
    assert_eq!((opened["from"].as_str(), opened["to"].as_str()), ("closed", "open"));
    assert!(!opened.contains_key("retry") && !opened.contains_key("more"), "{opened:?}");
    let retried = &seen[2].1;
    assert_eq!((retried["retry"].as_str(), retried["delay"].as_str()), ("2", "1.5"));
}

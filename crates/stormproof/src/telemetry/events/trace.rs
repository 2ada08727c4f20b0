//! Events as `tracing` events.

use stormproof_core::Event;
use stormproof_core::event::Category;
use stormproof_core::event::fields::Value;

/// Emits an event through `tracing`: target `stormproof`, the level by category (`ERROR`, `WARN`, `INFO`), the event's
/// name in `event`, and what belongs to its kind as fields of their own. It is a listener: give it to a policy or a bus.
///
/// ```
/// use stormproof::event::Category;
/// use stormproof::{EventBus, events};
///
/// EventBus::global().subscribe(Category::All, events::to_tracing).detach();
/// ```
///
/// Only kinds and names are written, never what was sent or answered.
pub fn to_tracing(event: &Event) {
    let fields = event.fields();
    let find = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let text = |name| match find(name) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    };
    let number = |name| match find(name) {
        Some(Value::Number(number)) => Some(number),
        _ => None,
    };
    let seconds = |name| match find(name) {
        Some(Value::Time(time)) => Some(time.as_secs_f64()),
        _ => None,
    };
    // The names of fields are fixed where they are emitted: those that no event has are not recorded.
    let more: Vec<_> = fields
        .iter()
        .filter(|(name, _)| !KNOWN.contains(name))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let more = (!more.is_empty()).then(|| more.join(" "));
    macro_rules! emit {
        ($level:ident) => {
            tracing::event!(
                target: "stormproof",
                tracing::Level::$level,
                event = event.event_type(),
                policy = event.policy.as_str(),
                breaker = text("breaker"),
                stage = text("stage"),
                name = text("name"),
                from = text("from"),
                to = text("to"),
                cause = text("cause"),
                rule = text("rule"),
                reason = text("reason"),
                limit = text("limit"),
                error = text("error"),
                seq = number("seq"),
                threshold = number("threshold"),
                calls = number("calls"),
                failures = number("failures"),
                retry = number("retry"),
                attempts = number("attempts"),
                open_for = seconds("open_for"),
                retry_after = seconds("retry_after"),
                delay = seconds("delay"),
                after = seconds("after"),
                more,
            )
        };
    }
    match event.category() {
        Category::Error => emit!(ERROR),
        Category::Warning => emit!(WARN),
        _ => emit!(INFO),
    }
}

/// The fields that are emitted under their own names.
const KNOWN: [&str; 20] = [
    "breaker",
    "stage",
    "name",
    "from",
    "to",
    "cause",
    "rule",
    "reason",
    "limit",
    "error",
    "seq",
    "threshold",
    "calls",
    "failures",
    "retry",
    "attempts",
    "open_for",
    "retry_after",
    "delay",
    "after",
];

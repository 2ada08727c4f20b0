//! A model that diagnoses: it asks for the logs, and is then usually right, sometimes wrong or off the point, and often
//! not to be had. At times it asks for the logs for ever.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::log::Kind;
use super::state::World;
use super::wire::{Answer, Call, never};

/// How the provider is, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    /// Asks again and again for what it was given.
    Circles,
    Throttles,
    Fails,
    Stalls,
}

/// One after the other.
const MOODS: [Mood; 8] =
    [Mood::Well, Mood::Throttles, Mood::Well, Mood::Circles, Mood::Well, Mood::Fails, Mood::Well, Mood::Stalls];

/// How long a mood lasts.
pub(super) const LASTS: Duration = Duration::from_secs(2);

pub(super) async fn answer(world: &Arc<World>, call: Call) -> Answer {
    let turn = usize::try_from(world.since_began().as_millis() / LASTS.as_millis()).unwrap_or_default();
    let mood = MOODS.get(turn % MOODS.len()).copied().unwrap_or(Mood::Well);
    match mood {
        Mood::Throttles => return Answer::Throttled(1),
        Mood::Fails => return Answer::status(502),
        Mood::Stalls => return never().await,
        Mood::Well | Mood::Circles => tokio::time::sleep(Duration::from_millis(30)).await,
    }
    let has_seen = call.body.get("seen").and_then(Value::as_array).is_some_and(|seen| !seen.is_empty());
    if mood == Mood::Circles || !has_seen {
        return Answer::json(&json!({ "tool": "logs" }));
    }
    let kind = world.state().fault_of(call.text("component")).map(|fault| fault.kind);
    match world.chance() {
        ..0.1 => Answer::text("As a language model, I would first of all look at the logs."),
        ..0.3 => Answer::json(&json!({ "cause": wrong(kind) })),
        _ => Answer::json(&json!({ "cause": kind })),
    }
}

/// Something plausible that it is not.
fn wrong(kind: Option<Kind>) -> Kind {
    if kind == Some(Kind::Leak) { Kind::BadDeploy } else { Kind::Leak }
}

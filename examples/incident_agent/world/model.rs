//! A model that diagnoses. It asks for the logs first, and what it makes of them depends on its mood, which is another one
//! with each fault: a day shows them all.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::log::Kind;
use super::state::World;
use super::wire::{Answer, Call, never};

/// How the provider is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    /// Asks again and again for what it was given.
    Circles,
    /// Plausible, and not true.
    Wrong,
    Throttles,
    Fails,
    OffThePoint,
    Stalls,
}

/// One after the other.
pub(super) const MOODS: usize = 7;
const ORDER: [Mood; MOODS] =
    [Mood::Well, Mood::Circles, Mood::Wrong, Mood::Throttles, Mood::Fails, Mood::OffThePoint, Mood::Stalls];

pub(super) async fn answer(world: &Arc<World>, call: Call) -> Answer {
    let (kind, mood) = {
        let mut state = world.state();
        state.asked += 1;
        let fault = state.components.iter().find(|component| component.name == call.text("component"));
        let fault = fault.and_then(|component| component.fault);
        let kind = fault.and_then(|at| state.log.faults.get(at)).map(|fault| fault.kind);
        (kind, fault.and_then(|at| ORDER.get(at % MOODS)).copied().unwrap_or(Mood::Well))
    };
    match mood {
        Mood::Throttles => return Answer::Throttled(1),
        Mood::Fails => return Answer::status(502),
        Mood::Stalls => return never().await,
        _ => tokio::time::sleep(Duration::from_millis(30)).await,
    }
    let has_seen = call.body.get("seen").and_then(Value::as_array).is_some_and(|seen| !seen.is_empty());
    match mood {
        Mood::OffThePoint => Answer::json(&"As a language model, I would first of all look at the logs."),
        Mood::Wrong if has_seen => Answer::json(&json!({ "cause": wrong(kind) })),
        Mood::Well if has_seen => Answer::json(&json!({ "cause": kind })),
        _ => Answer::json(&json!({ "tool": "logs" })),
    }
}

fn wrong(kind: Option<Kind>) -> Kind {
    if kind == Some(Kind::Leak) { Kind::BadDeploy } else { Kind::Leak }
}

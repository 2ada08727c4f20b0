//! Tickets and pages, once for each `Idempotency-Key`, and the people on call.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::log::Message;
use super::state::{Reply, World};
use super::wire::{Answer, Call};

pub(super) async fn answer(world: &Arc<World>, call: Call) -> Answer {
    tokio::time::sleep(Duration::from_millis(5)).await;
    if call.path == "/replies" {
        return Answer::json(&world.state().replies);
    }
    let Some(key) = call.key.clone().filter(|key| !key.is_empty()) else { return Answer::status(400) };
    let chance = world.chance();
    if chance < 0.1 || is_away(world, &key, &call) {
        return Answer::status(503);
    }
    if take(world, &key, &call) {
        let (kind, incident) = (call.path.trim_matches('/'), call.text("incident").to_owned());
        world.say(&format!("{incident}: {kind}: {}", call.text("text")));
        match kind {
            "close" => world.state().close(&incident),
            "page/first" if asleep(world) => world.say(&format!("{incident}: nobody answers")),
            "page/first" | "page/second" => {
                tokio::spawn(respond(world.clone(), key, incident, kind.trim_start_matches("page/").to_owned()));
            }
            _ => {}
        }
    }
    match chance {
        // It is noted, and nobody is told.
        ..0.2 => Answer::status(503),
        ..0.25 => Answer::HangUp,
        _ => Answer::json(&json!({ "noted": true })),
    }
}

/// Notes a message; whether it is new.
fn take(world: &World, key: &str, call: &Call) -> bool {
    let mut state = world.state();
    if let Some(known) = state.log.messages.iter_mut().find(|message| message.key == key) {
        known.received += 1;
        return false;
    }
    let (kind, incident, text) = (call.path.trim_matches('/'), call.text("incident"), call.text("text"));
    state.log.messages.push(Message {
        key: key.into(),
        incident: incident.into(),
        kind: kind.into(),
        text: text.into(),
        received: 1,
    });
    true
}

/// Now and then it is away for longer than anybody retries.
fn is_away(world: &World, key: &str, call: &Call) -> bool {
    let mut state = world.state();
    if call.path != "/close" || state.position(call.text("incident")).is_none_or(|at| at % 6 != 5) {
        return false;
    }
    let refused = state.away.entry(key.into()).or_default();
    *refused += 1;
    *refused <= 9
}

/// Every second page wakes nobody.
fn asleep(world: &World) -> bool {
    let state = world.state();
    state.log.messages.iter().filter(|message| message.kind == "page/first").count() % 2 == 1
}

/// Goes there, repairs what is broken, and says so.
async fn respond(world: Arc<World>, key: String, incident: String, on_call: String) {
    tokio::time::sleep(Duration::from_millis(300 + 50 * world.one_of(8) as u64)).await;
    let by = format!("{on_call} on call");
    let component = incident.split('@').next().unwrap_or_default().to_owned();
    {
        let mut state = world.state();
        let fault = state.position(&incident);
        if fault.is_some() && state.component(&component).is_some_and(|component| component.fault == fault) {
            state.repair(&component, &by);
        }
        let reply = Reply { id: key, incident: incident.clone(), by: by.clone(), says: "repaired by hand".into() };
        state.replies.push(reply);
    }
    world.say(&format!("{incident}: the {by} has repaired it by hand"));
}

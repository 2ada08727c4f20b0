//! What runs the components: restarts, rollbacks and the like, done each time they are asked for.
//!
//! It keeps the caller's key with each action from the moment a request arrives, and can be asked for it: that is what
//! a probe needs. It does not compare keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::log::Action;
use super::state::World;
use super::wire::{Answer, Call, never};

/// A restart, a rollback and a stop take a component down for so long.
const DOWN: Duration = Duration::from_millis(80);

pub(super) async fn answer(world: &Arc<World>, call: Call) -> Answer {
    match (call.method.as_str(), call.path.as_str()) {
        ("POST", "/actions") => act(world, &call).await,
        ("GET", path) => find(world, path.trim_start_matches("/actions/")),
        _ => Answer::status(404),
    }
}

async fn act(world: &World, call: &Call) -> Answer {
    let chance = world.chance();
    if chance < 0.1 {
        return Answer::status(500);
    }
    let replicas = call.body.get("replicas").and_then(Value::as_array).cloned().unwrap_or_default();
    let action = Action {
        key: call.text("key").into(),
        incident: call.text("incident").into(),
        component: call.text("component").into(),
        what: call.text("action").into(),
        replicas: replicas.iter().filter_map(Value::as_u64).filter_map(|at| usize::try_from(at).ok()).collect(),
        done: false,
    };
    let at = {
        let mut state = world.state();
        state.log.actions.push(action.clone());
        state.log.actions.len() - 1
    };
    tokio::time::sleep(Duration::from_millis(20 + 4 * world.one_of(10) as u64)).await;
    {
        let mut state = world.state();
        state.act(&action.component, &action.what, &action.replicas);
        if let Some(component) = state.component(&action.component).filter(|_| action.what != "clear_caches") {
            component.down_until = Instant::now().checked_add(DOWN);
        }
        if let Some(noted) = state.log.actions.get_mut(at) {
            noted.done = true;
        }
    }
    let key = action.key.get(..8).unwrap_or(&action.key);
    let lost = if chance < 0.35 { ", and nobody hears of it" } else { "" };
    world.say(&format!("{}: {} {:?} is done (key {key}…){lost}", action.component, action.what, action.replicas));
    match chance {
        ..0.25 => Answer::HangUp,
        ..0.35 => never().await,
        _ => Answer::json(&json!({ "done": true })),
    }
}

fn find(world: &World, key: &str) -> Answer {
    if world.chance() < 0.1 {
        return Answer::status(500);
    }
    let state = world.state();
    let found = state.log.actions.iter().find(|action| action.key == key);
    found.map_or(Answer::status(404), |action| Answer::json(&json!({ "done": action.done })))
}

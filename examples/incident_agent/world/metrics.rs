//! What is measured of the components: right when it comes, but it does not always come.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::log::Kind;
use super::state::World;
use super::wire::{Answer, Call, never};

pub(super) async fn answer(world: &Arc<World>, call: Call) -> Answer {
    tokio::time::sleep(Duration::from_millis(5)).await;
    match world.chance() {
        ..0.15 => return Answer::status(500),
        ..0.20 => return never().await,
        _ => {}
    }
    let state = world.state();
    let name = call.path.trim_matches('/');
    let fault = state.fault_of(name).filter(|fault| fault.cured_by.is_none());
    let is = |kind| fault.is_some_and(|fault| fault.kind == kind);
    Answer::json(&json!({
        "failing_since": fault.map(|fault| fault.since),
        "deployed_minutes_ago": if is(Kind::BadDeploy) { 1 } else { 600 },
        "memory": if is(Kind::Leak) { 0.97 } else { 0.55 },
        "stale_answers": if is(Kind::StaleCache) { 0.8 } else { 0.0 },
        "tokens_per_minute": if is(Kind::Runaway) { 90_000 } else { 120 },
        "disk_errors": if is(Kind::Hardware) { 41 } else { 0 },
    }))
}

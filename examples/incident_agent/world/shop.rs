//! The components that are watched: `/COMPONENT` asks any replica, `/COMPONENT/N` that one, `/COMPONENT/logs` reads what
//! they have written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::log::Kind;
use super::state::{REPLICAS, Replica, World};
use super::wire::{Answer, Call};

/// How long an answer takes that comes too late.
const TOO_LATE: Duration = Duration::from_secs(5);

pub(super) async fn answer(world: &Arc<World>, call: Call) -> Answer {
    let mut path = call.path.trim_matches('/').splitn(2, '/');
    let (name, part) = (path.next().unwrap_or_default(), path.next());
    if part == Some("logs") {
        return Answer::json(&logs(world.state().fault_of(name).map(|fault| fault.kind)));
    }
    let Some((replica, kind)) = find(world, name, part) else {
        return Answer::status(404);
    };
    tokio::time::sleep(Duration::from_millis(3)).await;
    if replica.stopped {
        return Answer::status(503);
    }
    match kind.filter(|_| replica.sick) {
        Some(Kind::BadDeploy) => Answer::status(500),
        Some(Kind::Hardware) => Answer::status(503),
        Some(Kind::Leak) => {
            tokio::time::sleep(TOO_LATE).await;
            Answer::status(504)
        }
        Some(Kind::StaleCache) => Answer::json(&json!({ "fresh": false, "tokens_per_minute": 0 })),
        Some(Kind::Runaway) => Answer::json(&json!({ "fresh": true, "tokens_per_minute": 90_000 })),
        None => Answer::json(&json!({ "fresh": true, "tokens_per_minute": 120 })),
    }
}

/// Who answers, and what is wrong with the component. While it restarts, everyone is down.
fn find(world: &World, name: &str, replica: Option<&str>) -> Option<(Replica, Option<Kind>)> {
    let mut state = world.state();
    let kind = state.fault_of(name).map(|fault| fault.kind);
    let component = state.component(name)?;
    component.turn = (component.turn + 1) % REPLICAS;
    let at = replica.map_or(Some(component.turn), |number| number.parse().ok())?;
    let mut found = component.replicas.get(at).copied()?;
    found.stopped |= component.down_until.is_some_and(|until| Instant::now() < until);
    Some((found, kind))
}

fn logs(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::BadDeploy) => "panicked at checkout.rs:42: no such column: discount",
        Some(Kind::Leak) => "allocation of 2 GiB failed; retrying",
        Some(Kind::StaleCache) => "cache: the upstream's version is 41, mine is 17",
        Some(Kind::Runaway) => "step 4,001: I look at the task again",
        Some(Kind::Hardware) => "I/O error, dev sda, sector 8123",
        None => "nothing unusual",
    }
}

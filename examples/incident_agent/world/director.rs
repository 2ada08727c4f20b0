//! What goes wrong, when and where.

use std::sync::Arc;
use std::time::Duration;

use super::log::Kind;
use super::state::{COMPONENTS, World, millis};

/// How much goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// So many faults; 0 until told that it is enough.
    pub(super) faults: u32,
    /// At most so many at once.
    pub(super) at_once: usize,
    /// Milliseconds between two.
    pub(super) gap: u64,
}

/// In this order, so that a short day shows each of them.
const KINDS: [Kind; 5] = [Kind::BadDeploy, Kind::Runaway, Kind::StaleCache, Kind::Hardware, Kind::Leak];

/// Breaks one thing after the other.
pub(super) async fn direct(world: Arc<World>, plan: Plan) {
    let mut made = 0_u32;
    loop {
        tokio::time::sleep(Duration::from_millis(if made == 0 { 300 } else { plan.gap })).await;
        if world.state().enough {
            return;
        }
        if let Some((component, kind)) = next(&world, plan.at_once, made) {
            world.state().break_down(component, kind, millis());
            world.say(&format!("{component}: {}", story(kind)));
            made += 1;
        }
        if plan.faults != 0 && made >= plan.faults {
            world.state().enough = true;
        }
    }
}

/// A component that is well, and what it gets.
fn next(world: &World, at_once: usize, made: u32) -> Option<(&'static str, Kind)> {
    let state = world.state();
    let well: Vec<_> = state.components.iter().filter(|component| component.fault.is_none()).collect();
    if COMPONENTS.len() - well.len() >= at_once {
        return None;
    }
    let kind = KINDS.get(usize::try_from(made).unwrap_or_default() % KINDS.len()).copied()?;
    // Only an agent can run away.
    let fits = |name: &str| (name == "assistant") == (kind == Kind::Runaway);
    let places: Vec<_> = well.iter().map(|component| component.name).filter(|name| fits(name)).collect();
    places.get(world.one_of(places.len())).map(|name| (*name, kind))
}

fn story(kind: Kind) -> &'static str {
    match kind {
        Kind::BadDeploy => "a deploy goes wrong, the new version answers 500",
        Kind::Leak => "memory leaks away, answers come too late",
        Kind::StaleCache => "its caches are stale, its answers well-formed and wrong",
        Kind::Runaway => "it goes in circles and burns 90,000 tokens a minute",
        Kind::Hardware => "a disk dies, nothing but a person can help",
    }
}

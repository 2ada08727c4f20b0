//! The world is as misbehaved as it says, and what helps helps.

use std::collections::BTreeSet;

use stormproof::EventBus;
use stormproof_journal::Journal;

use super::log::Kind;
use super::state::{REPLICAS, World};
use super::*;
use crate::detect::{Watch, symptom};
use crate::diagnose::diagnose;
use crate::incident::{Incident, Remedy, Symptom};
use crate::services::{Order, Services};
use crate::verify::is_well;

const ALL: &[usize] = &[0, 1, 2];

/// What is done to the search, in order, and whether it has helped then.
fn helped(kind: Kind, actions: &[(&str, &[usize])]) -> bool {
    let world = World::new(1, true);
    let mut state = world.state();
    state.break_down("search", kind, 5);
    for (action, replicas) in actions {
        state.act("search", action, replicas);
    }
    state.log.faults[0].cured_by.is_some()
}

#[test]
fn a_fault_ends_by_what_helps_everywhere_and_by_nothing_else() {
    assert!(helped(Kind::BadDeploy, &[("roll_back", &[0]), ("roll_back", &[1, 2])]));
    assert!(!helped(Kind::BadDeploy, &[("roll_back", &[0, 1])]), "one replica still has the bad version");
    assert!(!helped(Kind::BadDeploy, &[("roll_back", &[0]), ("roll_forward", &[0]), ("roll_back", &[1, 2])]));
    assert!(!helped(Kind::BadDeploy, &[("restart", ALL), ("clear_caches", ALL)]));
    assert!(helped(Kind::Leak, &[("roll_back", &[0]), ("restart", ALL)]));
    assert!(helped(Kind::StaleCache, &[("clear_caches", ALL)]));
    assert!(!helped(Kind::Runaway, &[("restart", ALL)]), "it begins again where it was");
    assert!(!helped(Kind::Runaway, &[("stop", ALL)]), "it does no harm, and no work");
    assert!(helped(Kind::Runaway, &[("stop", ALL), ("restart", &[0]), ("restart", &[1, 2])]));
    assert!(!helped(Kind::Hardware, &[("restart", ALL), ("roll_back", ALL), ("clear_caches", ALL)]));
}

#[test]
fn a_day_is_over_when_all_that_went_wrong_is_told_of() {
    let world = World::new(1, true);
    let mut state = world.state();
    state.break_down("search", Kind::Hardware, 5);
    state.enough = true;
    state.repair("search", "the first on call");
    assert_eq!(state.fault_of("search").and_then(|fault| fault.cured_by.as_deref()), Some("the first on call"));
    state.close("search@4");
    assert!(!state.is_over(), "that was another one");
    state.close("search@5");
    assert!(state.is_over() && state.fault_of("search").is_none());
}

/// A world in this process, with what the agent sees of it.
async fn world(seed: u64) -> (Arc<World>, Services) {
    let world = Arc::new(World::new(seed, true));
    let addresses = start(&world).await.unwrap();
    (world, Services::new(addresses, &EventBus::new()).unwrap())
}

#[tokio::test]
async fn every_fault_can_be_seen_and_has_one_name_until_it_is_over() {
    let kinds = [
        (Kind::BadDeploy, Symptom::Failing),
        (Kind::Leak, Symptom::Failing),
        (Kind::StaleCache, Symptom::Stale),
        (Kind::Runaway, Symptom::Runaway),
        (Kind::Hardware, Symptom::Failing),
    ];
    // One after the other: making a client takes long enough to make others late.
    let mut seen = Vec::new();
    for (kind, expected) in kinds {
        let (world, services) = world(3).await;
        seen.push(tokio::spawn(async move { is_seen(&world, &services, kind, expected).await }));
    }
    for seen in seen {
        seen.await.unwrap();
    }
}

async fn is_seen(world: &World, services: &Services, kind: Kind, expected: Symptom) {
    assert!(is_well(services, "search", ALL).await);
    world.state().break_down("search", kind, 5);
    let mut looks = 1;
    while symptom(&services.look("search", Some(2)).await) != expected {
        looks += 1;
        assert!(looks < 10, "{kind:?}");
    }

    let watch = Watch::new(services).unwrap();
    let mut found = BTreeSet::new();
    for _ in 0..4 {
        found.extend(watch.look().await.iter().map(Incident::id));
    }
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["search@5"], "{kind:?}");
    assert!(!is_well(services, "search", &[1]).await);

    world.state().repair("search", "somebody");
    assert!(is_well(services, "search", ALL).await);
    assert_eq!(Watch::new(services).unwrap().look().await, []);
}

#[tokio::test]
async fn an_action_is_done_each_time_it_is_asked_for_and_can_be_asked_after() {
    let (world, services) = world(5).await;
    let order = Order { incident: "search@5", component: "search", action: "restart", replicas: ALL };
    assert_eq!(services.ordered("k").await.unwrap(), None);
    let mut arrived = 0;
    while arrived < 2 {
        // What it answers is not to be relied upon: after an error it may be done or not.
        let _ = tokio::time::timeout(std::time::Duration::from_millis(300), services.order("k", &order)).await;
        arrived = world.state().log.actions.len();
    }
    assert_eq!(services.ordered("k").await.unwrap(), Some(true));
    assert!(world.state().log.actions.iter().all(|action| action.done && action.replicas == [0, 1, 2]));
}

#[tokio::test]
async fn a_message_counts_once_for_its_key() {
    let (world, services) = world(7).await;
    world.state().break_down("search", Kind::Hardware, 5);
    for _ in 0..30 {
        let _ = services.notify("a", "ticket", "search@5", "it is down").await;
    }
    {
        let state = world.state();
        assert_eq!(state.log.messages.len(), 1);
        assert!(state.log.messages[0].received > 20, "{:?}", state.log.messages);
    }
    assert!(services.notify("", "ticket", "search@5", "no key").await.is_err());
    let mut page = 0;
    while services.replies().await.unwrap().is_empty() {
        page += 1;
        let _ = services.notify(&format!("page {page}"), "page/second", "search@5", "help").await;
        tokio::time::sleep(std::time::Duration::from_millis(800)).await;
    }
    assert_eq!(world.state().components[1].replicas, [super::state::Replica::default(); REPLICAS]);
}

#[tokio::test]
async fn whatever_the_model_does_there_is_a_diagnosis_soon() {
    for turn in 0..model::MOODS {
        let (world, services) = world(9).await;
        moods(&world, turn);
        let began = std::time::Instant::now();
        let journal = Journal::open("memory:").await.unwrap();
        let found = diagnose(&services, &journal, &incident(), Symptom::Stale).await;
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{found:?}");
        let remedies = if turn == 2 { &[Remedy::Restart, Remedy::ClearCaches][..] } else { &[Remedy::ClearCaches] };
        assert_eq!(found.remedies, remedies, "{turn}");
        let why = found.made_of.components["model"].error.as_deref().unwrap_or_default();
        let expected = ["", "in circles: logs would be called for the", "", "429", "502", "none: ", "timed out"][turn];
        assert!(why.contains(expected) && why.is_empty() == expected.is_empty(), "{turn}: {why}");
    }
}

#[tokio::test]
async fn a_model_in_circles_is_not_asked_again_by_the_next_process() {
    let (world, services) = world(9).await;
    moods(&world, 1);
    let journal = Journal::open("memory:").await.unwrap();
    let mut asked = Vec::new();
    for _ in 0..2 {
        let before = world.state().asked;
        let found = diagnose(&services, &journal, &incident(), Symptom::Stale).await;
        assert_eq!(found.remedies, [Remedy::ClearCaches]);
        asked.push(world.state().asked - before);
    }
    assert!(asked[0] > 3 && asked[1] == 1, "{asked:?}");
}

/// One fault after the other, as each brings another mood.
fn moods(world: &World, turn: usize) {
    (0..).take(turn + 1).for_each(|since| world.state().break_down("search", Kind::StaleCache, since));
}

fn incident() -> Incident {
    Incident { component: "search".into(), since: 5 }
}

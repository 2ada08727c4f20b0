//! What every store must do, as tests that run on each: see the rules in `store.rs`.
//!
//! A store's own tests say how one is made ([`Bench`]) and call `contract!(its::Bench)`.

mod claims;
mod leases;
mod messages;
pub(crate) mod model;
mod operators;
mod retention;
mod runs;
mod steps;

use std::time::Duration;

pub(crate) use self::{claims::*, leases::*, messages::*, operators::*, retention::*, runs::*, steps::*};
use super::*;
use crate::run::{Kind, Progress};

/// A fresh, empty store, and its end.
pub(crate) trait Bench: Sized {
    type Store: Keep;
    /// Whether [`pass`](Self::pass) takes no time, however long it is.
    const JUMPS: bool = false;

    async fn new() -> Self;
    fn store(&self) -> &Self::Store;
    /// The same database as another process sees it.
    async fn again(&self) -> Self::Store;
    /// Runs a case.
    async fn run(case: impl Future<Output = ()> + Send) {
        case.await;
    }
    /// Lets time pass for the store's clock.
    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// A test for each case, by the file it is in.
macro_rules! contract {
    ($bench:ty) => {
        $crate::store::contract::cases!($bench:
            a_run_is_started_once, an_ended_run_past_its_time_is_not_there, a_first_effect_comes_with_its_run,
            a_run_ends_once, a_parked_run_costs_no_attempt,
            no_two_workers_claim_the_same_run, only_what_is_wanted_and_due_is_claimed, one_run_can_be_taken,
            a_run_with_too_many_attempts_is_blocked, only_attempts_without_progress_count,
            a_run_whose_worker_is_gone_is_claimed_and_the_old_worker_is_fenced, a_heartbeat_tells_what_was_lost,
            who_leaves_gives_back,
            a_lost_answer_is_recognised, a_step_that_is_done_stays, a_last_step_is_a_step_as_well, many_steps_at_once,
            messages_come_in_order_and_once, a_message_wakes_who_parks,
            runs_are_listed, an_operator_cancels, an_operator_decides,
            what_failed_is_tried_again_beside_what_is_open, no_decision_undoes_what_is_done, a_value_that_nobody_can_read_may_be_corrected,
            a_decision_is_about_one_step, a_fork_has_the_steps_before,
            what_is_old_is_forgotten, only_what_has_ended_is_erased, only_so_many_are_kept,
            calls_that_were_given_up_are_forgotten_after_the_time_of_those_that_were_made, for_ever_is_not_too_long,
            a_task_is_kept_by_revision);
    };
}

macro_rules! cases {
    ($bench:ty: $($case:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let bench = <$bench as $crate::store::contract::Bench>::new().await;
                <$bench as $crate::store::contract::Bench>::run($crate::store::contract::$case(&bench)).await;
                let store = <$bench as $crate::store::contract::Bench>::store(&bench);
                assert_eq!($crate::store::Keep::check(store).await, Ok(Vec::new()));
            }
        )+
    };
}

pub(crate) use {cases, contract};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(120);

fn worker(id: &str, ttl: Duration) -> Worker {
    Worker { id: id.into(), host: "here".into(), version: "1".into(), ttl }
}

fn new_run(key: &str) -> NewRun {
    NewRun {
        id: RunId::new("flow", key),
        name: "flow".into(),
        version: "1".into(),
        input: r#"{"q":"ü"}"#.into(),
        fp: "f00d".into(),
        parent: None,
        delay: Duration::ZERO,
        ttl: None,
    }
}

fn wanted(limit: u32) -> Wanted {
    Wanted { workflows: vec![("other".into(), "1".into()), ("flow".into(), "1".into())], limit, max_attempts: 10 }
}

fn step(seq: u32, state: Progress, attempt: &str) -> Step {
    Step {
        seq,
        name: format!("s{seq}"),
        fp: "fp".into(),
        kind: Kind::Step,
        state,
        value: Some(format!("\"{attempt}\"").into()),
        epoch: 0,
        attempt_id: attempt.into(),
    }
}

fn fence(run: &Run) -> Fence {
    Fence { run: run.id.clone(), epoch: run.epoch }
}

fn failure(keep: bool, seq: Option<u32>) -> Failure {
    Failure { kind: "failed".into(), message: "it broke".into(), keep, seq }
}

/// A step as it is to be found: with the epoch it was written in.
fn at(fence: &Fence, step: &Step) -> Step {
    Step { epoch: fence.epoch, ..step.clone() }
}

async fn started<S: Keep>(store: &S, key: &str) -> RunId {
    let new = new_run(key);
    assert!(matches!(store.start(&new).await, Ok(Started::New)));
    new.id
}

/// A run and a worker that has it.
async fn held<S: Keep>(store: &S, key: &str, by: &Worker) -> Run {
    started(store, key).await;
    store.join(by).await.unwrap();
    taken(store, by, &RunId::new("flow", key)).await.run
}

async fn taken<S: Keep>(store: &S, by: &Worker, run: &RunId) -> Claimed {
    match store.take(by, run, false).await.unwrap() {
        Taken::Claimed(claimed) => *claimed,
        other => panic!("not claimed: {other:?}"),
    }
}

async fn steps<S: Keep>(store: &S, run: &RunId) -> Vec<Step> {
    store.read(run).await.unwrap().unwrap().steps
}

async fn seen<S: Keep>(store: &S, run: &RunId) -> Run {
    store.peek(run).await.unwrap().unwrap()
}

//! The contract on PostgreSQL, and what only it has: sessions, locks, cut connections.

use std::time::Duration;

use stormproof_testpg::{Database, Server, Stop};

use super::*;
use crate::run::{Kind, Progress};
use crate::store::contract::{self, Bench};

struct Fresh {
    store: Postgres,
    database: Database,
}

impl Bench for Fresh {
    type Store = Postgres;

    async fn new() -> Self {
        let database = Database::create().unwrap();
        Self { store: Postgres::open(database.url()).await.unwrap(), database }
    }

    fn store(&self) -> &Postgres {
        &self.store
    }

    async fn again(&self) -> Postgres {
        Postgres::open(self.database.url()).await.unwrap()
    }
}

contract::contract!(Fresh);

/// Each life has a database of its own, so they are few.
#[test]
fn it_answers_as_the_store_in_memory_does() {
    contract::model::lives::<Fresh>(12);
}

mod cutter;
mod locks;
mod opening;
mod outages;
mod speed;

fn done(seq: u32, attempt: &str) -> Step {
    Step {
        seq,
        name: "step".into(),
        fp: String::new(),
        kind: Kind::Step,
        state: Progress::Done,
        value: Some(r#"{"a":1,"b":"two"}"#.into()),
        epoch: 0,
        attempt_id: attempt.into(),
    }
}

fn new_run(key: &str) -> NewRun {
    NewRun {
        id: RunId::new("flow", key),
        name: "flow".into(),
        version: "1".into(),
        input: "null".into(),
        fp: String::new(),
        parent: None,
        delay: Duration::ZERO,
        ttl: None,
    }
}

async fn running(store: &Postgres, by: &Worker, key: &str) -> Fence {
    let new = new_run(key);
    store.start(&new).await.unwrap();
    let Taken::Claimed(claimed) = store.take(by, &new.id, false).await.unwrap() else { panic!("not claimed") };
    Fence { run: new.id, epoch: claimed.run.epoch }
}

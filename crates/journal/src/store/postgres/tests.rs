//! The contract on PostgreSQL, and what only it has: sessions, locks, cut connections.

use std::time::Duration;

use stormproof_testpg::{Database, Server, Stop};

use super::*;
use crate::run::{Kind, Progress, State};
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

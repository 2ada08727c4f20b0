//! A PostgreSQL server that is away, says no, or takes its time.
#![cfg(unix)]
#![cfg(test)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use stormproof_chaos::tables::Tables;
use stormproof_journal::{Ctx, Failed, Journal, OpenError, RunError, StoreError};
use stormproof_testpg::{Database, Server, Stop};
use tokio::task::JoinHandle;

const LEASE: Duration = Duration::from_millis(300);
const RUNS: u32 = 12;
const STEPS: u32 = 10;

/// A server of its own, a journal on it, and runs that take about a second.
struct World {
    server: Server,
    database: Database,
    journal: Journal,
    serving: JoinHandle<()>,
    calls: Arc<AtomicU32>,
    /// The runs with their first epochs.
    claimed: Vec<Vec<String>>,
}

impl World {
    async fn begin(lease: Duration) -> Self {
        let server = Server::start().unwrap();
        let database = Database::of(&server).unwrap();
        let journal = open(database.url(), lease).await.unwrap();
        sql(database.url(), "create table rows (run text not null, seq bigint not null)");
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        journal.workflow("flow", "1", move |cx: Ctx, (): ()| {
            let calls = counted.clone();
            async move {
                for seq in 0..STEPS {
                    let run = cx.run_id().to_string();
                    if seq % 2 == 0 {
                        let call = |_| async {
                            calls.fetch_add(1, Ordering::SeqCst);
                            tokio::time::sleep(Duration::from_millis(150)).await;
                            Ok::<_, Failed>(())
                        };
                        cx.step("call", call).await?;
                    } else {
                        let write = |tx: Arc<stormproof_journal::PgTransaction>| {
                            let run = run.clone();
                            async move {
                                tx.execute("insert into rows values ($1, $2)", &[&run, &i64::from(seq)]).await?;
                                Ok::<_, tokio_postgres::Error>(())
                            }
                        };
                        cx.commit_postgres("row", write).await?;
                    }
                }
                Ok::<_, Failed>(())
            }
        });
        let serving = tokio::spawn({
            let journal = journal.clone();
            async move { journal.serve(16).await.unwrap() }
        });
        for number in 0..RUNS {
            journal.start("flow", &number.to_string(), &()).await.unwrap();
        }
        let claimed = loop {
            let claimed = sql(database.url(), "select id, epoch from run where state = 'running' order by id");
            if claimed.len() == RUNS as usize {
                break claimed;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        Self { server, database, journal, serving, calls, claimed }
    }

    fn sql(&self, statement: &str) -> Vec<Vec<String>> {
        sql(self.database.url(), statement)
    }

    /// All runs end, and each commit was made once. So many of them were claimed anew meanwhile.
    async fn ends(self) -> usize {
        for number in 0..RUNS {
            let handle = self.journal.handle(&stormproof_journal::RunId::new("flow", &number.to_string()));
            let begin = Instant::now();
            loop {
                match handle.result_within::<()>(Duration::from_secs(5)).await {
                    Ok(()) => break,
                    Err(error) => assert!(begin.elapsed() < Duration::from_secs(30), "run {number}: {error}"),
                }
            }
        }
        let rows = self.sql("select count(*), count(distinct (run, seq)) from rows");
        let expected = (RUNS * STEPS / 2).to_string();
        assert_eq!(rows, [[expected.clone(), expected]]);
        assert!(self.calls.load(Ordering::SeqCst) >= RUNS * STEPS / 2);
        let now = self.sql("select id, epoch from run order by id");
        let anew = self.claimed.iter().filter(|run| !now.contains(run)).count();
        self.journal.shutdown(Duration::from_secs(5)).await;
        self.serving.await.unwrap();
        anew
    }
}

fn sql(url: &str, statement: &str) -> Vec<Vec<String>> {
    tokio::task::block_in_place(|| {
        let mut tables = Tables::open(url).unwrap();
        tables.rows(statement).unwrap_or_else(|error| panic!("{statement}: {error}"))
    })
}

async fn open(url: &str, lease: Duration) -> Result<Journal, OpenError> {
    Journal::builder(url).lease(lease).poll(Duration::from_millis(20)).max_attempts(100_000).open().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_at_the_start_is_an_error_that_says_where() {
    let server = Server::start().unwrap();
    let url = format!("{}&password=secret", server.url("postgres"));
    server.stop(Stop::Fast).unwrap();
    let begin = Instant::now();

    let error = open(&url, LEASE).await.unwrap_err();

    println!("{:?}: {error}", begin.elapsed());
    assert!(matches!(error, OpenError::Store(StoreError::Unavailable { .. })), "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert!(!error.to_string().contains("secret"), "{error}");
    server.resume().unwrap();
    open(&url, LEASE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_for_longer_than_a_lease_costs_time_only() {
    let world = World::begin(LEASE).await;

    world.server.stop(Stop::Crash).unwrap();
    tokio::time::sleep(5 * LEASE).await;
    let begin = Instant::now();
    let error = world.journal.start("flow", "more", &()).await.map(drop);
    println!("{:?}: {error:?}", begin.elapsed());
    assert!(matches!(error, Err(RunError::Store(StoreError::Unavailable { .. }))), "{error:?}");
    world.server.resume().unwrap();

    let anew = world.ends().await;
    assert_eq!(anew, RUNS as usize, "the lease was over: all must have been claimed anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_only_reads_is_an_error_until_it_writes_again() {
    let world = World::begin(LEASE).await;
    let name = world.sql("select current_database()")[0][0].clone();

    world.sql(&format!("alter database {name} set default_transaction_read_only = on"));
    world.database.cut().unwrap();
    tokio::time::sleep(2 * LEASE).await;
    let begin = Instant::now();
    let error = world.journal.start("flow", "more", &()).await.map(drop).unwrap_err();
    println!("{:?}: {error}", begin.elapsed());
    assert!(matches!(error, RunError::Store(_)) && error.to_string().contains("read-only"), "{error:?}");
    let back = format!("set transaction read write; alter database {name} set default_transaction_read_only = off");
    world.sql(&back);
    world.database.cut().unwrap();

    world.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_writes_of_steps_cost_no_lease() {
    // Long enough for a busy machine, and shorter than a group of steps takes.
    let world = World::begin(5 * LEASE).await;
    slow(&world, "step", 0.15);

    let anew = world.ends().await;

    assert_eq!(anew, 0, "the lease was renewed beside the slow writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_that_are_slower_than_the_lease_cost_the_lease_and_nothing_else() {
    let world = World::begin(LEASE).await;
    slow(&world, "worker", 0.5);
    tokio::time::sleep(4 * LEASE).await;
    world.sql("drop trigger slow on stormproof.worker");

    world.ends().await;
}

fn slow(world: &World, table: &str, seconds: f64) {
    world.sql(&format!(
        "create function slow() returns trigger language plpgsql as \
         $$ begin perform pg_sleep({seconds}); return new; end $$; \
         create trigger slow before insert or update on stormproof.{table} for each row execute function slow()"
    ));
}

//! How fast steps are written: `cargo test --release -p stormproof-journal --lib -- --ignored --nocapture speed`.

use std::time::Instant;

use super::*;

/// Steps a second with so many runs at once, for about so long.
async fn rate(store: &Postgres, clients: usize, time: Duration) -> f64 {
    let me = Worker { id: format!("w{clients}"), host: "h".into(), version: "1".into(), ttl: Duration::from_secs(600) };
    store.join(&me).await.unwrap();
    let mut tasks = Vec::new();
    let start = Instant::now();
    for client in 0..clients {
        let id = running(store, &me, &format!("{clients}-{client}")).await;
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            let mut seq = 0;
            while start.elapsed() < time {
                seq += 1;
                let step = done(seq, &format!("{}-{seq}-0123456789abcdef", id.run));
                assert_eq!(store.record(&id, &step).await, Ok(Written::Done));
            }
            seq
        }));
    }
    let mut all = 0;
    for task in tasks {
        all += task.await.unwrap();
    }
    f64::from(all) / start.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed() {
    let server = Server::start().unwrap();
    let database = Database::of(&server).unwrap();
    let store = Postgres::open(database.url()).await.unwrap();
    for clients in [1, 4, 16, 64, 256] {
        let rate = rate(&store, clients, Duration::from_secs(4)).await;
        println!("{clients:4} at once: {rate:8.0} steps/s");
    }
    println!("{}", database.query("select count(*) from stormproof.step").unwrap());
}

/// What looking for work costs beside many runs that have ended, wait or run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed_of_claims() {
    let server = Server::unflushed().unwrap();
    let database = Database::of(&server).unwrap();
    let store = Postgres::open(database.url()).await.unwrap();
    let me = Worker { id: "me".into(), host: "h".into(), version: "1".into(), ttl: Duration::from_secs(600) };
    store.join(&me).await.unwrap();
    let fill =
        "insert into stormproof.run (id, name, version, input, fp, state, epoch, owner, attempts, wake_at, created_at,
        changed_at) select s || '/' || n, 'flow', '1', 'null', '', s, 1, case when s = 'running' then 'me' end, 0,
        case when n % 2 = 0 then 0 else 9e15::bigint end, n, n from generate_series(1, $n) as n, (values ($s)) as v(s)";
    for (state, count) in [("ok", 200_000), ("running", 2_000), ("queued", 50_000)] {
        database.query(&fill.replace("$n", &count.to_string()).replace("$s", &format!("'{state}'"))).unwrap();
    }
    let wanted =
        Wanted { workflows: vec![("flow".into(), "1".into()), ("x".into(), "1".into())], limit: 4, max_attempts: 9 };
    for round in 0..2 {
        let start = Instant::now();
        for _ in 0..20 {
            assert_eq!(store.claim(&me, &wanted).await.unwrap().claimed.len(), 4);
        }
        println!("round {round}: {:?} a claim of 4", start.elapsed() / 20);
        let nothing = Wanted { workflows: vec![("none".into(), "1".into())], ..wanted.clone() };
        let start = Instant::now();
        assert_eq!(store.claim(&me, &nothing).await.unwrap().claimed.len(), 0);
        println!("round {round}: {:?} for nothing", start.elapsed());
        let start = Instant::now();
        let rules = Retention { ended: Duration::from_secs(1), most: None, batch: 1_000, dry_run: false };
        assert_eq!(store.forget(&rules).await.unwrap().runs, 1_000);
        println!("round {round}: {:?} to forget 1,000", start.elapsed());
        let start = Instant::now();
        let rules =
            Retention { ended: Duration::from_secs(1 << 40), most: Some(100_000), batch: 1_000, dry_run: false };
        assert_eq!(store.forget(&rules).await.unwrap().runs, 1_000);
        println!("round {round}: {:?} to forget 1,000 that are too many", start.elapsed());
        let start = Instant::now();
        store.size().await.unwrap();
        println!("round {round}: {:?} for the size", start.elapsed());
        database.query("analyze").unwrap();
    }
}

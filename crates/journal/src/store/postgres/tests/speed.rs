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
    let database = server.database().unwrap();
    let store = Postgres::open(database.url()).await.unwrap();
    for clients in [1, 4, 16, 64, 256] {
        let rate = rate(&store, clients, Duration::from_secs(4)).await;
        println!("{clients:4} at once: {rate:8.0} steps/s");
    }
    println!("{}", database.query("select count(*) from stormproof.step").unwrap());
}

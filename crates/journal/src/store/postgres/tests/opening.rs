//! Tables are made once, by whoever comes first; what a newer program has written is left alone.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_open_an_empty_database_at_once() {
    let database = Database::create().unwrap();
    let mut all = Vec::new();
    for _ in 0..8 {
        let url = database.url().to_owned();
        all.push(tokio::spawn(async move { Postgres::open(&url).await.map(drop) }));
    }
    for one in all {
        assert_eq!(one.await.unwrap(), Ok(()));
    }
    assert_eq!(database.query("select version from stormproof.meta").unwrap(), schema::VERSION.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_schema_is_left_alone() {
    let bench = Fresh::new().await;
    bench.database.query("update stormproof.meta set version = version + 1").unwrap();
    let error = Postgres::open(bench.database.url()).await.unwrap_err();
    let (found, known) = (schema::VERSION + 1, schema::VERSION);
    assert!(matches!(&error, OpenError::Newer { found: f, known: k, .. } if (*f, *k) == (found, known)), "{error:?}");
    assert!(error.to_string().contains("use a newer stormproof"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_only_read_and_write_can_use_what_is_there() {
    let bench = Fresh::new().await;
    let role = bench.database.query("select 'r' || current_database()").unwrap();
    bench
        .database
        .query(&format!(
            "create role {role} login; grant usage on schema stormproof to {role};
         grant select, insert, update, delete on all tables in schema stormproof to {role};
         alter role {role} set synchronous_commit = off"
        ))
        .unwrap();
    let url = bench.database.url().replace("user=stormproof", &format!("user={role}"));

    let store = Postgres::open(&url).await.unwrap();

    assert!(matches!(store.start(&new_run("a")).await, Ok(Started::New)));
    let client = store.connections.lanes.get().await.unwrap();
    let row = client.query_one("show synchronous_commit", &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "on", "what is acknowledged is on disk");
    drop((client, store));
    let empty = Database::create().unwrap();
    let url = empty.url().replace("user=stormproof", &format!("user={role}"));
    let error = Postgres::open(&url).await.unwrap_err();
    assert!(matches!(&error, OpenError::Store(StoreError::Refused { why, .. }) if why.contains("denied")), "{error:?}");
    drop(empty);
    bench.database.query(&format!("drop owned by {role}; drop role {role}")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_no_version_has_written_is_told_of() {
    let bench = Fresh::new().await;
    bench.store.start(&new_run("a")).await.unwrap();
    bench.database.query("update stormproof.run set state = 'odd'").unwrap();
    let error = bench.store.peek(&RunId::new("flow", "a")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused { why, .. } if why.contains("odd")), "{error:?}");
    assert_eq!(bench.store.check().await, Ok(vec!["flow/a is odd".to_owned()]));
}

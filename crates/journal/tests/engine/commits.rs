//! Commits: the user's rows and the record, both or neither.

use stormproof_journal::{Ctx, Failed, Journal, RunId, rusqlite};

use crate::bench::{Bench, Calls, in_time, look, serve};

/// Rows that the workflows have committed.
fn rows(bench: &Bench) -> Vec<i64> {
    let connection = rusqlite::Connection::open(bench.url.strip_prefix("sqlite:").unwrap()).unwrap();
    let mut select = connection.prepare("select number from receipt order by number").unwrap();
    select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

async fn open(bench: &Bench) -> Journal {
    let journal = bench.open().await;
    let connection = rusqlite::Connection::open(bench.url.strip_prefix("sqlite:").unwrap()).unwrap();
    connection.execute_batch("create table if not exists receipt (number integer not null)").unwrap();
    journal
}

/// Writes a row, fails as often as it is told, then has one more step that fails as often.
fn saving(journal: &Journal, saved: &Calls, after: &Calls) {
    let (saved, after) = (saved.clone(), after.clone());
    journal.workflow("save", "1", move |cx: Ctx, (failures, later): (u32, u32)| {
        let (saved, after) = (saved.clone(), after.clone());
        async move {
            let number = cx
                .commit("save", move |tx| {
                    let call = saved.call();
                    tx.execute("insert into receipt (number) values (?1)", [call]).map_err(Failed::from)?;
                    if call <= failures { Err(Failed::new("declined", "not today")) } else { Ok(call) }
                })
                .await?;
            cx.step("after", |_| async {
                if after.call() <= later { Err(Failed::new("down", "later")) } else { Ok(()) }
            })
            .await?;
            Ok(number)
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_happens_once() {
    in_time(async {
        let bench = Bench::sqlite();
        let (journal, saved, after) = (open(&bench).await, Calls::default(), Calls::default());
        saving(&journal, &saved, &after);
        let _served = serve(&journal);
        journal.run::<u32>("save", "k", &(0, 1)).await.unwrap_err();
        assert_eq!(rows(&bench), [1]);
        assert_eq!(journal.run::<u32>("save", "k", &(0, 1)).await.unwrap(), 1, "replayed, not saved again");
        assert_eq!((rows(&bench), saved.count()), (vec![1], 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inside_a_commit_both_or_neither() {
    in_time(async {
        let bench = Bench::sqlite();
        let (journal, saved, after) = (open(&bench).await, Calls::default(), Calls::default());
        saving(&journal, &saved, &after);
        let _served = serve(&journal);
        let error = journal.run::<u32>("save", "k", &(1, 0)).await.unwrap_err();
        assert_eq!(error.to_string(), "save/k failed at step 1: not today");
        assert_eq!(rows(&bench), [0_i64; 0], "it failed, and what it had written is taken back");
        assert_eq!(journal.run::<u32>("save", "k", &(1, 0)).await.unwrap(), 2);
        assert_eq!(rows(&bench), [2]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_a_run_that_was_taken_over_writes_nothing() {
    in_time(async {
        let bench = Bench::sqlite();
        let (paused, saved, after) = (bench.open_paused().await, Calls::default(), Calls::default());
        drop(open(&bench).await);
        let (inside, go_on) =
            (std::sync::Arc::new(tokio::sync::Notify::new()), std::sync::Arc::new(tokio::sync::Notify::new()));
        let said = (inside.clone(), go_on.clone(), saved.clone());
        paused.workflow("save", "1", move |cx: Ctx, _: (u32, u32)| {
            let (inside, go_on, saved) = said.clone();
            async move {
                inside.notify_one();
                go_on.notified().await;
                cx.commit("save", move |tx| {
                    saved.call();
                    tx.execute("insert into receipt (number) values (100)", [])
                })
                .await
            }
        });
        let heard = crate::bench::Heard::of(&paused);
        let run = paused.start("save", "k", &(0, 0)).await.unwrap();
        let _paused_serves = serve(&paused);
        inside.notified().await;
        let other = bench.open().await;
        let counted = Calls::default();
        saving(&other, &counted, &after);
        let _served = serve(&other);
        assert_eq!(other.handle(run.id()).result::<u32>().await.unwrap(), 1);
        go_on.notify_one();
        crate::bench::until("it is fenced", async || heard.has("run_fenced")).await;
        assert_eq!((rows(&bench), saved.count()), (vec![1], 0), "its work did not even run");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_panics_writes_nothing_and_is_tried_again() {
    in_time(async {
        let bench = Bench::sqlite();
        let (journal, calls) = (open(&bench).await, Calls::default());
        let counted = calls.clone();
        journal.workflow("save", "1", move |cx: Ctx, (): ()| {
            let calls = counted.clone();
            async move {
                cx.commit("save", move |tx| {
                    let call = calls.call();
                    tx.execute("insert into receipt (number) values (?1)", [call])?;
                    assert!(call > 1, "not yet");
                    Ok::<_, rusqlite::Error>(call)
                })
                .await
            }
        });
        let _served = serve(&journal);
        assert_eq!(journal.run::<u32>("save", "k", &()).await.unwrap(), 2);
        assert_eq!(rows(&bench), [2]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_commits_share_transactions_and_each_is_whole() {
    in_time(async {
        let bench = Bench::sqlite();
        let journal = open(&bench).await;
        journal.workflow("save", "1", move |cx: Ctx, number: u32| async move {
            cx.commit("save", move |tx| {
                tx.execute("insert into receipt (number) values (?1)", [number])?;
                if number % 2 == 1 { Err(rusqlite::Error::QueryReturnedNoRows) } else { Ok(number) }
            })
            .await
        });
        let served = crate::bench::serve_slots(&journal, 64);
        let runs = (0..64).map(|number| {
            let journal = journal.clone();
            tokio::spawn(async move { journal.run::<u32>("save", &number.to_string(), &number).await.is_ok() })
        });
        let mut well = 0;
        for run in runs.collect::<Vec<_>>() {
            well += u32::from(run.await.unwrap());
        }
        assert_eq!(well, 32);
        assert_eq!(rows(&bench), (0..64).step_by(2).collect::<Vec<_>>());
        drop(served);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_database_does_not_commit_is_the_commits_own_failure() {
    in_time(async {
        let bench = Bench::sqlite();
        let (journal, calls) = (open(&bench).await, Calls::default());
        let tables = "create table owner (number integer primary key); create table debt (
            owner integer not null references owner deferrable initially deferred)";
        rusqlite::Connection::open(bench.url.strip_prefix("sqlite:").unwrap()).unwrap().execute_batch(tables).unwrap();
        let counted = calls.clone();
        journal.workflow("save", "1", move |cx: Ctx, owner: u32| {
            let calls = counted.clone();
            async move {
                let saved = cx.commit("save", move |tx| {
                    calls.call();
                    tx.execute("insert into receipt (number) values (?1)", [owner])?;
                    tx.execute("insert into debt (owner) values (?1)", [owner])
                });
                saved.await.map_err(|failed| Failed::new(failed.kind(), format!("told: {}", failed.message())))
            }
        });
        let _served = serve(&journal);
        let error = journal.run::<usize>("save", "k", &7).await.unwrap_err();
        let said = "save/k failed: told: step 1 `save` cannot be committed: FOREIGN KEY constraint failed";
        assert_eq!(error.to_string(), said);
        let run = look(&journal, &RunId::new("save", "k")).await;
        assert_eq!((run.attempts, run.error.unwrap().kind.as_str()), (1, "not_committed"));
        assert_eq!(rows(&bench), [0_i64; 0]);
        // Beside another write, the group is tried again one by one.
        assert!(calls.count() <= 2, "to do it again does not help");
    })
    .await;
}

#[cfg(feature = "postgres")]
mod on_postgres {
    use super::*;

    fn numbers(database: &stormproof_testpg::Database) -> String {
        database.query("select coalesce(string_agg(number::text, ',' order by number), '') from receipt").unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn both_or_neither_and_once() {
        let database = stormproof_testpg::Database::create().unwrap();
        database.query("create table receipt (number bigint not null)").unwrap();
        let journal = Journal::builder(database.url()).open().await.unwrap();
        let (saved, after) = (Calls::default(), Calls::default());
        let counted = (saved.clone(), after.clone());
        journal.workflow("save", "1", move |cx: Ctx, (): ()| {
            let (saved, after) = counted.clone();
            async move {
                let number = cx
                    .commit_postgres("save", |tx| {
                        let call = saved.call();
                        async move {
                            tx.execute("insert into receipt values ($1)", &[&i64::from(call)]).await?;
                            if call == 1 { Err(Failed::new("declined", "not today")) } else { Ok(call) }
                        }
                    })
                    .await?;
                cx.step("after", |_| async {
                    if after.call() == 1 { Err(Failed::new("down", "later")) } else { Ok(()) }
                })
                .await?;
                Ok(number)
            }
        });
        let _served = serve(&journal);
        in_time(async {
            journal.run::<u32>("save", "k", &()).await.unwrap_err();
            assert_eq!(numbers(&database).trim(), "");
            journal.run::<u32>("save", "k", &()).await.unwrap_err();
            assert_eq!(numbers(&database).trim(), "2");
            assert_eq!(journal.run::<u32>("save", "k", &()).await.unwrap(), 2);
            assert_eq!((numbers(&database).trim(), saved.count()), ("2", 2));
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_transaction_that_is_kept_is_not_committed() {
        let database = stormproof_testpg::Database::create().unwrap();
        database.query("create table receipt (number bigint not null)").unwrap();
        let journal = Journal::builder(database.url()).open().await.unwrap();
        let kept = std::sync::Arc::new(std::sync::Mutex::new(None));
        journal.workflow("save", "1", move |cx: Ctx, (): ()| {
            let kept = kept.clone();
            async move {
                cx.commit_postgres("save", |tx| {
                    *kept.lock().unwrap() = Some(tx.clone());
                    async move { tx.execute("insert into receipt values (1)", &[]).await }
                })
                .await
            }
        });
        let _served = serve(&journal);
        in_time(async {
            let error = journal.run::<u64>("save", "k", &()).await.unwrap_err();
            assert_eq!(error.to_string(), "save/k failed: step 1 `save` kept its transaction beyond its end");
            assert_eq!(numbers(&database).trim(), "");
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_the_database_does_not_commit_is_the_commits_own_failure() {
        let database = stormproof_testpg::Database::create().unwrap();
        let tables = "create table receipt (number bigint primary key); create table payment (
            receipt bigint not null references receipt deferrable initially deferred)";
        database.query(tables).unwrap();
        let journal = Journal::builder(database.url()).open().await.unwrap();
        let calls = Calls::default();
        let counted = calls.clone();
        journal.workflow("save", "1", move |cx: Ctx, sql: String| {
            let calls = counted.clone();
            async move {
                let saved = cx.commit_postgres("save", |tx| {
                    calls.call();
                    let sql = sql.clone();
                    async move {
                        tx.batch_execute("insert into receipt values (1)").await?;
                        let _ = tx.batch_execute(&sql).await;
                        Ok::<_, Failed>(())
                    }
                });
                saved.await.map_err(|failed| Failed::new(failed.kind(), format!("told: {}", failed.message())))
            }
        });
        let _served = serve(&journal);
        in_time(async {
            for (sql, said) in [
                ("insert into payment values (2)", "(Key (receipt)=(2) is not present in table \"receipt\".) [23503]"),
                ("insert into nowhere values (1)", "a statement of it failed, and the work went on as if it had not"),
                ("rollback", "a statement of it ended its transaction: leave begin and commit to the journal"),
            ] {
                let error = journal.run::<()>("save", sql, &sql).await.unwrap_err().to_string();
                let begins = format!("save/{sql} failed: told: step 1 `save` cannot be committed: ");
                assert!(error.starts_with(&begins) && error.ends_with(said), "{error}");
                let run = look(&journal, &RunId::new("save", sql)).await;
                assert_eq!((run.attempts, run.error.unwrap().kind.as_str()), (1, "not_committed"));
                assert_eq!(numbers(&database).trim(), "");
            }
            assert_eq!(calls.count(), 3, "it is the work's doing: to do it again does not help");
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_commit_of_the_other_engine_fails() {
        let database = stormproof_testpg::Database::create().unwrap();
        let journal = Journal::builder(database.url()).open().await.unwrap();
        journal.workflow("save", "1", |cx: Ctx, (): ()| async move {
            cx.commit("save", |_| Ok::<_, rusqlite::Error>(())).await
        });
        let _served = serve(&journal);
        let error = journal.run::<()>("save", "k", &()).await.unwrap_err();
        assert_eq!(error.to_string(), "save/k failed: step 1 `save` is a `commit`, which needs a journal on SQLite");
        assert_eq!(look(&journal, &RunId::new("save", "k")).await.error.unwrap().kind, "wrong_engine");
    }
}

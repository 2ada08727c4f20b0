//! Wall clocks that are set under running workers: leases do not notice, epochs grow, sleeps end by the new time.
#![cfg(unix)]
#![cfg(test)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use stormproof_chaos::tables::Tables;
use stormproof_journal::{Ctx, Failed, Journal};
use tokio::task::JoinHandle;

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;

/// A clock that somebody sets.
#[derive(Clone, Default)]
struct Wall(Arc<AtomicI64>);

impl Wall {
    fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }

    fn now(&self) -> SystemTime {
        let offset = self.0.load(Ordering::SeqCst);
        let length = Duration::from_secs(offset.unsigned_abs());
        if offset < 0 { SystemTime::now() - length } else { SystemTime::now() + length }
    }
}

async fn open(url: &str, wall: &Wall) -> Journal {
    let wall = wall.clone();
    Journal::builder(url)
        .lease(Duration::from_millis(600))
        .poll(Duration::from_millis(20))
        .wall_clock(move || wall.now())
        .open()
        .await
        .unwrap()
}

fn serve(journal: &Journal) -> JoinHandle<()> {
    let journal = journal.clone();
    tokio::spawn(async move { journal.serve(16).await.unwrap() })
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_do_not_depend_on_the_wall_clock() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("journal.db").display());
    let wall = Wall::default();
    let (one, two) = (open(&url, &wall).await, open(&url, &wall).await);
    let calls = Arc::new(AtomicU32::new(0));
    for journal in [&one, &two] {
        let calls = calls.clone();
        journal.workflow("slow", "1", move |cx: Ctx, (): ()| {
            let calls = calls.clone();
            async move {
                for _ in 0..12 {
                    let calls = calls.clone();
                    let call = move |_| {
                        calls.fetch_add(1, Ordering::SeqCst);
                        async {
                            tokio::time::sleep(Duration::from_millis(150)).await;
                            Ok::<_, Failed>(())
                        }
                    };
                    cx.step("call", call).await?;
                }
                Ok::<_, Failed>(())
            }
        });
    }
    let serving = [serve(&one), serve(&two)];
    for number in 0..20 {
        one.start("slow", &number.to_string(), &()).await.unwrap();
    }

    for seconds in [0, HOUR, 0, -HOUR, YEAR, -YEAR, 3 * YEAR, 0] {
        wall.set(seconds);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    for number in 0..20 {
        let handle = one.start("slow", &number.to_string(), &()).await.unwrap();
        handle.result::<()>().await.unwrap();
    }

    assert_eq!(calls.load(Ordering::SeqCst), 20 * 12, "a step ran again: somebody lost a run");
    for journal in [&one, &two] {
        journal.shutdown(Duration::from_secs(5)).await;
    }
    for task in serving {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn epochs_grow_when_the_clock_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("journal.db").display());
    let wall = Wall::default();
    let epoch = || Tables::open(&url).unwrap().number("select epoch from run").unwrap();
    let mut epochs = Vec::new();

    for seconds in [YEAR, 0, -YEAR, HOUR] {
        wall.set(seconds);
        let journal = open(&url, &wall).await;
        journal.workflow("endless", "1", |cx: Ctx, (): ()| async move {
            let forever = |_| async {
                std::future::pending::<()>().await;
                Ok::<_, Failed>(())
            };
            cx.step("forever", forever).await
        });
        journal.start("endless", "1", &()).await.unwrap();
        let serving = serve(&journal);
        let before = epochs.last().copied().unwrap_or(0);
        while epoch() <= before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        epochs.push(epoch());
        journal.shutdown(Duration::ZERO).await;
        serving.await.unwrap();
    }

    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_ends_by_the_clock_that_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("journal.db").display());
    let wall = Wall::default();
    let journal = open(&url, &wall).await;
    journal.workflow("sleeper", "1", |cx: Ctx, (): ()| async move {
        cx.sleep("half an hour", Duration::from_secs(1800)).await;
        Ok::<_, Failed>(())
    });
    let serving = serve(&journal);
    let handle = journal.start("sleeper", "1", &()).await.unwrap();

    // Back by an hour: it sleeps on. Forward by an hour: it is over.
    tokio::time::sleep(Duration::from_millis(200)).await;
    wall.set(-HOUR);
    let early = handle.result_within::<()>(Duration::from_millis(400)).await;
    wall.set(HOUR);
    let late = handle.result_within::<()>(Duration::from_secs(10)).await;

    assert!(early.is_err(), "it must still sleep");
    late.unwrap();
    journal.shutdown(Duration::ZERO).await;
    serving.await.unwrap();
}

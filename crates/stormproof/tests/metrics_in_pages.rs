//! The book names every metric, and none that there is not.
#![cfg(feature = "cache")]
#![cfg(test)]

use std::collections::BTreeSet;
use std::path::Path;

use stormproof::degrade::Degradation;
use stormproof::{
    Cache, HealthChecker, HealthTracker, LoopGuard, Policy, Retry, Snapshot, WorkQueue, adaptive, breaker, budget,
    bulkhead, cache, hedge, latency, metrics, queue, rate, throttle,
};

#[tokio::test]
async fn pages_of_patterns_name_the_metrics_there_are() {
    let there_are = names(&metrics::prometheus(&snapshots().await));
    let told = told();
    let missing: Vec<_> = there_are.difference(&told).collect();
    assert!(missing.is_empty(), "in no page of a pattern: {missing:#?}");
    let invented: Vec<_> = told.difference(&there_are).collect();
    assert!(invented.is_empty(), "no such metrics: {invented:#?}");
}

async fn snapshots() -> Vec<Snapshot> {
    let policy = Policy::builder("p")
        .attempt_timeout(std::time::Duration::from_secs(1))
        .throttle(throttle::Config::default())
        .breaker(breaker::Config::default())
        .bulkhead(bulkhead::Config { adaptive: Some(adaptive::Config::default()), ..Default::default() })
        .rate(rate::Config::default())
        .retry(Retry::default())
        .hedge(hedge::Config::default())
        .budget(budget::Config::default())
        .latency(latency::Config::default())
        .build()
        .unwrap();
    let checker = HealthChecker::new();
    checker.register("check", || std::future::ready(Ok::<(), &str>(()))).unwrap();
    checker.check_all().await;
    let mut snapshots = policy.snapshots();
    snapshots.extend(checker.snapshots());
    snapshots.extend([
        HealthTracker::new("tracker").snapshot(),
        Degradation::new("system").snapshot(),
        LoopGuard::new("run").snapshot(),
        Cache::<String, u32>::new("answers", cache::Config::default()).unwrap().snapshot(),
        WorkQueue::<u32>::new("work", queue::Config::default()).unwrap().snapshot(),
    ]);
    snapshots
}

/// The families of a text, with `_total` as it is written.
fn names(text: &str) -> BTreeSet<String> {
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    families.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The metrics in tables whose head says `metric`, of all patterns. The head may say what all names begin with.
fn told() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/patterns");
    let pages = std::fs::read_dir(folder).unwrap().map(|page| std::fs::read_to_string(page.unwrap().path()).unwrap());
    let mut told = BTreeSet::new();
    for page in pages {
        let mut lines = page.lines();
        while let Some(head) = lines.find(|line| line.starts_with("| metric")) {
            let prefix = head.split('`').nth(1).unwrap_or_default().trim_end_matches('…');
            for row in lines.by_ref().skip(1).take_while(|line| line.starts_with('|')) {
                let cell = row.split('|').nth(1).unwrap();
                let quoted = cell.split('`').skip(1).step_by(2).filter(|name| !name.starts_with('_'));
                told.extend(quoted.map(|name| format!("{prefix}{}", name.split('{').next().unwrap())));
            }
        }
    }
    told
}

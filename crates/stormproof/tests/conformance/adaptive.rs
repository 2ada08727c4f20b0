//! Adaptive concurrency (cases 49 and 50): the limit against a callee whose best limit is known.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use stormproof::breaker::Window;
use stormproof::config::Config;
use stormproof::{Bulkhead, Clock, Policy, Stage, adaptive, bulkhead};
use stormproof_sim::{Reply, Scenario};

use crate::given::{S, ms, policy, run, s, slots, trips};

const WINDOW: Duration = ms(200);

fn adapts(start: u32) -> bulkhead::Config {
    let adaptive = adaptive::Config { window: WINDOW, ..Default::default() };
    bulkhead::Config { adaptive: Some(adaptive), queue_timeout: s(60), ..slots(start, 100) }
}

/// One call at a time, each 20 ms, after a first one.
fn one_at_a_time(first: Reply) -> Scenario {
    let scenario = Scenario::new(policy(|p| p.bulkhead = Some(adapts(10)))).at(s(0), first);
    (1..400).fold(scenario, |all, n| all.at(ms(30 * n), S.after(ms(20))))
}

#[test]
fn case_49_a_limit_that_is_not_used_does_not_grow() {
    let trace = run(&one_at_a_time(S.after(ms(20))));
    assert!(trace.stat(Stage::Bulkhead, "windows", "") > 15.0);
    assert_eq!(trace.stat(Stage::Bulkhead, "max_concurrent", ""), 10.0);
}

#[test]
fn case_49_one_lucky_answer_does_not_collapse_the_limit() {
    // An answer from nowhere: quicker than any clock here can tell.
    let trace = run(&one_at_a_time(S));
    assert!(trace.stat(Stage::Bulkhead, "windows", "") > 15.0);
    assert!(trace.stat(Stage::Bulkhead, "max_concurrent", "") >= 8.0);
}

#[test]
fn waiting_for_requests_or_tokens_is_no_use_of_a_slot() {
    let limit = stormproof::rate::Config { rate: 20, burst: Some(1), max_wait: s(3600), ..Default::default() };
    let limits: [fn(&mut Config, stormproof::rate::Config); 2] =
        [|p, limit| p.rate = Some(limit), |p, limit| p.tokens = Some(limit)];
    for set in limits {
        // Given: 20 calls a second, each of 50 ms: one at a time at the callee, and a growing queue before the limit.
        let config = policy(|p| {
            set(p, limit.clone());
            p.bulkhead = Some(bulkhead::Config { max_queue: 1000, queue_timeout: s(3600), ..adapts(10) });
        });
        let scenario = (0..600).fold(Scenario::new(config), |all, n| all.at(ms(40 * n), S.after(ms(50))));
        let trace = run(&scenario);
        assert!(trace.stat(Stage::Bulkhead, "windows", "") > 15.0);
        assert_eq!(trace.stat(Stage::Bulkhead, "max_concurrent", ""), 10.0);
    }
}

#[test]
fn an_outage_that_the_breaker_sees_teaches_the_limit_nothing() {
    const BUSY: Reply = Reply::fail("ServerError.503");
    let breaker = stormproof::breaker::Config {
        open_duration: s(2),
        ..trips(stormproof::Trip::ratio(0.5, 100, Window::Time(s(2))))
    };
    let config = |breaker| policy(|p| (p.breaker, p.bulkhead) = (breaker, Some(adapts(20))));
    let with_outage = |breaker| {
        let calls = Scenario::new(config(breaker));
        // Given: two calls at a time, and for a quarter of a minute nothing but 503s.
        let at = |n: u64| if (5_000..20_000).contains(&(10 * n)) { BUSY } else { S.after(ms(20)) };
        (0..3_000).fold(calls, |all, n| all.at(ms(10 * n), at(n)))
    };
    let limit = |scenario: &Scenario| run(scenario).stat(Stage::Bulkhead, "max_concurrent", "");
    assert_eq!(limit(&with_outage(Some(breaker))), 20.0);
    // Without one it goes down, and comes back as far as it is used.
    assert!(limit(&with_outage(None)) >= 2.0);
}

const WORKERS: u32 = 10;
const CLIENTS: usize = 40;

/// Clients that never rest, an adaptive bulkhead, and a callee with so many workers.
#[derive(Clone)]
struct Load {
    clock: Clock,
    bulkhead: Bulkhead,
    callee: Policy,
    /// What a worker takes for a call, in milliseconds.
    service: Arc<AtomicU64>,
    /// The longest wait for a worker since it was last asked for, likewise.
    waited: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Load {
    fn on(clock: Clock) -> Self {
        let workers = bulkhead::Config { queue_timeout: s(600), ..slots(WORKERS, 10_000) };
        let callee = Policy::builder("callee").bulkhead(workers).clock(&clock).build().unwrap();
        let bulkhead = Bulkhead::with_clock("caller", adapts(5), &clock).unwrap();
        Self {
            clock,
            bulkhead,
            callee,
            service: Arc::new(AtomicU64::new(10)),
            waited: Arc::default(),
            over: Arc::default(),
        }
    }

    /// A worker begins: how long it will take.
    fn begin(&self, asked: stormproof::Instant) -> Duration {
        let waited = self.clock.now().since(asked).as_millis();
        self.waited.fetch_max(u64::try_from(waited).unwrap(), Ordering::Relaxed);
        ms(self.service.load(Ordering::Relaxed))
    }

    async fn call(&self) {
        let op = |_: stormproof::Cx<'_>| async {
            let asked = self.clock.now();
            let work = |_: stormproof::Cx<'_>| async {
                tokio::time::sleep(self.begin(asked)).await;
                Ok::<_, Infallible>(())
            };
            self.callee.call(work).await
        };
        while !self.over.load(Ordering::Relaxed) {
            self.bulkhead.call(op).await.unwrap();
        }
    }

    fn call_sync(&self) {
        let op = |_: stormproof::Cx<'_>| {
            let asked = self.clock.now();
            let work = |_: stormproof::Cx<'_>| {
                self.clock.sleep(self.begin(asked));
                Ok::<_, Infallible>(())
            };
            self.callee.call_sync(work).run()
        };
        while !self.over.load(Ordering::Relaxed) {
            self.bulkhead.call_sync(op).run().unwrap();
        }
    }

    /// So many windows, which last as long as five calls if that is longer.
    fn windows(&self, number: u32) -> Duration {
        WINDOW.max(ms(self.service.load(Ordering::Relaxed)) * 8) * number
    }

    fn assert_settled(&self, door: &str) {
        let (limit, service) = (self.bulkhead.stats().max_concurrent, self.service.load(Ordering::Relaxed));
        assert!(limit * 5 >= WORKERS * 4 && limit * 5 <= WORKERS * 6, "{door}: {limit} at {service} ms");
    }

    fn assert_short_waits(&self, door: &str) {
        let (waited, service) = (self.waited.swap(0, Ordering::Relaxed), self.service.load(Ordering::Relaxed));
        assert!(waited <= service + 2, "{door}: calls of {service} ms waited {waited} ms");
    }
}

const STEPS: [u64; 3] = [10, 100, 10];

#[tokio::test(start_paused = true)]
async fn case_50_the_limit_follows_the_callee_through_the_async_door() {
    let load = Load::on(Clock::tokio());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let load = load.clone();
            tokio::spawn(async move { load.call().await })
        })
        .collect();
    for service in STEPS {
        load.service.store(service, Ordering::Relaxed);
        tokio::time::sleep(load.windows(20)).await;
        load.assert_settled("async");
        load.waited.store(0, Ordering::Relaxed);
        tokio::time::sleep(load.windows(20)).await;
        load.assert_settled("async");
        load.assert_short_waits("async");
    }
    load.over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
}

#[test]
fn case_50_the_limit_follows_the_callee_through_the_sync_door() {
    let load = Load::on(Clock::stepping());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = load.clone();
            load.clock.spawn(move || client.call_sync())
        })
        .collect();
    for service in STEPS {
        load.service.store(service, Ordering::Relaxed);
        load.clock.sleep(load.windows(20));
        load.assert_settled("sync");
        load.waited.store(0, Ordering::Relaxed);
        load.clock.sleep(load.windows(20));
        load.assert_settled("sync");
        load.assert_short_waits("sync");
    }
    load.over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
}

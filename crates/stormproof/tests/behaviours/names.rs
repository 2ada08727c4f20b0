//! What a name has: one policy, whose stages outlast every change of its settings, and which is forgotten only when nothing
//! is lost by it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stormproof::breaker::State;
use stormproof::event::Kind;
use stormproof::registry::{self, KeyedBreakers, KeyedLimiters, KeyedPolicies, Limits};
use stormproof::{CircuitBreaker, Clock, EventBus, Policy, Registry, Trip, budget, config, hedge, rate};

use crate::given::{each_second, per_second, policy, s, slots, trips};

fn strict_with_defaults() -> Registry {
    let defaults = policy(|p| {
        p.breaker = Some(trips(Trip::consecutive(7)));
        p.retry = Some(each_second(2));
    });
    let config = registry::Config { strict: true, defaults, ..Default::default() };
    Registry::with_clock(config, &Clock::tokio()).unwrap()
}

/// Names of what a registry tells.
fn listen(registry: &Registry) -> Arc<Mutex<Vec<String>>> {
    let heard = Arc::<Mutex<Vec<_>>>::default();
    let told = heard.clone();
    registry.on_event(move |event| {
        if let Kind::UnknownPolicy { name, stages } = &event.kind {
            told.lock().unwrap().push(format!("{name} {stages}"));
        }
    });
    heard
}

fn configs(name: &str, config: config::Config) -> BTreeMap<String, config::Config> {
    [(name.to_owned(), config)].into()
}

#[tokio::test(start_paused = true)]
async fn a_strict_registry_gives_a_policy_its_defaults_and_the_breaker_that_was_asked_for() {
    let registry = strict_with_defaults();
    let breaker = registry.breaker_with("openai", trips(Trip::consecutive(5))).unwrap();
    let policy = registry.policy("openai");
    let stages = policy.stages().config();
    assert_eq!(stages.breaker, Some(trips(Trip::consecutive(5))), "what is given wins");
    assert_eq!(stages.retry, Some(each_second(2)));
    for _ in 0..2 {
        policy.call(|_| async { Err::<(), _>("down") }).await.unwrap_err();
    }
    assert_eq!(breaker.state(), State::Open, "it is one breaker");

    // The other way round, and with other stages.
    registry.policy("anthropic");
    registry.bulkhead_with("anthropic", slots(3, 0)).unwrap();
    let stages = registry.policy("anthropic").stages().config();
    assert_eq!(stages.bulkhead, Some(slots(3, 0)));
    assert_eq!(stages.breaker, Some(trips(Trip::consecutive(7))));
}

#[test]
fn an_unknown_name_is_told_once() {
    let registry = Registry::new();
    let heard = listen(&registry);
    registry.configure("quotes", policy(|p| p.deadline = Some(s(1)))).unwrap();
    registry.policy("quotes");
    registry.breaker("by name");
    for _ in 0..2 {
        registry.policy("qoutes");
        registry.policy("by name");
    }
    assert_eq!(*heard.lock().unwrap(), ["qoutes false"]);

    let registry = strict_with_defaults();
    let heard = listen(&registry);
    registry.policy("other");
    assert_eq!(*heard.lock().unwrap(), ["other true"]);
}

#[test]
fn a_breaker_beside_a_policy_that_has_none_waits_for_its_settings() {
    let registry = Registry::new();
    registry.configure("p", policy(|p| p.deadline = Some(s(1)))).unwrap();
    let breaker = registry.breaker_with("p", trips(Trip::consecutive(1))).unwrap();
    registry.policy("p").call_sync(|_| Err::<(), _>("down")).run().unwrap_err();
    assert_eq!(breaker.state(), State::Closed, "the policy was given without one");
    registry.configure("p", policy(|p| p.breaker = Some(trips(Trip::consecutive(1))))).unwrap();
    registry.policy("p").call_sync(|_| Err::<(), _>("down")).run().unwrap_err();
    assert_eq!(breaker.state(), State::Open);
}

/// Every stage, so that a reload has something to lose.
fn everything(deadline: u64) -> config::Config {
    policy(|p| {
        p.deadline = Some(s(deadline));
        p.attempt_timeout = Some(s(5));
        p.retry = Some(each_second(2));
        p.hedge = Some(hedge::Config::from(hedge::Delay::After(s(1))));
        p.budget = Some(budget::Config { floor: 100, ..Default::default() });
        p.breaker = Some(trips(Trip::consecutive(100)));
        p.bulkhead = Some(slots(9, 9));
        p.rate = Some(per_second(100, 100));
        p.tokens = Some(per_second(100, 100));
        p.latency = Some(stormproof::latency::Config::default());
    })
}

#[tokio::test(start_paused = true)]
async fn any_reload_keeps_all_counters_of_all_stages() {
    let registry = Registry::with_clock(registry::Config::default(), &Clock::tokio()).unwrap();
    registry.apply(configs("p", everything(100))).unwrap();
    let counters = |registry: &Registry| {
        let of_stage = |snapshot: stormproof::Snapshot| {
            let counters = snapshot.samples.into_iter().filter(|sample| {
                matches!(sample.kind, stormproof::snapshot::Kind::Counter | stormproof::snapshot::Kind::Histogram)
            });
            counters
                .map(|sample| (snapshot.stage, sample.metric, sample.part, sample.label, sample.value))
                .collect::<Vec<_>>()
        };
        registry.policy("p").snapshots().into_iter().flat_map(of_stage).collect::<Vec<_>>()
    };
    let slow = || async {
        tokio::time::sleep(s(2)).await;
        Ok::<_, &str>(())
    };
    let policy = registry.policy("p");
    policy.call(|_| slow()).await.unwrap();
    policy.call(|_| async { Err::<(), _>("down") }).await.unwrap_err();
    policy.call(|_| std::future::pending::<Result<(), &str>>()).await.unwrap_err();
    let before = counters(&registry);
    assert!(before.iter().filter(|(.., value)| *value > 0.0).count() > 10, "{before:?}");

    let changes: [fn(&mut config::Config); 10] = [
        |p| p.deadline = Some(s(99)),
        |p| p.attempt_timeout = Some(s(6)),
        |p| p.retry = Some(each_second(3)),
        |p| p.hedge = Some(hedge::Config::from(hedge::Delay::After(s(3)))),
        |p| p.budget = Some(budget::Config { floor: 101, ..Default::default() }),
        |p| p.breaker = Some(trips(Trip::consecutive(101))),
        |p| p.bulkhead = Some(slots(8, 8)),
        |p| p.rate = Some(per_second(200, 100)),
        |p| p.tokens = Some(per_second(200, 100)),
        |p| p.latency = Some(stormproof::latency::Config { window: s(61) }),
    ];
    for change in changes {
        let mut config = everything(100);
        change(&mut config);
        registry.apply(configs("p", config.clone())).unwrap();
        assert_eq!(registry.policy("p").stages().config(), config);
        assert_eq!(counters(&registry), before);
        // Stages that are taken out and come back go on, too.
        registry.apply(configs("p", policy_with_deadline_alone())).unwrap();
        registry.apply(BTreeMap::new()).unwrap();
    }
    registry.apply(configs("p", everything(100))).unwrap();
    assert_eq!(counters(&registry), before);

    // A handle from before counts where the others count.
    policy.call(|_| async { Err::<(), _>("down") }).await.unwrap_err();
    let retries = |policy: &Policy| policy.stages().retry.as_ref().unwrap().stats().retries;
    assert_eq!(retries(&registry.policy("p")), retries(&policy));
}

fn policy_with_deadline_alone() -> config::Config {
    policy(|p| p.deadline = Some(s(9)))
}

#[test]
fn what_an_operator_changed_stays_when_a_reload_does_not_speak_of_it() {
    let registry = Registry::new();
    let with = |queue: u32, deadline| {
        policy(|p| {
            p.bulkhead = Some(slots(10, queue));
            p.rate = Some(per_second(10, 10));
            p.deadline = Some(s(deadline));
        })
    };
    registry.apply(configs("p", with(5, 1))).unwrap();
    let (bulkhead, rate) = (registry.policy("p").bulkhead().unwrap(), registry.policy("p").rate().unwrap());
    bulkhead.resize(3).unwrap();
    rate.update(per_second(7, 7)).unwrap();
    let present = || (bulkhead.config().max_concurrent, bulkhead.config().max_queue, rate.config().rate);
    assert_eq!(registry.apply(configs("p", with(5, 1))).unwrap().unchanged, ["p".into()]);
    assert_eq!(present(), (3, 5, 7));
    registry.apply(configs("p", with(6, 2))).unwrap();
    assert_eq!(present(), (3, 6, 7), "what the file changes is changed, and no more");
}

#[test]
fn a_part_of_a_policy_and_a_name_that_looks_like_it_are_two() {
    let registry = Registry::new();
    let tokens = policy(|p| p.tokens = Some(per_second(1, 5)));
    let requests = policy(|p| p.rate = Some(per_second(1, 9)));
    for other in ["x-tokens", "x/(tokens)", "x/((tokens)"] {
        registry.configure("x", tokens.clone()).unwrap();
        registry.configure(other, requests.clone()).unwrap();
        let (own, others) = (registry.policy("x").tokens().unwrap(), registry.policy(other).rate().unwrap());
        assert_eq!((own.config().burst, others.config().burst), (Some(5), Some(9)));
        assert!(others.try_acquire(9).is_ok() && own.try_acquire(5).is_ok());
        registry.remove("x");
    }
    let names: std::collections::HashSet<_> = registry.snapshots().into_iter().map(|one| one.name).collect();
    assert_eq!(names.len(), 3, "and each has a name of its own: {names:?}");

    let keys = KeyedPolicies::new("k", requests).unwrap();
    let names = [keys.get("(others)"), keys.get("((others)"), keys.others()].map(|policy| policy.name().clone());
    assert_eq!(names.iter().collect::<std::collections::HashSet<_>>().len(), 3, "{names:?}");
}

#[test]
fn an_update_reaches_the_stage_that_keys_share() {
    let limits = Limits { max_keys: 1, ..Default::default() };
    let config = |most| policy(|p| p.bulkhead = Some(slots(most, 0)));
    let keys = KeyedPolicies::with_clock("k", config(1), limits, &Clock::manual()).unwrap();
    let own = keys.get("own");
    let shared = keys.get("another");
    assert_eq!(shared.name(), keys.others().name());
    let with_deadline = config::Config { deadline: Some(s(1)), ..config(2) };
    keys.update(&with_deadline).unwrap();
    for policy in [keys.get("own"), keys.get("another"), keys.others()] {
        assert_eq!(policy.stages().config(), with_deadline, "{}", policy.name());
    }
    assert_eq!(shared.bulkhead().unwrap().config().max_concurrent, 2, "a handle from before has the same stages");
    drop(own);
}

#[test]
fn a_key_in_flight_is_not_forgotten_after_an_update() {
    let (clock, limits) = (Clock::manual(), Limits { max_keys: 1, ..Default::default() });
    let config = |open| {
        policy(|p| {
            p.breaker = Some(stormproof::breaker::Config { open_duration: s(open), ..trips(Trip::consecutive(1)) });
        })
    };
    let keys = KeyedPolicies::with_clock("k", config(60), limits, &clock).unwrap();
    let in_flight = keys.get("a");
    let call = in_flight.call_sync(|_| {
        keys.update(&config(90)).unwrap();
        clock.advance(s(7_200));
        assert_eq!(keys.get("b").name(), keys.others().name());
        Err::<(), _>("down")
    });
    call.run().unwrap_err();
    drop(in_flight);
    assert_eq!(keys.get("a").breaker().unwrap().state(), State::Open);

    // One stage alone, and a stage of the policy, are handles, too.
    clock.advance(s(7_200));
    let stage = keys.get("a").breaker().unwrap();
    assert_eq!(keys.get("b").name(), keys.others().name());
    drop(stage);
    clock.advance(s(7_200));
    assert_eq!(keys.get("b").name().as_str(), "k/b");
}

#[test]
fn what_is_owed_is_not_forgotten() {
    let (clock, limits) = (Clock::manual(), Limits { max_keys: 2, ..Default::default() });
    let a_day = rate::Config { rate: 1_000, per: s(86_400), burst: Some(1_000), ..Default::default() };
    let keys = KeyedLimiters::with_clock("k", a_day.clone(), limits, &clock).unwrap();
    assert!(keys.get("a").try_acquire(1_000).is_ok());
    clock.advance(s(3_700));
    for other in 0..100 {
        keys.get(&other.to_string());
    }
    assert!(keys.get("a").try_acquire(1_000).is_err(), "the day is not over");
    clock.advance(s(86_400));
    assert!(keys.get("a").try_acquire(1_000).is_ok());

    let both = policy(|p| {
        p.retry = Some(each_second(0));
        p.tokens = Some(a_day);
    });
    let keys = KeyedPolicies::with_clock("k", both, limits, &clock).unwrap();
    assert!(keys.get("a").tokens().unwrap().try_acquire(1).is_ok());
    clock.advance(s(80));
    keys.get("b");
    assert_eq!(keys.get("c").name().as_str(), "k/c", "the free one goes");
    assert!(keys.peek("a").is_some());
}

/// Set when it is dropped.
struct Flag(Arc<Mutex<bool>>);

impl Drop for Flag {
    fn drop(&mut self) {
        *self.0.lock().unwrap() = true;
    }
}

#[test]
fn a_listener_that_captures_what_it_listens_to_does_not_keep_it() {
    type Listens = fn(&CircuitBreaker, Flag);
    let listens: [Listens; 3] = [
        |breaker, flag| {
            let own = breaker.clone();
            breaker.on_state_change(move |_, _| _ = (&own, &flag));
        },
        |breaker, flag| {
            let own = breaker.clone();
            breaker.policy().on_event(move |_| _ = (&own, &flag));
        },
        |breaker, flag| {
            let (bus, own) = (EventBus::new(), breaker.clone());
            bus.attach(breaker);
            bus.subscribe(stormproof::event::Category::All, move |_| _ = (&own, &flag)).detach();
        },
    ];
    for listen in listens {
        let (clock, gone) = (Clock::manual(), Arc::new(Mutex::new(false)));
        let limits = Limits { max_keys: 1, ..Default::default() };
        let keys = KeyedBreakers::with_clock("k", trips(Trip::consecutive(1)), limits, &clock).unwrap();
        listen(&keys.get("a"), Flag(gone.clone()));
        clock.advance(s(1));
        assert_eq!(keys.get("b").name(), keys.others().name(), "it was used a moment ago");
        clock.advance(s(3_600));
        assert_eq!(keys.get("b").name().as_str(), "k/b");
        assert!(*gone.lock().unwrap(), "and nothing of it is left");

        let (clock, gone) = (Clock::manual(), Arc::new(Mutex::new(false)));
        let config = registry::Config { max_entries: 1, ..Default::default() };
        let registry = Registry::with_clock(config, &clock).unwrap();
        listen(&registry.breaker("a"), Flag(gone.clone()));
        clock.advance(Duration::from_secs(86_400));
        registry.policy("b");
        assert_eq!(registry.all::<Policy>().len(), 1);
        assert!(*gone.lock().unwrap());
        let gone = Arc::new(Mutex::new(false));
        listen(&registry.breaker("c"), Flag(gone.clone()));
        registry.remove("c");
        assert!(*gone.lock().unwrap());
    }
}

#[test]
fn a_listener_of_a_stage_that_is_in_use_stays() {
    let (clock, limits) = (Clock::manual(), Limits { max_keys: 1, ..Default::default() });
    let keys = KeyedBreakers::with_clock("k", trips(Trip::consecutive(1)), limits, &clock).unwrap();
    let (held, heard) = (keys.get("a"), Arc::new(Mutex::new(0)));
    let count = heard.clone();
    held.on_state_change(move |_, _| *count.lock().unwrap() += 1);
    for _ in 0..5 {
        clock.advance(s(1_000));
        keys.get("a");
        keys.get("b");
    }
    held.allow_request().unwrap();
    held.record_failure("E");
    assert_eq!(*heard.lock().unwrap(), 1);
    clock.advance(s(86_400));
    keys.get("b");
    assert_eq!(
        keys.peek("a").unwrap().stats().failures,
        1,
        "whatever becomes of listeners, who has a handle has the key"
    );
}

//! Random operations on a store and on the plainest one there is, the one in memory: both must answer the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use super::super::memory::Memory;
use super::{Bench, LONG, new_run, step, wanted, worker};
use crate::run::{Kind, Progress, Run, RunId, Step};
use crate::store::*;

const KEYS: [&str; 4] = ["a", "b", "c", "d"];
const WORKERS: [&str; 2] = ["one", "two"];

/// Something that is asked of a store.
#[derive(Clone, Debug)]
enum Op {
    Start {
        key: usize,
        delay: bool,
        ttl: bool,
    },
    /// Each is an attempt of its own.
    StartClaimed {
        key: usize,
        by: usize,
        attempt: u64,
    },
    Claim {
        by: usize,
        max_attempts: u32,
    },
    Take {
        key: usize,
        by: usize,
        revive: bool,
    },
    Record {
        of: Held,
        step: Planned,
    },
    Finish {
        of: Held,
        last: Option<Planned>,
        end: End,
    },
    Receive {
        of: Held,
        topic: bool,
        step: Planned,
    },
    Signal {
        key: usize,
        topic: bool,
        id: u8,
    },
    Cancel {
        key: usize,
    },
    Resume {
        key: usize,
        decision: Decision,
    },
    Fork {
        from: usize,
        to: usize,
        before: u32,
    },
    Leave {
        by: usize,
    },
    Beat {
        by: usize,
        of: Held,
    },
    Forget {
        most: Option<u64>,
    },
    KeepTask {
        id: bool,
        rev: i64,
        state: bool,
    },
    Wait,
}

/// A run as somebody got it, now or some claims ago.
#[derive(Clone, Debug)]
struct Held {
    key: usize,
    ago: usize,
}

/// A step to be written. The same number and attempt is the same attempt.
#[derive(Clone, Debug)]
struct Planned {
    seq: u32,
    kind: Kind,
    state: Progress,
    attempt: u8,
}

impl Planned {
    fn step(&self) -> Step {
        let attempt = format!("{}-{:?}-{}", self.seq, self.state, self.attempt);
        Step { kind: self.kind, ..step(self.seq, self.state, &attempt) }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..KEYS.len();
    let by = || 0..WORKERS.len();
    let held = || (key(), prop_oneof![4 => Just(0_usize), 1 => 1..3_usize]).prop_map(|(key, ago)| Held { key, ago });
    let planned = || {
        let states = vec![Progress::Begun, Progress::Done, Progress::Failed];
        (1..4_u32, select(vec![Kind::Step, Kind::Effect]), select(states), 0..3_u8)
            .prop_map(|(seq, kind, state, attempt)| Planned { seq, kind, state, attempt })
    };
    let failure = || (any::<bool>(), proptest::option::of(1..4_u32)).prop_map(|(keep, seq)| super::failure(keep, seq));
    let end = prop_oneof![
        Just(End::Ok("1".into())),
        failure().prop_map(End::Err),
        failure().prop_map(End::Blocked),
        select(vec![LONG, Duration::ZERO]).prop_map(|after| End::Parked { after }),
        (select(vec![LONG, Duration::ZERO]), failure()).prop_map(|(after, why)| End::Again { after, why }),
    ];
    let decision = prop_oneof![Just(Decision::Ask), Just(Decision::Rerun), Just(Decision::Done("9".into()))];
    prop_oneof![
        3 => (key(), any::<bool>(), any::<bool>()).prop_map(|(key, delay, ttl)| Op::Start { key, delay, ttl }),
        2 => (key(), by(), any::<u64>()).prop_map(|(key, by, attempt)| Op::StartClaimed { key, by, attempt }),
        3 => (by(), 2..5_u32).prop_map(|(by, max_attempts)| Op::Claim { by, max_attempts }),
        3 => (key(), by(), any::<bool>()).prop_map(|(key, by, revive)| Op::Take { key, by, revive }),
        6 => (held(), planned()).prop_map(|(of, step)| Op::Record { of, step }),
        4 => (held(), proptest::option::of(planned()), end).prop_map(|(of, last, end)| Op::Finish { of, last, end }),
        2 => (held(), any::<bool>(), planned()).prop_map(|(of, topic, step)| Op::Receive { of, topic, step }),
        2 => (key(), any::<bool>(), 0..3_u8).prop_map(|(key, topic, id)| Op::Signal { key, topic, id }),
        1 => key().prop_map(|key| Op::Cancel { key }),
        2 => (key(), decision).prop_map(|(key, decision)| Op::Resume { key, decision }),
        1 => (key(), key(), 1..5_u32).prop_map(|(from, to, before)| Op::Fork { from, to, before }),
        1 => by().prop_map(|by| Op::Leave { by }),
        1 => (by(), held()).prop_map(|(by, of)| Op::Beat { by, of }),
        1 => proptest::option::of(0..3_u64).prop_map(|most| Op::Forget { most }),
        1 => (any::<bool>(), 0..4_i64, any::<bool>()).prop_map(|(id, rev, state)| Op::KeepTask { id, rev, state }),
        1 => Just(Op::Wait),
    ]
}

/// Runs so many random lives of a store of the kind `B`: the same each time, or others with `PROPTEST_RNG_SEED`.
pub(crate) fn lives<B: Bench>(cases: u32) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng_seed = if config.rng_seed == RngSeed::Random { RngSeed::Fixed(1) } else { config.rng_seed };
    let mut runner = TestRunner::new(Config { rng_seed, ..config });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runner
        .run(&proptest::collection::vec(op(), 1..60), |ops| runtime.block_on(live::<B>(&ops)))
        .unwrap_or_else(|error| panic!("{error}"));
}

async fn live<B: Bench>(ops: &[Op]) -> Result<(), TestCaseError> {
    let bench = B::new().await;
    let time = Arc::new(AtomicI64::new(bench.store().now().await.unwrap()));
    let wall = Arc::clone(&time);
    let now = move || {
        let since = u64::try_from(wall.load(Ordering::SeqCst)).unwrap();
        SystemTime::UNIX_EPOCH + Duration::from_millis(since)
    };
    let mut one = Side::new(bench.store()).await;
    let memory = Memory::new(Arc::new(now));
    let mut two = Side::new(&memory).await;
    for (at, op) in ops.iter().enumerate() {
        let passes = match op {
            Op::Wait if B::JUMPS => LONG + Duration::from_secs(1),
            // Nothing happens at the same time as something else: then the order would be anybody's.
            _ => Duration::from_millis(2),
        };
        bench.pass(passes).await;
        time.fetch_add(crate::run::millis(passes), Ordering::SeqCst);
        let (got, expected) = (one.ask(op).await, two.ask(op).await);
        prop_assert_eq!(got, expected, "the answer to number {}: {:?}", at, op);
        prop_assert_eq!(one.all().await, two.all().await, "what is there after number {}: {:?}", at, op);
    }
    prop_assert_eq!(bench.store().check().await, Ok(vec![]));
    Ok(())
}

/// One of the two stores, with the epochs its runs had.
struct Side<'a, S> {
    store: &'a S,
    epochs: HashMap<RunId, Vec<i64>>,
}

impl<'a, S: Keep> Side<'a, S> {
    async fn new(store: &'a S) -> Self {
        for by in WORKERS {
            store.join(&worker(by, LONG)).await.unwrap();
        }
        Self { store, epochs: HashMap::new() }
    }

    fn id(key: usize) -> RunId {
        RunId::new("flow", KEYS[key])
    }

    fn fence(&self, held: &Held) -> Fence {
        let run = Self::id(held.key);
        let epochs = self.epochs.get(&run).map_or(&[][..], Vec::as_slice);
        let epoch = epochs.len().checked_sub(held.ago + 1).map_or(-1, |at| epochs[at]);
        Fence { run, epoch }
    }

    fn got(&mut self, run: &RunId, epoch: i64) {
        let epochs = self.epochs.entry(run.clone()).or_default();
        assert!(epochs.last().is_none_or(|last| *last < epoch), "{run} got {epoch} after {epochs:?}");
        epochs.push(epoch);
    }

    /// A run without what may differ: times, and epochs, which are told by how many there were before.
    fn run(&self, run: &Run) -> Run {
        let mut run = run.clone();
        let known = self.epochs.get(&run.id).and_then(|all| all.iter().position(|epoch| *epoch == run.epoch));
        run.epoch = if run.state == State::Running { known.map_or(-1, |at| i64::try_from(at).unwrap()) } else { 0 };
        run.wake_at = run.wake_at.filter(|_| run.state == State::Queued).map(|_| 0);
        run.expires_at = run.expires_at.map(|_| 0);
        run.created_at = 0;
        if let Some(error) = &mut run.error {
            error.message.clear();
        }
        run
    }

    fn text(&self, found: &Claimed) -> String {
        let mut steps = found.steps.clone();
        let epochs = self.epochs.get(&found.run.id);
        for step in &mut steps {
            let at = epochs.and_then(|all| all.iter().position(|epoch| *epoch == step.epoch));
            step.epoch = at.map_or(-1, |at| i64::try_from(at).unwrap());
        }
        format!("{:?} {steps:?}", self.run(&found.run))
    }

    fn changed(&self, changed: &Changed) -> String {
        match changed {
            Changed::Now(run) => format!("now {:?}", self.run(run)),
            Changed::Not(run) => format!("not {:?}", self.run(run)),
            Changed::Missing => "missing".into(),
        }
    }

    async fn all(&self) -> Vec<String> {
        let mut all = Vec::new();
        for key in 0..KEYS.len() {
            let found = self.store.read(&Self::id(key)).await.unwrap();
            all.push(found.map_or_else(String::new, |found| self.text(&found)));
        }
        let size = self.store.size().await.unwrap();
        all.push(format!("{:?}", size.runs));
        all
    }

    async fn ask(&mut self, op: &Op) -> String {
        let store = self.store;
        match op {
            Op::Start { key, delay, ttl } => {
                let delay = if *delay { LONG } else { Duration::ZERO };
                let run = NewRun { delay, ttl: ttl.then_some(LONG), ..new_run(KEYS[*key]) };
                match store.start(&run).await.unwrap() {
                    Started::New => "new".into(),
                    Started::Exists(run) => format!("{:?}", self.run(&run)),
                }
            }
            Op::StartClaimed { key, by, attempt } => {
                let first = Step { kind: Kind::Effect, value: None, ..step(1, Progress::Begun, &attempt.to_string()) };
                let run = new_run(KEYS[*key]);
                match store.start_claimed(&run, &worker(WORKERS[*by], LONG), &first).await.unwrap() {
                    Ok(epoch) => {
                        self.got(&run.id, epoch);
                        "new".into()
                    }
                    Err(run) => format!("{:?}", self.run(&run)),
                }
            }
            Op::Claim { by, max_attempts } => {
                let wanted = Wanted { max_attempts: *max_attempts, ..wanted(100) };
                let found = store.claim(&worker(WORKERS[*by], LONG), &wanted).await.unwrap();
                let mut claimed = Vec::new();
                for one in &found.claimed {
                    self.got(&one.run.id, one.run.epoch);
                    claimed.push(self.text(one));
                }
                claimed.sort();
                let (mut blocked, mut recovered) = (found.blocked, found.recovered);
                blocked.sort();
                recovered.sort();
                format!("{claimed:?} {blocked:?} {recovered:?} {}", found.next_due.is_some())
            }
            Op::Take { key, by, revive } => {
                let by = worker(WORKERS[*by], LONG);
                match store.take(&by, &Self::id(*key), *revive).await.unwrap() {
                    Taken::Claimed(claimed) => {
                        self.got(&claimed.run.id, claimed.run.epoch);
                        self.text(&claimed)
                    }
                    Taken::Busy { .. } => "busy".into(),
                    Taken::NotNow(run) => format!("not now {:?}", self.run(&run)),
                    Taken::Missing => "missing".into(),
                }
            }
            Op::Record { of, step } => format!("{:?}", store.record(&self.fence(of), &step.step()).await),
            Op::Finish { of, last, end } => {
                let last = last.as_ref().map(Planned::step);
                format!("{:?}", store.finish(&self.fence(of), last.as_ref(), end).await)
            }
            Op::Receive { of, topic, step } => {
                let step =
                    Step { value: None, kind: Kind::Wait, ..Planned { state: Progress::Done, ..step.clone() }.step() };
                format!("{:?}", store.receive(&self.fence(of), &topic.to_string(), &step).await)
            }
            Op::Signal { key, topic, id } => {
                let id = id.to_string();
                format!("{:?}", store.signal(&Self::id(*key), &topic.to_string(), &id, &id).await)
            }
            Op::Cancel { key } => self.changed(&store.cancel(&Self::id(*key)).await.unwrap()),
            Op::Resume { key, decision } => self.changed(&store.resume(&Self::id(*key), decision).await.unwrap()),
            Op::Fork { from, to, before } => {
                self.changed(&store.fork(&Self::id(*from), *before, &Self::id(*to), "1").await.unwrap())
            }
            Op::Leave { by } => {
                let by = worker(WORKERS[*by], LONG);
                store.leave(&by).await.unwrap();
                store.join(&by).await.unwrap();
                String::new()
            }
            Op::Beat { by, of } => {
                format!(
                    "{:?}",
                    store.beat(&worker(WORKERS[*by], LONG), &[self.fence(of)]).await.map(|lost| lost.is_some())
                )
            }
            Op::Forget { most } => {
                let rules = Retention { ended: LONG, most: *most, batch: 1_000, dry_run: false };
                let gone = store.forget(&rules).await.unwrap();
                for by in WORKERS {
                    store.join(&worker(by, LONG)).await.unwrap();
                }
                format!("{} {}", gone.runs, gone.steps)
            }
            Op::KeepTask { id, rev, state } => {
                let task = Task { rev: *rev, state: state.to_string().into() };
                let kept = store.keep_task(&id.to_string(), &task, LONG).await;
                format!("{kept:?} {:?}", store.task(&id.to_string()).await)
            }
            Op::Wait => String::new(),
        }
    }
}

//! The workflow that all workers run: twenty steps of all kinds, as [`plan`](crate::plan) says.

use std::{
    future::poll_fn,
    io::{self, Write as _},
    path::PathBuf,
    pin::Pin,
    sync::atomic::{AtomicI64, Ordering},
    task::Poll,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use stormproof_journal::{Ctx, Failed, Journal, Op, Probe};

use crate::{
    bank::{Answer, Call, ask},
    plan::{Act, STEPS, beside},
    tables::Engine,
};

/// Its name.
pub const NAME: &str = "chaos";
/// Its version.
pub const VERSION: &str = "1";

/// What a run is given.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Input {
    /// The run's number.
    pub number: u64,
}

/// Where a worker finds the rest.
#[derive(Clone, Debug)]
pub struct World {
    /// The bank's folder.
    pub bank: PathBuf,
    /// Which kind of commit there is.
    pub engine: Engine,
}

/// Makes the workflow known.
pub fn register(journal: &Journal, world: &World) {
    let world = world.clone();
    journal.workflow(NAME, VERSION, move |cx: Ctx, input: Input| {
        let world = world.clone();
        async move { run(cx, input, &world).await }
    });
}

/// Steps come one by one, or two or three side by side: called in order, which numbers them, and awaited together.
async fn run(cx: Ctx, input: Input, world: &World) -> Result<Vec<i64>, Failed> {
    let mut values = Vec::new();
    let mut next = 1;
    while next <= STEPS {
        let after = (next + beside(input.number, next)).min(STEPS + 1);
        let steps = (next..after).map(|seq| step(&cx, world, Act::of(input.number, seq), seq)).collect();
        for (seq, value) in (next..after).zip(together(steps).await) {
            let value = value?;
            // One write of less than a page: whole, or not at all.
            let line = format!("{} {seq} {value}\n", cx.run_id());
            io::stdout().lock().write_all(line.as_bytes())?;
            values.push(value);
        }
        next = after;
    }
    Ok(values)
}

/// A step under way.
type Step<'a> = Pin<Box<dyn Future<Output = Result<i64, Failed>> + Send + 'a>>;

fn step<'a>(cx: &Ctx, world: &World, act: Act, seq: u32) -> Step<'a> {
    match act {
        Act::Row => commit(cx, world, seq),
        Act::Note => {
            let (world, run) = (world.clone(), cx.run_id().to_string());
            Box::pin(cx.step(act.name(), move |op| pay(world.clone(), act, run.clone(), seq, op)))
        }
        Act::Fenced | Act::Keyed | Act::Probed => effect(cx, world, act, seq),
    }
}

/// Awaits all, and gives what they gave in their order.
async fn together(mut steps: Vec<Step<'_>>) -> Vec<Result<i64, Failed>> {
    let mut values: Vec<_> = steps.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (step, value) in steps.iter_mut().zip(&mut values).filter(|(_, value)| value.is_none()) {
            if let Poll::Ready(ready) = step.as_mut().poll(cx) {
                *value = Some(ready);
            }
        }
        if values.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    values.into_iter().flatten().collect()
}

fn effect<'a>(cx: &Ctx, world: &World, act: Act, seq: u32) -> Step<'a> {
    let run = cx.run_id().to_string();
    let (to_find, to_pay) = ((world.clone(), run.clone()), (world.clone(), run));
    let probe = move |op: Op| {
        let (world, run) = to_find.clone();
        find(world, act, run, seq, op)
    };
    let call = move |op: Op| {
        let (world, run) = to_pay.clone();
        pay(world, act, run, seq, op)
    };
    Box::pin(cx.effect(act.name(), probe, call))
}

async fn find(world: World, act: Act, run: String, seq: u32, op: Op) -> Result<Probe<i64>, io::Error> {
    if act == Act::Keyed {
        return Ok(Probe::Rerun);
    }
    match ask(&world.bank, &call(true, act, run, seq, &op)).await? {
        Answer::Done(serial) => Ok(Probe::Done(serial)),
        Answer::Nothing => Ok(Probe::Rerun),
        Answer::Stale(newest) => Err(stale(newest)),
    }
}

async fn pay(world: World, act: Act, run: String, seq: u32, op: Op) -> Result<i64, io::Error> {
    match ask(&world.bank, &call(false, act, run, seq, &op)).await? {
        Answer::Done(serial) => Ok(serial),
        Answer::Nothing => Err(io::Error::other("the bank did nothing")),
        Answer::Stale(newest) => Err(stale(newest)),
    }
}

fn call(find: bool, act: Act, run: String, seq: u32, op: &Op) -> Call {
    Call { find, account: act.name().into(), run, seq, key: op.key().into(), fence: op.fence() }
}

fn stale(newest: i64) -> io::Error {
    io::Error::other(format!("the bank has seen {newest}"))
}

const SQL: &str = "insert into chaos_row (run, seq, mark) values ($1, $2, $3)";

fn commit<'a>(cx: &Ctx, world: &World, seq: u32) -> Step<'a> {
    let (run, mark) = (cx.run_id().to_string(), mark());
    match world.engine {
        Engine::Sqlite => Box::pin(cx.commit(Act::Row.name(), move |tx| {
            tx.execute(SQL, (&run, seq, mark))?;
            Ok::<_, rusqlite::Error>(mark)
        })),
        Engine::Postgres => Box::pin(cx.commit_postgres(Act::Row.name(), move |tx| {
            let run = run.clone();
            async move {
                tx.execute(SQL, &[&run, &i64::from(seq), &mark]).await?;
                Ok::<_, tokio_postgres::Error>(mark)
            }
        })),
    }
}

/// A number that no other attempt of any process has.
fn mark() -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(0);
    let start = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or_default() ^ (i64::from(std::process::id()) << 40)
    };
    let _ = NEXT.compare_exchange(0, start(), Ordering::Relaxed, Ordering::Relaxed);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

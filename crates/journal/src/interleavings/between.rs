//! Replaced between two writes.

use std::ops::Range;

use super::script::{LAST, Leave, SCRIPT, Write};
use super::world::{Takeover, World, write};
use crate::run::{Kind, Progress, State};
use crate::store::{Fence, Keep as _, Written};

/// A script, and after how many of its writes the worker is replaced.
#[derive(Clone, Debug)]
struct Point {
    script: Vec<Write>,
    after: usize,
    how: Takeover,
}

/// Every point of the script, and for each other end the points around it.
fn points() -> Vec<Point> {
    let whole = (0..SCRIPT.len()).map(|after| (SCRIPT.to_vec(), after));
    let ends = LAST.iter().map(|&last| {
        let mut script = SCRIPT.to_vec();
        script[SCRIPT.len() - 1] = last;
        (script, SCRIPT.len() - 1)
    });
    let places: Vec<_> = whole.chain(ends).collect();
    let all = Takeover::ALL.into_iter();
    all.flat_map(|how| places.iter().map(move |(script, after)| Point { script: script.clone(), after: *after, how }))
        .collect()
}

on_each_engine!(a_replaced_worker_writes_nothing_wherever_it_was_replaced);
on_each_engine!(a_run_that_has_ended_is_nobodys_and_its_end_can_be_repeated);

async fn a_replaced_worker_writes_nothing_wherever_it_was_replaced(engine: &str) {
    let points = points();
    assert_eq!(points.len(), (11 + 7) * 8);
    let world = World::new(engine).await;
    for point in &points {
        replaced(&world, point).await;
    }
}

async fn replaced(world: &World, point: &Point) {
    let Point { script, after, how } = point;
    let place = || format!("{} {how:?} after {after} of {script:?}", &world.url[..6]);
    let (a, b) = (world.worker(&world.a, "a").await, world.worker(&world.b, "b").await);
    let old = world.claimed(&a).await;
    for &step in &script[..*after] {
        assert_eq!(write(&world.a, "a", &old, step).await, Written::Done, "{} {step:?}", place());
    }

    let claimed = world.take_over(*how, &a, &b, &old).await;

    // The first worker does not know, repeats its last write, and goes on.
    let epoch = world.epoch(&old.run).await;
    let nobody_came = matches!(how, Takeover::Left | Takeover::GivenBack);
    assert_eq!(epoch > old.epoch, !nobody_came, "{}", place());
    let replaced = Stale { world, old: &old, script, after: *after };
    replaced.tries(0..script.len(), &place).await;
    let beat = world.a.beat(&a, std::slice::from_ref(&old)).await.unwrap();
    assert!(beat.is_none_or(|lost| lost == [old.run.clone()]), "{}", place());

    let Some(claimed) = claimed else {
        let run = world.a.peek(&old.run).await.unwrap().unwrap();
        let expected = if nobody_came { State::Queued } else { State::Cancelled };
        assert_eq!((run.state, run.result), (expected, None), "{}", place());
        let _ = world.b.cancel(&old.run).await.unwrap();
        return;
    };
    assert!(claimed.run.epoch > old.epoch, "{}", place());

    // The second one goes on from what is there, the first one beside it.
    let new = Fence { run: old.run.clone(), epoch: claimed.run.epoch };
    let mut expected = Vec::new();
    let standing =
        |step: &Write| claimed.steps.iter().any(|it| Some(it.seq) == step.seq() && it.state == Progress::Done);
    for (at, step) in script.iter().enumerate() {
        if standing(step) {
            continue;
        }
        let done = write(&world.b, "b", &new, *step).await;
        assert_eq!(done, Written::Done, "{} {step:?}", place());
        expected.extend(step.seq().map(|seq| format!("{seq} b")));
        replaced.tries(at..at + 2, &place).await;
        // Its answer was lost: it writes the same again, and that changes nothing.
        let before = world.picture(&old.run).await;
        let again = write(&world.b, "b", &new, *step).await;
        // A transaction of the user's is not begun a second time by the store itself.
        let is_known = again != Written::Fenced || matches!(step, Write::Commit(_));
        assert!(is_known, "{} {step:?} again: {again:?}", place());
        assert_eq!(world.picture(&old.run).await, before, "{} {step:?} again", place());
    }

    replaced.tries(0..script.len(), &place).await;

    // What stands: the first one's up to the point, all else the second one's.
    expected.dedup();
    let authors = world.authors(&old.run).await;
    for line in &expected {
        assert!(authors.contains(line), "{}: {line} is not in {authors:?}", place());
    }
    let rows: Vec<_> = authors.iter().filter(|line| line.starts_with("row")).collect();
    assert_eq!(rows.len(), 2, "{}: {rows:?}", place());
    let run = world.b.peek(&old.run).await.unwrap().unwrap();
    let last = script.last().copied();
    let (state, said) = match last {
        Some(Write::Finish(Leave::Ok, _)) => (State::Ok, run.result.as_deref().map(str::to_owned)),
        Some(Write::Finish(Leave::Err, _)) => (State::Err, run.error.as_ref().map(|it| it.message.clone())),
        Some(Write::Finish(Leave::Blocked, _)) => (State::Blocked, run.error.as_ref().map(|it| it.message.clone())),
        _ => (State::Queued, Some("b".into())),
    };
    assert_eq!(run.state, state, "{}", place());
    assert!(said.is_some_and(|said| said.contains('b') && !said.starts_with('a')), "{}: {run:?}", place());
    // The next point must not find it.
    let _ = world.b.cancel(&old.run).await.unwrap();
}

/// The replaced worker.
struct Stale<'a> {
    world: &'a World,
    old: &'a Fence,
    script: &'a [Write],
    after: usize,
}

impl Stale<'_> {
    /// It repeats its last write, whose answer it may have missed, and tries those of `which` that were to come.
    async fn tries(&self, which: Range<usize>, place: &impl Fn() -> String) {
        let before = self.world.picture(&self.old.run).await;
        let nobody_came = before[0].contains("|queued|");
        let from = self.after.saturating_sub(1).max(which.start);
        for at in from..which.end.min(self.script.len()) {
            let step = self.script[at];
            let written = write(&self.world.a, "a", self.old, step).await;
            let stands_as_wanted = nobody_came && matches!(step, Write::Finish(Leave::Queued, _));
            if at < self.after || stands_as_wanted {
                assert_ne!(written, Written::Done, "{}: {step:?} again", place());
            } else {
                assert_eq!(written, Written::Fenced, "{}: {step:?}", place());
            }
            assert_eq!(self.world.picture(&self.old.run).await, before, "{}: {step:?} left a trace", place());
        }
    }
}

async fn a_run_that_has_ended_is_nobodys_and_its_end_can_be_repeated(engine: &str) {
    let world = World::new(engine).await;
    let (a, b) = (world.worker(&world.a, "a").await, world.worker(&world.b, "b").await);
    let held = world.claimed(&a).await;
    for step in SCRIPT {
        assert_eq!(write(&world.a, "a", &held, step).await, Written::Done, "{step:?}");
    }
    let before = world.picture(&held.run).await;

    world.expire(&a).await;
    let found = world.b.claim(&b, &super::world::wanted()).await.unwrap();
    let taken = world.b.take(&b, &held.run, true).await.unwrap();

    assert!(found.claimed.is_empty(), "{found:?}");
    assert!(matches!(taken, crate::store::Taken::NotNow(_)), "{taken:?}");
    let last = SCRIPT[SCRIPT.len() - 1];
    assert_eq!(write(&world.a, "a", &held, last).await, Written::Already);
    for more in [Write::Record(9, Kind::Step, Progress::Done), Write::Commit(9), Write::Finish(Leave::Queued, None)] {
        assert_eq!(write(&world.a, "a", &held, more).await, Written::Fenced, "{more:?}");
    }
    assert_eq!(world.picture(&held.run).await, before);
}

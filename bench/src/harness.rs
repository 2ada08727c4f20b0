//! How a case is measured. No case is named here.
//!
//! A batch is so many calls that it takes some milliseconds. A round runs five batches of each contender in turn (ours,
//! peer, ours, peer …) and keeps each one's median: a batch that was interrupted does not count, nor does a lucky one.
//!
//! On one thread the figure is the lowest of all rounds: other load on the machine only ever adds time, and this is the
//! quietest stretch that all contenders had a share in. On several threads it is the median of all rounds: other load
//! also keeps the threads apart, and then they are quicker for not being in each other's way.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// One line of the comparison.
pub struct Case {
    pub name: &'static str,
    /// What ours should not exceed, in nanoseconds.
    pub target: Option<f64>,
    /// How many threads do the same at once; the figure is then for each thread.
    pub threads: usize,
    pub ours: Contender,
    pub peers: Vec<Contender>,
}

/// Somebody who does the work of a case.
pub struct Contender {
    pub name: &'static str,
    /// Makes so many calls and says whether each of them did what the case is about.
    batch: Box<dyn Fn(u64) -> bool + Send + Sync>,
}

impl Contender {
    /// `batch` makes so many calls and says whether each of them did what the case is about.
    pub fn new(name: &'static str, batch: impl Fn(u64) -> bool + Send + Sync + 'static) -> Self {
        Self { name, batch: Box::new(batch) }
    }

    /// `call` makes one call and says whether it did what the case is about.
    pub fn calls(name: &'static str, call: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self::new(name, move |n| (0..n).fold(true, |all, _| all & black_box(call())))
    }

    pub fn run(&self, calls: u64) {
        assert!((self.batch)(calls), "{}: a call did not do what the case is about", self.name);
    }

    /// The slowest thread's time, in nanoseconds a call. A batch in which a thread had to wait for a processor is
    /// repeated, as its threads did not run side by side; on a busy machine the one with the least waiting has to do,
    /// and then the answer is `false` beside it.
    fn time(&self, threads: usize, calls: u64) -> (f64, bool) {
        const TRIES: usize = 20;
        let mut best = self.time_once(threads, calls);
        let undisturbed = |(elapsed, waited): (Duration, Duration)| waited * 20 < elapsed;
        for _ in 1..TRIES {
            if undisturbed(best) {
                break;
            }
            let next = self.time_once(threads, calls);
            best = if next.1 < best.1 { next } else { best };
        }
        (best.0.as_nanos() as f64 / calls as f64, undisturbed(best))
    }

    /// The slowest thread's time, and the longest that one waited for a processor.
    fn time_once(&self, threads: usize, calls: u64) -> (Duration, Duration) {
        let coming = AtomicUsize::new(threads);
        let run = || {
            let waited = waited_for_processor();
            coming.fetch_sub(1, Ordering::AcqRel);
            while coming.load(Ordering::Acquire) > 0 {
                spin_loop();
            }
            let start = Instant::now();
            self.run(calls);
            (start.elapsed(), waited_for_processor().saturating_sub(waited))
        };
        if threads == 1 {
            return run();
        }
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            let times = running.into_iter().map(|thread| thread.join().expect("a contender panicked"));
            times.fold((Duration::ZERO, Duration::ZERO), |a, b| (a.0.max(b.0), a.1.max(b.1)))
        })
    }

    /// So many calls that they take about `time`. Warms up on the way.
    fn calibrate(&self, threads: usize, time: Duration) -> u64 {
        let mut calls = 64;
        loop {
            let (each, _) = self.time(threads, calls);
            if each * calls as f64 * 4.0 >= time.as_nanos() as f64 {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole calls")]
                return ((time.as_nanos() as f64 / each) as u64).max(1);
            }
            calls *= 2;
        }
    }

    /// Of a batch twice as long, less those of a batch: what a batch needs for itself is no call's.
    fn allocations(&self) -> f64 {
        const CALLS: u64 = 1000;
        let of = |calls| {
            let before = ALLOCATED.get();
            self.run(calls);
            ALLOCATED.get() - before
        };
        let (once, twice) = (of(CALLS), of(2 * CALLS));
        twice.saturating_sub(once) as f64 / CALLS as f64
    }
}

/// How long this thread has been ready to run without running. Zero where the system does not say.
fn waited_for_processor() -> Duration {
    let read = std::fs::read_to_string("/proc/thread-self/schedstat");
    let nanos = read.ok().and_then(|text| text.split_whitespace().nth(1)?.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// How much time to spend.
#[derive(Clone, Copy)]
pub struct Effort {
    rounds: usize,
    batch: Duration,
}

impl Effort {
    pub const FULL: Self = Self { rounds: 12, batch: Duration::from_millis(8) };
    pub const QUICK: Self = Self { rounds: 4, batch: Duration::from_millis(2) };
}

const BATCHES: usize = 5;

/// What came out for one contender.
pub struct Figure {
    pub name: &'static str,
    pub nanos: f64,
    pub allocations: f64,
}

/// What came out for one case.
pub struct Row {
    pub case: &'static str,
    pub target: Option<f64>,
    pub ours: Figure,
    pub peers: Vec<Figure>,
    /// In more than a quarter of the batches the threads did not run side by side: the machine was busy.
    pub doubtful: bool,
}

pub fn measure(case: &Case, effort: Effort) -> Row {
    let contenders: Vec<&Contender> = std::iter::once(&case.ours).chain(&case.peers).collect();
    let calls: Vec<u64> = contenders.iter().map(|one| one.calibrate(case.threads, effort.batch)).collect();
    let mut rounds = vec![Vec::with_capacity(effort.rounds); contenders.len()];
    let mut disturbed = 0;
    for _ in 0..effort.rounds {
        let mut batches = vec![Vec::with_capacity(BATCHES); contenders.len()];
        for _ in 0..BATCHES {
            for ((contender, calls), batches) in contenders.iter().zip(&calls).zip(&mut batches) {
                let (nanos, undisturbed) = contender.time(case.threads, *calls);
                batches.push(nanos);
                disturbed += usize::from(!undisturbed);
            }
        }
        for (rounds, mut batches) in rounds.iter_mut().zip(batches) {
            rounds.push(median(&mut batches));
        }
    }
    let figure = |(contender, mut rounds): (&&Contender, Vec<f64>)| {
        let lowest = rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let nanos = if case.threads == 1 { lowest } else { median(&mut rounds) };
        Figure { name: contender.name, nanos, allocations: contender.allocations() }
    };
    let mut figures = contenders.iter().zip(rounds).map(figure);
    let ours = figures.next().expect("ours comes first");
    let peers = figures.collect();
    let doubtful = case.threads > 1 && disturbed * 4 > contenders.len() * effort.rounds * BATCHES;
    Row { case: case.name, target: case.target, ours, peers, doubtful }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The system's allocator, counting what this thread asks it for.
pub struct Counting;

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: hands everything on to the system's allocator. The counter is a plain cell without a destructor, so touching
// it neither allocates nor outlives the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + 1);
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

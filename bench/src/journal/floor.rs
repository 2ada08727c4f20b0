//! What the disk alone allows: one record, flushed, then the next.
//!
//! The record is a frame of SQLite's log: a page and its header. A log that has been full once is written from its start
//! again, which flushes quicker than a file that grows; a journal's own log does first the one, then the other.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FRAME: usize = 24 + 4096;
/// SQLite writes its log back into the database after so many.
const FRAMES: u32 = 1000;

/// Of both ways to write: records a second, or how many times as many.
#[derive(Clone, Copy)]
pub struct Floors {
    /// Each behind the one before, in a file that grows.
    pub append: f64,
    /// In a file of full size, from its start again and again.
    pub in_place: f64,
}

/// The disk below a folder.
pub struct Floor {
    append: Log,
    in_place: Log,
}

impl Floor {
    pub fn new(folder: &Path) -> io::Result<Self> {
        let append = Log::new(folder.join("append"))?;
        let mut in_place = Log::new(folder.join("in_place"))?;
        in_place.fill()?;
        Ok(Self { append, in_place })
    }

    /// Records a second, over so long for each way.
    pub fn per_second(&mut self, during: Duration) -> io::Result<Floors> {
        self.append.empty()?;
        let rate = |log: &mut Log| {
            let (began, mut records) = (Instant::now(), 0_u32);
            while began.elapsed() < during {
                log.record()?;
                records += 1;
            }
            io::Result::Ok(f64::from(records) / began.elapsed().as_secs_f64())
        };
        Ok(Floors { append: rate(&mut self.append)?, in_place: rate(&mut self.in_place)? })
    }

    /// How many times as quick as the disk somebody was that took so long for so many: asked right after it.
    pub fn compare(&mut self, records: u32, took: Duration) -> io::Result<Floors> {
        let times = |log: &mut Log| {
            let began = Instant::now();
            (0..records).try_for_each(|_| log.record())?;
            io::Result::Ok(began.elapsed().as_secs_f64() / took.as_secs_f64())
        };
        Ok(Floors { append: times(&mut self.append)?, in_place: times(&mut self.in_place)? })
    }
}

struct Log {
    path: PathBuf,
    file: File,
    next: u32,
    /// How many there are before it begins again.
    frames: u32,
}

impl Log {
    fn new(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
        Ok(Self { path, file, next: 0, frames: u32::MAX })
    }

    fn empty(&mut self) -> io::Result<()> {
        self.next = 0;
        self.file.set_len(0)
    }

    fn fill(&mut self) -> io::Result<()> {
        self.frames = FRAMES;
        for frame in 0..FRAMES {
            self.file.write_all_at(&[1; FRAME], offset(frame))?;
        }
        self.file.sync_all()
    }

    fn record(&mut self) -> io::Result<()> {
        self.file.write_all_at(&[2; FRAME], offset(self.next))?;
        self.next = (self.next + 1) % self.frames;
        self.file.sync_data()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn offset(frame: u32) -> u64 {
    u64::from(frame) * FRAME as u64
}

/// So many steps are timed before the disk is asked for as many records.
const SLICE: u32 = 50;

/// Somebody's time, in slices between which the disk is asked.
pub struct Slices {
    floor: Floor,
    done: u32,
    began: Instant,
    /// Without the disk's.
    pub took: Duration,
    /// How many times as quick as the disk each slice was.
    pub of_floor: Vec<Floors>,
}

impl Slices {
    pub fn new(folder: &Path) -> io::Result<Self> {
        let floor = Floor::new(folder)?;
        Ok(Self { floor, done: 0, began: Instant::now(), took: Duration::ZERO, of_floor: Vec::new() })
    }

    /// Begins with the first slice.
    pub fn start(&mut self) {
        self.began = Instant::now();
    }

    /// Counts one more. Whether that was the last of a slice: then [`ask`](Self::ask) comes next.
    pub fn count(&mut self) -> bool {
        self.done += 1;
        self.done.is_multiple_of(SLICE)
    }

    /// Ends a slice, asks the disk, which blocks, and begins the next slice.
    pub fn ask(&mut self) -> io::Result<()> {
        let took = self.began.elapsed();
        self.took += took;
        self.of_floor.push(self.floor.compare(SLICE, took)?);
        self.began = Instant::now();
        Ok(())
    }

    /// How many were timed.
    pub fn timed(&self) -> u32 {
        self.done - self.done % SLICE
    }
}

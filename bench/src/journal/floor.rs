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

/// Where the disk is asked.
pub struct Floor {
    path: PathBuf,
}

/// Records a second.
#[derive(Clone, Copy)]
pub struct Floors {
    /// Each behind the one before, in a file that grows.
    pub append: f64,
    /// In a file of full size, from its start again and again.
    pub in_place: f64,
}

impl Floor {
    /// `folder` is where the databases are.
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join("floor") }
    }

    /// Takes so long for each.
    pub fn measure(&self, during: Duration) -> io::Result<Floors> {
        let mut open = OpenOptions::new();
        let file = open.create(true).truncate(true).write(true).open(&self.path)?;
        let append = per_second(&file, during, u32::MAX)?;
        file.set_len(0)?;
        for frame in 0..FRAMES {
            file.write_all_at(&[1; FRAME], offset(frame))?;
        }
        file.sync_all()?;
        let in_place = per_second(&file, during, FRAMES)?;
        Ok(Floors { append, in_place })
    }
}

fn per_second(file: &File, during: Duration, frames: u32) -> io::Result<f64> {
    let record = [2; FRAME];
    let began = Instant::now();
    let mut records = 0_u32;
    while began.elapsed() < during {
        file.write_all_at(&record, offset(records % frames))?;
        file.sync_data()?;
        records += 1;
    }
    Ok(f64::from(records) / began.elapsed().as_secs_f64())
}

fn offset(frame: u32) -> u64 {
    u64::from(frame) * FRAME as u64
}

//! What the disk alone allows: one record, flushed, then the next.
//!
//! The record is a frame of SQLite's log: a page and its header. A log that has been full once is written from its start
//! again, so the file is made at its full size first; a file that grows is slower.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

const FRAME: usize = 24 + 4096;
/// SQLite writes its log back into the database after so many.
const FRAMES: u64 = 1000;

/// A log that is written round and round.
pub struct Floor {
    file: File,
    next: u64,
}

impl Floor {
    /// `folder` is where the databases are.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(folder.join("floor"))?;
        file.write_all_at(&vec![1; FRAME * FRAMES as usize], 0)?;
        file.sync_all()?;
        Ok(Self { file, next: 0 })
    }

    /// Records a second, over so long.
    pub fn per_second(&mut self, during: Duration) -> io::Result<f64> {
        let record = [2; FRAME];
        let began = Instant::now();
        let mut records = 0_u32;
        while began.elapsed() < during {
            self.file.write_all_at(&record, self.next * FRAME as u64)?;
            self.file.sync_data()?;
            self.next = (self.next + 1) % FRAMES;
            records += 1;
        }
        Ok(f64::from(records) / began.elapsed().as_secs_f64())
    }
}

//! A look at the write-ahead log before `SQLite` sees it. What has no good header is empty for `SQLite`, which writes over it:
//! all that was acknowledged and not yet carried over would be gone, without a word.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

const LENGTH: usize = 32;
/// Its last bit says in which order the checksum reads bytes.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;

/// How the log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// There is none, or it is empty, or was never written: a crash may have left it so before anything was in it.
    Nothing,
    /// As it should.
    Sound,
    /// As none does.
    Damaged,
}

impl Header {
    /// That of the log of `database`.
    pub(super) fn beside(database: &Path) -> io::Result<Self> {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        let mut header = Self::read(Path::new(&path))?;
        // Another process may be writing it just now.
        for _ in 0..5 {
            if header != Self::Damaged {
                break;
            }
            thread::sleep(Duration::from_millis(10));
            header = Self::read(Path::new(&path))?;
        }
        Ok(header)
    }

    fn read(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::with_capacity(LENGTH);
        match File::open(path) {
            Ok(file) => file.take(LENGTH as u64).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Nothing),
            Err(error) => return Err(error),
        };
        Ok(Self::of(&bytes))
    }

    fn of(bytes: &[u8]) -> Self {
        if bytes.iter().all(|byte| *byte == 0) {
            return Self::Nothing;
        }
        if bytes.len() < LENGTH {
            return Self::Damaged;
        }
        let word = |at: usize| bytes[4 * at..4 * at + 4].try_into().map(u32::from_be_bytes).unwrap_or_default();
        let is_big = word(0) & 1 == 1;
        let summed = |at: usize| if is_big { word(at) } else { word(at).swap_bytes() };
        let (mut one, mut two) = (0_u32, 0_u32);
        for at in (0..6).step_by(2) {
            one = one.wrapping_add(summed(at)).wrapping_add(two);
            two = two.wrapping_add(summed(at + 1)).wrapping_add(one);
        }
        let is_sound = word(0) & !1 == MAGIC && word(1) == VERSION && (word(6), word(7)) == (one, two);
        if is_sound { Self::Sound } else { Self::Damaged }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    #[test]
    fn the_log_that_sqlite_writes_is_sound_and_each_flipped_bit_of_its_header_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("some.db");
        assert_eq!(Header::beside(&database).unwrap(), Header::Nothing);
        let connection = Connection::open(&database).unwrap();
        connection.execute_batch("pragma journal_mode = wal; create table a (b); insert into a values (1);").unwrap();

        let sound = Header::beside(&database).unwrap();

        assert_eq!(sound, Header::Sound);
        let log = std::fs::read(folder.path().join("some.db-wal")).unwrap();
        for bit in 0..8 * LENGTH {
            let mut header = log[..LENGTH].to_vec();
            header[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::of(&header), Header::Damaged, "bit {bit}");
        }
        assert_eq!(Header::of(&log[..LENGTH - 1]), Header::Damaged);
        assert_eq!(Header::of(&[0; LENGTH]), Header::Nothing);
    }
}

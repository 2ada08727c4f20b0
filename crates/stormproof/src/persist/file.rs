//! The state file: one owner at a time, and never half written.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::Error;
use super::document::Document;

/// A file larger than this is not one of ours: neither read nor written.
const MOST_BYTES: u64 = 64 << 20;

/// The file, locked against others for as long as this lives. The system gives the lock back when the process ends,
/// however it ends.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    lock: File,
}

impl Drop for StateFile {
    /// A process that is just being started has a copy of the lock: closing ours would not give it back.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

impl StateFile {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let path = &behind_links(path);
        let lock_path = beside(path, ".lock");
        let lock = private(OpenOptions::new().create(true).truncate(false).write(true)).open(&lock_path);
        let lock = lock.map_err(|error| io_error("open", &lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => Err(io_error("lock", &lock_path, &error)),
        }
    }

    /// What stands there; an empty document if there is no file.
    pub(super) fn read(&self) -> Result<Document, Error> {
        let failed = |error| io_error("read", &self.path, &error);
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Document::new(BTreeMap::new())),
            Err(error) => return Err(failed(error)),
        };
        let mut text = Vec::new();
        file.take(MOST_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > MOST_BYTES {
            let what = format!("it is larger than {MOST_BYTES} bytes");
            return Err(Error::Corrupt { path: self.path.clone(), what });
        }
        Document::parse(&self.path, &text)
    }

    /// Replaces the file. The new one is on the disk before it takes the place, and the place before this returns.
    pub(super) fn write(&self, document: &Document) -> Result<(), Error> {
        let text = document.to_text().map_err(|error| io_error("write", &self.path, &error.into()))?;
        if text.len() as u64 > MOST_BYTES {
            let error = io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {MOST_BYTES} bytes"));
            return Err(io_error("write", &self.path, &error));
        }
        let new = beside(&self.path, ".tmp");
        let written = self.replace(&new, &text);
        if written.is_err() {
            // The error that counts is the first.
            let _ = fs::remove_file(&new);
        }
        written
    }

    fn replace(&self, new: &Path, text: &[u8]) -> Result<(), Error> {
        // One of a process that was killed. Made anew, it has our permissions and is nobody's link.
        match fs::remove_file(new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", new, &error)),
            _ => {}
        }
        let created = private(OpenOptions::new().create_new(true).write(true)).open(new);
        let mut file = created.map_err(|error| io_error("create", new, &error))?;
        file.write_all(text).and_then(|()| file.sync_all()).map_err(|error| io_error("write", new, &error))?;
        drop(file);
        fs::rename(new, &self.path).map_err(|error| io_error("replace", &self.path, &error))?;
        sync_folder(&self.path)
    }
}

/// For the owner alone: names of agents and what fails is nobody else's business.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Makes the rename last. Elsewhere than on Unix a folder cannot be opened, and the system sees to it.
fn sync_folder(path: &Path) -> Result<(), Error> {
    if !cfg!(unix) {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io_error("sync", folder, &error))
}

/// Where the file itself is, or will be: a link to it stays one, and two ways to it meet at one lock.
fn behind_links(path: &Path) -> PathBuf {
    // Of more the system itself says that they are too many.
    const MOST_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    path
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn io_error(doing: &'static str, path: &Path, error: &io::Error) -> Error {
    Error::Io { doing, path: path.to_owned(), kind: error.kind(), error: error.to_string() }
}

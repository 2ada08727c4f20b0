//! The callee: a process of its own that is never killed. It takes every call, writes it down with its key and fence, and
//! removes no duplicates. One account compares fences, as a callee can that wants to be safe from replaced workers.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::exit,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use stormproof_core::Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::plan::Act;

const SOCKET: &str = "bank.sock";
const LOG: &str = "bank.log";

/// What is asked of the bank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Whether this only asks for what there is.
    pub find: bool,
    /// The name of an [`Act`].
    pub account: String,
    /// The run.
    pub run: String,
    /// The step.
    pub seq: u32,
    /// The idempotency key.
    pub key: String,
    /// The caller's epoch.
    pub fence: i64,
}

/// What the bank says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done, under this number.
    Done(i64),
    /// There is nothing under this key.
    Nothing,
    /// Somebody with this newer fence was here.
    Stale(i64),
}

/// A call as it is written down, in the order in which they took effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What was asked.
    pub call: Call,
    /// What was said.
    pub answer: Answer,
}

#[derive(Default)]
struct Books {
    serial: i64,
    /// By key: the first number, and the newest fence.
    accounts: HashMap<String, (Option<i64>, i64)>,
    log: Option<File>,
}

impl Books {
    fn enter(&mut self, call: Call) -> io::Result<Answer> {
        let (first, newest) = self.accounts.entry(call.key.clone()).or_insert((None, i64::MIN));
        let stale = call.account == Act::Fenced.name() && call.fence < *newest;
        *newest = call.fence.max(*newest);
        let answer = match (*first, call.find) {
            _ if stale => Answer::Stale(*newest),
            (Some(first), true) => Answer::Done(first),
            (None, true) => Answer::Nothing,
            (first_known, false) => {
                self.serial += 1;
                *first = first_known.or(Some(self.serial));
                Answer::Done(self.serial)
            }
        };
        let mut line = serde_json::to_vec(&Entry { call, answer })?;
        line.push(b'\n');
        self.log.as_mut().map_or(Ok(()), |log| log.write_all(&line))?;
        Ok(answer)
    }
}

/// Serves until the standard input is closed. Each call takes up to `lag` before it takes effect and as long again until
/// the caller hears of it.
pub fn serve(folder: &Path, lag: Duration, seed: u64) -> io::Result<()> {
    let log = OpenOptions::new().create(true).append(true).open(folder.join(LOG))?;
    let books = Arc::new(Mutex::new(Books { log: Some(log), ..Books::default() }));
    let rng = Arc::new(Rng::new(seed));
    // Ready once the name is there.
    let hidden = folder.join(format!("{SOCKET}.new"));
    let listener = UnixListener::bind(&hidden)?;
    std::fs::rename(hidden, folder.join(SOCKET))?;
    thread::spawn(|| {
        let mut nothing = Vec::new();
        let _ = io::stdin().read_to_end(&mut nothing);
        exit(0);
    });
    for stream in listener.incoming() {
        let (books, rng, stream) = (books.clone(), rng.clone(), stream?);
        thread::spawn(move || {
            // A caller that was killed does not hear the answer.
            let _ = attend(&stream, &books, || lag.mul_f64(rng.unit()));
        });
    }
    Ok(())
}

fn attend(stream: &UnixStream, books: &Mutex<Books>, lag: impl Fn() -> Duration) -> io::Result<()> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let call: Call = serde_json::from_str(&line)?;
    let slow = !call.find;
    if slow {
        thread::sleep(lag());
    }
    let answer = books.lock().unwrap_or_else(PoisonError::into_inner).enter(call)?;
    if slow {
        thread::sleep(lag());
    }
    (&*stream).write_all(&serde_json::to_vec(&answer)?)
}

/// Asks the bank that serves in `folder`.
pub async fn ask(folder: &Path, call: &Call) -> io::Result<Answer> {
    let mut stream = tokio::net::UnixStream::connect(folder.join(SOCKET)).await?;
    let mut line = serde_json::to_vec(call)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(serde_json::from_slice(&answer)?)
}

/// Whether it serves.
pub fn is_open(folder: &Path) -> bool {
    folder.join(SOCKET).exists()
}

/// All that was written down, in order.
pub fn entries(folder: &Path) -> io::Result<Vec<Entry>> {
    let file = File::open(folder.join(LOG))?;
    BufReader::new(file).lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(find: bool, act: Act, fence: i64) -> Call {
        Call { find, account: act.name().into(), run: "a".into(), seq: 1, key: act.name().into(), fence }
    }

    #[test]
    fn nothing_is_deduplicated_and_one_account_compares_fences() {
        let mut books = Books::default();

        let mut enter = |find, act, fence| books.enter(call(find, act, fence)).unwrap();

        assert_eq!(enter(true, Act::Fenced, 5), Answer::Nothing);
        assert_eq!(enter(false, Act::Fenced, 4), Answer::Stale(5));
        assert_eq!(enter(false, Act::Fenced, 5), Answer::Done(1));
        assert_eq!(enter(false, Act::Fenced, 5), Answer::Done(2));
        assert_eq!(enter(true, Act::Fenced, 6), Answer::Done(1));
        assert_eq!(enter(true, Act::Probed, 6), Answer::Nothing);
        assert_eq!(enter(false, Act::Probed, 5), Answer::Done(3));
    }
}

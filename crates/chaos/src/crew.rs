//! The workers, and what is done to them.

use std::{
    fmt,
    io::{BufRead as _, BufReader},
    process::{ChildStdout, Command},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    faults::{Due, Fault, Faults},
    options::Options,
    process::Process,
    worker::Task,
};

/// A value that a workflow was given: run, step, value.
pub(crate) type Told = (String, u32, i64);

/// Within so long a worker ends that is told to.
const ORDERLY: Duration = Duration::from_secs(10);

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) kills: u64,
    pub(crate) stops: u64,
    pub(crate) forks: u64,
    pub(crate) leaves: u64,
    pub(crate) cuts: u64,
    pub(crate) restarts: u64,
}

/// The workers, and what is done to them.
pub(crate) struct Crew {
    members: Vec<Member>,
    spawn: Box<dyn Fn() -> Result<Process, String> + Send>,
    pub(crate) counts: Counts,
    wrong: Vec<String>,
}

enum Member {
    Up(Process),
    Stopped(Process, Instant),
    /// It was told to end, and has so long for it.
    Leaving(Process, Instant),
    Down(Instant),
}

impl Crew {
    pub(crate) fn gather(options: &Options, task: &Task, told: Sender<ChildStdout>) -> Result<Self, String> {
        let (program, args, forking) = (options.program.clone(), task.args(), options.forking.clone());
        let spawn = Box::new(move || {
            let mut command = Command::new(&program);
            command.args(&args).envs(forking.iter().map(|library| ("LD_PRELOAD", library)));
            let mut process = Process::of(&mut command).map_err(text)?;
            process.output().into_iter().try_for_each(|output| told.send(output)).map_err(text)?;
            Ok(process)
        });
        let members = (0..options.workers).map(|_| spawn().map(Member::Up)).collect::<Result<_, _>>()?;
        Ok(Self { members, spawn, counts: Counts::default(), wrong: Vec::new() })
    }

    /// Does harm until it is over. `harm` is what happens to the database.
    pub(crate) fn suffer(
        mut self,
        options: &Options,
        over: &AtomicBool,
        harm: impl Fn(Fault) -> Result<(), String> + Sync,
    ) -> Result<Self, String> {
        let harm = &harm;
        let faults = Faults::new(options.seed, options.mix, options.lease);
        thread::scope(|scope| {
            let mut restart: Option<thread::ScopedJoinHandle<'_, Result<(), String>>> = None;
            let mut due = faults.next(options.workers);
            let mut at = Instant::now() + due.after;
            while !over.load(Ordering::Relaxed) {
                self.tend(false)?;
                if Instant::now() >= at {
                    match due.fault {
                        Fault::Restart if restart.as_ref().is_none_or(thread::ScopedJoinHandle::is_finished) => {
                            restart = Some(scope.spawn(move || harm(due.fault)));
                            self.counts.restarts += 1;
                        }
                        Fault::Restart => {}
                        Fault::Cut => {
                            harm(due.fault)?;
                            self.counts.cuts += 1;
                        }
                        Fault::Kill(_) | Fault::Stop(_) | Fault::Fork | Fault::Leave => self.strike(due)?,
                    }
                    due = faults.next(options.workers);
                    at = Instant::now() + due.after;
                }
                thread::sleep(Duration::from_millis(2));
            }
            restart.map_or(Ok(()), |restart| restart.join().unwrap_or_else(|_| Err("the restart panicked".into())))
        })?;
        self.tend(true)?;
        Ok(self)
    }

    fn strike(&mut self, due: Due) -> Result<(), String> {
        let Some(member) = self.members.get_mut(due.worker) else { return Ok(()) };
        let now = Instant::now();
        let old = std::mem::replace(member, Member::Down(now));
        *member = match (old, due.fault) {
            (
                Member::Up(mut process) | Member::Stopped(mut process, _) | Member::Leaving(mut process, _),
                Fault::Kill(pause),
            ) => {
                process.kill().map_err(text)?;
                self.counts.kills += 1;
                Member::Down(now + pause)
            }
            (Member::Up(process), Fault::Stop(length)) => {
                process.stop().map_err(text)?;
                self.counts.stops += 1;
                Member::Stopped(process, now + length)
            }
            (Member::Up(process), Fault::Fork) => {
                process.signal(Signal::USR1).map_err(text)?;
                self.counts.forks += 1;
                Member::Up(process)
            }
            (Member::Up(mut process), Fault::Leave) => {
                process.tell_to_end();
                self.counts.leaves += 1;
                Member::Leaving(process, now + ORDERLY)
            }
            (other, _) => other,
        };
        Ok(())
    }

    /// Lets those go on and start whose time has come, or all.
    fn tend(&mut self, all: bool) -> Result<(), String> {
        let now = Instant::now();
        for member in &mut self.members {
            let old = std::mem::replace(member, Member::Down(now));
            *member = match old {
                Member::Up(mut process) => match process.ended() {
                    // A worker ends by itself only if something is wrong with it.
                    Some(status) => {
                        self.wrong.push(format!("a worker ended by itself: {status}"));
                        Member::Down(now)
                    }
                    None => Member::Up(process),
                },
                Member::Stopped(process, until) if all || now >= until => {
                    process.go_on().map_err(text)?;
                    Member::Up(process)
                }
                Member::Leaving(mut process, until) => match process.ended() {
                    Some(status) => {
                        if !status.success() {
                            self.wrong.push(format!("a worker that was told to end ended as {status}"));
                        }
                        Member::Down(now)
                    }
                    None if now >= until => {
                        self.wrong.push(format!("a worker that was told to end did not within {ORDERLY:?}"));
                        Member::Down(now)
                    }
                    None => Member::Leaving(process, until),
                },
                Member::Down(until) if all || now >= until => Member::Up((self.spawn)()?),
                other => other,
            };
        }
        Ok(())
    }

    /// Ends all in order, and says who did not.
    pub(crate) fn dismiss(self) -> Vec<String> {
        let mut wrong = self.wrong;
        for member in self.members {
            if let Member::Up(process) | Member::Stopped(process, _) | Member::Leaving(process, _) = member {
                match process.finish(ORDERLY) {
                    Some(status) if status.success() => {}
                    Some(status) => wrong.push(format!("a worker did not end in order: {status}")),
                    None => wrong.push(format!("a worker did not end within {ORDERLY:?}")),
                }
            }
        }
        wrong
    }
}

/// Collects what workers print: run, step, value.
pub(crate) fn listen() -> (Sender<ChildStdout>, JoinHandle<Vec<Told>>) {
    let (sender, outputs): (_, Receiver<ChildStdout>) = channel();
    let listener = thread::spawn(move || {
        let all = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for output in outputs {
                let all = &all;
                scope.spawn(move || {
                    for line in BufReader::new(output).lines().map_while(Result::ok) {
                        let words: Vec<_> = line.split(' ').collect();
                        let [run, seq, value] = words.as_slice() else { continue };
                        if let (Ok(seq), Ok(value)) = (seq.parse(), value.parse()) {
                            let entry = ((*run).to_owned(), seq, value);
                            all.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
                        }
                    }
                });
            }
        });
        all.into_inner().unwrap_or_else(PoisonError::into_inner)
    });
    (sender, listener)
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

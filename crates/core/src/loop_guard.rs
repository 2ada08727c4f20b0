//! The loop guard: whether an agent goes in circles, and what follows.
//!
//! Owns what is remembered of one run, however long it takes and however often its process ends. Does not run anything:
//! whoever drives the agent reports what it is about to do and what came of it, and carries out the verdicts. What is
//! looked for is in the files beside this one: `calls.rs`, `rounds.rs`, `failures.rs`, `text.rs`, `polls.rs`, `progress.rs`,
//! `agents.rs`; what is taken for the same in `mask.rs`; what follows from a detection in `ladder.rs`.

mod agents;
mod calls;
mod config;
mod failures;
mod ladder;
mod mask;
mod polls;
mod progress;
mod recent;
mod rounds;
mod rule;
mod saved;
mod text;
mod turns;
mod verdict;
mod watch;

use std::time::Duration;

pub use config::{Config, Poll, Tool};
pub use rule::{Limit, LoopType, Rule};
pub use saved::{RestoreError, State, VERSION};
pub use verdict::{Detection, Near, Report, Step, Verdict};

use crate::decision::{Name, Stage};
use crate::invalid::Mistakes;
use crate::snapshot::{Sample, Snapshot};
use crate::sync::Mutex;
use crate::time::{Instant, nanos};
use verdict::Moment;
use watch::{Found, Memory, crossed};

/// The time between two moments of a run, in nanoseconds since it began.
fn since(now: u64, then: u64) -> Duration {
    Duration::from_nanos(now.saturating_sub(then))
}

/// What a turn of the model came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Turn<'a> {
    /// What the model wrote, without the calls it asks for. Default: nothing.
    pub text: &'a str,
    /// Tokens in and out. Default: 0.
    pub tokens: u64,
    /// What it cost, in the unit of [`Config::max_cost`]. What is negative or no number counts as nothing. Default: 0.
    pub cost: f64,
}

/// Watches one run of an agent.
///
/// The first detection is answered with a nudge, later ones with a block, and after
/// [`max_blocks`](Config::max_blocks) of those the run is stopped. Never does a nudge follow another detection, however
/// much went well in between. A limit that is used up stops at once.
///
/// ```
/// use stormproof_core::loop_guard::{LoopType, Verdict};
/// use stormproof_core::{Instant, LoopGuard};
///
/// let (guard, now) = (LoopGuard::new("task-7"), Instant::ZERO);
/// let ask = || guard.before_call(now, "build", "{}").verdict;
/// let answer = || guard.after_call(now, "build", "{}", Err("error: no such file")).verdict;
/// for _ in 0..3 {
///     assert!(ask().is_allow() && answer().is_allow());
/// }
/// let Verdict::Nudge { text, detection } = ask() else { panic!() };
/// assert_eq!(detection.loop_type(), LoopType::InfiniteRetry);
/// assert!(text.contains("build would be called for the 4th time"));
/// let Verdict::Block { earlier, .. } = ask() else { panic!() };
/// assert_eq!(earlier.as_deref(), Some("error: no such file"));
/// ask();
/// assert!(matches!(ask(), Verdict::Stop { resumable: true, .. }));
/// ```
#[derive(Debug)]
pub struct LoopGuard {
    name: Name,
    config: Config,
    watch: Mutex<Watch>,
}

#[derive(Debug)]
struct Watch {
    memory: Memory,
    /// The last observation of this process.
    last: Option<Instant>,
    /// The run was restored, and nothing observed since.
    restored: bool,
}

impl LoopGuard {
    /// A run that begins, with the default [`Config`].
    pub fn new(name: impl Into<Name>) -> Self {
        let config = Config::default();
        let memory = Memory::new(&config);
        Self::build(name.into(), config, memory, false)
    }

    /// The same with `config`, or all that is wrong with it.
    pub fn with_config(name: impl Into<Name>, config: Config) -> Result<Self, Mistakes> {
        Mistakes::none(config.validate())?;
        let memory = Memory::new(&config);
        Ok(Self::build(name.into(), config, memory, false))
    }

    /// A run that goes on in another process, or under other limits. Counts as a restart. A run that was stopped by a limit
    /// goes on if the limit is larger now; one that was stopped for a loop stays so until [`resume`](Self::resume).
    ///
    /// # Errors
    /// [`RestoreError`] if `config` is invalid or `state` cannot be understood.
    pub fn restore(name: impl Into<Name>, config: Config, state: State) -> Result<Self, RestoreError> {
        Mistakes::none(config.validate())?;
        let memory = state.open(&config)?;
        Ok(Self::build(name.into(), config, memory, true))
    }

    fn build(name: Name, config: Config, memory: Memory, restored: bool) -> Self {
        Self { name, config, watch: Mutex::new(Watch { memory, last: None, restored }) }
    }

    /// The run's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Before `tool` is called. `arguments` is any text in which the same is written the same way; of JSON neither blanks
    /// nor the order of fields count.
    pub fn before_call(&self, now: Instant, tool: &str, arguments: &str) -> Report {
        self.observe(now, Moment::Before, |memory, near| memory.before(&self.config, near, tool, arguments))
    }

    /// After `tool` was called: its result or its error. Not after a call that was blocked.
    pub fn after_call(&self, now: Instant, tool: &str, arguments: &str, outcome: Result<&str, &str>) -> Report {
        self.observe(now, Moment::After, |memory, _| memory.after(&self.config, tool, arguments, outcome))
    }

    /// After a turn of the model, before what it asks for is done.
    pub fn turn(&self, now: Instant, turn: Turn<'_>) -> Report {
        self.observe(now, Moment::Turn, |memory, near| memory.turn(&self.config, near, turn))
    }

    /// How the work is: any text that changes when there is progress and only then, such as which tests fail, or a hash of
    /// what was written.
    pub fn progress(&self, now: Instant, fingerprint: &str) -> Report {
        self.observe(now, Moment::After, |memory, _| memory.progress(&self.config, fingerprint))
    }

    /// `from` asks another agent and waits for it. Tell [`answered`](Self::answered) when it no longer does. Agents that
    /// can work beside each other need names of their own.
    pub fn ask(&self, now: Instant, from: &str, to: &str) -> Report {
        self.observe(now, Moment::Before, |memory, near| memory.ask(&self.config, near, from, to))
    }

    /// `from` waits for `to` no longer.
    pub fn answered(&self, from: &str, to: &str) {
        self.watch.lock().memory.agents.answered(mask::print(from), mask::print(to));
    }

    /// `from` gives its task to another agent, up or down, and is done with it.
    pub fn handoff(&self, now: Instant, from: &str, to: &str, reason: &str) -> Report {
        self.observe(now, Moment::Before, |memory, _| memory.handoff(&self.config, from, to, reason))
    }

    /// Before an agent is started. Tell [`ended`](Self::ended) when it is done.
    pub fn spawn(&self, now: Instant, agent: &str) -> Report {
        self.observe(now, Moment::Before, |memory, near| memory.spawn(&self.config, near, agent))
    }

    /// An agent that was started is done.
    pub fn ended(&self) {
        self.watch.lock().memory.agents.ended();
    }

    /// A text that did not come from a tool, such as the task: ids in it name things, and are not masked in arguments.
    pub fn context(&self, text: &str) {
        self.watch.lock().memory.context(&self.config, text);
    }

    /// A person has said something, and the agent answers that: what it did before is no evidence any more, as a question
    /// may well be asked again. The step is not forgotten: after a detection there is no nudge any more. Ids in `text` name
    /// things, as those of [`context`](Self::context). A message that a program sends by itself, such as "go on", is none.
    ///
    /// A run that is stopped stays so until [`resume`](Self::resume).
    pub fn user_turn(&self, text: &str) {
        self.watch.lock().memory.user_turn(&self.config, text);
    }

    /// Lets a run go on that was stopped. All evidence is forgotten, but not the step: the next detection is a block.
    ///
    /// # Errors
    /// What it was stopped for, if that is a limit: it takes [`restore`](Self::restore) under a larger one.
    pub fn resume(&self) -> Result<(), Detection> {
        let memory = &mut self.watch.lock().memory;
        match memory.ladder.stopped.clone() {
            Some(why) if why.rule.is_limit() => Err(why),
            _ => {
                memory.resume();
                Ok(())
            }
        }
    }

    /// What the run was stopped for, if it was.
    pub fn stopped(&self) -> Option<Detection> {
        self.watch.lock().memory.ladder.stopped.clone()
    }

    /// All that is remembered, to be kept for another process.
    pub fn state(&self, now: Instant) -> State {
        let mut watch = self.watch.lock();
        watch.tick(now);
        State::of(watch.memory.clone())
    }

    /// The run as data, for metrics and pages.
    pub fn snapshot(&self) -> Snapshot {
        let watch = self.watch.lock();
        Snapshot { stage: Stage::LoopGuard, name: self.name.clone(), samples: samples(&watch.memory) }
    }

    fn observe<'a>(
        &self,
        now: Instant,
        of: Moment,
        act: impl FnOnce(&mut Memory, &mut Vec<Near>) -> Found<'a>,
    ) -> Report {
        let (mut near, mut watch) = (Vec::new(), self.watch.lock());
        let (before, restored) = (watch.memory.elapsed, std::mem::take(&mut watch.restored));
        watch.tick(now);
        let memory = &mut watch.memory;
        if let Some(why) = memory.ladder.stopped.clone() {
            let resumable = !why.rule.is_limit();
            return Report { at: now, verdict: Verdict::Stop { why, resumable }, detected: None, near };
        }
        let seconds = |nanos| Duration::from_nanos(nanos).as_secs_f64();
        let most = self.config.max_time.map(|most| most.as_secs_f64());
        crossed(&mut near, &self.config, Limit::Time, seconds(before), seconds(memory.elapsed), most);
        if restored {
            let (restarts, most) = (f64::from(memory.idle_restarts), self.config.max_restarts.map(f64::from));
            crossed(&mut near, &self.config, Limit::Restarts, restarts - 1.0, restarts, most);
        }
        let found = act(memory, &mut near);
        memory.judge(now, of, &self.config, found, near)
    }
}

impl Watch {
    fn tick(&mut self, now: Instant) {
        let last = self.last.unwrap_or(now);
        self.memory.elapsed = self.memory.elapsed.saturating_add(nanos(now.since(last)));
        self.last = Some(last.max(now));
    }
}

fn samples(memory: &Memory) -> Vec<Sample> {
    const FOUND: &str = "Loops that were found, by type.";
    const STEPS: &str = "What followed.";
    let mut samples = vec![
        Sample::counter("turns", "Turns of the model.", memory.turns.into()),
        Sample::counter("tokens", "Tokens of all turns.", memory.tokens),
        Sample { value: memory.cost, ..Sample::counter("cost", "Money of all turns.", 0) },
        Sample::counter("calls", "Calls of tools that were asked for.", memory.made),
        Sample::counter("restarts", "Restarts from a saved state.", memory.restarts.into()),
        Sample::counter("spawns", "Agents started.", memory.agents.spawned.into()),
        Sample::gauge("agents", "Agents alive.", memory.agents.alive.into()),
        Sample::gauge("depth", "Agents that wait for one another in the longest chain.", memory.agents.depth().into()),
        Sample::gauge("stopped", "Whether the run is stopped.", u8::from(memory.ladder.stopped.is_some()).into()),
    ];
    let types = LoopType::ALL.iter().zip(memory.ladder.types);
    samples.extend(
        types.map(|(known, count)| Sample::counter("detections", FOUND, count.into()).label("type", known.as_str())),
    );
    let steps = [Step::Nudge, Step::Block, Step::Stop].into_iter().zip(memory.ladder.steps);
    samples
        .extend(steps.map(|(step, count)| Sample::counter("steps", STEPS, count.into()).label("step", step.as_str())));
    samples
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

//! The loop guard at the edge: one run of an agent, with a clock and listeners.

use std::sync::Arc;

use stormproof_core as core;
use stormproof_core::event::Kind;
use stormproof_core::loop_guard::Report;
use stormproof_core::{Name, Snapshot};

pub use stormproof_core::loop_guard::{
    Config, Detection, Limit, LoopType, Near, Poll, RestoreError, Rule, State, Step, Tool, Turn, VERSION, Verdict,
};

use crate::clock::Clock;
use crate::telemetry::events::Listener;
use crate::telemetry::events::subject::Live;

/// Watches one run of an agent. Clones are the same run.
///
/// ```
/// use stormproof::{LoopGuard, loop_guard::{Turn, Verdict}};
///
/// let guard = LoopGuard::new("task-7");
/// guard.on_detection(|found| println!("{}: {found}", found.loop_type().as_str()));
/// assert!(guard.turn(Turn { text: "I look at the sources.", tokens: 900, ..Turn::default() }).is_allow());
/// match guard.before_call("read_file", r#"{"path":"src/lib.rs"}"#) {
///     Verdict::Allow => { /* call the tool, and: */ }
///     Verdict::Nudge { text, .. } => { /* call the tool, and give the model `text`, too */ }
///     Verdict::Block { text, earlier, .. } => { /* give the model `text` and `earlier`, do not call */ }
///     Verdict::Stop { why, .. } => { /* keep `guard.state()`, end the run, say why */ }
///     _ => {}
/// }
/// assert!(guard.after_call("read_file", r#"{"path":"src/lib.rs"}"#, Ok("mod a;")).is_allow());
/// ```
#[derive(Clone, Debug)]
pub struct LoopGuard(Arc<Live<core::LoopGuard>>);

crate::telemetry::events::subject::live!(LoopGuard, Config, "`loop_detected` and `loop_limit_near`");

impl LoopGuard {
    /// A run that goes on in another process, or under other limits: see
    /// [the core's](stormproof_core::LoopGuard::restore).
    ///
    /// # Errors
    /// [`RestoreError`] if `config` is invalid or `state` cannot be understood.
    pub fn restore(run: impl Into<Name>, config: Config, state: State, clock: &Clock) -> Result<Self, RestoreError> {
        core::LoopGuard::restore(run, config, state).map(|core| Self::from_core(core, clock))
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        self.0.core.config()
    }

    /// Before `tool` is called. `arguments` is any text in which the same is written the same way; of JSON neither blanks
    /// nor the order of fields count.
    pub fn before_call(&self, tool: &str, arguments: &str) -> Verdict {
        self.tell(self.0.core.before_call(self.0.subject.now(), tool, arguments))
    }

    /// After `tool` was called: its result or its error. Not after a call that was blocked.
    pub fn after_call(&self, tool: &str, arguments: &str, outcome: Result<&str, &str>) -> Verdict {
        self.tell(self.0.core.after_call(self.0.subject.now(), tool, arguments, outcome))
    }

    /// After a turn of the model, before what it asks for is done.
    pub fn turn(&self, turn: Turn<'_>) -> Verdict {
        self.tell(self.0.core.turn(self.0.subject.now(), turn))
    }

    /// How the work is: any text that changes when there is progress and only then, such as which tests fail, or a hash of
    /// what was written.
    pub fn progress(&self, fingerprint: &str) -> Verdict {
        self.tell(self.0.core.progress(self.0.subject.now(), fingerprint))
    }

    /// `from` asks another agent and waits for it. Tell [`answered`](Self::answered) when it no longer does. Agents that
    /// can work beside each other need names of their own.
    pub fn ask(&self, from: &str, to: &str) -> Verdict {
        self.tell(self.0.core.ask(self.0.subject.now(), from, to))
    }

    /// `from` waits for `to` no longer.
    pub fn answered(&self, from: &str, to: &str) {
        self.0.core.answered(from, to);
    }

    /// `from` gives its task to another agent, up or down, and is done with it.
    pub fn handoff(&self, from: &str, to: &str, reason: &str) -> Verdict {
        self.tell(self.0.core.handoff(self.0.subject.now(), from, to, reason))
    }

    /// Before an agent is started. Tell [`ended`](Self::ended) when it is done.
    pub fn spawn(&self, agent: &str) -> Verdict {
        self.tell(self.0.core.spawn(self.0.subject.now(), agent))
    }

    /// An agent that was started is done.
    pub fn ended(&self) {
        self.0.core.ended();
    }

    /// A text that did not come from a tool, such as the task: ids in it name things, and are not masked in arguments.
    pub fn context(&self, text: &str) {
        self.0.core.context(text);
    }

    /// A person has said something, and the agent answers that: what it did before is no evidence any more, as a question
    /// may well be asked again. The step is not forgotten: after a detection there is no nudge any more. Ids in `text` name
    /// things, as those of [`context`](Self::context). A message that a program sends by itself, such as "go on", is none.
    ///
    /// A run that is stopped stays so until [`resume`](Self::resume).
    pub fn user_turn(&self, text: &str) {
        self.0.core.user_turn(text);
    }

    /// Lets a run go on that was stopped. All evidence is forgotten, but not the step: the next detection is a block.
    ///
    /// # Errors
    /// What it was stopped for, if that is a limit: it takes [`restore`](Self::restore) under a larger one.
    pub fn resume(&self) -> Result<(), Detection> {
        self.0.core.resume()
    }

    /// What the run was stopped for, if it was.
    pub fn stopped(&self) -> Option<Detection> {
        self.0.core.stopped()
    }

    /// All that is remembered, to be kept for another process.
    pub fn state(&self) -> State {
        self.0.core.state(self.0.subject.now())
    }

    /// Calls `listener` with each detection: at once, under no lock. A listener that panics is passed over.
    pub fn on_detection(&self, listener: impl Fn(&Detection) + Send + Sync + 'static) -> Listener {
        self.on_event(move |event| {
            if let Kind::LoopDetected { detection, .. } = &event.kind {
                listener(detection);
            }
        })
    }

    /// The run as data, for metrics and pages.
    pub fn snapshot(&self) -> Snapshot {
        self.0.core.snapshot()
    }

    fn tell(&self, report: Report) -> Verdict {
        let Live { core, subject } = &*self.0;
        for near in report.near {
            subject.tell(report.at, || Kind::LoopLimitNear { run: core.name().clone(), near });
        }
        if let Some(detection) = report.detected {
            subject.tell(report.at, || Kind::LoopDetected { run: core.name().clone(), detection });
        }
        report.verdict
    }
}

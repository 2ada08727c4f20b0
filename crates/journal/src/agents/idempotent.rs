//! An agent whose actions happen once for their parameters.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{AgentError, Source, run_id};
use crate::effect::Probe;
use crate::error::RunError;
use crate::failed::Failed;
use crate::fingerprint::fingerprint;
use crate::handle::Busy;
use crate::journal::Journal;
use crate::op::Op;
use crate::run::RunId;

/// Does what it is asked once: the same action with the same parameters gives the result it gave before, in this process
/// and in others, today and after a crash.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use serde_json::json;
/// use stormproof_journal::{IdempotentAgent, Journal};
///
/// # let journal = Journal::open("memory:").await?;
/// let agent = IdempotentAgent::with(&journal); // or IdempotentAgent::new()
/// let insert = |_| async { Ok::<_, std::io::Error>("row 7".to_owned()) };
/// let row = agent.run("insert", &json!({ "table": "orders", "id": 18 }), insert).await?;
/// // The order of keys does not matter. Nothing is called this time:
/// let call = |_| async { Err::<String, _>(std::io::Error::other("never called")) };
/// assert_eq!(agent.run("insert", &json!({ "id": 18, "table": "orders" }), call).await?, row);
/// # Ok(())
/// # }
/// ```
///
/// An action is told apart by its name and the fingerprint of its parameters: JSON whose keys are sorted. `1` and `1.0`
/// are two numbers in it, and a field that is missing is another thing than one that is null.
///
/// - **An error** that the action returns means that it did not happen: it is not remembered, and the next call runs the
///   action again. [`keep_errors`](Self::keep_errors) and [`Failed::keep`] say otherwise.
/// - **A crash**, or a future that is dropped while the action runs, leaves it open whether it happened. Without a probe
///   the agent does not guess: the action is blocked until an operator says what became of it (`stormproof journal show`).
///   With one ([`run_with`](Self::run_with)), the probe decides.
#[derive(Clone, Debug, Default)]
pub struct IdempotentAgent {
    source: Source,
    ttl: Option<Duration>,
    busy: Busy,
    keep_errors: bool,
}

impl IdempotentAgent {
    /// Remembers in the journal whose address is in the environment variable `STORMPROOF_JOURNAL`, or else in the file
    /// `stormproof.db` in the current folder. It is opened at the first call.
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers in this journal.
    pub fn with(journal: &Journal) -> Self {
        Self { source: Source::given(journal), ..Self::default() }
    }

    /// How long a result is remembered. Default: the journal's [`retention`](crate::Builder::retention).
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// What a duplicate does while the action runs. Default: it waits for the result.
    #[must_use]
    pub fn busy(mut self, busy: Busy) -> Self {
        self.busy = busy;
        self
    }

    /// Errors are remembered as results are. Default: they are not.
    #[must_use]
    pub fn keep_errors(mut self) -> Self {
        self.keep_errors = true;
        self
    }

    /// What the action with these parameters gives, or gave before. [`Op::key`] is the key to hand on to the callee.
    ///
    /// # Errors
    /// Those of [`Once::run`](crate::Once::run), or the journal cannot be opened.
    pub async fn run<T, E, F, Fut>(
        &self,
        action: &str,
        parameters: &(impl Serialize + ?Sized),
        run: F,
    ) -> Result<T, AgentError>
    where
        F: Fn(Op) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        E: Into<Failed> + Send + 'static,
        T: Serialize + DeserializeOwned + Send,
    {
        let nobody_knows = |_: Op| std::future::ready(Ok::<Probe<T>, Failed>(Probe::Refuse(NO_PROBE.into())));
        let once = self.once(action, parameters).await?.errors_undo();
        Ok(once.run(nobody_knows, run).await?)
    }

    /// The same with a probe, which is asked after an error and after a crash whether the action happened.
    ///
    /// # Errors
    /// Those of [`Once::run`](crate::Once::run), or the journal cannot be opened.
    pub async fn run_with<T, E, P, PFut, PE, F, Fut>(
        &self,
        action: &str,
        parameters: &(impl Serialize + ?Sized),
        probe: P,
        run: F,
    ) -> Result<T, AgentError>
    where
        P: Fn(Op) -> PFut + Send + Sync,
        PFut: Future<Output = Result<Probe<T>, PE>> + Send,
        PE: Into<Failed> + Send,
        F: Fn(Op) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        E: Into<Failed> + Send + 'static,
        T: Serialize + DeserializeOwned + Send,
    {
        Ok(self.once(action, parameters).await?.run(probe, run).await?)
    }

    /// Forgets the result, or the error, of the action with these parameters: the next call runs it again. [`Op::key`] is
    /// the same then, so a callee that remembers keys gives the answer it gave before. The answer is whether there was
    /// anything to forget.
    ///
    /// # Errors
    /// [`RunError::State`] if the action is under way, or blocked until an operator says what became of it; the parameters
    /// cannot be written as JSON; the journal cannot be opened or fails.
    pub async fn reset(&self, action: &str, parameters: &(impl Serialize + ?Sized)) -> Result<bool, AgentError> {
        let run = run_id(("action", action), ("key", &key(action, parameters)?))?;
        match self.source.journal().await?.forget(&run).await {
            Ok(()) => Ok(true),
            Err(RunError::Missing { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn once(
        &self,
        action: &str,
        parameters: &(impl Serialize + ?Sized),
    ) -> Result<crate::once::Once<'_>, AgentError> {
        let key = key(action, parameters)?;
        run_id(("action", action), ("key", &key))?;
        let mut once = self.source.journal().await?.once(action, key).input(parameters).busy(self.busy);
        if let Some(ttl) = self.ttl {
            once = once.ttl(ttl);
        }
        Ok(if self.keep_errors { once.keep_errors() } else { once })
    }
}

/// The key that an action has by its parameters.
fn key(action: &str, parameters: &(impl Serialize + ?Sized)) -> Result<String, RunError> {
    fingerprint(parameters).map_err(|error| RunError::Value {
        run: RunId::new(action, ""),
        what: "the parameters".into(),
        why: format!("they cannot be written as JSON: {error}").into(),
    })
}

const NO_PROBE: &str = "the agent was given no probe";

//! What a workflow has of its run: its steps.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::child::{ChildCall, Start};
use crate::commit::{self, CommitCall};
use crate::effect::{self, Probe};
use crate::failed::Failed;
use crate::journal::Journal;
use crate::op::Op;
use crate::run::{Kind, RunId};
use crate::step::{self, Parts, StepCall};
#[cfg(feature = "postgres")]
use crate::store::postgres::PgTransaction;
use crate::value;
use crate::wait::{SleepCall, WaitCall};

/// A run as its workflow sees it. Cheap to clone; clones are the same run.
///
/// Steps get their numbers in the order in which these methods are called, not in which they are awaited: steps that run
/// side by side (`tokio::join!`) must be called in a fixed order. What was recorded before a crash is not run again, but
/// given back.
///
/// A run that this process loses or that cannot go on is never an error in the workflow: the step that finds out stays
/// pending, and the workflow is dropped there. A task that was spawned with a clone can outlive it: what such a task has
/// under way is dropped, too, and its steps end with an error of the kind `outlived` (a sleep lasts for ever).
#[derive(Clone, Debug)]
pub struct Ctx(pub(crate) Arc<crate::attempt::Attempt>);

impl Ctx {
    /// A step that runs at least once: recorded when it is done, and run again if a crash came before the record. For what
    /// may be repeated: reading, asking a model.
    ///
    /// ```
    /// # use stormproof_journal::{Ctx, Failed};
    /// # async fn ask(text: &str) -> Result<String, std::io::Error> { Ok(text.into()) }
    /// async fn plan(cx: Ctx, question: String) -> Result<String, Failed> {
    ///     cx.step("plan", |_| ask(&question)).input(&question).await
    /// }
    /// ```
    ///
    /// Its error is recorded as well, so that the workflow does the same when it is replayed. A value that would be
    /// another one then (NaN, which JSON writes as null; what its type does not read back) blocks the run at once, and so
    /// does a step that is called inside of another one.
    pub fn step<T, E, F, Fut>(
        &self,
        name: &str,
        run: F,
    ) -> StepCall<T, E, impl Future<Output = Result<T, Failed>> + Send + use<T, E, F, Fut>>
    where
        F: FnMut(Op) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Serialize + DeserializeOwned + Send,
        E: Into<Failed> + Send + 'static,
    {
        step::step(Parts::new(&self.0, self.0.call(Kind::Step, name)), run)
    }

    /// A step that must not happen twice: that it begins is recorded first. If a crash, an error or a time limit leaves it
    /// open whether it happened, `probe` is asked before it runs again: `Done` with the value, `Rerun`, or `Refuse`, which
    /// blocks the run until an operator decides. A workflow that ends well while an effect has begun and was dropped is
    /// blocked, too: put its time limit into a [policy](StepCall::policy). The error of a policy that gave up does not mean
    /// that it did not happen.
    ///
    /// ```
    /// # use stormproof_journal::{Ctx, Failed, Op, Probe};
    /// # async fn find_payment(key: &str) -> Result<Option<u32>, std::io::Error> { Ok(None) }
    /// # async fn pay(key: &str) -> Result<u32, std::io::Error> { Ok(1) }
    /// async fn settle(cx: Ctx) -> Result<u32, Failed> {
    ///     let find = |op: Op| async move { Ok::<_, std::io::Error>(find_payment(op.key()).await?.into()) };
    ///     cx.effect("pay", find, |op: Op| async move { pay(op.key()).await }).await
    /// }
    /// ```
    pub fn effect<T, E, P, PFut, PE, F, Fut>(
        &self,
        name: &str,
        probe: P,
        run: F,
    ) -> StepCall<T, E, impl Future<Output = Result<T, Failed>> + Send + use<T, E, P, PFut, PE, F, Fut>>
    where
        P: Fn(Op) -> PFut + Send + Sync,
        PFut: Future<Output = Result<Probe<T>, PE>> + Send,
        PE: Into<Failed> + Send,
        F: Fn(Op) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Serialize + DeserializeOwned + Send,
        E: Into<Failed> + Send + 'static,
    {
        effect::effect(Parts::new(&self.0, self.0.call(Kind::Effect, name)), probe, run)
    }

    /// A step that happens exactly once: what `work` writes and the record of it share one transaction of the journal's
    /// `SQLite` file. It runs on the journal's writing thread, so it must be short; it is rolled back if it fails, and called
    /// again if the transaction could not be committed.
    ///
    /// ```
    /// # use stormproof_journal::{Ctx, Failed, rusqlite};
    /// async fn save(cx: Ctx, receipt: u32) -> Result<(), Failed> {
    ///     cx.commit("save", move |tx| {
    ///         tx.execute("insert into receipt (number) values (?1)", [receipt])?;
    ///         Ok::<_, rusqlite::Error>(())
    ///     })
    ///     .await
    /// }
    /// ```
    ///
    /// On another engine it fails with the kind `wrong_engine`.
    pub fn commit<T, E, F>(
        &self,
        name: &str,
        work: F,
    ) -> CommitCall<impl Future<Output = Result<T, Failed>> + Send + use<T, E, F>>
    where
        F: FnMut(&rusqlite::Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
        E: Into<Failed> + 'static,
    {
        commit::sqlite(Parts::new(&self.0, self.0.call(Kind::Commit, name)), work)
    }

    /// The same as [`commit`](Self::commit) in a transaction of the journal's `PostgreSQL` database. The work may wait in
    /// it, but not keep the transaction beyond its end.
    ///
    /// ```
    /// # use stormproof_journal::{Ctx, Failed};
    /// async fn save(cx: Ctx, receipt: i64) -> Result<u64, Failed> {
    ///     cx.commit_postgres("save", |tx| async move { tx.execute("insert into receipt values ($1)", &[&receipt]).await }).await
    /// }
    /// ```
    ///
    /// On another engine it fails with the kind `wrong_engine`.
    #[cfg(feature = "postgres")]
    pub fn commit_postgres<T, E, F, Fut>(
        &self,
        name: &str,
        work: F,
    ) -> CommitCall<impl Future<Output = Result<T, Failed>> + Send + use<T, E, F, Fut>>
    where
        F: FnMut(Arc<PgTransaction>) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Serialize + DeserializeOwned + Send,
        E: Into<Failed> + Send + 'static,
    {
        commit::postgres(Parts::new(&self.0, self.0.call(Kind::Commit, name)), work)
    }

    /// Waits for a time that a crash does not begin anew. A short wait is made in this process; for a longer one the run is
    /// put away, and its slot is free for others.
    pub fn sleep(&self, name: &str, time: Duration) -> SleepCall {
        SleepCall::new(Parts::new(&self.0, self.0.call(Kind::Sleep, name)), time)
    }

    /// Waits for a message that [`Journal::signal`](crate::Journal::signal) sends, the oldest of this topic that was not
    /// taken yet. Meanwhile the run is put away, and its slot is free for others.
    ///
    /// A run is put away when none of its steps is under way. What it awaits beside the context (a timer, a request) does not
    /// keep it, and begins anew afterwards: give the wait a timeout, and put requests into steps.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use stormproof_journal::{Ctx, Failed};
    /// async fn approved(cx: Ctx) -> Result<bool, Failed> {
    ///     match cx.wait::<bool>("approval").timeout(Duration::from_secs(86_400)).await {
    ///         Err(failed) if failed.kind() == "timed_out" => Ok(false),
    ///         answer => answer,
    ///     }
    /// }
    /// ```
    pub fn wait<T>(&self, topic: &str) -> WaitCall<T>
    where
        T: DeserializeOwned + Send + 'static,
    {
        WaitCall::topic(Parts::new(&self.0, self.0.call(Kind::Wait, topic)), topic)
    }

    /// Starts a run as a child of this one, once: after a crash, and with the same key and input again, it is the same run.
    /// It goes on by itself if this run ends.
    pub fn start(&self, workflow: &str, key: &str, input: &(impl Serialize + ?Sized)) -> ChildCall {
        let call = self.0.call(Kind::Step, &ChildCall::step_name(&format!("{workflow}/{key}")));
        let (workflow, key, input) = (workflow.into(), key.into(), value::input(input));
        ChildCall::new(Parts::new(&self.0, call), Start { workflow, key, version: None, input })
    }

    /// The run's id.
    pub fn run_id(&self) -> &RunId {
        self.0.run()
    }

    /// The journal that keeps the run: for calls [once](crate::Journal::once), and for runs that are nobody's children. A
    /// workflow that held a journal of its own would keep it open for ever.
    pub fn journal(&self) -> Journal {
        Journal(self.0.shared.clone())
    }

    /// So often the run was claimed since it was started or resumed; 1 is the first time.
    pub fn attempt(&self) -> u32 {
        self.0.number
    }

    /// Whether the next step is one that is recorded: for logs that should not repeat themselves.
    pub fn is_replaying(&self) -> bool {
        self.0.is_replaying()
    }
}

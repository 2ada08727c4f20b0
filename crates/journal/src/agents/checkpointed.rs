//! An agent that works in steps, and goes on where it was.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{AgentError, Source, run_id};
use crate::context::Ctx;
use crate::error::RunError;
use crate::failed::Failed;
use crate::fingerprint::fingerprint;
use crate::handle::outcome;
use crate::journal::{Journal, Shared};
use crate::lease::Live;
use crate::once::{SHORTEST, pause};
use crate::run::RunId;
use crate::start::Begin;
use crate::store::{Claimed, Fence, Keep as _, Taken};
use crate::value::input;
use crate::workflows::{Workflow, as_workflow};

/// Works in steps, each of which changes a state of type `S`. The state is written down after each step that succeeded,
/// never before: after a crash or an error in step 2 the same id goes on at step 2.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stormproof_journal::{CheckpointedAgent, Failed, Journal};
///
/// async fn collect(mut notes: Vec<String>) -> Result<Vec<String>, Failed> {
///     notes.push("cpu at 97 %".into());
///     Ok(notes)
/// }
/// async fn conclude(mut notes: Vec<String>) -> Result<Vec<String>, std::io::Error> {
///     notes.push("it is the batch job".into());
///     Ok(notes)
/// }
///
/// # let journal = Journal::open("memory:").await?;
/// let agent = CheckpointedAgent::with(&journal) // or CheckpointedAgent::new()
///     .step("collect", collect)
///     .step("conclude", conclude);
/// let notes = agent.run("incident-7", vec![]).await?;
/// assert_eq!(notes.len(), 2);
/// # Ok(())
/// # }
/// ```
///
/// A step may run more than once, if a crash comes after its work and before the record of it: what must not happen twice
/// belongs into an [`IdempotentAgent`](crate::IdempotentAgent), or into an [effect](Ctx::effect) of a
/// [workflow](Journal::workflow), which this is a simple one of.
///
/// The names of the steps, in order, are the version of the work: an id that was begun with other steps is refused
/// ([`RunError::KeyReused`]), as is one that was begun with another state.
pub struct CheckpointedAgent<S> {
    source: Source,
    name: String,
    steps: Vec<(String, Work<S>)>,
}

type Work<S> = Arc<dyn Fn(S) -> Pin<Box<dyn Future<Output = Result<S, Failed>> + Send>> + Send + Sync>;

impl<S> fmt::Debug for CheckpointedAgent<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<_> = self.steps.iter().map(|(name, _)| name).collect();
        f.debug_struct("CheckpointedAgent").field("name", &self.name).field("steps", &steps).finish_non_exhaustive()
    }
}

impl<S> Default for CheckpointedAgent<S> {
    fn default() -> Self {
        Self { source: Source::default(), name: "checkpointed".into(), steps: Vec::new() }
    }
}

impl<S> CheckpointedAgent<S>
where
    S: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Without steps, and with the journal whose address is in the environment variable `STORMPROOF_JOURNAL`, or else in
    /// the file `stormproof.db` in the current folder. It is opened at the first run.
    pub fn new() -> Self {
        Self::default()
    }

    /// Without steps, and with this journal.
    pub fn with(journal: &Journal) -> Self {
        Self { source: Source::given(journal), ..Self::default() }
    }

    /// The agent's name: its runs are listed as `NAME/ID`. Default: `checkpointed`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds a step.
    #[must_use]
    pub fn step<E, F, Fut>(mut self, name: impl Into<String>, work: F) -> Self
    where
        F: Fn(S) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S, E>> + Send + 'static,
        E: Into<Failed> + Send + 'static,
    {
        let work: Work<S> = Arc::new(move |state| {
            let work = work(state);
            Box::pin(async move { work.await.map_err(Into::into) })
        });
        self.steps.push((name.into(), work));
        self
    }

    /// Does the steps that are not done yet for this id, from `state` on if none is, and gives the last state. If another
    /// process is at it, its result is waited for. An id that has come to its end gives its result again.
    ///
    /// # Errors
    /// A step failed, and the same id goes on there the next time; the id is not valid, or was begun with other steps or
    /// another state; it is blocked or cancelled; the journal cannot be opened or fails.
    pub async fn run(&self, id: &str, state: S) -> Result<S, AgentError> {
        let journal = self.source.journal().await?;
        Ok(self.carry_on(&journal.0, id, &state).await?)
    }

    async fn carry_on(&self, shared: &Arc<Shared>, id: &str, state: &S) -> Result<S, RunError> {
        run_id(("name", &self.name), ("id", id))?;
        let begin = Begin::new(&self.name, id, Some(self.version()), input(state));
        let (id, _) = shared.begin(&begin).await?;
        let clock = &shared.settings.clock;
        let mut waits = 0;
        loop {
            let watch = shared.watch(&id);
            let wait = match take(shared, &id).await? {
                Turn::Mine(live, claimed) => {
                    shared.clone().carry_out_as(live, *claimed, self.workflow()).await;
                    SHORTEST
                }
                Turn::Wait => pause(waits, shared.poll_interval()),
            };
            let run = shared.store.peek(&id).await?.ok_or_else(|| RunError::Missing { run: id.clone() })?;
            if let Some(answer) = outcome(&run) {
                return answer;
            }
            // Somebody else is at it, or it is to be tried again.
            waits = waits.saturating_add(1);
            tokio::select! {
                () = watch.stirred() => {}
                () = clock.wait(wait) => {}
            }
        }
    }

    /// The names of the steps as far as there is room, for people, and something that is another one for other names.
    fn version(&self) -> String {
        let names: Vec<_> = self.steps.iter().map(|(name, _)| name.as_str()).collect();
        let fp = fingerprint(&names).unwrap_or_default();
        let mut bytes = 0;
        let fits = |letter: &char| {
            bytes += letter.len_utf8();
            bytes <= 80
        };
        let listed: String = names.join(", ").chars().filter(|letter| !letter.is_control()).take_while(fits).collect();
        format!("{listed} #{}", fp.get(..8).unwrap_or_default()).trim_start().to_owned()
    }

    /// The steps, one after another.
    fn workflow(&self) -> Workflow {
        let steps = self.steps.clone();
        as_workflow(move |cx: Ctx, mut state: S| {
            let steps = steps.clone();
            async move {
                for (name, work) in &steps {
                    let before = state;
                    state = cx.step(name, |_| work(before.clone())).input(&before).await?;
                }
                Ok(state)
            }
        })
    }
}

enum Turn {
    Mine(Live, Box<Claimed>),
    Wait,
}

/// Takes the run up, if it is nobody's.
async fn take(shared: &Arc<Shared>, id: &RunId) -> Result<Turn, RunError> {
    let run = id.clone();
    let taken = shared.claiming(async move |shared, member| {
        let taken = shared.store.take(member.worker(), &run, false).await.inspect_err(|error| member.doubt(error));
        Ok(match taken? {
            Taken::Claimed(claimed) => {
                let fence = Fence { run, epoch: claimed.run.epoch };
                Turn::Mine(Live::new(&shared, &member, fence), claimed)
            }
            _ => Turn::Wait,
        })
    });
    taken.await.unwrap_or_else(|| Err(RunError::Fenced { run: id.clone() }))
}

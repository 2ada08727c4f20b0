//! The workflows that this process can carry out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLockReadGuard};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::attempt::{Interruption, Running};
use crate::context::Ctx;
use crate::error::RunError;
use crate::failed::Failed;
use crate::journal::Shared;
use crate::run::{Failure, RunId};
use crate::value::{Unfit, type_name};

/// Names and versions, and what is done for them.
#[derive(Default)]
pub(crate) struct Workflows {
    /// The versions of each, in the order in which they were registered.
    versions: BTreeMap<String, Vec<(String, Workflow)>>,
    wanted: Arc<[(String, String)]>,
    /// The first name that is none.
    invalid: Option<RunError>,
}

/// Begins a run's workflow: from its input as JSON, or says why that is no input of it.
pub(crate) type Workflow = Arc<dyn Fn(Ctx, &str) -> Result<Running, String> + Send + Sync>;

impl fmt::Debug for Workflows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.wanted.iter()).finish()
    }
}

impl Shared {
    pub(crate) fn register<I, O, F, Fut>(&self, name: &str, version: &str, run: F)
    where
        F: Fn(Ctx, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failed>> + Send + 'static,
        I: DeserializeOwned,
        O: Serialize,
    {
        let workflow = as_workflow(run);
        let mut workflows = self.workflows.write().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = RunId::checked(name, "-").and_then(|_| check_version(version)) {
            workflows.invalid.get_or_insert(error);
            return;
        }
        let versions = workflows.versions.entry(name.into()).or_default();
        versions.retain(|(known, _)| known != version);
        versions.push((version.into(), workflow));
        let all = workflows.versions.iter();
        let wanted =
            all.flat_map(|(name, versions)| versions.iter().map(|(version, _)| (name.clone(), version.clone())));
        workflows.wanted = wanted.collect();
        drop(workflows);
        self.woken();
    }

    fn read(&self) -> RwLockReadGuard<'_, Workflows> {
        self.workflows.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is done for this name and version.
    pub(crate) fn workflow(&self, name: &str, version: &str) -> Option<Workflow> {
        let workflows = self.read();
        let (_, workflow) = workflows.versions.get(name)?.iter().find(|(known, _)| known == version)?;
        Some(workflow.clone())
    }

    /// The version of a workflow that was registered last.
    pub(crate) fn latest(&self, name: &str) -> Option<String> {
        Some(self.read().versions.get(name)?.last()?.0.clone())
    }

    /// All names, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.read().versions.keys().cloned().collect()
    }

    /// All names and versions.
    pub(crate) fn wanted(&self) -> Arc<[(String, String)]> {
        self.read().wanted.clone()
    }

    /// A mistake in what was registered, if there is one.
    pub(crate) fn invalid_workflow(&self) -> Option<RunError> {
        self.read().invalid.clone()
    }
}

/// A function of a run and its input as what is done for it.
pub(crate) fn as_workflow<I, O, F, Fut>(run: F) -> Workflow
where
    F: Fn(Ctx, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, Failed>> + Send + 'static,
    I: DeserializeOwned,
    O: Serialize,
{
    Arc::new(move |cx: Ctx, input: &str| {
        let input = serde_json::from_str(input).map_err(|error| format!("it is no {}: {error}", type_name::<I>()))?;
        let attempt = cx.0.clone();
        let running = run(cx, input);
        Ok(Box::pin(async move {
            let encoded = attempt.shared.encode(&running.await?);
            match encoded {
                Ok(json) => Ok(json),
                Err(Unfit { kind, why }) => {
                    let failure =
                        Failure { kind: kind.into(), message: format!("the result {why}"), ..Failure::default() };
                    match attempt.stop(Interruption::Blocked(failure)).await {}
                }
            }
        }))
    })
}

/// Whether a workflow can have this version; those of `once` have none.
pub(crate) fn check_version(version: &str) -> Result<(), RunError> {
    if version.is_empty() || version.len() > 100 || version.chars().any(char::is_control) {
        let value = version.chars().take(100).collect();
        return Err(RunError::Key { field: "version", value, allowed: "1 to 100 bytes without control characters" });
    }
    Ok(())
}

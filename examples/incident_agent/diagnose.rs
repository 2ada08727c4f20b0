//! Why it happened: a model is asked, and when it is not to be had, rules say it. What is missing is said too.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stormproof::degrade::{Component, Level, Response};
use stormproof::loop_guard::{Config, Detection, Verdict};
use stormproof_journal::{Journal, TaskError};

use crate::incident::{Cause, Incident, Metrics, Remedy, Symptom};
use crate::services::{Failed, Services};

/// What is thought to be the cause, what to do, and how much was known when it was said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Diagnosis {
    pub(crate) cause: Option<Cause>,
    /// To be tried in this order.
    pub(crate) remedies: Vec<Remedy>,
    /// What it was made of, and what of that was missing.
    pub(crate) made_of: Response<()>,
}

/// Acting on less than this is guessing: a person decides.
pub(crate) const MAX_DEGRADATION: Level = Level::Moderate;

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Some(cause) => write!(f, "it is {cause}")?,
            None => f.write_str("nobody knows what it is")?,
        }
        let remedies: Vec<_> = self.remedies.iter().map(|remedy| remedy.action()).collect();
        write!(f, ", to be tried: {}", if remedies.is_empty() { "nothing".into() } else { remedies.join(", then ") })?;
        if let Some(warning) = self.made_of.warning() {
            let why: Vec<_> = self.made_of.components.values().filter_map(|part| part.error.as_deref()).collect();
            write!(f, " (degraded: {}; {warning}: {})", self.made_of.degradation_level, why.join("; "))?;
        }
        Ok(())
    }
}

/// Looks at everything there is to see.
pub(crate) async fn diagnose(
    services: &Services,
    journal: &Journal,
    incident: &Incident,
    symptom: Symptom,
) -> Diagnosis {
    let metrics = services.measure(&incident.component).await;
    let symptoms = json!({ "symptom": symptom, "metrics": metrics.as_ref().ok() });
    let thought = think(services, journal, incident, &symptoms).await;
    conclude(symptom, metrics.map_err(|error| error.to_string()), thought.map_err(|error| error.to_string()))
}

/// Why there is no diagnosis of the model.
#[derive(Debug, thiserror::Error)]
enum NoDiagnosis {
    #[error(transparent)]
    Unavailable(#[from] Failed),
    #[error("the model goes in circles: {0}")]
    Circles(Detection),
    #[error("nobody can say whether the model goes in circles: {0}")]
    Unwatched(#[from] TaskError),
    #[error("the model's answer is none: {0}")]
    None(Value),
}

/// Lets the model look around until it has made up its mind. It may ask for what it likes, as long as it gets somewhere;
/// who begins anew after a kill does not get more than who was not killed.
async fn think(
    services: &Services,
    journal: &Journal,
    incident: &Incident,
    symptoms: &Value,
) -> Result<Cause, NoDiagnosis> {
    let component = incident.component.as_str();
    let task = journal.guard(&format!("diagnose {}", incident.id()), Config::default()).await?;
    let mut seen = Vec::new();
    loop {
        let question = json!({ "component": component, "symptoms": symptoms, "seen": seen });
        let answer = services.ask_model(&question).await?;
        let Some(tool) = answer.get("tool").and_then(Value::as_str) else {
            let cause = answer.get("cause").and_then(|cause| Cause::deserialize(cause).ok());
            return cause.ok_or(NoDiagnosis::None(answer));
        };
        if heed(task.observe(|guard| guard.before_call(tool, component)).await?, &mut seen)? {
            let logs = services.logs(component).await.map_err(|error| error.to_string());
            let found = logs.as_deref().map_err(String::as_str);
            let after = task.observe(|guard| guard.after_call(tool, component, found)).await?;
            seen.push(json!({ tool: logs.unwrap_or_else(|error| error) }));
            heed(after, &mut seen)?;
        }
    }
}

/// What the loop guard says to the model. Whether the call is made, unless all is at an end.
fn heed(verdict: Verdict, seen: &mut Vec<Value>) -> Result<bool, NoDiagnosis> {
    let is_made = match verdict {
        Verdict::Stop { why, .. } => return Err(NoDiagnosis::Circles(why)),
        Verdict::Block { text, earlier, .. } => {
            seen.push(json!({ "note": text, "earlier": earlier }));
            false
        }
        Verdict::Nudge { text, .. } => {
            seen.push(json!({ "note": text }));
            true
        }
        _ => true,
    };
    Ok(is_made)
}

/// What follows from what was seen. The model's word comes first, and the rules' after it if they disagree: whether it
/// helped is verified in any case.
pub(crate) fn conclude(symptom: Symptom, metrics: Result<Metrics, String>, model: Result<Cause, String>) -> Diagnosis {
    let by_rules = rules(symptom, metrics.as_ref().ok());
    let by_model = model.as_ref().ok().copied();
    let seen = metrics.map_or_else(Component::failed, |_| Component::fresh(()));
    let thought = match (model, by_rules) {
        (Ok(_), _) => Component::fresh(()),
        (Err(why), Some(_)) => Component::substitute(()).because(why),
        (Err(why), None) => Component::failed(why),
    };
    let made_of = Response::new([("metrics", seen), ("model", thought)]);
    let mut remedies: Vec<Remedy> = [by_model, by_rules].into_iter().flatten().filter_map(Cause::remedy).collect();
    remedies.dedup();
    if made_of.degradation_level > MAX_DEGRADATION {
        remedies.clear();
    }
    Diagnosis { cause: by_model.or(by_rules), remedies, made_of }
}

/// What anybody would say who looks at the numbers.
fn rules(symptom: Symptom, metrics: Option<&Metrics>) -> Option<Cause> {
    if symptom == Symptom::Runaway {
        return Some(Cause::Runaway);
    }
    let metrics = metrics?;
    if metrics.disk_errors > 0 {
        Some(Cause::Hardware)
    } else if metrics.stale_answers > 0.2 {
        Some(Cause::StaleCache)
    } else if metrics.memory > 0.9 {
        Some(Cause::Leak)
    } else if metrics.deployed_minutes_ago < 30 {
        Some(Cause::BadDeploy)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        Metrics {
            failing_since: Some(1),
            deployed_minutes_ago: 600,
            memory: 0.5,
            stale_answers: 0.0,
            tokens_per_minute: 100,
            disk_errors: 0,
        }
    }

    #[test]
    fn the_models_remedy_comes_first_and_the_rules_one_second() {
        let seen = Metrics { stale_answers: 0.8, ..metrics() };
        let found = conclude(Symptom::Stale, Ok(seen.clone()), Ok(Cause::Leak));
        assert_eq!(found.remedies, [Remedy::Restart, Remedy::ClearCaches]);
        assert_eq!(found.to_string(), "it is a leak, to be tried: restart, then clear_caches");
        assert_eq!(conclude(Symptom::Stale, Ok(seen), Ok(Cause::StaleCache)).remedies, [Remedy::ClearCaches]);
    }

    #[test]
    fn without_the_model_the_rules_decide_and_it_is_said() {
        let seen = Metrics { deployed_minutes_ago: 1, ..metrics() };
        let found = conclude(Symptom::Failing, Ok(seen), Err("502".into()));
        assert_eq!((found.cause, &*found.remedies), (Some(Cause::BadDeploy), &[Remedy::RollBack][..]));
        let told = "it is a bad deploy, to be tried: roll_back (degraded: slight; substituted: model: 502)";
        assert_eq!(found.to_string(), told);
    }

    #[test]
    fn who_sees_too_little_does_nothing() {
        let blind = conclude(Symptom::Failing, Err("500".into()), Ok(Cause::BadDeploy));
        assert_eq!((blind.made_of.degradation_level, &*blind.remedies), (Level::Minimal, &[][..]));
        let lost = conclude(Symptom::Failing, Err("500".into()), Err("502".into()));
        assert_eq!((lost.made_of.degradation_level, &*lost.remedies), (Level::Failed, &[][..]));
        let told =
            "nobody knows what it is, to be tried: nothing (degraded: failed; missing: metrics, model: 500; 502)";
        assert_eq!(lost.to_string(), told);
    }

    #[test]
    fn nothing_is_tried_where_nothing_helps() {
        let seen = Metrics { disk_errors: 3, ..metrics() };
        let found = conclude(Symptom::Failing, Ok(seen), Err("off the point".into()));
        assert_eq!((found.cause, &*found.remedies), (Some(Cause::Hardware), &[][..]));
    }
}

//! Why it happened: a model is asked, and when it is not to be had, rules say it. What is missing is said too.

use serde::{Deserialize, Serialize};
use serde_json::json;
use stormproof::degrade::{Component, Level, Response};

use crate::incident::{Cause, Metrics, Remedy, Symptom};
use crate::services::{Failed, Services};

/// What is thought to be the cause, what to do, and how much was known when it was said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Diagnosis {
    pub(crate) cause: Option<Cause>,
    /// To be tried in this order.
    pub(crate) remedies: Vec<Remedy>,
    pub(crate) level: Level,
    /// What was missing, in words.
    pub(crate) warning: Option<String>,
}

/// Acting on less than this is guessing: a person decides.
pub(crate) const MAX_DEGRADATION: Level = Level::Moderate;

/// Looks at everything there is to see.
pub(crate) async fn diagnose(services: &Services, component: &str, symptom: Symptom) -> Diagnosis {
    let metrics = services.measure(component).await;
    let question = json!({ "component": component, "symptom": symptom, "metrics": metrics.as_ref().ok() });
    let answer = services.ask_model(&question).await;
    let model = answer.map(|answer| answer.get("cause").and_then(|cause| Cause::deserialize(cause).ok()));
    conclude(symptom, metrics, model)
}

/// What follows from what was seen. The model's word comes first, and the rules' after it if they disagree: whether it
/// helped is verified in any case.
pub(crate) fn conclude(
    symptom: Symptom,
    metrics: Result<Metrics, Failed>,
    model: Result<Option<Cause>, Failed>,
) -> Diagnosis {
    let by_rules = rules(symptom, metrics.as_ref().ok());
    let seen = match &metrics {
        Ok(_) => Component::fresh(()),
        Err(error) => Component::failed(error.to_string()),
    };
    let thought = match (&model, by_rules) {
        (Ok(Some(_)), _) => Component::fresh(()),
        (Ok(None), Some(_)) => Component::substitute(()).because("the model's answer is none"),
        (Err(error), Some(_)) => Component::substitute(()).because(error.to_string()),
        (Ok(None), None) => Component::failed("the model's answer is none, and no rule applies"),
        (Err(error), None) => Component::failed(error.to_string()),
    };
    let known = Response::new([("metrics", seen), ("diagnosis", thought)]);
    let by_model = model.ok().flatten();
    let mut remedies: Vec<Remedy> = Vec::new();
    for remedy in [by_model, by_rules].into_iter().flatten().filter_map(Cause::remedy) {
        if !remedies.contains(&remedy) {
            remedies.push(remedy);
        }
    }
    let (level, warning) = (known.degradation_level, known.warning());
    if level > MAX_DEGRADATION {
        remedies.clear();
    }
    Diagnosis { cause: by_model.or(by_rules), remedies, level, warning }
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
    use stormproof::CircuitBreaker;
    use stormproof::breaker::Mode;

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

    async fn refused<T>() -> Result<T, Failed> {
        let breaker = CircuitBreaker::new("model");
        breaker.set_mode(Mode::ForcedOpen);
        breaker.call(|_| async { Err(crate::services::Trouble::Nonsense("".into())) }).await
    }

    #[test]
    fn the_models_remedy_comes_first_and_the_rules_one_second() {
        let seen = Metrics { stale_answers: 0.8, ..metrics() };
        let found = conclude(Symptom::Stale, Ok(seen), Ok(Some(Cause::Leak)));
        assert_eq!(found.remedies, [Remedy::Restart, Remedy::ClearCaches]);
        assert_eq!((found.level, found.warning), (Level::Full, None));
    }

    #[tokio::test]
    async fn without_the_model_the_rules_decide_and_it_is_said() {
        let seen = Metrics { deployed_minutes_ago: 1, ..metrics() };
        let found = conclude(Symptom::Failing, Ok(seen), refused().await);
        assert_eq!((found.cause, &*found.remedies), (Some(Cause::BadDeploy), &[Remedy::RollBack][..]));
        assert_eq!((found.level, found.warning.as_deref()), (Level::Slight, Some("substituted: diagnosis")));
    }

    #[tokio::test]
    async fn who_sees_too_little_does_nothing() {
        let blind = conclude(Symptom::Failing, refused().await, Ok(Some(Cause::BadDeploy)));
        assert_eq!((blind.level, &*blind.remedies), (Level::Minimal, &[][..]));
        let lost = conclude(Symptom::Failing, refused().await, refused().await);
        assert_eq!((lost.level, lost.cause, &*lost.remedies), (Level::Failed, None, &[][..]));
    }

    #[test]
    fn nothing_is_tried_where_nothing_helps() {
        let found = conclude(Symptom::Failing, Ok(Metrics { disk_errors: 3, ..metrics() }), Ok(None));
        assert_eq!((found.cause, &*found.remedies), (Some(Cause::Hardware), &[][..]));
    }
}

//! Health monitoring: what is wrong, and since when.

use std::time::Duration;

use stormproof::health::{Checks, Finding, Registration, Status};
use stormproof::{Clock, HealthChecker};

use crate::incident::{Incident, Symptom};
use crate::services::{SelfReport, Services, Trouble};

/// What is watched.
pub(crate) const WATCHED: [&str; 4] = ["checkout", "search", "payments", "assistant"];

/// A component that spends more runs in circles.
const MAX_TOKENS_PER_MINUTE: u32 = 10_000;

/// So many bad checks in a row are an incident: one alone is a restart, or chance.
const BAD_CHECKS: u32 = 2;

/// Looks at all components again and again.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    checker: HealthChecker,
    services: Services,
}

impl Watch {
    pub(crate) fn new(services: &Services) -> crate::Result<Self> {
        let checks = Checks { timeout: Duration::from_secs(1), cache_ttl: Duration::ZERO };
        let checker = HealthChecker::with_clock("health", checks, &Clock::system())?;
        for component in WATCHED {
            let services = services.clone();
            checker.register_with(component, Registration { critical: false, timeout: None }, move || {
                let services = services.clone();
                async move { finding(&services.look(component, None).await) }
            })?;
        }
        Ok(Self { checker, services: services.clone() })
    }

    /// Everything that is wrong now. Without the metrics there is no saying since when, hence no name for it: it is
    /// found the next time.
    pub(crate) async fn look(&self) -> Vec<Incident> {
        let mut found = Vec::new();
        for (component, report) in self.checker.check_all().await {
            if report.consecutive_failures < BAD_CHECKS {
                continue;
            }
            if let Ok(metrics) = self.services.measure(&component).await
                && let Some(since) = metrics.failing_since
            {
                found.push(Incident { component: component.to_string(), since });
            }
        }
        found
    }
}

/// What an answer says of a component.
pub(crate) fn symptom(answer: &Result<SelfReport, Trouble>) -> Symptom {
    match answer {
        Err(_) => Symptom::Failing,
        Ok(report) if report.tokens_per_minute > MAX_TOKENS_PER_MINUTE => Symptom::Runaway,
        Ok(report) if !report.fresh => Symptom::Stale,
        Ok(_) => Symptom::Well,
    }
}

fn finding(answer: &Result<SelfReport, Trouble>) -> Finding {
    match (symptom(answer), answer) {
        (Symptom::Well, _) => Status::Healthy.into(),
        (_, Err(trouble)) => Finding::new(Status::Unhealthy, Some(&trouble.to_string())),
        (Symptom::Runaway, _) => Finding::new(Status::Unhealthy, Some("it runs in circles")),
        _ => Finding::new(Status::Unhealthy, Some("its answers are stale")),
    }
}

//! The agent's hands and eyes; above all acting: each action at most once, whatever happens in between.

use std::time::Duration;

use stormproof::degrade::Config;
use stormproof::{Degradation, EventBus, Policy};
use stormproof_journal::{Ctx, Failed, Journal, Op, Probe};

use crate::diagnose::{Diagnosis, MAX_DEGRADATION, diagnose};
use crate::incident::{Incident, Symptom};
use crate::services::{Judge, Order, Services, Trouble};
use crate::tell::say;

/// What acting takes.
#[derive(Clone, Debug)]
pub(crate) struct Hands {
    pub(crate) services: Services,
    journal: Journal,
    /// Repeats what changes something, after the probe was asked.
    changing: Policy,
    /// How much the agent lacks at the moment.
    degradation: Degradation,
}

/// What the platform has accepted is asked for so often.
const LOOKS: u32 = 40;

impl Hands {
    pub(crate) fn new(services: &Services, journal: &Journal, bus: &EventBus) -> crate::Result<Self> {
        let config =
            Config { max_degradation: MAX_DEGRADATION, recovery_evaluations: 1, recovery_dwell: Duration::ZERO };
        let degradation = Degradation::with_config("diagnosis", config)?;
        degradation.on_shift(|shift| say(&format!("    {}: {} -> {}", shift.as_str(), shift.from, shift.to)));
        let (services, journal) = (services.clone(), journal.clone());
        Ok(Self { services, journal, changing: Services::changing(bus)?, degradation })
    }

    /// Finds out why, and takes notice of how well that went.
    pub(crate) async fn diagnose(&self, incident: &Incident, symptom: Symptom) -> Diagnosis {
        let found = diagnose(&self.services, &self.journal, incident, symptom).await;
        self.degradation.evaluate(found.made_of.parts());
        found
    }

    /// Has something done to some replicas: the platform would do it each time it is asked, so it is asked first
    /// whether it was.
    pub(crate) async fn act(&self, cx: &Ctx, order: Order<'_>) -> Result<(), Failed> {
        let name = format!("{} {:?}", order.action, order.replicas);
        let probe = |op: Op| async move { self.became_of(op.key(), &order).await };
        let act = |op: Op| async move {
            say(&format!("{}: {} {:?}", order.incident, order.action, order.replicas));
            self.services.order(op.key(), &order).await
        };
        cx.effect(&name, probe, act).policy(&self.changing).classify(Judge).await
    }

    /// The probe. A request that has arrived is under way even if whoever sent it is dead, so the answer is waited for.
    async fn became_of(&self, key: &str, order: &Order<'_>) -> Result<Probe<()>, Unclear> {
        for _ in 0..LOOKS {
            match self.services.ordered(key).await? {
                None => return Ok(Probe::Rerun),
                Some(true) => {
                    say(&format!("{}: {} {:?} was done already", order.incident, order.action, order.replicas));
                    return Ok(Probe::Done(()));
                }
                Some(false) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        Err(Unclear::UnderWay)
    }

    /// Sends a ticket, its end, or a page. The pager takes the same key once, so there is nothing to ask: it can be
    /// sent again.
    pub(crate) async fn notify(&self, cx: &Ctx, kind: &str, incident: &str, text: &str) -> Result<(), Failed> {
        let probe = |_: Op| async { Ok::<_, Trouble>(Probe::Rerun) };
        let send = |op: Op| async move {
            say(&format!("{incident}: {kind}"));
            self.services.notify(op.key(), kind, incident, text).await
        };
        cx.effect(kind, probe, send).policy(&self.changing).classify(Judge).await
    }
}

/// It is not known whether something was done.
#[derive(Debug, thiserror::Error)]
enum Unclear {
    #[error("the platform was asked what became of it: {0}")]
    Asked(#[from] crate::services::Failed),
    #[error("the platform has been at it for too long")]
    UnderWay,
}

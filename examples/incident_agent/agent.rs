//! The agent: one durable run for each incident, begun when it is detected and carried on by whoever comes next.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use stormproof::EventBus;
use stormproof_journal::{Ctx, Decision, Failed, Filter, Journal, RunError, State, rusqlite};

use crate::act::Hands;
use crate::addresses::Addresses;
use crate::detect::{Watch, symptom};
use crate::diagnose::Diagnosis;
use crate::incident::{Incident, Outcome, Remedy, Symptom};
use crate::people::{bring_answers, hand_over};
use crate::services::{Order, Services};
use crate::tell::{say, tell_events};
use crate::verify::is_well;

/// The workflow's name.
pub(crate) const WORKFLOW: &str = "incident";

/// Every replica of a component.
const ALL: &[usize] = &[0, 1, 2];

/// So many incidents are worked on at once.
const AT_ONCE: u32 = 4;

/// Works until the world's day is over and nothing is left open.
pub(crate) async fn run(dir: &Path) -> crate::Result<()> {
    let bus = EventBus::new();
    tell_events(&bus);
    let services = Services::new(Addresses::read(dir)?, &bus)?;
    let watch = Watch::new(&services)?;

    // That the process is killed in the middle of a step, even many times, is no fault of the run.
    let journal =
        Journal::builder(format!("sqlite:{}", dir.join("journal.db").display())).max_attempts(1_000).open().await?;
    let hands = Hands::new(&services, &journal, &bus)?;
    journal.workflow(WORKFLOW, "1", move |cx: Ctx, incident: Incident| {
        let hands = hands.clone();
        async move { resolve(&cx, &incident, &hands).await }
    });
    say(&format!("process {} is at work", std::process::id()));
    tokio::select! {
        served = journal.serve(AT_ONCE) => Ok(served?),
        () = bring_answers(&journal, &services) => Ok(()),
        watched = keep_watch(&journal, &watch, &services) => watched,
    }
}

/// Begins a run for each incident. That it is detected again, by this process or by the next one, changes nothing: the
/// run is named after the incident.
async fn keep_watch(journal: &Journal, watch: &Watch, services: &Services) -> crate::Result<()> {
    let mut known = BTreeSet::new();
    loop {
        for incident in watch.look().await {
            if known.insert(incident.id()) {
                say(&format!("{}: detected", incident.id()));
            }
            if let Err(error) = journal.start(WORKFLOW, &incident.id(), &incident).await {
                say(&format!("{}: {error}", incident.id()));
            }
        }
        match take_up(journal).await {
            Ok(0) if services.is_over().await.unwrap_or_default() => return Ok(()),
            Ok(_) => {}
            Err(error) => say(&error.to_string()),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How many runs have not come to their outcome. One that ended without, because a service did not answer for too long,
/// is taken up again where it stopped: its component may be well by then, so that nobody would detect it again.
async fn take_up(journal: &Journal) -> Result<usize, RunError> {
    let unresolved = [State::Queued, State::Running, State::Blocked, State::Err];
    let open = journal.list(&Filter::new().workflow(WORKFLOW).states(unresolved)).await?;
    for run in open.iter().filter(|run| run.state == State::Err) {
        match journal.resume(&run.id, Decision::Ask).await {
            Ok(_) => {
                let why = run.error.as_ref().map_or("", |error| error.message.as_str());
                say(&format!("{}: taken up again, it had failed: {why}", run.id));
            }
            // Somebody was faster.
            Err(RunError::State { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(open.len())
}

/// The workflow. Each line that touches the world is a step, an effect or a commit, and what has been done is not done
/// again, however often the process dies in between.
async fn resolve(cx: &Ctx, incident: &Incident, hands: &Hands) -> Result<Outcome, Failed> {
    let (id, services) = (incident.id(), &hands.services);
    let component = incident.component.as_str();
    let order = |action, replicas| Order { incident: &id, component, action, replicas };

    let symptom = cx.step("look", |_| async { worst(services, component).await }).await?;
    // Kill first, ask later: what does harm while it is looked at is stopped before it is looked at.
    if symptom == Symptom::Runaway {
        hands.act(cx, order("stop", ALL)).await?;
    }
    hands.notify(cx, "ticket", &id, &format!("{component} is {symptom:?}")).await?;
    let diagnosis: Diagnosis =
        cx.step("diagnose", |_| async { Ok::<_, Failed>(hands.diagnose(incident, symptom).await) }).await?;
    if !cx.is_replaying() {
        say(&format!("{id}: {diagnosis}"));
    }

    let mut outcome = None;
    for remedy in &diagnosis.remedies {
        if heal(cx, hands, order, *remedy).await? {
            outcome = Some(Outcome::Healed { by: *remedy });
            break;
        }
    }
    let outcome = match outcome {
        Some(healed) => healed,
        None => hand_over(cx, hands, &id, &diagnosis.to_string()).await?,
    };

    hands.notify(cx, "close", &id, &outcome.to_string()).await?;
    let row = (id.clone(), serde_json::to_string(&outcome)?);
    cx.commit("record", move |tx| record(tx, &row)).await?;
    say(&format!("{id}: {outcome}"));
    Ok(outcome)
}

/// Applies a remedy to one part after the other, and only goes on if it helped. One that did not is taken back wherever
/// it was applied.
async fn heal<'a>(
    cx: &Ctx,
    hands: &Hands,
    order: impl Fn(&'a str, &'a [usize]) -> Order<'a>,
    remedy: Remedy,
) -> Result<bool, Failed> {
    let mut touched = 0;
    for replicas in remedy.stages() {
        touched += replicas.len();
        let order = order(remedy.action(), replicas);
        hands.act(cx, order).await?;
        let check = format!("verify {} {replicas:?}", remedy.action());
        let well = cx
            .step(&check, |_| async move { Ok::<_, Failed>(is_well(&hands.services, order.component, replicas).await) })
            .await?;
        if well {
            continue;
        }
        if !cx.is_replaying() {
            say(&format!("{}: {} did not help", order.incident, remedy.action()));
        }
        if let Some(undo) = remedy.undo() {
            let replicas = ALL.get(..touched).unwrap_or(ALL);
            hands.act(cx, Order { action: undo, replicas, ..order }).await?;
        }
        return Ok(false);
    }
    Ok(true)
}

/// How the worst replica is.
async fn worst(services: &Services, component: &str) -> Result<Symptom, Failed> {
    for replica in ALL {
        let symptom = symptom(&services.look(component, Some(*replica)).await);
        if symptom != Symptom::Well {
            return Ok(symptom);
        }
    }
    Ok(Symptom::Well)
}

/// The agent's own record, in the same transaction as the journal's.
fn record(tx: &rusqlite::Transaction<'_>, (incident, how): &(String, String)) -> Result<(), rusqlite::Error> {
    tx.execute_batch("CREATE TABLE IF NOT EXISTS outcome (incident TEXT NOT NULL, how TEXT NOT NULL)")?;
    tx.execute("INSERT INTO outcome (incident, how) VALUES (?1, ?2)", (incident, how)).map(|_| ())
}

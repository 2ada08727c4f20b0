//! The world's state under one lock: who looks and who acts sees all of it at one moment.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use stormproof_core::Rng;

use super::log::{Fault, Kind, Log};

/// Instances of each component.
pub(super) const REPLICAS: usize = 3;

/// What is watched.
pub(super) const COMPONENTS: [&str; 4] = ["checkout", "search", "payments", "assistant"];

/// Everything there is.
#[derive(Debug)]
pub(super) struct World {
    state: Mutex<State>,
    chance: Rng,
    quiet: bool,
}

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) components: Vec<Component>,
    pub(super) replies: Vec<Reply>,
    /// No new faults from now on.
    pub(super) enough: bool,
    /// So often the pager was away, by key.
    pub(super) away: HashMap<String, u32>,
    /// So often the model was asked.
    pub(super) asked: u32,
    pub(super) log: Log,
}

/// A component with its instances.
#[derive(Debug)]
pub(super) struct Component {
    pub(super) name: &'static str,
    pub(super) replicas: [Replica; REPLICAS],
    /// Where its fault is in the log, while there is one.
    pub(super) fault: Option<usize>,
    /// Until then it is being restarted.
    pub(super) down_until: Option<Instant>,
    /// Who is asked next.
    pub(super) turn: usize,
}

/// An instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Replica {
    pub(super) sick: bool,
    pub(super) stopped: bool,
}

/// What a person on call answered to a page.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Reply {
    pub(super) id: String,
    pub(super) incident: String,
    pub(super) by: String,
    pub(super) says: String,
}

impl World {
    pub(super) fn new(seed: u64, quiet: bool) -> Self {
        let component = |name| Component { name, replicas: Default::default(), fault: None, down_until: None, turn: 0 };
        let state = State {
            components: COMPONENTS.map(component).into(),
            replies: Vec::new(),
            enough: false,
            away: HashMap::new(),
            asked: 0,
            log: Log::default(),
        };
        Self { state: Mutex::new(state), chance: Rng::new(seed), quiet }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number in `[0, 1)`.
    pub(super) fn chance(&self) -> f64 {
        self.chance.unit()
    }

    /// One of `0..end`.
    pub(super) fn one_of(&self, end: usize) -> usize {
        usize::try_from(self.chance.next_u64() % end.max(1) as u64).unwrap_or_default()
    }

    /// Tells whoever watches.
    pub(super) fn say(&self, line: &str) {
        if !self.quiet {
            println!("world   {line}");
        }
    }
}

impl State {
    pub(super) fn component(&mut self, name: &str) -> Option<&mut Component> {
        self.components.iter_mut().find(|component| component.name == name)
    }

    /// The fault a component has.
    pub(super) fn fault_of(&self, name: &str) -> Option<&Fault> {
        let component = self.components.iter().find(|component| component.name == name)?;
        self.log.faults.get(component.fault?)
    }

    /// Something goes wrong.
    pub(super) fn break_down(&mut self, name: &str, kind: Kind, since: i64) {
        let at = self.log.faults.len();
        let Some(component) = self.component(name) else { return };
        component.fault = Some(at);
        component.replicas = [Replica { sick: true, stopped: false }; REPLICAS];
        self.log.faults.push(Fault { component: name.into(), kind, since, cured_by: None, closed: false });
    }

    /// Something is done to some replicas. It helps if it is what helps.
    pub(super) fn act(&mut self, name: &str, action: &str, replicas: &[usize]) {
        let kind = self.fault_of(name).filter(|fault| fault.cured_by.is_none()).map(|fault| fault.kind);
        let Some(component) = self.component(name) else { return };
        for at in replicas {
            let Some(replica) = component.replicas.get_mut(*at) else { continue };
            let sick = match (action, kind) {
                ("roll_back", Some(Kind::BadDeploy))
                | ("restart", Some(Kind::Leak))
                | ("clear_caches", Some(Kind::StaleCache)) => false,
                ("restart", Some(Kind::Runaway)) if replica.stopped => false,
                ("roll_forward", Some(Kind::BadDeploy)) => true,
                _ => replica.sick,
            };
            let stopped = if action == "stop" { true } else { replica.stopped && action != "restart" };
            *replica = Replica { sick, stopped };
        }
        self.note_cure(name, action);
    }

    /// A person has been there.
    pub(super) fn repair(&mut self, name: &str, by: &str) {
        if let Some(component) = self.component(name) {
            component.replicas = Default::default();
            self.note_cure(name, by);
        }
    }

    fn note_cure(&mut self, name: &str, by: &str) {
        let Some(component) = self.component(name) else { return };
        if component.replicas != [Replica::default(); REPLICAS] {
            return;
        }
        let Some(at) = component.fault else { return };
        if let Some(fault) = self.log.faults.get_mut(at) {
            fault.cured_by.get_or_insert_with(|| by.into());
        }
    }

    /// Where a fault is in the log, by what the agent calls it.
    pub(super) fn position(&self, incident: &str) -> Option<usize> {
        self.log.faults.iter().position(|fault| format!("{}@{}", fault.component, fault.since) == incident)
    }

    /// A ticket is closed: what was wrong is over and told, and something new may begin.
    pub(super) fn close(&mut self, incident: &str) {
        let Some(at) = self.position(incident) else { return };
        let Some(fault) = self.log.faults.get_mut(at) else { return };
        fault.closed = true;
        if let Some(component) = self.components.iter_mut().find(|component| component.fault == Some(at)) {
            component.fault = None;
            component.replicas = Default::default();
        }
    }

    /// Whether nothing more happens.
    pub(super) fn is_over(&self) -> bool {
        self.enough && self.log.faults.iter().all(|fault| fault.closed)
    }
}

/// Milliseconds since 1970.
pub(super) fn millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

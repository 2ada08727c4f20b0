//! A day of traffic in seconds: clients, a server that has a bad time, and the shipped decisions between them.
//!
//! [`run`] drives one [`Call`](stormproof_core::Call) for each call of each client through a policy, in virtual time and
//! by one seed, so that a run can be repeated exactly. [`compare`] does it twice, with one policy and with another.

mod chart;
mod engine;
mod fault;
mod histogram;
mod outcome;
mod presets;
mod random;
mod recorder;
mod server;
mod table;

use std::time::Duration;

use stormproof_core::{Caller, Flow, Invalid, Mistakes, Priority, policy};

pub use chart::svg;
pub use fault::{Fault, Weather};
pub use outcome::{Bin, Circuit, Outcome, Tenant};
pub use presets::{PRESETS, Preset, preset};
pub use table::table;

/// Clients, duration, fault and server of a run.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::policy;
/// use stormproof_sim::simulation::{Setup, run};
///
/// let setup = Setup { duration: Duration::from_secs(60), ..Setup::default() };
/// let outcome = run(&setup, &policy::Config::default()).unwrap();
/// assert!(outcome.calls > 5_000 && outcome.calls < 7_000);
/// assert_eq!(outcome.succeeded, outcome.calls);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// What goes wrong. Default: nothing.
    pub fault: Fault,
    /// Number of clients, each of which makes one call at a time. `None`: as many as the rate needs. Default `None`.
    pub clients: Option<u32>,
    /// Calls a second. With [`clients`](Self::clients), the rate that they reach together if every answer comes at once.
    /// Above 0, at most a million. Default 100.
    pub rate: f64,
    /// Share of the clients that wait only a tenth of the usual time between two calls: 0 to 1. Default 0.
    pub eager: f64,
    /// Calls begin during this time; those under way then are seen through. 1 s to 30 days. Default 5 min.
    pub duration: Duration,
    /// Time after which a client gives up, whatever the policy does. More than zero. Default 10 s.
    pub patience: Duration,
    /// What all chance comes from. Default 7.
    pub seed: u64,
    /// The server that is called.
    pub server: ServerModel,
    /// What calls say of themselves. Default: nothing.
    pub says: Says,
}

/// What a call says of itself, for the queue of a bulkhead. The [eager](Setup::eager) clients are one tenant, the others
/// another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Says {
    /// Nothing.
    #[default]
    Nothing,
    /// Whose it is: each tenant's calls are a flow.
    Tenant,
    /// How important it is: low for the eager clients, critical for the others.
    Class,
}

impl Says {
    fn caller(self, is_eager: bool) -> Caller {
        match self {
            Self::Nothing => Caller::default(),
            Self::Tenant => Flow::of(is_eager).into(),
            Self::Class if is_eager => Priority::Low.into(),
            Self::Class => Priority::Critical.into(),
        }
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            fault: Fault::default(),
            clients: None,
            rate: 100.0,
            eager: 0.0,
            duration: Duration::from_secs(300),
            patience: Duration::from_secs(10),
            seed: 7,
            server: ServerModel::default(),
            says: Says::Nothing,
        }
    }
}

/// A server: workers, a queue before them, and how long a call takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerModel {
    /// Calls it works on at a time: 1 to 100,000. Default 20.
    pub workers: u32,
    /// Calls that may wait; more are answered 503 at once. Default 1000.
    pub queue: usize,
    /// What a call takes on the average, without waiting: more than zero. Default 100 ms.
    pub service: Duration,
    /// How unequal calls are: the standard deviation of the logarithm of their times. 0 to 3. Default 0.3.
    pub spread: f64,
}

impl Default for ServerModel {
    fn default() -> Self {
        Self { workers: 20, queue: 1000, service: Duration::from_millis(100), spread: 0.3 }
    }
}

impl Setup {
    /// Whether this client thinks a tenth as long.
    fn is_eager(&self, client: u32) -> bool {
        f64::from(client) < f64::from(self.clients.unwrap_or(1)) * self.eager
    }

    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut found = Vec::new();
        let mut check = |valid: bool, field: &str, value: String, allowed| {
            if !valid {
                found.push(Invalid::new(field, value, allowed));
            }
        };
        let most = Duration::from_secs(30 * 86_400);
        let is_time = |time: Duration| !time.is_zero() && time <= most;
        let shown = |time: Duration| humantime::format_duration(time).to_string();
        let clients = self.clients.unwrap_or(1);
        check((1..=1_000_000).contains(&clients), "clients", clients.to_string(), "1 to 1000000");
        check(self.rate > 0.0 && self.rate <= 1e6, "rate", self.rate.to_string(), "above 0 and at most 1000000");
        check((0.0..=1.0).contains(&self.eager), "eager", self.eager.to_string(), "0 to 1");
        let lasts = (Duration::from_secs(1)..=most).contains(&self.duration);
        check(lasts, "duration", shown(self.duration), "1 s to 30 days");
        check(is_time(self.patience), "patience", shown(self.patience), "more than 0, at most 30 days");
        let ServerModel { workers, service, spread, .. } = self.server;
        check((1..=100_000).contains(&workers), "workers", workers.to_string(), "1 to 100000");
        check(is_time(service), "service", shown(service), "more than 0, at most 30 days");
        check((0.0..=3.0).contains(&spread), "spread", spread.to_string(), "0 to 3");
        if let Some(start) = self.fault.start {
            check(start <= self.duration, "fault", shown(start), "a beginning within the duration");
        }
        found
    }
}

/// Runs `policy` against the server.
///
/// # Errors
/// All mistakes in `setup` and in `policy`.
pub fn run(setup: &Setup, policy: &policy::Config) -> Result<Outcome, Mistakes> {
    Mistakes::none(setup.validate())?;
    let policy = policy.clone().build("simulated", setup.seed)?;
    Ok(engine::Engine::new(setup, &policy).run())
}

/// The same clients and the same server, through one policy and through another.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What both had in common.
    pub setup: Setup,
    /// Two names, and what came of each.
    pub sides: [(String, Outcome); 2],
}

/// Runs two policies, each named, against the same server.
///
/// # Errors
/// All mistakes in `setup` and in the first policy that has any.
pub fn compare(setup: &Setup, policies: [(&str, &policy::Config); 2]) -> Result<Comparison, Mistakes> {
    let [(one, first), (other, second)] = policies;
    let sides = [(one.to_owned(), run(setup, first)?), (other.to_owned(), run(setup, second)?)];
    Ok(Comparison { setup: setup.clone(), sides })
}

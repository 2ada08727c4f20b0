//! What really happened, as nobody but the world knows it.

use serde::{Deserialize, Serialize};

/// Everything, in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Log {
    pub(crate) faults: Vec<Fault>,
    pub(crate) actions: Vec<Action>,
    pub(crate) messages: Vec<Message>,
}

/// Something that went wrong in a component.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) component: String,
    pub(crate) kind: Kind,
    /// Since when, in milliseconds since 1970.
    pub(crate) since: i64,
    /// What ended it: an action, or a person.
    pub(crate) cured_by: Option<String>,
    /// Whether its ticket was closed.
    pub(crate) closed: bool,
}

/// In which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A new version answers 500: only the old one helps.
    BadDeploy,
    /// It answers too late: a restart helps.
    Leak,
    /// It answers well-formed nonsense: clearing its caches helps.
    StaleCache,
    /// It burns tokens: it must be stopped before it is restarted, or it begins again where it was.
    Runaway,
    /// 503, and nothing helps but a person.
    Hardware,
}

/// Something done to a component. Each is done each time it is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Action {
    pub(crate) key: String,
    pub(crate) incident: String,
    pub(crate) component: String,
    pub(crate) what: String,
    pub(crate) replicas: Vec<usize>,
    pub(crate) done: bool,
}

/// A ticket, its end, or a page: done once for a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) key: String,
    pub(crate) incident: String,
    pub(crate) kind: String,
    pub(crate) text: String,
    /// So often it came.
    pub(crate) received: u32,
}

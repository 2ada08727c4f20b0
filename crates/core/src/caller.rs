//! Who makes a call: its class, and the flow it belongs to. Queues serve by them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU64;

/// The class of a call. A queue serves a higher class first and sheds the lowest one first. A greater value is a higher
/// class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Priority {
    /// Work that can be done later or not at all: prefetching, batches.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Work that somebody waits for.
    High,
    /// Work that must not fail while any other can be shed.
    Critical,
}

impl Priority {
    /// All classes, the highest first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// The class in lower case, as settings and metrics write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Calls that share one turn in a queue: those of one tenant, one user, one agent.
///
/// ```
/// use stormproof_core::Flow;
///
/// assert_eq!(Flow::of("tenant-7"), Flow::of("tenant-7"));
/// assert_ne!(Flow::of("tenant-7"), Flow::of("tenant-8"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow(NonZeroU64);

impl Flow {
    /// The flow with this key. Of the key only a hash of 64 bits is kept.
    pub fn of(key: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Self(NonZeroU64::new(hasher.finish()).unwrap_or(NonZeroU64::MIN))
    }
}

/// Who makes a call, as a queue sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The class. `None`: that of the policy, else [`Priority::Normal`]; a door asks the call around this one before.
    pub priority: Option<Priority>,
    /// The flow. `None`: that of all calls which name none.
    pub flow: Option<Flow>,
}

impl From<Priority> for Caller {
    fn from(priority: Priority) -> Self {
        Self { priority: Some(priority), ..Self::default() }
    }
}

impl From<Flow> for Caller {
    fn from(flow: Flow) -> Self {
        Self { flow: Some(flow), ..Self::default() }
    }
}

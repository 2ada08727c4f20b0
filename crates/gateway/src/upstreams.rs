//! The upstreams that are in force: read by every request, replaced as a whole by a reload.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use stormproof::event::Kind;
use stormproof::registry::Changes;
use stormproof::{Event, Mistakes, Registry};

use crate::config::{Config, Settings};
use crate::feed::Feed;
use crate::upstream::Upstream;

type List = Arc<[Arc<Upstream>]>;

/// The upstreams in force, in the order of their names. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Upstreams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    list: RwLock<List>,
    /// Two reloads at once would leave the policies of one with the addresses of the other.
    reloading: Mutex<()>,
}

impl Default for Upstreams {
    fn default() -> Self {
        Self(Arc::new(Inner { list: RwLock::new(Arc::new([])), reloading: Mutex::default() }))
    }
}

impl Upstreams {
    /// Those of now. A request goes on with those it began with.
    pub(crate) fn present(&self) -> List {
        self.0.list.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Puts another configuration in force in a gateway that runs. Cheap to clone.
///
/// Circuits keep their state, limits what is used up, and calls under way end as they began. An upstream that is gone is
/// remembered, so that it goes on as it was if it comes back.
#[derive(Clone, Debug)]
pub struct Reload {
    pub(crate) upstreams: Upstreams,
    pub(crate) registry: Registry,
    pub(crate) feed: Feed,
    pub(crate) settings: Settings,
}

/// What a reload came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// Upstreams whose policy is new, has changed, is as before, or is gone.
    pub policies: Changes,
    /// Whether the table `gateway` differs from the one the gateway was started with: that needs a restart.
    pub needs_restart: bool,
}

impl Reload {
    /// Puts the upstreams of `config` in force and tells the event `reloaded`.
    ///
    /// # Errors
    /// All that is wrong with `config`. Then nothing has changed, and the event `not_reloaded` says so.
    pub fn apply(&self, config: &Config) -> Result<Reloaded, Mistakes> {
        let policies = self.put_in_force(config).inspect_err(|mistakes| self.refused(&mistakes.to_string()))?;
        let count = |names: usize| u32::try_from(names).unwrap_or(u32::MAX);
        let (added, changed) = (count(policies.added.len()), count(policies.changed.len()));
        self.tell(Kind::Reloaded { added, changed });
        Ok(Reloaded { policies, needs_restart: config.gateway != self.settings })
    }

    /// Tells, as the event `not_reloaded`, that there was no configuration to put in force.
    pub fn refused(&self, error: &str) {
        self.tell(Kind::NotReloaded { error: error.into() });
    }

    pub(crate) fn put_in_force(&self, config: &Config) -> Result<Changes, Mistakes> {
        let found = config.validate();
        if !found.is_empty() {
            return Err(found.into());
        }
        let policies: BTreeMap<_, _> =
            config.upstreams.iter().map(|(name, upstream)| (name.clone(), upstream.policy_in_force())).collect();
        let Inner { list, reloading } = &*self.upstreams.0;
        let _reloading = reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = self.registry.apply(policies)?;
        let made = |(name, upstream): (&String, _)| Upstream::new(name, upstream, &self.registry).map(Arc::new);
        let new: List = config.upstreams.iter().map(made).collect::<Result<_, _>>()?;
        *list.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(changes)
    }

    fn tell(&self, kind: Kind) {
        let clock = self.registry.clock();
        self.feed.tell(&Event::new(clock.now(), "".into(), kind), clock);
    }
}

//! New settings for what is there: stages keep their state and counts.
//!
//! Owns the putting together of a registry's policies, at first and at each reload.

use std::collections::BTreeMap;

use stormproof_core as core;
use stormproof_core::{Instant, Invalid, Mistakes, Name, policy};

use super::bounded::Asked;
use super::difference::differences;
use super::entry::sealed::Kept;
use super::making::no_room;
use super::{Error, Registry};
use crate::policy::Policy;
use crate::stages::{Bulkhead, CircuitBreaker, RateLimiter};
use crate::waiters;

/// What a reload came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// Names that are new.
    pub added: Vec<Name>,
    /// Names whose settings changed, and what of them.
    pub changed: Vec<(Name, String)>,
    /// Names whose settings are as before.
    pub unchanged: Vec<Name>,
    /// Names that had settings before and have none now. They go on as they are until the registry forgets them.
    pub missing: Vec<Name>,
}

impl Registry {
    /// Sets how the policy called `name` and its stages are to be. What is there keeps its state and its counts; calls
    /// under way end as they began.
    ///
    /// A handle of the policy that was taken before shares the stages, so breaker, bulkhead and limits follow; retries,
    /// hedges and time limits are those of the handle. Ask the registry for each call, or again after a reload.
    pub fn configure(&self, name: &str, config: policy::Config) -> Result<(), Error> {
        let mistakes = config.validate();
        Mistakes::none(mistakes).map_err(|mistakes| Error::Invalid { name: name.into(), mistakes })?;
        self.settings().named.insert(name.into(), config);
        self.bring_into_force(name, &mut Changes::default())
    }

    /// Sets all settings at once, as after reading a file again; see [`configure`](Self::configure).
    ///
    /// # Errors
    /// All mistakes of all names; then nothing has changed.
    pub fn apply(&self, configs: BTreeMap<String, policy::Config>) -> Result<Changes, Mistakes> {
        let mistakes = configs.iter().flat_map(|(name, config)| of_part(name, config.validate())).collect();
        Mistakes::none(mistakes)?;
        let mut changes = Changes::default();
        {
            let named = configs.iter().map(|(name, config)| (Name::from(name.as_str()), config.clone())).collect();
            let before = std::mem::replace(&mut self.settings().named, named);
            changes.missing = before.into_keys().filter(|name| !configs.contains_key(name.as_str())).collect();
        }
        for name in configs.into_keys() {
            self.bring_into_force(&name, &mut changes).map_err(|error| match error {
                Error::Invalid { mistakes, .. } => mistakes,
                other => Mistakes::from(vec![Invalid::new(name, other.to_string(), "something else")]),
            })?;
        }
        Ok(changes)
    }

    /// Puts the settings of `name` in force. Whoever finds that others were set meanwhile puts those in force, too: so the
    /// last ones are in the end, without a lock under which listeners would be told.
    fn bring_into_force(&self, name: &str, changes: &mut Changes) -> Result<(), Error> {
        let wanted = || self.settings().named.get(name).cloned();
        let mut config = wanted();
        while let Some(present) = config {
            self.reconfigure(name, &present, changes)?;
            config = wanted().filter(|wanted| *wanted != present);
        }
        Ok(())
    }

    fn reconfigure(&self, name: &str, config: &policy::Config, changes: &mut Changes) -> Result<(), Error> {
        let (policies, now, name) = (&self.0.shelves.policies, self.now(), Name::from(name));
        let former = if let Some(former) = policies.get(&name, now) {
            former
        } else {
            // Before it has its place, for that is under a lock, and listeners may hear of its stages.
            let policy = self.put_together(&name, config, None)?;
            let asked = policies.get_or_make(&name, now, no_room, |_| Ok::<_, Error>((policy, config.clone())))?;
            if asked.made {
                self.welcome(&name, asked, None)?;
                changes.added.push(name);
                return Ok(());
            }
            asked.stage
        };
        let present = former.stages().config();
        if present == *config {
            changes.unchanged.push(name);
            return Ok(());
        }
        let policy = self.put_together(&name, config, Some(&former))?;
        policies.replace(&name, policy, config.clone());
        changes.changed.push((name, differences(&present, config)));
        Ok(())
    }

    /// A policy with the registry's stages of the same name. Those that are there with other settings keep theirs.
    pub(super) fn assemble(&self, name: &Name, config: &policy::Config) -> Result<Policy, Error> {
        self.stages(name, config, None, false)
    }

    /// The same with `config` in force for all stages, and with those of `former` where it has them.
    fn put_together(&self, name: &Name, config: &policy::Config, former: Option<&Policy>) -> Result<Policy, Error> {
        self.stages(name, config, former, true)
    }

    fn stages(
        &self,
        name: &Name,
        config: &policy::Config,
        former: Option<&Policy>,
        in_force: bool,
    ) -> Result<Policy, Error> {
        let invalid = |mistakes| Error::Invalid { name: name.clone(), mistakes };
        let mut core = config.clone().build(name.clone(), crate::random_seed()).map_err(invalid)?;
        let none = core::Policy::new(name.clone());
        let has = former.map_or(&none, Policy::stages);
        adopt(&mut core, has, config, self.now()).map_err(invalid)?;
        let (listeners, mut heard) =
            former.map(|former| (former.0.listeners.clone(), former.0.stage_listeners.of(config))).unwrap_or_default();
        if let (Some(config), None) = (&config.breaker, &has.breaker) {
            let stage: CircuitBreaker = self.stage(name, config, in_force)?;
            heard.breaker = Some(stage.policy().0.listeners.clone());
            core.breaker = Some(stage.core().clone());
        }
        if let (Some(config), None) = (&config.bulkhead, &has.bulkhead) {
            let stage: Bulkhead = self.stage(name, config, in_force)?;
            heard.bulkhead = Some(stage.policy().0.listeners.clone());
            core.bulkhead = Some(stage.core().clone());
        }
        if let (Some(config), None) = (&config.rate, &has.rate) {
            let stage: RateLimiter = self.stage(name, config, in_force)?;
            heard.rate = Some(stage.policy().0.listeners.clone());
            core.rate = Some(stage.core().clone());
        }
        if let (Some(config), None) = (&config.tokens, &has.tokens) {
            let stage: RateLimiter = self.stage(&format!("{name}-tokens"), config, in_force)?;
            heard.tokens = Some(stage.policy().0.listeners.clone());
            core.tokens = Some(stage.core().clone());
        }
        let policy = Policy::with_listeners(core, self.clock().clone(), listeners, heard);
        self.attach(&policy);
        Ok(policy)
    }

    /// The registry's stage called `name`; with `in_force` it gets these settings if it has others.
    fn stage<S: Kept>(&self, name: &str, config: &S::Config, in_force: bool) -> Result<S, Error> {
        if !in_force {
            return self.find_or_make_with(name, config.clone());
        }
        let made = |name| Ok((S::make_in(self, name, config.clone())?, config.clone()));
        let asked: Asked<S> = S::shelf(&self.0.shelves).get_or_make(name, self.now(), no_room, made)?;
        if !asked.made {
            let changed = asked.stage.change(config.clone());
            changed.map_err(|mistakes| Error::Invalid { name: name.into(), mistakes })?;
        }
        self.welcome(name, asked, None)
    }
}

/// The policy `former` with other settings: it shares the stages that both have, and the listeners.
pub(super) fn renewed(former: &Policy, config: &policy::Config) -> Result<Policy, Mistakes> {
    let mut core = config.clone().build(former.name().clone(), crate::random_seed())?;
    adopt(&mut core, former.stages(), config, former.clock().now())?;
    let (listeners, stage_listeners) = (former.0.listeners.clone(), former.0.stage_listeners.of(config));
    Ok(Policy::with_listeners(core, former.clock().clone(), listeners, stage_listeners))
}

/// Takes over the stages of `former` that `core` has, too, and gives them its settings.
fn adopt(
    core: &mut core::Policy,
    former: &core::Policy,
    config: &policy::Config,
    now: Instant,
) -> Result<(), Mistakes> {
    if let (Some(config), Some(stage)) = (&config.breaker, &former.breaker) {
        stage.update(config.clone())?;
        core.breaker = Some(stage.clone());
    }
    if let (Some(config), Some(stage)) = (&config.bulkhead, &former.bulkhead) {
        stage.update(config.clone())?.into_iter().for_each(waiters::wake);
        core.bulkhead = Some(stage.clone());
    }
    if let (Some(config), Some(stage)) = (&config.rate, &former.rate) {
        stage.update(now, config.clone())?.into_iter().for_each(waiters::wake);
        core.rate = Some(stage.clone());
    }
    if let (Some(config), Some(stage)) = (&config.tokens, &former.tokens) {
        stage.update(now, config.clone())?.into_iter().for_each(waiters::wake);
        core.tokens = Some(stage.clone());
    }
    if let (Some(config), Some(stage)) = (&config.budget, &former.budget) {
        stage.update(*config)?;
        core.budget = Some(stage.clone());
    }
    if let (Some(stage), Some(present)) = (&core.latency, &former.latency)
        && stage.config() == present.config()
    {
        core.latency = Some(present.clone());
    }
    core.timed_out = former.timed_out.clone();
    Ok(())
}

/// The mistakes of a part, its name before each field.
fn of_part(name: &str, mistakes: Vec<Invalid>) -> Vec<Invalid> {
    let named = |mistake: Invalid| Invalid::new(format!("{name}.{}", mistake.field), mistake.value, mistake.allowed);
    mistakes.into_iter().map(named).collect()
}

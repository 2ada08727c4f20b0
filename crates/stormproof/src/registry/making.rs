//! Getting what has a name, or making it: under which lock, and what is told of it afterwards.

use std::sync::atomic::Ordering;

use stormproof_core::event::Kind;
use stormproof_core::{Name, breaker, policy};

use super::bounded::Asked;
use super::difference::differences;
use super::entry::sealed::Kept;
use super::{Entry, Error, Registry};
use crate::policy::Policy;
use crate::stages::CircuitBreaker;

impl Registry {
    /// Like [`breaker_with`](Self::breaker_with), without comparing the settings.
    pub(super) fn breaker_made_with(&self, name: &str, config: breaker::Config) -> Result<CircuitBreaker, Error> {
        let made = |name| Ok((CircuitBreaker::make_in(self, name, config.clone())?, config));
        let asked = self.0.shelves.breakers.get_or_make(name, self.now(), no_room, made)?;
        self.welcome(name, asked, None)
    }

    /// The policy called `name`, put together before it has its place: that is under a lock, and listeners may hear of its
    /// stages.
    pub(super) fn policy_made_with(&self, name: &str, config: policy::Config) -> Result<Asked<Policy>, Error> {
        let policy = self.assemble(&name.into(), &config)?;
        self.0.shelves.policies.get_or_make(name, self.now(), no_room, |_| Ok((policy, config)))
    }

    pub(super) fn find_or_make_with<S: Entry>(&self, name: &str, config: S::Config) -> Result<S, Error> {
        let (kept, now) = (S::shelf(&self.0.shelves), self.now());
        if let Some(stage) = kept.get(name, now) {
            self.compare(name, &stage, &config)?;
            return Ok(stage);
        }
        let asked_for = config.clone();
        let made = move |name| Ok((S::make_in(self, name, config.clone())?, config));
        let asked = kept.get_or_make(name, now, no_room, made)?;
        self.welcome(name, asked, Some(&asked_for))
    }

    /// Tells what there is to tell of an answer: that there are too many names, that the settings were others.
    pub(super) fn welcome<S: Entry>(
        &self,
        name: &str,
        asked: Asked<S>,
        config: Option<&S::Config>,
    ) -> Result<S, Error> {
        if asked.first_too_many {
            self.tell(Kind::TooManyNames { name: "registry".into(), most: self.0.max_entries });
        }
        if asked.made {
            asked.stage.welcome(self);
        } else if let Some(config) = config {
            self.compare(name, &asked.stage, config)?;
        }
        Ok(asked.stage)
    }

    pub(super) fn compare<S: Entry>(&self, name: &str, stage: &S, config: &S::Config) -> Result<(), Error> {
        let strict = self.0.strict.load(Ordering::Relaxed);
        let Some(present) = S::shelf(&self.0.shelves).differs(name, config, strict) else { return Ok(()) };
        let (name, differs) = (Name::from(name), differences(&present, config).into());
        if strict {
            return Err(Error::Differs { name, differs });
        }
        let kind = Kind::RegisteredTwice { name, differs };
        // It is attached to the registry, which so hears of it, too.
        stage.as_policy().tell(kind);
        Ok(())
    }

    /// Brings the events of what the registry has to its listeners. It makes events only while somebody listens.
    pub(super) fn attach(&self, policy: &Policy) {
        policy.0.listeners.attach(&self.0.listeners);
    }
}

/// A registry grows beyond its bound rather than give two names one stage.
pub(super) fn no_room<S>() -> Option<S> {
    None
}

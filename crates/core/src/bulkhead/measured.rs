//! What an adaptive bulkhead knows of its calls.

use super::config::Config;
use crate::adaptive::Limiter;

/// What an adaptive bulkhead measures. Locked before the state.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) limiter: Option<Limiter>,
    /// The limit that was told last.
    told: u32,
}

impl Measured {
    pub(super) fn new(config: &Config) -> Self {
        let mut measured = Self { limiter: None, told: config.max_concurrent };
        measured.configure(config, config);
        measured
    }

    /// Takes over a configuration; the limit that holds from now on.
    pub(super) fn configure(&mut self, config: &Config, former: &Config) -> u32 {
        let start = (config.max_concurrent != former.max_concurrent).then_some(config.max_concurrent);
        self.limiter = config.adaptive.clone().map(|adaptive| match self.limiter.take() {
            None => Limiter::new(adaptive, config.max_concurrent),
            Some(mut limiter) => {
                limiter.update(adaptive, start);
                limiter
            }
        });
        self.told = self.limiter.as_ref().map_or(config.max_concurrent, Limiter::limit);
        self.told
    }

    /// The change to tell of, now that the limit is `limit`.
    pub(super) fn tell(&mut self, limit: u32) -> Option<(u32, u32)> {
        let considerable = limit.abs_diff(self.told) >= self.told.div_ceil(4);
        considerable.then(|| (std::mem::replace(&mut self.told, limit), limit))
    }
}

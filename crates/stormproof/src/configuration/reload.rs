//! Watching a settings file: what is written there is applied to a registry, which keeps its state and its counts.
//!
//! Looks again and again, which works on every file system. How new settings come into force is the business of
//! [`Registry::apply`].

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use stormproof_core::event::Kind;

use crate::configuration::environment::Environment;
use crate::configuration::settings::{self, Settings};
use crate::registry::{Changes, Registry};

/// Applies a settings file to a registry, at first and whenever it changes.
///
/// A file that is bad changes nothing: the last good one stays in force, the error is told as an event of the registry
/// and kept in [`error`](Self::error), and watching goes on.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stormproof::{Registry, reload::Reloader};
///
/// # let folder = std::env::temp_dir().join(format!("stormproof-reload-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("stormproof.toml");
/// std::fs::write(&path, "[policies.openai]\npreset = 'aragora.openai'\n")?;
/// let registry = Registry::new();
/// let mut reloader = Reloader::new(&path, &registry);
/// assert_eq!(reloader.load()?.added, ["openai".into()]); // an error here ends the start of a program
/// tokio::spawn(reloader.run());
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a reloader does nothing until it loads, looks or runs"]
pub struct Reloader {
    path: PathBuf,
    registry: Registry,
    environment: Environment,
    every: Duration,
    hasher: RandomState,
    /// What was found at the last look.
    seen: Option<Seen>,
    error: Option<Arc<settings::Error>>,
}

/// What a look found: the hash of the text, or why there is none.
#[derive(Debug, PartialEq)]
enum Seen {
    Text(u64),
    Unreadable(std::io::ErrorKind),
}

impl Reloader {
    /// For the file at `path`, without an environment, every 2 s. Reads nothing yet.
    pub fn new(path: impl AsRef<Path>, registry: &Registry) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            registry: registry.clone(),
            environment: Environment::none(),
            every: Duration::from_secs(2),
            hasher: RandomState::new(),
            seen: None,
            error: None,
        }
    }

    /// With what the environment says, at each reading.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// How long [`run`](Self::run) waits between two looks; at least a millisecond. Default: 2 s.
    pub fn every(mut self, interval: Duration) -> Self {
        self.every = interval.max(Duration::from_millis(1));
        self
    }

    /// Reads the file and applies it, changed or not.
    ///
    /// # Errors
    /// That it cannot be read, or all that is wrong in it. Then nothing has changed.
    pub fn load(&mut self) -> Result<Changes, Arc<settings::Error>> {
        let text = self.text();
        self.seen = Some(self.found(&text));
        self.apply(text)
    }

    /// Reads the file and applies it if it changed since the last look; nothing if it did not. What came of it is told as
    /// an event of the registry.
    pub fn look(&mut self) -> Option<Result<Changes, Arc<settings::Error>>> {
        let text = self.text();
        let found = self.found(&text);
        if self.seen.as_ref() == Some(&found) {
            return None;
        }
        self.seen = Some(found);
        let applied = self.apply(text);
        self.registry.tell(match &applied {
            Ok(changes) => {
                let count = |names: usize| u32::try_from(names).unwrap_or(u32::MAX);
                Kind::Reloaded { added: count(changes.added.len()), changed: count(changes.changed.len()) }
            }
            Err(error) => Kind::NotReloaded { error: error.to_string().into() },
        });
        Some(applied)
    }

    /// Looks again and again, without end; to be spawned. Dropping it ends the watch.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(self.every).await;
            let looked = tokio::task::spawn_blocking(move || {
                let _ = self.look();
                self
            });
            match looked.await {
                Ok(reloader) => self = reloader,
                // The runtime is shutting down.
                Err(_) => return,
            }
        }
    }

    /// Why the file that is there now is not in force; nothing if it is.
    pub fn error(&self) -> Option<&Arc<settings::Error>> {
        self.error.as_ref()
    }

    fn text(&self) -> Result<Vec<u8>, std::io::Error> {
        settings::text_of(&self.path)
    }

    fn found(&self, text: &Result<Vec<u8>, std::io::Error>) -> Seen {
        match text {
            Ok(text) => Seen::Text(self.hasher.hash_one(text)),
            Err(error) => Seen::Unreadable(error.kind()),
        }
    }

    fn apply(&mut self, text: Result<Vec<u8>, std::io::Error>) -> Result<Changes, Arc<settings::Error>> {
        let applied = text
            .and_then(|text| String::from_utf8(text).map_err(std::io::Error::other))
            .map_err(|error| settings::Error::Unreadable { path: self.path.clone(), error })
            .and_then(|text| self.put_in_force(&text));
        let applied = applied.map_err(Arc::new);
        self.error = applied.as_ref().err().cloned();
        applied
    }

    fn put_in_force(&self, text: &str) -> Result<Changes, settings::Error> {
        let invalid = |mistakes| settings::Error::Invalid { path: self.path.clone(), mistakes };
        let settings = Settings::parse_with(text, &self.environment).map_err(invalid)?;
        self.registry.apply(settings.policies).map_err(|mistakes| settings::Error::Refused { mistakes })
    }
}

#[cfg(test)]
mod tests;

//! Settings of policies: in files, from presets and the environment, read again while calls run.

#[cfg(feature = "toml")]
pub mod document;
#[cfg(feature = "toml")]
pub mod environment;
#[cfg(feature = "toml")]
pub mod preset;
#[cfg(feature = "toml")]
pub mod reload;
#[cfg(feature = "schema")]
pub mod schema;
#[cfg(feature = "toml")]
pub mod settings;

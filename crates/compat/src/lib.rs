//! What other systems call things, as tables.
//!
//! Stormproof has one vocabulary. Users who come from aragora, victor, the A2A system, khive or the book keep theirs: a
//! table here says which of our words each of their words stands for. The crate holds data and look-ups. It depends on
//! nothing, knows no type of stormproof, and names its fields by their text. `stormproof` reads the tables behind its
//! feature `compat`, `stormproof-macros` reads the names of settings.
//!
//! | to add | add |
//! |---|---|
//! | a preset | a table in `presets.toml` |
//! | another name of a setting | a word in `aliases.rs` |
//! | a variable of the environment | a row in `environment.rs` |
//! | a shape of statistics | a template in the system's file below `shapes/` |
//! | a log line, or the text of a refusal | a row in `styles.rs` |
//! | a metric's name | a row in `metrics.rs` |
//!
//! The fields that templates and rows can name are listed in `stormproof::shapes` and, for events, in the book's page on
//! observability.

pub mod aliases;
pub mod environment;
pub mod metrics;
pub mod presets;
pub mod shapes;
pub mod styles;
mod template;

pub use template::Template;

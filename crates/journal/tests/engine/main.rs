//! What the engine promises, on every store.

mod bench;
mod replay;
mod steps;

//! Replays: what is recorded is not run again.

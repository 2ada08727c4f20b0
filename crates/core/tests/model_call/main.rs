//! Whole calls, many at once, driven in random order at random times: whatever happens to them, nothing is kept.
#![cfg(not(loom))]
#![cfg(test)]

mod acts;
mod calls;
mod world;

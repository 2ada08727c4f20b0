//! Virtual time for stormproof.

//! The breaker alone.

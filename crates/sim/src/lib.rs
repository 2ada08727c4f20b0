//! Virtual time for stormproof.
//!
//! [`driver`] runs thousands of calls through the shipped core without a clock. [`scenario`] is the common table of the
//! conformance cases: written once, run through every [`Door`], compared as [`Trace`]s. [`simulation`] makes a day of
//! traffic against a server that has a bad time. [`plot`] draws what came of it, and the other pictures of the book.

pub mod door;
pub mod driver;
pub mod plot;
pub mod reply;
pub mod scenario;
pub mod simulation;
pub mod trace;

pub use door::{CoreDoor, Door};
pub use driver::{Driver, Operation, Start};
pub use reply::Reply;
pub use scenario::{Action, Call, Scenario};
pub use trace::{CallTrace, End, Trace};

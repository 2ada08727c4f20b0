//! Throw-away PostgreSQL for tests and measurements: servers of one's own, and a fresh database for each test.
//!
//! A [`Server`] lives in folders of its own, listens on a Unix socket that only its user can reach, and is gone with the process that started it, even if that is killed: see `keeper.rs`. A [`Database`] is
//! made on the server that [`SHARED`] names, or on one that this process starts for itself.
//!
//! ```no_run
//! # fn main() -> Result<(), String> {
//! let database = stormproof_testpg::Database::create()?;
//! println!("connect to {}", database.url());
//! # Ok(()) }
//! ```

mod database;
mod install;
mod keeper;
mod server;

pub use database::Database;
pub use install::{Programs, Wanted};
pub use server::{Server, Stop};

/// The environment variable with the URL of a server that tests share; its user may create databases.
///
/// `cargo xtask test` sets it. Without it each process that needs a server starts its own.
pub const SHARED: &str = "STORMPROOF_TEST_POSTGRES";

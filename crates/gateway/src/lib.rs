//! A reverse proxy that gives every call through it the policy of its upstream, and an admin API to it.
//!
//! A client changes its base URL and nothing else: `http://gateway/NAME/path` goes to the upstream `NAME`, whose policy
//! decides whether the call passes, waits, is retried or refused. Bodies stream both ways, and what a call has taken is
//! held until the end of its answer's body.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use stormproof_gateway::{Config, Server};
//!
//! let config = Config::parse("[upstreams.tool]\nurl = 'http://127.0.0.1:9000'\n").map_err(|found| format!("{found:?}"))?;
//! let server = Server::bind(config, None).await?;
//! println!("listening on {}", server.address());
//! let (drain, abort) = stormproof_gateway::signals()?;
//! server.serve(drain, abort).await;
//! # Ok(())
//! # }
//! ```

mod admin;
mod answer;
mod body;
pub mod config;
mod connection;
mod feed;
mod guard;
mod headers;
mod patience;
mod patient;
mod proxy;
mod server;
mod signals;
mod upload;
mod upstream;
mod upstreams;

pub use config::Config;
#[cfg(feature = "schema")]
pub use config::schema;
pub use feed::{Feed, Told};
pub use server::{Ended, Server, StartError};
pub use signals::{Hangups, signals};
pub use upstreams::{Reload, Reloaded};

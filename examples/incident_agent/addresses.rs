//! Where the services are: the world writes it down, the agent reads it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The file's name.
const FILE: &str = "world.json";

/// The address of each service.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) shop: SocketAddr,
    pub(crate) metrics: SocketAddr,
    pub(crate) platform: SocketAddr,
    pub(crate) pager: SocketAddr,
    pub(crate) model: SocketAddr,
    pub(crate) control: SocketAddr,
}

impl Addresses {
    /// Into a file in `dir`, whole or not at all.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let part = dir.join("world.json.part");
        std::fs::write(&part, serde_json::to_string(self)?)?;
        std::fs::rename(part, dir.join(FILE))
    }

    /// From the file in `dir`.
    pub(crate) fn read(dir: &Path) -> io::Result<Self> {
        Ok(serde_json::from_str(&std::fs::read_to_string(dir.join(FILE))?)?)
    }
}

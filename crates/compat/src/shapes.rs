//! Statistics in the shapes that other systems' clients read.
//!
//! Each shape is a template over the fields of a breaker, a policy or a registry; `stormproof::shapes` lists the fields.

pub mod a2a;
pub mod aragora;
pub mod book;
pub mod khive;
pub mod victor;

//! `cargo xtask chaos`: the chaos run of the tests, as long as one likes.
//!
//! What it does and checks is said in `crates/chaos`.

use crate::{
    postgres,
    step::{self, Step},
};

pub(crate) fn run(args: Vec<String>) -> Result<(), String> {
    if !args.iter().any(|arg| arg == "sqlite") {
        postgres::install()?;
    }
    // Unoptimised it waits for the same things, and checks more.
    let command = "cargo run -p stormproof-chaos --locked --";
    step::run_all(vec![Step::new("chaos", command).args(args)])
}

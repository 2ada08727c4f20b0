//! `cargo xtask test`: all that must hold before a merge, cheapest first.

use crate::{
    features,
    step::{Step, Tool},
};

const RUSTFMT: Tool = Tool { probe: "cargo fmt --version", install: "rustup component add rustfmt" };
const CLIPPY: Tool = Tool { probe: "cargo clippy --version", install: "rustup component add clippy" };
// Unoptimised it checks the same, and compiles in a third of the time.
const DENY: Tool = Tool {
    probe: "cargo deny --version",
    install: "cargo install cargo-deny --version ^0.20 --root target/tools --locked --debug --no-default-features --config profile.dev.debug=0",
};

/// All that the core may depend on: none of it has a clock, a runtime, logs, I/O or randomness.
const CORE: &[&str] = &[
    "dyn-clone",
    "humantime",
    "itoa",
    "memchr",
    "proc-macro2",
    "quote",
    "ref-cast",
    "ref-cast-impl",
    "schemars",
    "schemars_derive",
    "serde",
    "serde_core",
    "serde_derive",
    "serde_derive_internals",
    "serde_json",
    "stormproof-core",
    "syn",
    "thiserror",
    "thiserror-impl",
    "unicode-ident",
    "zmij",
];

pub(crate) fn steps() -> Result<Vec<Step>, String> {
    let mut steps = code();
    steps.extend(features::steps()?);
    steps.extend(guarantees());
    Ok(steps)
}

fn code() -> Vec<Step> {
    vec![
        Step::new("format", "cargo fmt --all --check").needs(&RUSTFMT),
        Step::new("format of bench", "cargo fmt --manifest-path bench/Cargo.toml --check").only_if("bench/Cargo.toml"),
        Step::new("lints", "cargo clippy --workspace --all-targets --all-features --locked -- -D warnings")
            .needs(&CLIPPY),
        Step::new("tests", "cargo test --workspace --all-features --locked"),
        Step::new("documentation", "cargo doc --workspace --no-deps --all-features --locked")
            .env(&[("RUSTDOCFLAGS", "-D warnings")]),
        Step::new("public items", "cargo xtask api"),
    ]
}

fn guarantees() -> Vec<Step> {
    vec![
        Step::new("loom", "cargo test -p stormproof-core --release --locked --test loom_* --target-dir target/loom")
            .env(&[("RUSTFLAGS", "--cfg loom"), ("LOOM_MAX_PREEMPTIONS", "2")]),
        Step::new("bench builds", "cargo check --manifest-path bench/Cargo.toml --locked --target-dir target/bench"),
        Step::new("core stays pure", "cargo tree -p stormproof-core -e normal --all-features --prefix none --locked")
            .only(CORE),
        Step::new("dependencies", "cargo deny --locked check bans licenses sources").needs(&DENY),
    ]
}

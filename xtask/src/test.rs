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
    install: "cargo install cargo-deny --locked --debug --no-default-features --config profile.dev.debug=0",
};

/// What would give the core a clock, a runtime, logs, I/O or the system's randomness.
const NOT_IN_CORE: &[&str] = &[
    "async-io",
    "async-std",
    "futures-executor",
    "getrandom",
    "h2",
    "hyper",
    "hyper-util",
    "log",
    "mio",
    "polling",
    "quanta",
    "reqwest",
    "rusqlite",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "tower",
    "tracing",
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
    ]
}

fn guarantees() -> Vec<Step> {
    vec![
        Step::new("loom", "cargo test -p stormproof-core --release --locked --test loom_* --target-dir target/loom")
            .env(&[("RUSTFLAGS", "--cfg loom"), ("LOOM_MAX_PREEMPTIONS", "2")]),
        Step::new("core stays pure", "cargo tree -p stormproof-core -e normal --all-features --prefix none --locked")
            .without(NOT_IN_CORE),
        Step::new("dependencies", "cargo deny --locked check bans licenses sources").needs(&DENY),
    ]
}

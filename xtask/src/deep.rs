//! `cargo xtask deep`: the same properties as `test`, searched for as long as it takes.

use crate::step::{Step, Tool};

const MIRI: Tool = Tool {
    probe: "cargo +nightly miri --version",
    install: "rustup toolchain install nightly --profile minimal --component miri --component rust-src",
};

pub(crate) fn steps() -> Vec<Step> {
    vec![
        Step::new("loom", "cargo test -p stormproof-core --release --locked --test loom_* --target-dir target/loom")
            .env(&[("RUSTFLAGS", "--cfg loom"), ("LOOM_MAX_PREEMPTIONS", "4")]),
        // Property tests look for their regression files, which Miri's isolation forbids, and interpreted cases are slow.
        Step::new("miri", "cargo +nightly miri test -p stormproof-core --lib --locked")
            .env(&[("MIRIFLAGS", "-Zmiri-disable-isolation"), ("PROPTEST_CASES", "16")])
            .needs(&MIRI),
        Step::new("properties", "cargo test --workspace --all-features --release --locked")
            .env(&[("PROPTEST_CASES", "20000")]),
    ]
}

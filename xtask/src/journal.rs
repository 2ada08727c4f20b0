//! What `bench journal` needs besides the bench: a server of `PostgreSQL`, and the peers in Python in an environment of their own.

use crate::{
    postgres,
    step::{self, Step, Tool},
};

const PEERS: &str = "target/bench-journal/venv";

/// Makes the environment, or fails where Python came without what that takes, as Debian's does.
const MAKE: &str = "python3 -m venv target/bench-journal/venv";

static VENV: Tool = Tool { probe: MAKE, install: "apt-get install -y -qq --no-install-recommends python3-venv" };

/// Measures the journal, its peers and the disk below both, in turn.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    postgres::install()?;
    let pip = format!("{PEERS}/bin/python -m pip install --quiet --disable-pip-version-check");
    step::run_all(vec![
        Step::new("a place for the peers", MAKE).needs(&VENV),
        Step::new("peers", &format!("{pip} --requirement bench/journal/requirements.txt")),
        Step::new(
            "bench",
            &format!(
                "cargo run --release --manifest-path bench/Cargo.toml --bin journal -- --python {PEERS}/bin/python"
            ),
        )
        .args(args.iter().cloned()),
    ])
}

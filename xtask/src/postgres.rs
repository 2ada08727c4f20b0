//! PostgreSQL for a chore: installed if it is missing, and one server that all its tests share.
//!
//! How a server is started and ended is said in `crates/testpg`.

use std::process::{Command, Stdio};

use stormproof_testpg::{Programs, SHARED, Server, Wanted};

use crate::step::{self, Step};

/// Runs as root. The package would make and start a server of its own, for which
/// a test has no use: a file that is gone again afterwards forbids it.
const INSTALL: &str = r#"
set -e
export DEBIAN_FRONTEND=noninteractive
own=/etc/postgresql-common/createcluster.d/stormproof.conf
get() { apt-get install -y -qq --no-install-recommends "$1"; }
get postgresql-common || { apt-get update -qq && get postgresql-common; }
mkdir -p "${own%/*}"
trap 'rm -f "$own"' EXIT
echo 'create_main_cluster = false' >"$own"
get postgresql || { apt-get update -qq && get postgresql; }
"#;

/// Runs the steps beside a server that their tests find by [`SHARED`], unless the caller names one already.
pub(crate) fn run_all(steps: Vec<Step>) -> Result<(), String> {
    if std::env::var(SHARED).is_ok_and(|url| !url.is_empty()) {
        return step::run_all(steps);
    }
    install()?;
    let server = Server::unflushed()?;
    step::run_all_with(steps, &[(SHARED, server.url("postgres"))])
}

/// Makes sure that there is a server to start.
pub(crate) fn install() -> Result<(), String> {
    let Err(missing) = Programs::find(Wanted::Server) else { return Ok(()) };
    println!("==> PostgreSQL: apt-get install postgresql");
    let installs = |words: &[&str]| {
        let [program, args @ ..] = words else { return false };
        let status = Command::new(program).args(args).args(["sh", "-c", INSTALL]).stdin(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    // Neither asks for a password.
    let done = if is_root() { installs(&["env"]) } else { installs(&["sudo", "-n"]) };
    Programs::find(Wanted::Server)
        .map(drop)
        .map_err(|_| if done { missing } else { format!("{missing}\n(tried to; see above)") })
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

//! The process between us and a server: it ends the server and removes its files when we are gone, however we went.
//!
//! It is a shell that reads commands from a pipe. The system closes our end of the pipe when we end, be it by return,
//! panic or `SIGKILL`; the shell then stops the server. It is in a process group of its own, so that an interrupt from the
//! keyboard does not reach it first.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

const SCRIPT: &str = r#"
trap '' INT TERM HUP
postgres=$1 data=$2 log=$3 sockets=$4 folder=$5
shift 5
while read -r word signal; do
    case $word in
        start) "$postgres" -D "$data" -k "$sockets" "$@" >>"$log" 2>&1 </dev/null & pid=$!; echo started ;;
        stop) kill "-$signal" "$pid"; wait "$pid" 2>/dev/null; pid=; echo stopped ;;
    esac
done
if [ -n "$pid" ]; then kill -QUIT "$pid"; wait "$pid"; fi 2>/dev/null
rm -rf "$sockets" "$folder"
"#;

/// What a keeper is told about its server.
pub(crate) struct Order<'a> {
    pub(crate) postgres: &'a Path,
    pub(crate) data: &'a Path,
    pub(crate) log: &'a Path,
    pub(crate) sockets: &'a Path,
    /// Removed at the end, with `sockets`.
    pub(crate) folder: &'a Path,
    pub(crate) settings: &'a [(String, String)],
    /// User and group to become.
    pub(crate) user: Option<(u32, u32)>,
}

#[derive(Debug)]
pub(crate) struct Keeper {
    child: Child,
    commands: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Keeper {
    pub(crate) fn spawn(order: &Order<'_>) -> Result<Self, String> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "keeper"]);
        command.args([order.postgres, order.data, order.log, order.sockets, order.folder]);
        for (name, value) in order.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        // A place that the server's user can enter, unlike perhaps ours.
        command.current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        become_user(&mut command, order.user);
        let mut child = command.spawn().map_err(|error| format!("/bin/sh: {error}"))?;
        let commands = child.stdin.take();
        let replies = child.stdout.take().ok_or("the keeper has no output")?;
        Ok(Self { child, commands, replies: BufReader::new(replies) })
    }

    /// Sends a command and waits until it is done.
    pub(crate) fn tell(&mut self, command: &str) -> Result<(), String> {
        let commands = self.commands.as_mut().ok_or("the keeper was let go")?;
        writeln!(commands, "{command}").map_err(|error| format!("the keeper of the server is gone: {error}"))?;
        let mut reply = String::new();
        match self.replies.read_line(&mut reply) {
            Ok(1..) => Ok(()),
            Ok(0) => Err("the keeper of the server is gone".to_owned()),
            Err(error) => Err(format!("the keeper of the server: {error}")),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.child.wait();
    }
}

pub(crate) fn become_user(command: &mut Command, user: Option<(u32, u32)>) {
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
}

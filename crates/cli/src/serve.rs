//! `stormproof serve`: the gateway, with a line of JSON on the standard output for everything worth telling.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use stormproof::Clock;
use stormproof::events::{Damper, Suppressed, log, timestamp};
use stormproof_gateway::{Config, Ended, Hangups, Reload, Server, Told, signals};
use tokio::runtime::Handle;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{FAILED, TOKEN, Unloaded};

/// Run the gateway
///
/// SIGHUP reads the file again: circuits and limits keep their state, and a file that is bad changes nothing. SIGTERM and
/// SIGINT let calls under way end; a second one ends at once. The log is on the standard output, a line of JSON for each
/// event.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Listen for calls here, whatever the file says
    #[arg(long, value_name = "ADDR", value_parser = crate::values::address)]
    listen: Option<SocketAddr>,
}

/// After a second signal the code is this and its number, as a shell has it for a program that a signal ended.
const SIGNALLED: i32 = 128;
/// The log may take so long for its last lines.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &Args) -> ExitCode {
    let config = match load(args) {
        Ok(config) => config,
        Err(wrong) => {
            eprintln!("{wrong}");
            return wrong.code();
        }
    };
    match crate::block_on(serve(config, args)) {
        Ok((Ended::Aborted, signal)) => ExitCode::from(u8::try_from(SIGNALLED + signal).unwrap_or(FAILED)),
        Ok((Ended::TimedOut, _)) => {
            eprintln!("stormproof: calls were still under way after drain_timeout and were cut off");
            ExitCode::from(FAILED)
        }
        Ok((Ended::Drained, _)) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("stormproof: {message}");
            ExitCode::from(FAILED)
        }
    }
}

fn load(args: &Args) -> Result<Config, Unloaded> {
    let mut config = crate::load(&args.config)?;
    if let Some(address) = args.listen {
        config.gateway.listen = address;
    }
    Ok(config)
}

/// Reads the file again at each SIGHUP. One that is bad changes nothing, and the log says what is wrong with it.
async fn reload_at(mut hangups: Hangups, reload: Reload, args: Args) {
    loop {
        hangups.next().await;
        let (reload, args) = (reload.clone(), args.clone());
        let reloading = tokio::task::spawn_blocking(move || match load(&args) {
            Ok(config) => {
                if reload.apply(&config).is_ok_and(|reloaded| reloaded.needs_restart) {
                    say("restart_needed", json!({ "changed": "gateway" }));
                }
            }
            Err(wrong) => reload.refused(&wrong.to_string()),
        });
        if reloading.await.is_err() {
            return;
        }
    }
}

/// How it ended, and by which second signal if by one.
async fn serve(config: Config, args: &Args) -> Result<(Ended, i32), String> {
    let token = std::env::var_os(TOKEN).map(|token| token.into_string().map_err(|_| format!("{TOKEN} is not UTF-8")));
    let token = token.transpose()?;
    let upstreams: Vec<_> = config.upstreams.keys().cloned().collect();
    let log_interval = config.gateway.log_interval;
    let server = Server::bind(config, token).await.map_err(|error| error.to_string())?;
    let deaf = |error| format!("cannot listen to signals: {error}");
    let ((drain, abort), hangups) = (signals().map_err(deaf)?, Hangups::listen().map_err(deaf)?);
    let reloading = tokio::spawn(reload_at(hangups, server.reload(), args.clone()));
    say(
        "started",
        json!({
            "listen": server.address().to_string(),
            "admin": server.admin_address().to_string(),
            "upstreams": upstreams,
        }),
    );
    let (_, events) = server.feed().follow(None);
    // A thread of its own: writing may block, and nothing that serves may wait for it.
    let (written, writing) = oneshot::channel::<()>();
    let runtime = Handle::current();
    std::thread::spawn(move || {
        write_events(&runtime, events, log_interval);
        drop(written);
    });
    let drain = async {
        drain.await;
        drop(say_aside("draining", json!({})));
    };
    let mut signal = 0;
    let abort = async { signal = abort.await };
    let ended = server.serve(drain, abort).await;
    reloading.abort();
    let _ = reloading.await;
    // The feed ends with the server, and the writer when it has written what was left; unless nobody reads the log.
    let _ = tokio::time::timeout(LAST_WORDS, writing).await;
    let stopped = say_aside("stopped", json!({ "drained": ended == Ended::Drained }));
    let _ = tokio::time::timeout(LAST_WORDS, stopped).await;
    Ok((ended, signal))
}

/// Says it on a thread of its own: a log that nobody reads must not keep the gateway from ending.
fn say_aside(event: &'static str, more: Value) -> JoinHandle<()> {
    tokio::task::spawn_blocking(move || say(event, more))
}

fn write_events(runtime: &Handle, mut events: Receiver<Arc<Told>>, interval: Duration) {
    let clock = Clock::system();
    let mut damper = Damper::new(interval);
    let write = |summaries: &[Suppressed]| {
        for summary in summaries {
            write_line(&log::suppressed(summary, SystemTime::now()));
        }
    };
    loop {
        let until_due = damper.next_due().since(clock.now());
        let told = match runtime.block_on(async { timeout(until_due, events.recv()).await }) {
            Ok(Ok(told)) => Some(told),
            Ok(Err(RecvError::Lagged(lost))) => {
                say("log_lines_lost", json!({ "lost": lost }));
                None
            }
            Ok(Err(RecvError::Closed)) => break,
            Err(_due) => None,
        };
        write(&damper.due(clock.now()));
        if let Some(told) = told
            && damper.offer(clock.now(), &told.event)
        {
            write_line(&told.json());
        }
    }
    write(&damper.finish(clock.now()));
}

fn say(event: &str, more: Value) {
    let mut line = json!({ "timestamp": timestamp(SystemTime::now()), "event": event });
    if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
        line.extend(more);
    }
    write_line(&line.to_string());
}

fn write_line(line: &str) {
    // Nobody reads the log any more: that is no reason to stop serving.
    let _ = writeln!(std::io::stdout(), "{line}");
}

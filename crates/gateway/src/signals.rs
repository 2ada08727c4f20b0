//! The signals that stop the gateway, and the one that reloads it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Two futures: ready at the first SIGTERM or SIGINT, and at the second, with its number.
///
/// # Errors
/// If the signals cannot be listened to. Needs a tokio runtime.
pub fn signals() -> io::Result<(impl Future<Output = ()>, impl Future<Output = i32>)> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, receiver) = watch::channel((0_u32, 0));
    tokio::spawn(async move {
        for count in 1..=2 {
            let kind = tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            };
            if sender.send((count, kind.as_raw_value())).is_err() {
                return;
            }
        }
    });
    let first = reached(receiver.clone(), 1);
    let first = async move {
        first.await;
    };
    Ok((first, reached(receiver, 2)))
}

/// SIGHUP, which asks for a reload. From [`listen`](Self::listen) on it ends the process no more.
#[derive(Debug)]
pub struct Hangups(Signal);

impl Hangups {
    /// Takes the signal.
    ///
    /// # Errors
    /// If it cannot be listened to. Needs a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// The next one. Several that come before they are waited for are one.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // Nobody will tell any more.
            std::future::pending::<()>().await;
        }
    }
}

/// The number of the signal, when there have been so many.
async fn reached(mut receiver: watch::Receiver<(u32, i32)>, count: u32) -> i32 {
    let seen = receiver.wait_for(|(seen, _)| *seen >= count).await.map(|seen| seen.1);
    match seen {
        Ok(number) => number,
        // Nobody will tell any more.
        Err(_) => std::future::pending().await,
    }
}

//! The signals that stop the gateway.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Two futures: ready at the first SIGTERM, SIGINT or SIGHUP, and at the second, with its number.
///
/// # Errors
/// If the signals cannot be listened to. Needs a tokio runtime.
pub fn signals() -> io::Result<(impl Future<Output = ()>, impl Future<Output = i32>)> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = watch::channel((0_u32, 0));
    tokio::spawn(async move {
        for count in 1..=2 {
            let kind = tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = hangup.recv() => SignalKind::hangup(),
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

/// The number of the signal, when there have been so many.
async fn reached(mut receiver: watch::Receiver<(u32, i32)>, count: u32) -> i32 {
    let seen = receiver.wait_for(|(seen, _)| *seen >= count).await.map(|seen| seen.1);
    match seen {
        Ok(number) => number,
        // Nobody will tell any more.
        Err(_) => std::future::pending().await,
    }
}

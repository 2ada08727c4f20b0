//! The signals that stop the gateway.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Two futures: ready at the first SIGTERM or SIGINT, and at the second.
///
/// # Errors
/// If the signals cannot be listened to. Needs a tokio runtime.
pub fn signals() -> io::Result<(impl Future<Output = ()>, impl Future<Output = ()>)> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, receiver) = watch::channel(0_u32);
    tokio::spawn(async move {
        for count in 1..=2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if sender.send(count).is_err() {
                return;
            }
        }
    });
    Ok((reached(receiver.clone(), 1), reached(receiver, 2)))
}

async fn reached(mut receiver: watch::Receiver<u32>, count: u32) {
    if receiver.wait_for(|seen| *seen >= count).await.is_err() {
        // Nobody will tell any more.
        std::future::pending::<()>().await;
    }
}

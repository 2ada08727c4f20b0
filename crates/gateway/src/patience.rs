//! How long a silence may last.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use stormproof_http::Error;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};

/// Whom an upload waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The upstream: it has all of the body, or does not take what is there.
    #[default]
    Upstream,
    /// The client, which sends nothing at the moment.
    Client,
    /// Nobody any more: the client sent nothing for too long.
    Nobody,
}

/// Measures one silence after the other. The timer is made for the first and used for all.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, timer: None, running: false }
    }

    /// The silence is over.
    pub(crate) fn reset(&mut self) {
        self.running = false;
    }

    /// It is silent; ready when it has been for too long.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        // A wait so long that the clock cannot name its end never ends.
        let Some(until) = Instant::now().checked_add(limit) else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if !self.running {
            timer.as_mut().reset(until);
            self.running = true;
        }
        timer.as_mut().poll(cx)
    }
}

/// Waits for the upstream's answer to a body that streams, for at most `limit` in all; the time in which the client is
/// waited for does not count.
pub(crate) async fn of_upstream<T>(
    limit: Duration,
    mut progress: watch::Receiver<Awaited>,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut answer = pin!(answer);
    let (mut left, mut ended) = (limit, false);
    loop {
        let counts = ended || *progress.borrow_and_update() == Awaited::Upstream;
        let since = Instant::now();
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            changed = progress.changed(), if !ended => ended = changed.is_err(),
            () = sleep(left), if counts => return Err(Error::Timeout),
        }
        if counts {
            left = left.saturating_sub(since.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    async fn wait(answer_after: u64, client: &[(u64, Awaited)]) -> Result<(), Error> {
        let sender = watch::Sender::new(Awaited::Upstream);
        let receiver = sender.subscribe();
        let client = client.to_vec();
        tokio::spawn(async move {
            for (millis, awaited) in client {
                sleep(Duration::from_millis(millis)).await;
                sender.send_replace(awaited);
            }
        });
        let answer = async {
            sleep(Duration::from_millis(answer_after)).await;
            Ok(())
        };
        of_upstream(LIMIT, receiver, answer).await
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_time_of_the_upstream_counts() {
        use Awaited::{Client, Upstream};
        assert_eq!(wait(999, &[]).await, Ok(()));
        assert_eq!(wait(1001, &[]).await, Err(Error::Timeout));
        // Half a second of the upstream's, an hour of the client's, then what is left.
        let slow = [(500, Client), (3_600_000, Upstream)];
        assert_eq!(wait(3_600_990, &slow).await, Ok(()));
        assert_eq!(wait(3_601_010, &slow).await, Err(Error::Timeout));
    }
}

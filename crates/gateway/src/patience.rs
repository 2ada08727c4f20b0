//! How long a silence may last.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

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

//! Writing in groups.
//!
//! A flush to disk takes longer than everything else about a write, and PostgreSQL does one flush a transaction. So what
//! is to be written at the same time shares a statement. Each lane sends what has gathered while it was away; a lone
//! write goes at once. The statements are in `steps.rs` and `runs.rs`: each checks the fence of each of its group.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use deadpool_postgres::{Client, Pool};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{
    pool::{Connections, LANES, ask},
    trouble::{Patience, Trouble},
};
use crate::error::StoreError;

/// At most so many writes, and about so many bytes of values, go at once.
const GROUP: usize = 256;
const GROUP_BYTES: usize = 4 << 20;
/// So many wait at most; who comes then waits until there is room.
const QUEUE: usize = 4_096;

/// What is written in groups.
pub(super) trait Grouped: Send + Sync + Sized + 'static {
    /// What became of it.
    type Answer: Send;

    /// The run and the step it writes, or 0: a statement changes a row once, so no two of a group have the same.
    fn row(&self) -> (&str, u32);

    /// About how large it is.
    fn bytes(&self) -> usize;

    /// Writes all of them in one transaction. The answers are in their order. Written again after a lost answer, each is
    /// recognised.
    fn write(client: &Client, group: &[&Self]) -> impl Future<Output = Result<Vec<Self::Answer>, Trouble>> + Send;
}

/// Takes writes of a kind to the database.
pub(crate) struct Lanes<W: Grouped> {
    queue: Arc<std::sync::Mutex<mpsc::Sender<Item<W>>>>,
    pool: Pool,
    /// How long a question may take.
    limit: Duration,
    at: Box<str>,
}

impl<W: Grouped> Clone for Lanes<W> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), pool: self.pool.clone(), limit: self.limit, at: self.at.clone() }
    }
}

impl<W: Grouped> fmt::Debug for Lanes<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").finish_non_exhaustive()
    }
}

/// A write on its way, and who waits for it.
struct Item<W: Grouped> {
    write: W,
    answer: oneshot::Sender<Result<W::Answer, StoreError>>,
}

impl<W: Grouped> Lanes<W> {
    /// Starts the lanes on the present runtime. They end when the last clone is dropped and all is written.
    pub(super) fn start(connections: &Connections, at: &str) -> Self {
        let (pool, limit) = (connections.lanes.clone(), connections.timeout);
        let queue = Arc::new(std::sync::Mutex::new(start(&pool, limit, at)));
        Self { queue, pool, limit, at: at.into() }
    }

    pub(super) async fn write(&self, write: W) -> Result<W::Answer, StoreError> {
        let (answer, answered) = oneshot::channel();
        let queue = self.queue();
        if let Err(back) = queue.send(Item { write, answer }).await {
            // The runtime that the lanes were on has ended.
            let _ = self.queue_after(&queue).send(back.0).await;
        }
        answered.await.unwrap_or_else(|_| {
            let why = "the runtime that wrote to it has ended".into();
            Err(Trouble::Away { why, broken: false }.into_error(&self.at))
        })
    }

    fn queue(&self) -> mpsc::Sender<Item<W>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The queue of lanes on the present runtime, instead of `ended`.
    fn queue_after(&self, ended: &mpsc::Sender<Item<W>>) -> mpsc::Sender<Item<W>> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.same_channel(ended) {
            *queue = start(&self.pool, self.limit, &self.at);
        }
        queue.clone()
    }
}

fn start<W: Grouped>(pool: &Pool, limit: Duration, at: &str) -> mpsc::Sender<Item<W>> {
    let (queue, waiting) = mpsc::channel(QUEUE);
    let waiting = Arc::new(Mutex::new(waiting));
    for _ in 0..LANES {
        let lane = Lane { waiting: Arc::clone(&waiting), pool: pool.clone(), limit, at: at.into() };
        tokio::spawn(lane.run());
    }
    queue
}

struct Lane<W: Grouped> {
    waiting: Arc<Mutex<mpsc::Receiver<Item<W>>>>,
    pool: Pool,
    limit: Duration,
    at: Box<str>,
}

impl<W: Grouped> Lane<W> {
    async fn run(self) {
        while let Some(group) = self.gather().await {
            self.send(group).await;
        }
    }

    /// What waits, as soon as something does.
    async fn gather(&self) -> Option<Vec<Item<W>>> {
        let mut waiting = self.waiting.lock().await;
        let first = waiting.recv().await?;
        let mut bytes = first.write.bytes();
        let mut group = vec![first];
        while group.len() < GROUP && bytes < GROUP_BYTES {
            let Ok(item) = waiting.try_recv() else { break };
            bytes += item.write.bytes();
            group.push(item);
        }
        Some(group)
    }

    async fn send(&self, mut group: Vec<Item<W>>) {
        while !group.is_empty() {
            // A second write of a row goes in the next statement.
            let (now, later) = apart(group);
            group = later;
            let writes: Vec<&W> = now.iter().map(|item| &item.write).collect();
            match self.written(&writes).await {
                Ok(answers) => {
                    for (item, answer) in now.into_iter().zip(answers) {
                        let _ = item.answer.send(Ok(answer));
                    }
                }
                Err(trouble) if now.len() == 1 || trouble.is_away() => {
                    for item in now {
                        let _ = item.answer.send(Err(trouble.clone().into_error(&self.at)));
                    }
                }
                // One that cannot be written must not take the others with it.
                Err(_) => {
                    for item in now {
                        let answer = self.alone(&item.write).await;
                        let _ = item.answer.send(answer.map_err(|trouble| trouble.into_error(&self.at)));
                    }
                }
            }
        }
    }

    async fn alone(&self, write: &W) -> Result<W::Answer, Trouble> {
        let answer = self.written(&[write]).await?.pop();
        answer.ok_or_else(|| Trouble::refused("a write had no answer"))
    }

    async fn written(&self, group: &[&W]) -> Result<Vec<W::Answer>, Trouble> {
        let mut patience = Patience::new(self.limit);
        loop {
            match ask(&self.pool, self.limit, async |client| W::write(client, group).await).await {
                Ok(answers) => return Ok(answers),
                Err(trouble) => patience.after(trouble).await?,
            }
        }
    }
}

/// The first write of each row, and those that come after it.
fn apart<W: Grouped>(group: Vec<Item<W>>) -> (Vec<Item<W>>, Vec<Item<W>>) {
    let mut seen = HashSet::with_capacity(group.len());
    let first: Vec<bool> = group.iter().map(|item| seen.insert(item.write.row())).collect();
    let mut first = first.into_iter();
    group.into_iter().partition(|_| first.next().unwrap_or(true))
}

//! How steps are written: many at once.
//!
//! A flush to disk takes longer than everything else about a step, and PostgreSQL does one flush a transaction. So steps
//! that are to be written at the same time share a statement. Each lane sends what has gathered while it was away; a lone
//! step goes at once. The fence is checked for each step of a group by itself.

use std::collections::HashSet;
use std::sync::Arc;

use deadpool_postgres::Client;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{
    pool::{Connections, LANES, ask},
    rows,
    trouble::{Patience, Trouble},
};
use crate::error::StoreError;
use crate::run::Step;
use crate::store::{Fence, Written};

/// At most so many steps, and about so many bytes of values, go at once.
const GROUP: usize = 256;
const GROUP_BYTES: usize = 4 << 20;
/// So many wait at most; who comes then waits until there is room.
const QUEUE: usize = 4_096;

/// The fence of each step is looked up by the run's key and locked, in the order of the keys so that two groups do not
/// wait for each other, and compared as it is once the lock is held. Without the lock a step slips in while a claim is
/// about to be committed.
pub(super) const WRITE: &str = "
    with input as (
        select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::text[], $9::text[]) as input(run_id, epoch, seq, name, fp, kind, state, value, attempt_id)
        order by run_id, seq),
    written as (insert into stormproof.step (run_id, epoch, seq, name, fp, kind, state, value, attempt_id)
    select input.* from input cross join lateral (
        select run.epoch, run.state from stormproof.run where run.id = input.run_id for share) as held
    where held.epoch = input.epoch and held.state = 'running'
    on conflict (run_id, seq) do update set name = excluded.name, fp = excluded.fp, kind = excluded.kind,
        state = excluded.state, value = excluded.value, epoch = excluded.epoch, attempt_id = excluded.attempt_id
        where step.state <> 'done'
    returning run_id, state, attempt_id),
    progress as (update stormproof.run set attempts = 1 from written
        where run.id = written.run_id and written.state = 'done' and run.attempts > 1)
    select attempt_id from written";

const STANDS: &str = "
    select input.attempt_id from unnest($1::text[], $2::bigint[], $3::text[]) as input(run_id, seq, attempt_id)
    cross join lateral (
        select 1 from stormproof.step where step.run_id = input.run_id and step.seq = input.seq
            and step.attempt_id = input.attempt_id limit 1) as stands";

/// A step on its way, and who waits for it.
struct Item {
    fence: Fence,
    step: Step,
    answer: oneshot::Sender<Result<Written, StoreError>>,
}

/// Takes steps to the database.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    queue: mpsc::Sender<Item>,
    at: Box<str>,
}

impl Lanes {
    /// Starts the lanes on the present runtime. They end when the last clone is dropped and all is written.
    pub(crate) fn start(connections: &Connections, at: &str) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..LANES {
            let lane = Lane { waiting: Arc::clone(&waiting), connections: connections.clone(), at: at.into() };
            tokio::spawn(lane.run());
        }
        Self { queue, at: at.into() }
    }

    pub(crate) async fn write(&self, fence: &Fence, step: &Step) -> Result<Written, StoreError> {
        let (answer, answered) = oneshot::channel();
        let item = Item { fence: fence.clone(), step: step.clone(), answer };
        let gone = || Trouble::refused("the runtime it was opened on has ended").into_error(&self.at);
        self.queue.send(item).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

struct Lane {
    waiting: Arc<Mutex<mpsc::Receiver<Item>>>,
    connections: Connections,
    at: Box<str>,
}

impl Lane {
    async fn run(self) {
        while let Some(group) = self.gather().await {
            self.send(group).await;
        }
    }

    /// What waits, as soon as something does.
    async fn gather(&self) -> Option<Vec<Item>> {
        let mut waiting = self.waiting.lock().await;
        let first = waiting.recv().await?;
        let mut bytes = size(&first);
        let mut group = vec![first];
        while group.len() < GROUP && bytes < GROUP_BYTES {
            let Ok(item) = waiting.try_recv() else { break };
            bytes += size(&item);
            group.push(item);
        }
        Some(group)
    }

    async fn send(&self, mut group: Vec<Item>) {
        while !group.is_empty() {
            // A statement changes a row once: a second write of a step goes in the next.
            let mut seen = HashSet::with_capacity(group.len());
            let (now, later): (Vec<_>, Vec<_>) =
                group.into_iter().partition(|item| seen.insert((item.fence.run.clone(), item.step.seq)));
            group = later;
            match self.written(&now).await {
                Ok(answers) => {
                    for (item, written) in now.into_iter().zip(answers) {
                        let _ = item.answer.send(Ok(written));
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
                        let answer = self.written(std::slice::from_ref(&item)).await;
                        let answer = answer.map(|answers| answers.first().copied().unwrap_or(Written::Fenced));
                        let _ = item.answer.send(answer.map_err(|trouble| trouble.into_error(&self.at)));
                    }
                }
            }
        }
    }

    async fn written(&self, group: &[Item]) -> Result<Vec<Written>, Trouble> {
        let mut patience = Patience::new(self.connections.timeout);
        loop {
            let limit = self.connections.timeout;
            match ask(&self.connections.lanes, limit, async |client| write(client, group).await).await {
                Ok(answers) => return Ok(answers),
                Err(trouble) => patience.after(trouble).await?,
            }
        }
    }
}

/// One statement for the group; a second one only if not all of it was written.
async fn write(client: &Client, group: &[Item]) -> Result<Vec<Written>, Trouble> {
    let steps = || group.iter().map(|item| &item.step);
    let runs: Vec<&str> = group.iter().map(|item| item.fence.run.as_str()).collect();
    let epochs: Vec<i64> = group.iter().map(|item| item.fence.epoch).collect();
    let seqs: Vec<i64> = steps().map(|step| i64::from(step.seq)).collect();
    let names: Vec<&str> = steps().map(|step| &*step.name).collect();
    let fps: Vec<&str> = steps().map(|step| &*step.fp).collect();
    let kinds: Vec<&str> = steps().map(|step| step.kind.as_str()).collect();
    let states: Vec<&str> = steps().map(|step| step.state.as_str()).collect();
    let values: Vec<Option<&str>> = steps().map(|step| step.value.as_deref()).collect();
    let attempts: Vec<&str> = steps().map(|step| &*step.attempt_id).collect();

    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 9] =
        [&runs, &epochs, &seqs, &names, &fps, &kinds, &states, &values, &attempts];
    let done = rows::all(client, WRITE, &params).await?;
    if done.len() == group.len() {
        return Ok(vec![Written::Done; group.len()]);
    }
    // Asked after the write, hence with a newer view: what an earlier try of ours has committed is in it.
    let stands = rows::all(client, STANDS, &[&runs, &seqs, &attempts]).await?;
    let set =
        |rows: &[tokio_postgres::Row]| rows.iter().map(|row| row.try_get(0)).collect::<Result<HashSet<String>, _>>();
    let (done, stands) = (set(&done)?, set(&stands)?);
    let answer = |attempt: &&str| match (done.contains(*attempt), stands.contains(*attempt)) {
        (true, _) => Written::Done,
        (false, true) => Written::Already,
        (false, false) => Written::Fenced,
    };
    Ok(attempts.iter().map(answer).collect())
}

fn size(item: &Item) -> usize {
    item.step.value.as_ref().map_or(0, |value| value.len())
}

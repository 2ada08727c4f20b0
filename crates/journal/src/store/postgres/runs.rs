//! How runs begin and end, written in groups.

use std::collections::HashMap;

use deadpool_postgres::Client;

use super::lanes::Grouped;
use super::rows::{self, into_step, now, replace_step};
use super::steps::{Columns, texts};
use super::trouble::Trouble;
use crate::run::{Epoch, RunId, State, Step, millis};
use crate::store::{End, Fence, NewRun, Worker, Written};

/// A run to be made. The answer is its epoch, or none if there is one with its id already.
pub(crate) struct Start {
    new: NewRun,
    /// The worker that has it at once, and the effect it begins.
    claimed: Option<(String, Step)>,
}

impl Start {
    pub(super) fn queued(new: &NewRun) -> Self {
        Self { new: new.clone(), claimed: None }
    }

    pub(super) fn claimed(new: &NewRun, by: &Worker, first: &Step) -> Self {
        Self { new: new.clone(), claimed: Some((by.id.clone(), first.clone())) }
    }
}

/// In the order of the keys, so that two groups do not wait for each other. Its epoch is beyond those of the runs that
/// were forgotten: one of them may have had this id, and the clock may have been set back.
const START: &str = concat!(
    "with wanted as (
        select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
            $8::bigint[], $9::text[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[],
            $16::text[]) as wanted(id, name, version, input, fp, parent, delay, ttl, owner,
            seq, step, step_fp, kind, progress, value, attempt_id)
        order by id),
    made as (
        insert into stormproof.run (id, name, version, input, fp, state, epoch, owner, attempts, wake_at, parent,
            expires_at, created_at, changed_at)
        select id, name, version, input, fp, case when owner is null then 'queued' else 'running' end,
            case when owner is null then forgotten else greatest(forgotten + 1, at.ms) end, owner, case when owner is null then 0 else 1 end,
            at.ms + delay, parent, at.ms + ttl, at.ms, at.ms
        from wanted cross join (select ",
    now!(),
    " as ms) as at cross join (select forgotten from stormproof.meta) as mark on conflict (id) do nothing returning id, epoch),
    first as (",
    into_step!(),
    " select made.id, made.epoch, seq, step, step_fp, kind, progress, value, attempt_id
        from made join wanted using (id) where owner is not null)
    select id, epoch from made",
);

impl Grouped for Start {
    type Answer = Option<Epoch>;

    fn row(&self) -> (&str, u32) {
        (self.new.id.as_str(), 0)
    }

    fn bytes(&self) -> usize {
        self.new.input.len()
    }

    async fn write(client: &Client, group: &[&Self]) -> Result<Vec<Self::Answer>, Trouble> {
        let texts = |text: fn(&NewRun) -> &str| group.iter().map(|start| text(&start.new)).collect::<Vec<_>>();
        let (ids, names, versions) = (texts(|new| new.id.as_str()), texts(|new| &new.name), texts(|new| &new.version));
        let (inputs, fps) = (texts(|new| &new.input), texts(|new| &new.fp));
        let parents: Vec<_> = group.iter().map(|start| start.new.parent.as_ref().map(RunId::as_str)).collect();
        let delays: Vec<i64> = group.iter().map(|start| millis(start.new.delay)).collect();
        let ttls: Vec<_> = group.iter().map(|start| start.new.ttl.map(millis)).collect();
        let owners: Vec<_> = group.iter().map(|start| start.claimed.as_ref().map(|(owner, _)| &**owner)).collect();
        let steps = Columns::of(&group.iter().map(|start| start.claimed.as_ref().map(|(_, first)| first)));
        let params = steps.after(&[&ids, &names, &versions, &inputs, &fps, &parents, &delays, &ttls, &owners]);
        let made = rows::all(client, START, &params).await?;
        let made = made.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
        let made: HashMap<String, Epoch> = made.collect::<Result<_, Trouble>>()?;
        Ok(ids.iter().map(|id| made.get(*id).copied()).collect())
    }
}

/// How a run is left by its worker.
pub(crate) struct Finish {
    fence: Fence,
    /// Written in the same transaction.
    last: Option<Step>,
    state: State,
    result: Option<Box<str>>,
    error: Option<String>,
    /// Until it is due again, if it is queued.
    after: Option<i64>,
    parked: bool,
}

impl Finish {
    pub(super) fn new(fence: &Fence, last: Option<&Step>, end: &End) -> Result<Self, Trouble> {
        let (state, result, error, after, parked) = match end {
            End::Ok(result) => (State::Ok, Some(result.clone()), None, None, false),
            End::Err(failure) => (State::Err, None, Some(rows::failure(failure)?), None, false),
            End::Blocked(failure) => (State::Blocked, None, Some(rows::failure(failure)?), None, false),
            End::Parked { after } => (State::Queued, None, None, Some(millis(*after)), true),
            End::Again { after, why } => (State::Queued, None, Some(rows::failure(why)?), Some(millis(*after)), false),
        };
        Ok(Self { fence: fence.clone(), last: last.cloned(), state, result, error, after, parked })
    }
}

/// As with steps, the row is locked in the order of the keys, and its fence compared as it is then. A message that came
/// after the worker had looked for one must not be slept through.
const FINISH: &str = concat!(
    "with wanted as (
        select * from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bool[],
            $8::bigint[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[])
            as wanted(id, epoch, state, result, error, after, parked,
            seq, name, fp, kind, progress, value, attempt_id)
        order by id),
    held as (
        select wanted.* from wanted cross join lateral (
            select run.epoch, run.state from stormproof.run where run.id = wanted.id limit 1 for no key update) as run
        where run.epoch = wanted.epoch and run.state = 'running' and not exists (
            select 1 from stormproof.step where step.run_id = wanted.id and step.seq = wanted.seq
                and step.state = 'done' and step.attempt_id <> wanted.attempt_id)),
    ended as (
        update stormproof.run set state = held.state, result = held.result, error = held.error, owner = null,
            changed_at = at.ms, parked = held.parked and not run.signalled,
            wake_at = case when held.after is null then run.wake_at when held.parked and run.signalled then at.ms
                else at.ms + held.after end,
            attempts = greatest(case when held.progress = 'done' then least(run.attempts, 1) else run.attempts end
                - case when held.parked then 1 else 0 end, 0)
        from held cross join (select ",
    now!(),
    " as ms) as at where run.id = held.id
        returning held.*),
    last as (",
    into_step!(),
    " select id, epoch, seq, name, fp, kind, progress, value, attempt_id from ended where seq is not null ",
    replace_step!(),
    ") select id from ended",
);

/// What an earlier try of ours has committed.
const STANDS: &str = "
    select wanted.id from unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::text[])
        as wanted(id, epoch, state, seq, attempt_id)
    cross join lateral (
        select 1 from stormproof.run where run.id = wanted.id and run.epoch = wanted.epoch
            and run.state = wanted.state limit 1) as stands
    where wanted.seq is null or exists (
        select 1 from stormproof.step where step.run_id = wanted.id and step.seq = wanted.seq
            and step.attempt_id = wanted.attempt_id)";

impl Grouped for Finish {
    type Answer = Written;

    fn row(&self) -> (&str, u32) {
        (self.fence.run.as_str(), 0)
    }

    fn bytes(&self) -> usize {
        let last = self.last.as_ref().and_then(|step| step.value.as_ref());
        last.map_or(0, |value| value.len()) + self.result.as_ref().map_or(0, |value| value.len())
    }

    async fn write(client: &Client, group: &[&Self]) -> Result<Vec<Written>, Trouble> {
        let ids: Vec<&str> = group.iter().map(|finish| finish.fence.run.as_str()).collect();
        let epochs: Vec<i64> = group.iter().map(|finish| finish.fence.epoch).collect();
        let states: Vec<&str> = group.iter().map(|finish| finish.state.as_str()).collect();
        let results: Vec<_> = group.iter().map(|finish| finish.result.as_deref()).collect();
        let errors: Vec<_> = group.iter().map(|finish| finish.error.as_deref()).collect();
        let afters: Vec<_> = group.iter().map(|finish| finish.after).collect();
        let parked: Vec<bool> = group.iter().map(|finish| finish.parked).collect();
        let steps = Columns::of(&group.iter().map(|finish| finish.last.as_ref()));
        let params = steps.after(&[&ids, &epochs, &states, &results, &errors, &afters, &parked]);
        let done = rows::all(client, FINISH, &params).await?;
        if done.len() == group.len() {
            return Ok(vec![Written::Done; group.len()]);
        }
        let stands = rows::all(client, STANDS, &[&ids, &epochs, &states, &steps.seqs, &steps.attempts]).await?;
        let (done, stands) = (texts(&done)?, texts(&stands)?);
        let answer = |id: &&str| match (done.contains(*id), stands.contains(*id)) {
            (true, _) => Written::Done,
            (false, true) => Written::Already,
            (false, false) => Written::Fenced,
        };
        Ok(ids.iter().map(answer).collect())
    }
}

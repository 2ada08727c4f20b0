//! Steps, written in groups.

use std::collections::HashSet;

use deadpool_postgres::Client;
use tokio_postgres::types::ToSql;

use super::lanes::Grouped;
use super::rows::{self, into_step, replace_step};
use super::trouble::Trouble;
use crate::run::Step;
use crate::store::{Fence, Written};

/// The fence of each step is looked up by the run's key and locked, in the order of the keys so that two groups do not
/// wait for each other, and compared as it is once the lock is held. Without the lock a step slips in while a claim is
/// about to be committed. With the limit the planner cannot look for it among all runs that are
/// running. Attempts are counted anew after a step that is done; where others hold the row, too, that is left to the next
/// step, rather than wait for them with a lock that they wait for.
pub(super) const WRITE: &str = concat!(
    "with input as (
        select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::text[], $9::text[]) as input(run_id, epoch, seq, name, fp, kind, state, value, attempt_id)
        order by run_id, seq),
    written as (",
    into_step!(),
    " select input.* from input cross join lateral (
        select run.epoch, run.state from stormproof.run where run.id = input.run_id limit 1 for share) as held
    where held.epoch = input.epoch and held.state = 'running' ",
    replace_step!(),
    " and step.attempt_id <> excluded.attempt_id returning run_id, state, attempt_id),
    progress as (update stormproof.run set attempts = 1 where id in (
        select run.id from stormproof.run join written on written.run_id = run.id
        where written.state = 'done' and run.attempts > 1 for no key update of run skip locked))
    select attempt_id from written",
);

const STANDS: &str = "
    select input.attempt_id from unnest($1::text[], $2::bigint[], $3::text[]) as input(run_id, seq, attempt_id)
    cross join lateral (
        select 1 from stormproof.step where step.run_id = input.run_id and step.seq = input.seq
            and step.attempt_id = input.attempt_id limit 1) as stands";

/// A step to be written.
pub(crate) struct Record {
    pub(super) fence: Fence,
    pub(super) step: Step,
}

impl Grouped for Record {
    type Answer = Written;

    fn row(&self) -> (&str, u32) {
        (self.fence.run.as_str(), self.step.seq)
    }

    fn bytes(&self) -> usize {
        self.step.value.as_ref().map_or(0, |value| value.len())
    }

    /// One statement for the group; a second one only if not all of it was written.
    async fn write(client: &Client, group: &[&Self]) -> Result<Vec<Written>, Trouble> {
        let runs: Vec<&str> = group.iter().map(|record| record.fence.run.as_str()).collect();
        let epochs: Vec<i64> = group.iter().map(|record| record.fence.epoch).collect();
        let steps = Columns::of(&group.iter().map(|record| Some(&record.step)));
        let done = rows::all(client, WRITE, &steps.after(&[&runs, &epochs])).await?;
        if done.len() == group.len() {
            return Ok(vec![Written::Done; group.len()]);
        }
        // Asked after the write, hence with a newer view: what an earlier try of ours has committed is in it.
        let stands = rows::all(client, STANDS, &[&runs, &steps.seqs, &steps.attempts]).await?;
        let (done, stands) = (texts(&done)?, texts(&stands)?);
        let answer = |record: &&Self| match &record.step.attempt_id {
            attempt if done.contains(attempt) => Written::Done,
            attempt if stands.contains(attempt) => Written::Already,
            _ => Written::Fenced,
        };
        Ok(group.iter().map(answer).collect())
    }
}

/// The first column.
pub(super) fn texts(rows: &[tokio_postgres::Row]) -> Result<HashSet<String>, Trouble> {
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// Steps as arrays, as statements for groups take them; null where there is none.
pub(super) struct Columns<'a> {
    pub(super) seqs: Vec<Option<i64>>,
    names: Vec<Option<&'a str>>,
    fps: Vec<Option<&'a str>>,
    kinds: Vec<Option<&'a str>>,
    states: Vec<Option<&'a str>>,
    values: Vec<Option<&'a str>>,
    pub(super) attempts: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(steps: &(impl Iterator<Item = Option<&'a Step>> + Clone)) -> Self {
        let texts = |text: fn(&Step) -> &str| steps.clone().map(|step| step.map(text)).collect();
        Self {
            seqs: steps.clone().map(|step| step.map(|step| i64::from(step.seq))).collect(),
            names: texts(|step| &step.name),
            fps: texts(|step| &step.fp),
            kinds: texts(|step| step.kind.as_str()),
            states: texts(|step| step.state.as_str()),
            values: steps.clone().map(|step| step.and_then(|step| step.value.as_deref())).collect(),
            attempts: texts(|step| &step.attempt_id),
        }
    }

    /// The parameters of a statement that has these columns last.
    pub(super) fn after<'p>(&'p self, first: &[&'p (dyn ToSql + Sync)]) -> Vec<&'p (dyn ToSql + Sync)> {
        let Self { seqs, names, fps, kinds, states, values, attempts } = self;
        let mut all = first.to_vec();
        all.extend([seqs as &(dyn ToSql + Sync), names, fps, kinds, states, values, attempts]);
        all
    }
}

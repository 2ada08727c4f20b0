//! The shapes that `--json` prints. Fields are added, never renamed or taken away.
//!
//! - `list`: an array of runs, newest first; `resume`, `cancel`: an array of the runs that were changed; `fork`: the copy.
//! - A run: `id`, `workflow`, `key`, `version`, `state`, `attempts`, `epoch`, `worker`, `created_at`, `wake_at`,
//!   `expires_at`, `error` (`kind`, `message`, `kept`, `step`), `parent`, `forked_from`, `input_bytes`, `result_bytes`;
//!   with `--values` also `input` and `result`.
//! - `show`: a run with `advice` (`text`, and `ways` with `when` and `command` each) and `steps`; a step: `number`, `name`, `kind`, `state`, `epoch`, `key` (what its callee got), `fingerprint`,
//!   `bytes`, `error`, and with `--values` `value`.
//! - `gc`: `dry_run`, `runs`, `steps`, `tasks`, `workers`.
//!
//! Moments are RFC 3339 in UTC. What is not there, is null.

use serde_json::{Value, json};
use stormproof_journal::{Failure, History, Millis, Progress, Run, Step};

use super::advice::{Advice, Way, advice};
use super::amount::moment;

pub(super) fn run(run: &Run, values: bool) -> Value {
    let key = run.id.as_str().strip_prefix(&run.name).and_then(|rest| rest.strip_prefix('/'));
    let mut object = json!({
        "id": run.id,
        "workflow": run.name,
        "key": key,
        "version": run.version,
        "state": run.state,
        "attempts": run.attempts,
        "epoch": run.epoch,
        "worker": run.owner,
        "created_at": moment(run.created_at),
        "wake_at": run.wake_at.and_then(moment),
        "expires_at": run.expires_at.and_then(moment),
        "error": run.error.as_ref().map(failure),
        "parent": run.parent,
        "forked_from": run.forked_from,
        "input_bytes": run.input.len(),
        "result_bytes": run.result.as_ref().map(|result| result.len()),
    });
    if values {
        object["input"] = value(&run.input);
        object["result"] = run.result.as_deref().map_or(Value::Null, value);
    }
    object
}

pub(super) fn history(history: &History, now: Millis, values: bool) -> Value {
    let mut object = run(&history.run, values);
    object["advice"] = advice(history, now).map_or(Value::Null, |Advice { text, ways }| {
        let way = |way: Way| json!({ "when": way.when, "command": way.command });
        json!({ "text": text, "ways": ways.into_iter().map(way).collect::<Vec<_>>() })
    });
    object["steps"] = history.steps.iter().map(|one| step(one, &history.run, values)).collect::<Vec<_>>().into();
    object
}

fn step(step: &Step, run: &Run, values: bool) -> Value {
    let error = (step.state == Progress::Failed).then(|| failure_of(step)).flatten();
    let mut object = json!({
        "number": step.seq,
        "name": step.name,
        "kind": step.kind,
        "state": step.state,
        "epoch": step.epoch,
        "key": step.key(&run.id),
        "fingerprint": if step.fp.is_empty() { Value::Null } else { step.fp.as_str().into() },
        "bytes": step.value.as_ref().map(|value| value.len()),
        "error": error.as_ref().map(failure),
    });
    if values {
        object["value"] = step.value.as_deref().filter(|_| step.state == Progress::Done).map_or(Value::Null, value);
    }
    object
}

/// What a failed step said.
pub(super) fn failure_of(step: &Step) -> Option<Failure> {
    step.value.as_deref().and_then(|text| serde_json::from_str(text).ok())
}

fn failure(failure: &Failure) -> Value {
    json!({ "kind": failure.kind, "message": failure.message, "kept": failure.keep, "step": failure.seq })
}

/// What is kept as JSON; as text, should it not be JSON.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

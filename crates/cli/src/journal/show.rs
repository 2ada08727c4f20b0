//! One run as a page: what it is, what stands in its way and what to do, and its steps.

use std::fmt::Write;

use stormproof_journal::{History, Kind, Millis, Progress, State, Step};

use super::advice::advice;
use super::amount::{aligned, between, moment, shortened, size};
use super::json::failure_of;
use super::list::{is_long, waits, why};

/// So many characters of a value are shown.
const VALUE: usize = 60;
/// And of the input and the result.
const LONG: usize = 200;

/// The page, with the beginning of inputs and values if they are wanted.
pub(super) fn page(history: &History, now: Millis, values: bool) -> String {
    let run = &history.run;
    let mut page = format!("{}: {}\n\n", shortened(run.id.as_str(), LONG), run.state);
    page.push_str(&aligned(&facts(history, now, values)));
    if let Some(advice) = advice(history, now) {
        let _ = writeln!(page, "\n  {}", advice.text);
        let ways: Vec<_> = advice.ways.into_iter().map(|way| [format!("    {}", way.when), way.command]).collect();
        page.push_str(&aligned(&ways));
    }
    page.push('\n');
    if history.steps.is_empty() {
        page.push_str("no steps\n");
        return page;
    }
    let value = if values { "VALUE" } else { "" };
    let mut rows = vec![["STEP", "NAME", "KIND", "STATE", "CLAIMED", "SIZE", value].map(str::to_owned)];
    rows.extend(history.steps.iter().map(|step| row(step, now, values)));
    page.push_str(&aligned(&rows));
    page
}

fn facts(history: &History, now: Millis, values: bool) -> Vec<[String; 2]> {
    let run = &history.run;
    let ago = |at| format!("{} ({} ago)", moment(at).unwrap_or_default(), between(at, now));
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: String| facts.push([format!("  {name}"), value]);
    let version = shortened(&run.version, 60);
    fact("workflow", format!("{} {version}", shortened(&run.name, LONG)).trim_end().to_owned());
    fact("started", ago(run.created_at));
    fact("attempts", run.attempts.to_string());
    // Before it is claimed for the first time it is 0, and no time.
    if run.epoch > 0 {
        fact("epoch", format!("{} ({} ago)", run.epoch, between(run.epoch, now)));
    }
    match run.state {
        State::Queued => fact("queued", waits_for(history, now)),
        State::Running => fact("worker", shortened(run.owner.as_deref().unwrap_or_default(), LONG)),
        _ => {}
    }
    if let Some(error) = &run.error {
        fact("reason", why(error, 500));
        if let Some(seq) = error.seq {
            fact("at step", seq.to_string());
        }
    }
    if let Some(parent) = &run.parent {
        fact("started by", shortened(parent.as_str(), LONG));
    }
    if let Some(from) = &run.forked_from {
        fact("copy of", shortened(from.as_str(), LONG));
    }
    if let Some(moment) = run.expires_at.and_then(moment) {
        fact("remembered", format!("until {moment}"));
    }
    fact("input", sized(&run.input, values, LONG));
    if let Some(result) = &run.result {
        fact("result", sized(result, values, LONG));
    }
    facts
}

/// What a queued run waits for, by name if one of its steps is the wait.
pub(super) fn waits_for(history: &History, now: Millis) -> String {
    let wait = history.steps.iter().find(|step| step.kind == Kind::Wait && step.state == Progress::Begun);
    match (wait, history.run.wake_at) {
        (Some(step), Some(at)) if at > now => {
            let limit = if is_long(at, now) { String::new() } else { format!(", for {} at most", between(now, at)) };
            format!("waits for `{}`{limit}", shortened(&step.name, 60))
        }
        _ => waits(&history.run, now),
    }
}

/// The size of a value, and its beginning if it is wanted.
fn sized(value: &str, values: bool, most: usize) -> String {
    if values { format!("{}: {}", size(value.len()), shortened(value, most)) } else { size(value.len()) }
}

fn row(step: &Step, now: Millis, values: bool) -> [String; 7] {
    let value = match (step.state, &step.value) {
        (Progress::Failed, _) => failure_of(step).map(|failure| why(&failure, VALUE)).unwrap_or_default(),
        (Progress::Done, Some(value)) if values => shortened(value, VALUE),
        _ => String::new(),
    };
    [
        step.seq.to_string(),
        shortened(&step.name, 60),
        step.kind.as_str().to_owned(),
        step.state.as_str().to_owned(),
        format!("{} ago", between(step.epoch, now)),
        step.value.as_ref().map(|value| size(value.len())).unwrap_or_default(),
        value,
    ]
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};
    use stormproof_journal::Run;

    use super::*;

    /// A run with these fields, and some for the rest.
    pub(in super::super) fn run(fields: Value) -> Run {
        let mut run = json!({
            "id": "pay/order-18", "name": "pay", "version": "3", "input": "{\"token\":\"s3cret\"}", "fp": "ab", "state": "queued",
            "epoch": 940_000, "owner": null, "attempts": 1, "wake_at": null, "result": null, "error": null, "parent": null,
            "forked_from": null, "expires_at": null, "created_at": 100_000,
        });
        merge(&mut run, fields);
        serde_json::from_value(run).unwrap()
    }

    pub(in super::super) fn history(run: Run, steps: Value) -> History {
        let steps = serde_json::from_value::<Vec<Value>>(steps).unwrap().into_iter().map(|fields| {
            let mut step = json!({
                "seq": 1, "name": "plan", "fp": "", "kind": "step", "state": "done", "value": "\"s3cret\"", "epoch": 940_000,
                "attempt_id": "a",
            });
            merge(&mut step, fields);
            serde_json::from_value(step).unwrap()
        });
        let steps = steps.collect();
        History::new(run, steps)
    }

    fn merge(object: &mut Value, fields: Value) {
        let Value::Object(fields) = fields else { return };
        for (name, value) in fields {
            object[name] = value;
        }
    }

    fn blocked() -> History {
        let error = json!({ "kind": "refused", "message": "no trace of the payment", "seq": 3 });
        let steps = json!([
            {},
            { "seq": 2, "name": "ask", "state": "failed", "value": "{\"kind\":\"Elapsed\",\"message\":\"after 5 s\"}" },
            { "seq": 3, "name": "pay", "kind": "effect", "state": "begun", "value": null },
        ]);
        history(run(json!({ "state": "blocked", "error": error })), steps)
    }

    #[test]
    fn a_run_that_waits_for_a_message_says_for_which() {
        let wait = json!([{ "name": "approval", "kind": "wait", "state": "begun", "value": "{}" }]);
        let page = |wake_at: Millis| page(&history(run(json!({ "wake_at": wake_at })), wait.clone()), 1_000_000, false);
        assert!(page(1_005_000).contains("queued    waits for `approval`, for 5s at most\n"), "{}", page(1_005_000));
        assert!(page(Millis::MAX).contains("queued    waits for `approval`\n"));
        assert!(page(999_000).contains("queued    due since 1s\n"), "its time is over, or its message is there");
        let never = history(run(json!({ "epoch": 0, "attempts": 0 })), json!([]));
        assert!(!super::page(&never, 1_000_000, false).contains("epoch"));
    }

    #[test]
    fn a_blocked_run_says_why_and_what_to_do() {
        let expected = "\
pay/order-18: blocked

  workflow  pay 3
  started   1970-01-01T00:01:40.000Z (15m ago)
  attempts  1
  epoch     940000 (1m ago)
  reason    refused: no trace of the payment
  at step   3
  input     18 B

  Nobody knows whether step 3 `pay` happened. Ask whoever it calls, by the key KEY.
    it happened, with this value  stormproof journal resume pay/order-18 --done JSON
    it did not happen             stormproof journal resume pay/order-18 --rerun
    the probe may know by now     stormproof journal resume pay/order-18
    give it up                    stormproof journal cancel pay/order-18

STEP  NAME  KIND    STATE   CLAIMED  SIZE
1     plan  step    done    1m ago   8 B
2     ask   step    failed  1m ago   40 B  Elapsed: after 5 s
3     pay   effect  begun   1m ago
";
        let history = blocked();
        let key = history.steps[2].key(&history.run.id);
        let shown = page(&history, 1_000_000, false).replace(&key, "KEY");
        assert!(shown == expected, "{shown}");
    }

    #[test]
    fn values_are_shown_only_to_those_who_ask() {
        let shown = page(&blocked(), 1_000_000, true);
        assert!(shown.contains("input     18 B: {\"token\":\"s3cret\"}"), "{shown}");
        assert!(shown.contains("SIZE  VALUE\n") && shown.contains("8 B   \"s3cret\""), "{shown}");
        let json = |values| super::super::json::history(&blocked(), 1_000_000, values).to_string();
        assert!(!json(false).contains("s3cret") && json(true).contains("s3cret"));
    }
}

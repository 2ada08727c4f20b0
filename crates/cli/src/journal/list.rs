//! Runs as a table.

use std::collections::HashMap;

use stormproof_journal::{Failure, Millis, Run, RunId, State};

use super::amount::{aligned, between, shortened};

/// A line for each run. Of those that are put away, `waits` says what for.
pub(super) fn table(runs: &[Run], waits: &HashMap<RunId, String>, now: Millis) -> String {
    if runs.is_empty() {
        return "no runs match\n".to_owned();
    }
    let mut rows = vec![["RUN", "STATE", "AGE", "ATTEMPTS", "NOTE"].map(str::to_owned)];
    rows.extend(runs.iter().map(|run| {
        let state = run.state.as_str().to_owned();
        [
            shortened(run.id.as_str(), 100),
            state,
            between(run.created_at, now),
            run.attempts.to_string(),
            waits.get(&run.id).cloned().unwrap_or_else(|| note(run, now)),
        ]
    }));
    aligned(&rows)
}

/// Whether a run is queued for later.
pub(super) fn is_put_away(run: &Run, now: Millis) -> bool {
    run.state == State::Queued && run.wake_at.is_some_and(|at| at > now)
}

/// What is most worth knowing of a run, beside its state.
fn note(run: &Run, now: Millis) -> String {
    match (run.state, &run.error) {
        (State::Blocked | State::Err, Some(error)) => why(error, 70),
        (State::Running, _) => {
            run.owner.as_deref().map(|owner| format!("at {}", shortened(owner, 60))).unwrap_or_default()
        }
        (State::Queued, Some(error)) => format!("{}: {}", waits(run, now), why(error, 50)),
        (State::Queued, None) => waits(run, now),
        _ => String::new(),
    }
}

/// The reason of a failure, in a line.
pub(super) fn why(failure: &Failure, most: usize) -> String {
    let kind = shortened(&failure.kind, 40);
    let message = shortened(&failure.message, most);
    let keep = if failure.keep { " (kept)" } else { "" };
    if message.is_empty() { format!("{kind}{keep}") } else { format!("{kind}: {message}{keep}") }
}

/// Ten years: a run that is put away for longer waits for a message, without a limit of time.
const LONG: Millis = 10 * 365 * 86_400_000;

pub(super) fn is_long(at: Millis, now: Millis) -> bool {
    at.saturating_sub(now) > LONG
}

/// What a queued run waits for.
pub(super) fn waits(run: &Run, now: Millis) -> String {
    match run.wake_at {
        // A call that is made once, and is nobody's at the moment: no worker claims it.
        _ if run.version.is_empty() => "goes on with the next call".to_owned(),
        Some(at) if is_long(at, now) => "waits for a message".to_owned(),
        Some(at) if at > now => format!("due in {}", between(now, at)),
        Some(at) => format!("due since {}", between(at, now)),
        None => "due".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::show::tests::run;
    use super::*;

    #[test]
    fn runs_stand_one_below_the_other() {
        let runs = [
            run(json!({ "id": "pay/order-18", "state": "blocked", "attempts": 3,
                "error": { "kind": "refused", "message": "no trace\nof the payment", "keep": false, "seq": 2 } })),
            run(json!({ "id": "pay/1", "state": "running", "owner": "w1" })),
            run(json!({ "id": "pay/2", "state": "queued", "wake_at": 1_005_000 })),
            run(json!({ "id": "pay/3", "state": "ok" })),
            run(
                json!({ "id": "pay/5", "wake_at": 1_005_000, "error": { "kind": "panicked", "message": "it panicked: x" } }),
            ),
            run(json!({ "id": "pay/6", "wake_at": 1_005_000 })),
        ];
        let waits_for = HashMap::from([(runs[5].id.clone(), "waits for `approval`".to_owned())]);
        let expected = "\
RUN           STATE    AGE     ATTEMPTS  NOTE
pay/order-18  blocked  15m     3         refused: no trace of the payment
pay/1         running  15m     1         at w1
pay/2         queued   15m     1         due in 5s
pay/3         ok       15m     1
pay/5         queued   15m     1         due in 5s: panicked: it panicked: x
pay/6         queued   15m     1         waits for `approval`
";
        assert_eq!(
            table(&runs, &waits_for, 1_000_000),
            expected.replace("AGE     ", "AGE  ").replace("15m     ", "15m  ")
        );
        assert_eq!(table(&[], &HashMap::new(), 0), "no runs match\n");
        let once = run(json!({ "id": "pay/4", "version": "", "wake_at": 5 }));
        assert_eq!(waits(&once, 1_000_000), "goes on with the next call");
    }
}

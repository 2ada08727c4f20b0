//! What an operator can do about a run that does not go on by itself.

use stormproof_journal::{History, Kind, Millis, Progress, Run, State, Step};

use super::amount::shortened;

/// What stands in the way, and the commands that are of use.
#[derive(Debug, PartialEq)]
pub(super) struct Advice {
    pub(super) text: String,
    pub(super) ways: Vec<Way>,
}

/// A command, and when it is the one to take.
#[derive(Debug, PartialEq)]
pub(super) struct Way {
    pub(super) when: &'static str,
    pub(super) command: String,
}

/// So long a run may be due before it is asked why nobody takes it.
const PATIENCE: Millis = 10_000;

/// None for a run that needs nobody.
pub(super) fn advice(history: &History, now: Millis) -> Option<Advice> {
    let run = &history.run;
    let resume = |when| way(history, when, "resume", "");
    let (text, ways) = match (run.state, &run.error) {
        (State::Blocked, error) => return Some(blocked(history, error.as_ref().map_or("", |error| &error.kind))),
        (State::Err, Some(error)) if error.keep => {
            ("This error is the answer to each further start with this key.", vec![resume("try again nonetheless")])
        }
        (State::Err, _) => (
            "The key is free again: the next start with the same input goes on at the step that failed.",
            vec![resume("go on now")],
        ),
        (State::Queued, _) if run.wake_at.is_some_and(|at| is_left(run, at, now)) => {
            return Some(Advice {
                text: format!(
                    "It is due, and nobody takes it: no process serves `{}` in version {}, or all places are taken.",
                    shortened(&run.name, 60),
                    shortened(&run.version, 60)
                ),
                ways: vec![way(history, "give it up", "cancel", "")],
            });
        }
        (State::Cancelled, _) => ("An operator cancelled it.", vec![resume("let it go on")]),
        _ => return None,
    };
    Some(Advice { text: text.to_owned(), ways })
}

/// Whether nobody takes what is due. A call that is made once waits for its caller, and for no worker.
fn is_left(run: &Run, at: Millis, now: Millis) -> bool {
    !run.version.is_empty() && now.saturating_sub(at) > PATIENCE
}

fn blocked(history: &History, kind: &str) -> Advice {
    let way = |when, name, more: &str| way(history, when, name, more);
    let step = in_the_way(history);
    let before = step.map_or("STEP".to_owned(), |step| step.seq.to_string());
    let uncertain = step.filter(|step| step.kind == Kind::Effect && step.state != Progress::Done);
    let (text, mut ways) = match (kind, uncertain) {
        ("diverged", _) => (
            "The code calls other steps than those that are kept.".to_owned(),
            vec![
                way("the code that is deployed calls them as kept", "resume", ""),
                way("go on with other code, in a copy", "fork", &format!(" --before {before} --version VERSION")),
            ],
        ),
        ("undecodable", _) if history.steps.is_empty() => (
            "The code's types do not read the input it was started with.".to_owned(),
            vec![way("the code that is deployed reads it", "resume", "")],
        ),
        ("undecodable", _) => (
            "The code's types do not read what is kept.".to_owned(),
            vec![
                way("the code that is deployed reads it", "resume", ""),
                way("it gave this value", "resume", " --done JSON"),
                way("do the step again, in a copy", "fork", &format!(" --before {before}")),
            ],
        ),
        ("too_large", _) => (
            "A step returns more than max_value. Let it keep the thing elsewhere and return the address.".to_owned(),
            vec![way("the code that is deployed does, or max_value is raised", "resume", "")],
        ),
        (_, Some(step)) => (
            format!(
                "Nobody knows whether step {} `{}` happened. Ask whoever it calls, by the key {}.",
                step.seq,
                shortened(&step.name, 60),
                step.key(&history.run.id)
            ),
            vec![
                way("it happened, with this value", "resume", " --done JSON"),
                way("it did not happen", "resume", " --rerun"),
                way("the probe may know by now", "resume", ""),
            ],
        ),
        _ => {
            ("It stays as it is until an operator decides.".to_owned(), vec![way("the cause is mended", "resume", "")])
        }
    };
    ways.push(way("give it up", "cancel", ""));
    Advice { text, ways }
}

/// The step that the run's error names, else the last one that is not done.
fn in_the_way(history: &History) -> Option<&Step> {
    let named = history.run.error.as_ref().and_then(|error| error.seq);
    match named {
        Some(seq) => history.steps.iter().find(|step| step.seq == seq),
        None => history.steps.iter().rev().find(|step| step.state != Progress::Done),
    }
}

fn way(history: &History, when: &'static str, name: &str, more: &str) -> Way {
    Way { when, command: format!("stormproof journal {name} {}{more}", quoted(history.run.id.as_str())) }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.:@+,".contains(&byte);
    if word.bytes().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::show::tests::{history, run};
    use super::*;

    fn advised(run_fields: Value, steps: Value) -> Vec<String> {
        let Some(Advice { text, ways }) = advice(&history(run(run_fields), steps), 1_000_000) else {
            return Vec::new();
        };
        let commands = ways.into_iter().map(|way| way.command.replace("stormproof journal ", ""));
        std::iter::once(text).chain(commands).collect()
    }

    #[test]
    fn an_uncertain_effect_is_for_the_operator_to_decide() {
        let error = json!({ "kind": "refused", "message": "no trace", "seq": 2 });
        let effect = json!([{ "seq": 1 }, { "seq": 2, "name": "pay", "kind": "effect", "state": "begun" }]);
        let advised = advised(json!({ "state": "blocked", "error": error }), effect);
        let text = "Nobody knows whether step 2 `pay` happened. Ask whoever it calls, by the key ";
        assert!(advised[0].starts_with(text) && advised[0].len() == text.len() + 33, "{}", advised[0]);
        assert_eq!(
            advised[1..],
            [
                "resume pay/order-18 --done JSON",
                "resume pay/order-18 --rerun",
                "resume pay/order-18",
                "cancel pay/order-18",
            ]
        );
    }

    #[test]
    fn what_nobody_takes_is_said_to_be_due() {
        let due = |fields: Value| advised(fields, json!([]));
        let text = "It is due, and nobody takes it: no process serves `pay` in version 3, or all places are taken.";
        assert_eq!(due(json!({ "wake_at": 980_000 })), [text, "cancel pay/order-18"]);
        assert!(due(json!({ "wake_at": 999_000 })).is_empty(), "for a second only");
        assert!(due(json!({ "wake_at": 1_005_000 })).is_empty());
        assert!(due(json!({ "wake_at": 5, "version": "" })).is_empty(), "a single call");
        let input = advised(json!({ "state": "blocked", "error": { "kind": "undecodable" } }), json!([]));
        assert_eq!(input[1..], ["resume pay/order-18", "cancel pay/order-18"]);
    }

    #[test]
    fn other_reasons_have_other_ways() {
        let of = |kind: &str| {
            advised(json!({ "state": "blocked", "error": { "kind": kind, "seq": 3 } }), json!([{ "seq": 3 }]))[1..]
                .join("; ")
        };
        let [resume, cancel] = ["resume pay/order-18", "cancel pay/order-18"];
        assert_eq!(of("diverged"), format!("{resume}; fork pay/order-18 --before 3 --version VERSION; {cancel}"));
        assert_eq!(
            of("undecodable"),
            format!("{resume}; {resume} --done JSON; fork pay/order-18 --before 3; {cancel}")
        );
        assert_eq!(of("too_large"), format!("{resume}; {cancel}"));
        assert_eq!(of("too_many_attempts"), format!("{resume}; {cancel}"));
        assert_eq!(advised(json!({ "state": "blocked" }), json!([]))[1..], [resume, cancel]);
    }

    #[test]
    fn a_run_that_ended_may_be_taken_up_again() {
        for (fields, begin) in [
            (json!({ "state": "err", "error": { "kind": "e", "keep": true } }), "This error is the answer"),
            (json!({ "state": "err", "error": { "kind": "e" } }), "The key is free again"),
            (json!({ "state": "cancelled" }), "An operator cancelled it"),
        ] {
            let told = advised(fields, json!([]));
            assert!(told[0].starts_with(begin) && told[1..] == ["resume pay/order-18"], "{told:?}");
        }
        assert!(advised(json!({ "state": "ok" }), json!([])).is_empty());
    }

    #[test]
    fn a_key_with_blanks_is_quoted() {
        assert_eq!(quoted("pay/it's a key"), "'pay/it'\\''s a key'");
        assert_eq!(quoted("pay/order-18"), "pay/order-18");
    }
}

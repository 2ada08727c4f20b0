//! Whether what a workflow calls is what is recorded.

use std::collections::HashMap;

use crate::run::{Kind, Step};

/// A step as the code calls it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) seq: u32,
    pub(crate) name: Box<str>,
    pub(crate) kind: Kind,
    /// The fingerprint of its input, empty if it was not said; an error if the input is no JSON.
    pub(crate) fp: Result<String, String>,
    /// The step whose operation has called it, if one has.
    pub(crate) within: Option<u32>,
}

impl Call {
    /// The step as people say it.
    pub(crate) fn title(&self) -> String {
        title(self.seq, &self.name)
    }

    /// Whether every store can keep its name, and every terminal show it.
    pub(crate) fn check_name(&self) -> Result<(), String> {
        if self.name.len() <= 1_000 && !self.name.chars().any(char::is_control) {
            return Ok(());
        }
        let shown: String = self.name.chars().take(100).collect();
        Err(format!("step {} is called {shown:?}: a name has at most 1000 bytes and no control characters", self.seq))
    }
}

fn title(seq: u32, name: &str) -> String {
    format!("step {seq} `{name}`")
}

const fn article(kind: Kind) -> &'static str {
    match kind {
        Kind::Step => "a step",
        Kind::Effect => "an effect",
        Kind::Commit => "a commit",
        Kind::Sleep => "a sleep",
        Kind::Wait => "a wait",
    }
}

/// What is done about it, said with every divergence.
const REMEDY: &str = "put back the code that began the run and resume it, or fork it before that step";

/// Why the code calls something else than what is recorded, and what is done about it.
fn remedy(again: Option<u32>) -> String {
    again.map_or_else(
        || REMEDY.to_owned(),
        |step| {
            format!(
                "step {step} has failed before, and runs again with another result: fork the run before it, and let a workflow \
                 that goes on after such an error end with one that is kept"
            )
        },
    )
}

/// Where the code calls something else than what is recorded. A step before it that runs `again`, though later ones are
/// recorded, is the likely reason.
pub(crate) fn compare(recorded: &Step, call: &Call, again: Option<u32>) -> Result<(), String> {
    let (seq, remedy) = (call.seq, || remedy(again));
    if *recorded.name != *call.name {
        return Err(format!("step {seq} was `{}`, the code now calls `{}`: {}", recorded.name, call.name, remedy()));
    }
    if recorded.kind != call.kind {
        let (was, is) = (article(recorded.kind), article(call.kind));
        return Err(format!("{} was {was}, the code now calls it as {is}: {}", call.title(), remedy()));
    }
    if call.fp.as_ref().is_ok_and(|fp| *fp != recorded.fp) {
        return Err(format!("{} was called with another input: {}", call.title(), remedy()));
    }
    Ok(())
}

/// The first recorded step that the code has not called, though it came to its end after `called` steps.
pub(crate) fn left_over(recorded: &HashMap<u32, Step>, called: u32) -> Option<(u32, String)> {
    let first = recorded.values().filter(|step| step.seq > called).min_by_key(|step| step.seq)?;
    let (seq, title) = (first.seq, title(first.seq, &first.name));
    Some((seq, format!("{title} is recorded, the code now ends before it: {REMEDY}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Progress;

    fn recorded(seq: u32, name: &str) -> Step {
        Step {
            seq,
            name: name.into(),
            fp: "f00d".into(),
            kind: Kind::Step,
            state: Progress::Done,
            value: None,
            epoch: 1,
            attempt_id: "a".into(),
        }
    }

    fn call(name: &str, kind: Kind, fp: &str) -> Call {
        Call { seq: 3, name: name.into(), kind, fp: Ok(fp.into()), within: None }
    }

    #[test]
    fn name_kind_and_input_are_compared_in_this_order() {
        let compared = |call: &Call| compare(&recorded(3, "pay"), call, None).map_err(|why| why.replace(REMEDY, "…"));
        assert_eq!(compared(&call("pay", Kind::Step, "f00d")), Ok(()));
        let name = "step 3 was `pay`, the code now calls `refund`: …";
        assert_eq!(compared(&call("refund", Kind::Effect, "")), Err(name.into()));
        let kind = "step 3 `pay` was a step, the code now calls it as an effect: …";
        assert_eq!(compared(&call("pay", Kind::Effect, "")), Err(kind.into()));
        let input = "step 3 `pay` was called with another input: …";
        assert_eq!(compared(&call("pay", Kind::Step, "")), Err(input.into()));
    }

    #[test]
    fn the_first_step_that_is_left_over_is_named() {
        let steps = HashMap::from([2, 5, 4].map(|seq| (seq, recorded(seq, "pay"))));
        assert_eq!(left_over(&steps, 5), None);
        let (seq, message) = left_over(&steps, 3).unwrap_or_default();
        assert_eq!(
            (seq, message.split(": put").next()),
            (4, Some("step 4 `pay` is recorded, the code now ends before it"))
        );
    }
}

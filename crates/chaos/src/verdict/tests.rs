use super::*;
use crate::bank::Call;

type Harm = Box<dyn FnOnce(&mut Facts)>;

/// A run as it should be: each step is done as its number, with one call or row.
fn sound() -> Facts {
    let run = run_id(0);
    let mut facts = Facts { started: vec![0], ..Facts::default() };
    let values: Vec<_> = (1..=STEPS).map(|seq| seq.to_string()).collect();
    facts.runs = vec![row(&[&run, "ok", &format!("[{}]", values.join(",")), "9", "1"])];
    for seq in 1..=STEPS {
        let (act, text) = (Act::of(0, seq), seq.to_string());
        facts.steps.push(row(&[&run, &text, act.name(), "step", "done", &text, "9"]));
        facts.told.push((run.clone(), seq, i64::from(seq)));
        if act == Act::Row {
            facts.rows.push(row(&[&run, &text, &text]));
        } else {
            facts.calls.push(entry(act, seq, 9, false, Answer::Done(i64::from(seq))));
        }
    }
    facts
}

fn row(columns: &[&str]) -> Row {
    columns.iter().map(|&column| column.to_owned()).collect()
}

fn entry(act: Act, seq: u32, fence: i64, find: bool, answer: Answer) -> Entry {
    let call = Call { find, account: act.name().into(), run: run_id(0), seq, key: format!("key {seq}"), fence };
    Entry { call, answer }
}

fn step(act: Act) -> u32 {
    (1..=STEPS).find(|seq| Act::of(0, *seq) == act).unwrap()
}

fn wrong(harm: impl FnOnce(&mut Facts)) -> Vec<String> {
    let mut facts = sound();
    harm(&mut facts);
    facts.judge().wrong
}

#[test]
fn a_sound_run_is_sound() {
    assert_eq!(sound().judge(), Verdict::default());
}

#[test]
fn every_defect_is_found() {
    let calls = |act, fence, find, answer| {
        move |facts: &mut Facts| facts.calls.push(entry(act, step(act), fence, find, answer))
    };
    let harms: Vec<(&str, Harm)> = vec![
        ("a run is lost", Box::new(|facts| facts.runs.clear())),
        ("a run nobody started", Box::new(|facts| facts.started.clear())),
        ("a run failed", Box::new(|facts| facts.runs[0][1] = "err".into())),
        ("a step is missing", Box::new(|facts| drop(facts.steps.pop()))),
        ("a step is not done", Box::new(|facts| facts.steps[3][4] = "begun".into())),
        ("a step of a later epoch", Box::new(|facts| facts.steps[3][6] = "10".into())),
        ("the result differs", Box::new(|facts| facts.runs[0][2] = "[1]".into())),
        ("a row is missing", Box::new(|facts| drop(facts.rows.pop()))),
        ("a row is there twice", Box::new(|facts| facts.rows.push(facts.rows[0].clone()))),
        ("a row of another attempt", Box::new(|facts| facts.rows[0][2] = "0".into())),
        ("a call is missing", Box::new(|facts| facts.calls.retain(|entry| entry.call.seq != step(Act::Note)))),
        ("paid twice in spite of fences", Box::new(calls(Act::Fenced, 9, false, Answer::Done(77)))),
        ("paid twice by the same worker", Box::new(calls(Act::Probed, 9, false, Answer::Done(77)))),
        (
            "another key",
            Box::new(|facts| {
                let mut second = entry(Act::Keyed, step(Act::Keyed), 9, false, Answer::Done(77));
                second.call.key = "another".into();
                facts.calls.push(second);
            }),
        ),
        (
            "one key for two steps",
            Box::new(|facts| {
                facts.calls.iter_mut().for_each(|entry| entry.call.key = "same".into());
            }),
        ),
        ("an acknowledged step is another", Box::new(|facts| facts.told[2].2 = 0)),
    ];
    for (name, harm) in harms {
        assert_ne!(wrong(harm), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn what_is_not_promised_is_counted() {
    let mut facts = sound();
    let probed = step(Act::Probed);
    facts.calls.push(entry(Act::Note, step(Act::Note), 9, false, Answer::Done(70)));
    facts.calls.push(entry(Act::Keyed, step(Act::Keyed), 9, false, Answer::Done(71)));
    facts.calls.push(entry(Act::Fenced, step(Act::Fenced), 8, false, Answer::Stale(9)));
    facts.calls.push(entry(Act::Probed, probed, 10, true, Answer::Done(i64::from(probed))));
    facts.calls.push(entry(Act::Probed, probed, 8, false, Answer::Done(72)));

    let verdict = facts.judge();

    let expected =
        Verdict { wrong: Vec::new(), repeated_notes: 1, repeated_keys: 1, refused: 1, late: 1, recovered: 1 };
    assert_eq!(verdict, expected);
}

//! Long runs that get somewhere: nothing may be found in them.

use std::fmt::Write as _;

use stormproof::loop_guard::{Config, Poll};

use crate::agent::{Move, Run, call};

/// Drives a model; nothing may be found.
#[track_caller]
fn left_alone(mut run: Run, turns: usize, model: impl FnMut(usize, &Run) -> Move) -> Run {
    assert!(!run.drive(turns, model), "stopped in turn {}: {:?}", run.turns, run.found.last());
    run.nothing_found();
    assert_eq!(run.turns, turns);
    run
}

#[test]
fn two_hundred_different_files() {
    let mut run = Run::new();
    for n in 0..200 {
        run.workspace.files.insert(format!("src/file_{n:03}.rs"), format!("mod file_{n:03};"));
    }
    left_alone(run, 200, |turn, _| call("read", format!("src/file_{turn:03}.rs")));
}

#[test]
fn two_hundred_different_files_that_are_all_empty() {
    let mut run = Run::new();
    for n in 0..200 {
        run.workspace.files.insert(format!("src/file_{n:03}.rs"), String::new());
    }
    left_alone(run, 200, |turn, _| call("read", format!("src/file_{turn:03}.rs")));
}

#[test]
fn two_hundred_documents_by_their_ids() {
    let mut ids = Vec::new();
    left_alone(Run::new(), 201, |turn, run| {
        if turn == 0 {
            return call("list", "{}");
        }
        if ids.is_empty() {
            ids = run.told.lines().map(str::to_owned).collect();
        }
        call("delete", ids[turn - 1].clone())
    });
}

#[test]
fn edit_and_build_sixty_times() {
    // Builds that say something else each time, and builds that always say the same.
    for broken in [true, false] {
        left_alone(Run::new(), 120, |turn, _| match turn % 2 {
            0 if broken => call("write", format!("part_{}.rs\ntodo!() // {turn}", turn / 2)),
            0 => call("write", format!("lib.rs\nfn f{turn}() {{}}")),
            _ => call("build", "{}"),
        });
    }
}

#[test]
fn tests_and_fixes_with_the_same_command() {
    let mut run = Run::new();
    for n in 0..30 {
        run.workspace.files.insert(format!("{n}.rs"), "todo!()".to_owned());
    }
    let run = left_alone(run, 60, |turn, _| match turn % 2 {
        0 => call("build", "{}"),
        _ => call("write", format!("{}.rs\nfn f() {{}}", turn / 2)),
    });
    assert!(run.workspace.files.values().all(|text| !text.contains("todo!")));
}

#[test]
fn a_declared_poller_a_hundred_times() {
    let mut run = Run::with(Config::default().poller("status", Poll::default()));
    run.workspace.steps_of_a_job = 1;
    left_alone(run, 100, |_, _| call("status", "job-1"));
}

#[test]
fn a_job_that_moves_asked_by_an_undeclared_poller() {
    let mut run = Run::new();
    run.workspace.steps_of_a_job = 13;
    left_alone(run, 12, |_, _| call("status", "job-1"));
}

#[test]
fn pages() {
    left_alone(Run::new(), 100, |turn, _| call("page", format!("{turn}")));
}

#[test]
fn a_flaky_tool_that_is_tried_twice() {
    let mut run = Run::new();
    for n in 0..60 {
        run.workspace.files.insert(format!("{n}"), format!("text {n}"));
    }
    left_alone(run, 300, |turn, _| match turn % 4 {
        3 => call("read", format!("{}", turn % 60)),
        _ => call("flaky", format!("/{}", turn / 4)),
    });
}

#[test]
fn files_that_are_read_again_after_other_work() {
    let mut run = Run::new();
    for n in 0..200 {
        run.workspace.files.insert(format!("{n}"), format!("text {n}"));
    }
    run.workspace.files.insert("README".to_owned(), "how it works".to_owned());
    left_alone(
        run,
        200,
        |turn, _| if turn % 5 == 0 { call("read", "README") } else { call("read", format!("{turn}")) },
    );
}

#[test]
fn words_between_calls() {
    let mut run = Run::new();
    for n in 0..100 {
        run.workspace.files.insert(format!("{n}"), format!("text {n}"));
    }
    left_alone(run, 200, |turn, _| match turn % 2 {
        0 => Move::Say("Let me run the tests again to see whether the last change has fixed them.".to_owned()),
        _ => call("read", format!("{}", turn / 2)),
    });
}

#[test]
fn long_tables_and_code() {
    let mut table = String::from("The results of the run are in this table, one line for each of the cases.\n\n");
    let mut code =
        String::from("The change to the parser is this, with a test for each of the cases in it:\n\n```rust\n");
    for n in 0..400 {
        writeln!(table, "| ok | the case has passed without a failure | {n} ms |").unwrap();
        writeln!(code, "    assert!(parse(INPUT).is_ok(), \"the case has passed\");").unwrap();
    }
    code.push_str("```\n");
    let loose = code.replace("```", "");
    let list: Vec<_> =
        (0..100).map(|n| format!("- The case number {n} went well and has no open questions.")).collect();
    let list = list.join("\n");
    for text in [table, code, loose, list] {
        left_alone(Run::new(), 3, |_, _| Move::Say(text.clone()));
    }
}

#[test]
fn a_day_of_mixed_work() {
    let mut run = Run::new();
    for n in 0..400 {
        run.workspace.files.insert(format!("src/{n}.rs"), format!("fn f{n}() {{}}"));
    }
    left_alone(run, 900, |turn, _| match turn % 9 {
        0 | 1 | 4 => call("read", format!("src/{}.rs", turn % 400)),
        2 => call("write", format!("src/{}.rs\nfn g{turn}() {{}}", turn % 40)),
        3 | 6 => call("build", "{}"),
        5 => call("read", format!("missing_{turn}.rs")),
        7 => Move::Say(format!("The part number {turn} is done, and I go on with what is left of the plan.")),
        _ => call("page", format!("{turn}")),
    });
}

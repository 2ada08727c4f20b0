//! stormproof and its peers side by side: the same work, in the same run, on the same machine.
//!
//! One file a subject, each a table of [`Case`](harness::Case)s; [`harness`] measures them and [`report`] writes them
//! down. `--quick` spends a few seconds instead of a minute or two, `--only TEXT` measures the cases whose names
//! contain TEXT, `--instructions` counts instructions instead of time.

mod breaker;
mod harness;
mod instructions;
mod rate;
mod report;
mod retry;
mod stack;
mod work;

use harness::{Effort, measure};

#[global_allocator]
static ALLOCATOR: harness::Counting = harness::Counting;

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| args.iter().position(|arg| arg == name);
    let effort = if flag("--quick").is_some() { Effort::QUICK } else { Effort::FULL };
    let only = flag("--only").and_then(|at| args.get(at + 1));

    let subjects = [breaker::cases(), rate::cases(), retry::cases(), stack::cases()];
    let cases = subjects.into_iter().flatten().filter(|case| only.is_none_or(|text| case.name.contains(text.as_str())));
    if let Some(at) = flag(instructions::FLAG) {
        instructions::run(&cases.collect::<Vec<_>>(), &args[at + 1..]);
        return Ok(());
    }
    if flag("--instructions").is_some() {
        // A second thread only waits its turn under valgrind.
        for case in cases.filter(|case| case.threads == 1) {
            println!("{}", report::instructions(case.name, &instructions::count(&case)));
        }
        return Ok(());
    }
    let rows: Vec<_> = cases
        .map(|case| {
            eprintln!("{} …", case.name);
            measure(&case, effort)
        })
        .collect();

    print!("{}", report::table(&rows));
    if only.is_none() {
        report::write(&rows)?;
    }
    Ok(())
}

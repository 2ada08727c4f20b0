//! Runs as tables: what agents were seen to do when they went in circles, and what they do when they get on.
//!
//! A line is a turn: `say`, `user`, `call TOOL ARGUMENTS -> RESULT` or `-! ERROR`. `and` is a call of the same turn,
//! reported before the results of it. `restart` ends the process, `wait` lets time pass. `times` says how often the lines
//! below it come. In them `<n>` is the number of the round, `<a|b>` one of these in turn, and `<uuid>`, `<now>`, `<tmp>`
//! what differs each time.

use std::time::Duration;

use stormproof::loop_guard::{Config, Detection, Poll, Step, Turn, Verdict};
use stormproof::{Clock, LoopGuard};

const GOOD: &str = include_str!("transcripts/good.txt");
const BAD: &str = include_str!("transcripts/bad.txt");

/// A run: its lines, and what is said of it above them.
struct Transcript<'a> {
    title: &'a str,
    config: Config,
    /// The rule, the call by which it is found, and the one by which the run is stopped.
    caught: Option<(&'a str, usize, usize)>,
    times: usize,
    lines: Vec<&'a str>,
}

impl<'a> Transcript<'a> {
    fn read(text: &'a str) -> Self {
        let mut lines = text.lines().skip_while(|line| !line.starts_with("# "));
        let title = lines.next().unwrap().trim_start_matches("# ");
        let mut read = Self { title, config: Config::default(), caught: None, times: 1, lines: Vec::new() };
        for line in lines {
            let words: Vec<_> = line.split(' ').collect();
            match *words.as_slice() {
                ["#", ..] | [""] => {}
                ["poller", tool] => read.config = read.config.poller(tool, Poll::default()),
                ["ignore", tool, field] => read.config = read.config.ignore(tool, field),
                ["times", times] => read.times = times.parse().unwrap(),
                ["caught", rule, found, stopped] => {
                    read.caught = Some((rule, found.parse().unwrap(), stopped.parse().unwrap()));
                }
                _ => read.lines.push(line),
            }
        }
        read
    }
}

/// The agent loop: reports what the lines say, and what became of it.
struct Agent {
    guard: LoopGuard,
    clock: Clock,
    made: usize,
    ticks: u64,
    /// At which call, what.
    found: Vec<(usize, Detection)>,
}

impl Agent {
    fn run(transcript: &Transcript<'_>) -> Self {
        let clock = Clock::manual();
        let guard = LoopGuard::with_clock("run", transcript.config.clone(), &clock).unwrap();
        let mut agent = Self { guard, clock, made: 0, ticks: 0, found: Vec::new() };
        for round in 0..transcript.times {
            let mut lines =
                transcript.lines.iter().map(|line| agent.fill(line, round)).collect::<Vec<_>>().into_iter().peekable();
            while let Some(line) = lines.next() {
                let mut turn = vec![line];
                while let Some(also) = lines.next_if(|line| line.starts_with("and ")) {
                    turn.push(also);
                }
                if agent.take(&turn, &transcript.config) {
                    return agent;
                }
            }
        }
        agent
    }

    /// A line with what differs put in.
    fn fill(&mut self, line: &str, round: usize) -> String {
        let mut filled = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('<') {
            let (what, after) = after.split_once('>').unwrap();
            filled.push_str(before);
            self.ticks += 1;
            let random = self.ticks.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let choices: Vec<_> = what.split('|').collect();
            let with = match what {
                "n" => format!("{round}"),
                "day" => format!("2026-{:02}-{:02}", round / 28 % 12 + 1, round % 28 + 1),
                "uuid" => format!("{:08x}-1b2c-4d3e-8f90-{:012x}", random >> 32, random & 0xffff_ffff_ffff),
                "now" => format!("2026-01-01T10:{:02}:{:02}.{:03}Z", round % 60, self.ticks % 59 + 1, random % 1_000),
                "tmp" => format!("/tmp/tmp{:07x}1", random >> 36),
                "noise" => format!("0.412345{:06}", random % 1_000_000),
                _ => choices[round % choices.len()].to_owned(),
            };
            filled.push_str(&with);
            rest = after;
        }
        filled + rest
    }

    /// One turn. Whether the run is stopped.
    fn take(&mut self, lines: &[String], config: &Config) -> bool {
        self.clock.advance(Duration::from_secs(5));
        let (kind, rest) = lines[0].split_once(' ').unwrap_or((&lines[0], ""));
        match kind {
            "wait" => self.clock.advance(Duration::from_secs(rest.parse().unwrap())),
            "user" => self.guard.user_turn(rest),
            "restart" => {
                let kept = serde_json::to_string(&self.guard.state()).unwrap();
                let state = serde_json::from_str(&kept).unwrap();
                self.guard = LoopGuard::restore("run", config.clone(), state, &self.clock).unwrap();
            }
            "say" => {
                let said = self.guard.turn(Turn { text: rest, tokens: 500, cost: 0.01 });
                return self.obey(&said) == Step::Stop;
            }
            "call" => return self.calls(lines),
            other => panic!("{other}"),
        }
        false
    }

    fn calls(&mut self, lines: &[String]) -> bool {
        let calls: Vec<_> = lines
            .iter()
            .map(|line| {
                let (_, call) = line.split_once(' ').unwrap();
                let (call, outcome) = match call.split_once(" -> ") {
                    Some((call, result)) => (call, Ok(result)),
                    None => call.split_once(" -! ").map(|(call, error)| (call, Err(error))).unwrap(),
                };
                let (tool, arguments) = call.split_once(' ').unwrap_or((call, "{}"));
                (tool, arguments, outcome)
            })
            .collect();
        let mut carried_out = Vec::new();
        for call in &calls {
            self.made += 1;
            let asked = self.guard.before_call(call.0, call.1);
            match self.obey(&asked) {
                Step::Stop => return true,
                Step::Block => {}
                Step::Nudge => carried_out.push(*call),
                other => panic!("{other:?}"),
            }
        }
        // The last one asked for answers first.
        carried_out.into_iter().rev().any(|(tool, arguments, outcome)| {
            let answered = self.guard.after_call(tool, arguments, outcome);
            self.obey(&answered) == Step::Stop
        })
    }

    fn obey(&mut self, verdict: &Verdict) -> Step {
        self.found.extend(verdict.detection().map(|found| (self.made, found.clone())));
        match verdict {
            Verdict::Stop { .. } => Step::Stop,
            Verdict::Block { .. } => Step::Block,
            _ => Step::Nudge,
        }
    }
}

fn transcripts(text: &str) -> impl Iterator<Item = Transcript<'_>> {
    text.split("\n\n").filter(|block| block.contains("# ")).map(Transcript::read)
}

#[test]
fn runs_that_get_somewhere_are_left_alone() {
    let mut wrong = Vec::new();
    for transcript in transcripts(GOOD) {
        let agent = Agent::run(&transcript);
        let found: Vec<_> = agent.found.iter().map(|(call, found)| format!("  call {call}: {found}")).collect();
        if !found.is_empty() {
            wrong.push(format!("{}\n{}", transcript.title, found.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn runs_that_go_in_circles_are_found_and_stopped() {
    let mut wrong = Vec::new();
    for transcript in transcripts(BAD) {
        let (rule, by, stopped_by) = transcript.caught.unwrap();
        let agent = Agent::run(&transcript);
        let found: Vec<_> = agent.found.iter().map(|(at, found)| (*at, found.rule.as_str())).collect();
        let first = agent.found.first();
        let in_time = first.is_some_and(|(at, found)| *at <= by && found.rule.as_str() == rule);
        if !in_time || agent.guard.stopped().is_none() || agent.made > stopped_by {
            wrong.push(format!("{}: {} calls, {found:?}", transcript.title, agent.made));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

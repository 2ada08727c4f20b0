//! A run as the guard remembers it, and what each observation makes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Turn;
use super::agents::Agents;
use super::calls::Calls;
use super::config::{Config, Poll};
use super::failures::{self, Failures, Kind, Seen};
use super::ladder::{self, Ladder};
use super::mask::{Mask, Prints, Text, both, print};
use super::polls::{Asked, Polls};
use super::progress::Progress;
use super::recent::Recent;
use super::rule::{Limit, Rule};
use super::text::Texts;
use super::turns::Turns;
use super::verdict::{Moment, Near, Report, Step, Verdict};
use crate::time::Instant;

/// Number of ids of things that are remembered.
const MOST_IDS: usize = 2_048;

/// All that is remembered of a run. Times are nanoseconds of the time it took so far.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Memory {
    pub(super) elapsed: u64,
    pub(super) turns: u32,
    pub(super) tokens: u64,
    pub(super) cost: f64,
    pub(super) restarts: u32,
    /// Those that brought little new, and what had been learned before the first of them.
    #[cfg_attr(feature = "serde", serde(default))]
    pub(super) idle_restarts: u32,
    #[cfg_attr(feature = "serde", serde(default))]
    learned_before: u64,
    pub(super) made: u64,
    pub(super) ladder: Ladder,
    pub(super) agents: Agents,
    pub(super) calls: Calls,
    /// Calls of tools that have a limit.
    tools: BTreeMap<String, u32>,
    errors: Failures,
    #[cfg_attr(feature = "serde", serde(default))]
    now: Turns,
    texts: Texts,
    progress: Progress,
    /// Ids that results have shown, and what tells them apart.
    ids: Recent<u64>,
    polls: Polls,
}

/// What an observation has found.
pub(super) enum Found<'a> {
    Nothing,
    /// Nothing wrong, but not now.
    Hold {
        text: String,
        earlier: Option<Box<str>>,
        retry_after: Duration,
    },
    Rule {
        rule: Rule,
        subject: Option<&'a str>,
        earlier: Option<Box<str>>,
    },
}

impl<'a> Found<'a> {
    fn rule(rule: Option<Rule>, subject: Option<&'a str>) -> Self {
        rule.map_or(Self::Nothing, |rule| Self::Rule { rule, subject, earlier: None })
    }
}

impl Memory {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            elapsed: 0,
            turns: 0,
            tokens: 0,
            cost: 0.0,
            restarts: 0,
            idle_restarts: 0,
            learned_before: 0,
            made: 0,
            ladder: Ladder::default(),
            agents: Agents::default(),
            calls: Calls::new(config),
            tools: BTreeMap::new(),
            errors: Failures::default(),
            now: Turns::default(),
            texts: Texts::default(),
            progress: Progress::default(),
            ids: Recent::new(MOST_IDS),
            polls: Polls::default(),
        }
    }

    /// The same run under another configuration, within its bounds.
    pub(super) fn resized(mut self, config: &Config) -> Self {
        self.tools.retain(|name, _| config.tools.contains_key(name));
        Self {
            calls: self.calls.resized(config),
            agents: self.agents.resized(),
            errors: self.errors.resized(),
            texts: self.texts.resized(),
            progress: self.progress.resized(),
            ids: self.ids.resized(MOST_IDS),
            polls: self.polls.resized(),
            ..self
        }
    }

    /// A tool is about to be called.
    pub(super) fn before<'a>(
        &mut self,
        config: &Config,
        near: &mut Vec<Near>,
        tool: &'a str,
        arguments: &str,
    ) -> Found<'a> {
        self.made = self.made.saturating_add(1);
        let (prints, _) = self.call(config, tool, arguments);
        self.now.call(prints.exact);
        let own = config.tools.get(tool);
        if let Some(most) = own.and_then(|own| own.max_calls) {
            let calls = self.tools.entry(tool.to_owned()).or_default();
            let before = *calls;
            *calls = before.saturating_add(1);
            if *calls > most {
                return Found::rule(Some(Rule::Limit(Limit::Calls)), Some(tool));
            }
            crossed(near, config, Limit::Calls, before.into(), (*calls).into(), Some(most.into()));
        }
        if let Some(poll) = own.and_then(|own| own.poll) {
            return self.poll(poll, tool, prints);
        }
        self.progress.waits = false;
        match self.calls.before(self.elapsed, prints, config) {
            None => Found::Nothing,
            Some(rule) => Found::Rule { rule, subject: Some(tool), earlier: self.calls.earlier(prints) },
        }
    }

    fn poll<'a>(&mut self, poll: Poll, tool: &'a str, prints: Prints) -> Found<'a> {
        match self.polls.ask(self.elapsed, poll, prints.exact) {
            Asked::InTime => {
                self.progress.waits = true;
                Found::Nothing
            }
            Asked::TooSoon(retry_after) => {
                let text = format!("{tool} was asked too soon. Ask again in {} s.", retry_after.as_secs_f64().ceil());
                Found::Hold { text, earlier: self.calls.earlier(prints), retry_after }
            }
            Asked::TooOften(times) => {
                Found::Rule { rule: Rule::Poll(times), subject: Some(tool), earlier: self.calls.earlier(prints) }
            }
        }
    }

    /// A tool has answered.
    pub(super) fn after<'a>(
        &mut self,
        config: &Config,
        tool: &'a str,
        arguments: &str,
        outcome: Result<&str, &str>,
    ) -> Found<'a> {
        let (prints, asked) = self.call(config, tool, arguments);
        let (Ok(text) | Err(text)) = outcome;
        let (result, mut ids) = ids_of(mask_of(config, tool), text);
        // An echo of what was asked says nothing of it.
        ids.retain(|id| !asked.contains(id));
        let result = both(result, outcome.is_err().into());
        let polls = config.tools.get(tool).is_some_and(|tool| tool.poll.is_some());
        self.now.answered();
        let learned = self.calls.learned;
        let (origin, found) = if polls {
            // What a poller says changes by itself: it does not make other calls new, and it has limits of its own.
            self.calls.keep(prints, text, config);
            (both(prints.masked, result), None)
        } else {
            let (origin, found) = self.calls.after(self.elapsed, prints, result, text, config);
            let empty = failures::is_empty(text).then(|| {
                let places = Mask { places: true, ..mask_of(config, tool) };
                places.prints(arguments, Text::Arguments, |_| None).exact
            });
            let seen = Seen {
                at: self.elapsed,
                turn: self.now.number,
                tool: print(tool),
                call: prints.masked,
                result,
                kind: Kind::of(outcome),
                new: self.calls.learned != learned,
                learned: self.calls.learned,
                progress: self.progress.last,
                empty,
            };
            (origin, self.errors.push(&seen, config).or(found))
        };
        self.learn(&ids, |number, _| both(origin, number));
        Found::rule(found, Some(tool))
    }

    /// Ids in `text` name things.
    pub(super) fn context(&mut self, config: &Config, text: &str) {
        let (_, ids) = ids_of(mask(config), text);
        self.learn(&ids, |_, id| id);
    }

    /// A person has said something: what was done before is no evidence against what is done now.
    pub(super) fn user_turn(&mut self, config: &Config, text: &str) {
        self.context(config, text);
        self.forget_evidence();
        self.idle_restarts = 0;
    }

    /// The run goes on in another process.
    pub(super) fn restarted(&mut self, config: &Config) {
        let learned = self.calls.learned;
        if learned.saturating_sub(self.learned_before) >= config.forgive_after.into() {
            (self.idle_restarts, self.learned_before) = (0, learned);
        }
        self.idle_restarts = self.idle_restarts.saturating_add(1);
        self.restarts = self.restarts.saturating_add(1);
        self.now.next();
        self.errors.restarted();
        self.agents.gone();
    }

    fn learn(&mut self, ids: &[u64], meaning: impl Fn(u64, u64) -> u64) {
        for (number, id) in (0_u64..).zip(ids) {
            self.ids.touch(*id, || meaning(number, *id));
        }
    }

    /// The model has had a turn.
    pub(super) fn turn<'a>(&mut self, config: &Config, near: &mut Vec<Near>, turn: Turn<'_>) -> Found<'a> {
        self.now.next();
        let (turns, tokens, cost) = (self.turns, self.tokens, self.cost);
        self.turns = turns.saturating_add(1);
        self.tokens = tokens.saturating_add(turn.tokens);
        if turn.cost.is_finite() && turn.cost > 0.0 {
            self.cost = (cost + turn.cost).min(f64::MAX);
        }
        crossed(near, config, Limit::Turns, turns.into(), self.turns.into(), config.max_turns.map(f64::from));
        let most = config.max_tokens.map(|most| most as f64);
        crossed(near, config, Limit::Tokens, tokens as f64, self.tokens as f64, most);
        crossed(near, config, Limit::Cost, cost, self.cost, config.max_cost);
        let news = self.calls.learned.saturating_add(self.polls.asked);
        let said = self.texts.push(turn.text, news, mask(config), config);
        let still = self.progress.turn(self.elapsed, config);
        Found::rule(said.or(still), None)
    }

    pub(super) fn progress<'a>(&mut self, config: &Config, fingerprint: &str) -> Found<'a> {
        self.now.next();
        let (new, found) = self.progress.report(self.elapsed, print(fingerprint), config);
        self.calls.learned = self.calls.learned.saturating_add(u64::from(new));
        Found::rule(found, None)
    }

    pub(super) fn ask<'a>(&mut self, config: &Config, near: &mut Vec<Near>, from: &str, to: &'a str) -> Found<'a> {
        self.now.next();
        let (found, depth) = self.agents.ask(print(from), print(to), config);
        if found.is_none() {
            let most = config.max_depth.map(f64::from);
            crossed(near, config, Limit::Depth, depth.saturating_sub(1).into(), depth.into(), most);
        }
        Found::rule(found, Some(to))
    }

    pub(super) fn handoff<'a>(&mut self, config: &Config, from: &str, to: &'a str, reason: &str) -> Found<'a> {
        self.now.next();
        let reason = mask(config).prints(reason, Text::Output, |_| None).masked;
        let pair = both(print(from), print(to));
        Found::rule(self.agents.handoff(self.elapsed, pair, reason, self.calls.learned, config), Some(to))
    }

    pub(super) fn spawn<'a>(&mut self, config: &Config, near: &mut Vec<Near>, agent: &'a str) -> Found<'a> {
        self.now.next();
        let before = self.agents.spawned;
        if let Err(times) = self.agents.room(self.turns, self.elapsed, config) {
            if times > config.max_action_repetitions {
                return Found::rule(Some(Rule::Crowd(times)), Some(agent));
            }
            let alive = self.agents.alive;
            let text = format!("{alive} agents are at work. Wait until one has finished, or do this part yourself.");
            return Found::Hold { text, earlier: None, retry_after: Duration::ZERO };
        }
        let found = self.agents.spawn(config);
        let (after, most) = (self.agents.spawned, config.max_spawns.map(f64::from));
        crossed(near, config, Limit::Spawns, before.into(), after.into(), most);
        Found::rule(found, Some(agent))
    }

    /// After somebody has looked at the run: goes on, all evidence forgotten.
    pub(super) fn resume(&mut self) {
        self.ladder.resume();
        self.forget_evidence();
    }

    fn forget_evidence(&mut self) {
        self.now.next();
        self.calls.forgive();
        self.agents.forgive();
        (self.errors, self.texts) = Default::default();
        self.progress.forgive(self.elapsed);
        self.polls.forgive();
    }

    /// A limit of the whole run that is passed.
    pub(super) fn exceeded(&self, config: &Config) -> Option<Limit> {
        let passed = [
            (Limit::Turns, config.max_turns.is_some_and(|most| self.turns > most)),
            (Limit::Tokens, config.max_tokens.is_some_and(|most| self.tokens > most)),
            (Limit::Cost, config.max_cost.is_some_and(|most| self.cost > most)),
            (Limit::Time, config.max_time.is_some_and(|most| Duration::from_nanos(self.elapsed) > most)),
            (Limit::Restarts, config.max_restarts.is_some_and(|most| self.idle_restarts > most)),
        ];
        passed.into_iter().find(|(_, passed)| *passed).map(|(limit, _)| limit)
    }

    /// The verdict that follows from what was found.
    pub(super) fn judge(
        &mut self,
        at: Instant,
        of: Moment,
        config: &Config,
        found: Found<'_>,
        near: Vec<Near>,
    ) -> Report {
        let found = match self.exceeded(config) {
            Some(limit) => Found::Rule { rule: Rule::Limit(limit), subject: None, earlier: None },
            None => found,
        };
        let (rule, subject, earlier) = match found {
            Found::Nothing => return Report { at, verdict: Verdict::Allow, detected: None, near },
            Found::Hold { text, earlier, retry_after } => {
                let verdict = Verdict::Block { text, earlier, retry_after, detection: None };
                return Report { at, verdict, detected: None, near };
            }
            Found::Rule { rule, subject, earlier } => (rule, subject, earlier),
        };
        let found = ladder::Found { rule, subject, turn: self.now.number, learned: self.calls.learned };
        let (detection, new) = self.ladder.climb(&found, config);
        if !new && detection.step == Step::Nudge {
            // The model is nudged once a turn.
            return Report { at, verdict: Verdict::Allow, detected: None, near };
        }
        let detected = new.then(|| detection.clone());
        if detection.step == Step::Block {
            self.now.answered();
        }
        let text = detection.advice(of);
        let verdict = match detection.step {
            Step::Nudge => Verdict::Nudge { text, detection },
            Step::Block => Verdict::Block { text, earlier, retry_after: Duration::ZERO, detection: Some(detection) },
            Step::Stop => Verdict::Stop { why: detection, resumable: !rule.is_limit() },
        };
        Report { at, verdict, detected, near }
    }

    /// The fingerprints of a call, and the ids in it.
    fn call(&self, config: &Config, tool: &str, arguments: &str) -> (Prints, Vec<u64>) {
        let mut ids = Vec::new();
        let prints = mask_of(config, tool).prints(arguments, Text::Arguments, |id| {
            noted(&mut ids, id);
            self.ids.get(id).copied()
        });
        let tool = print(tool);
        (Prints { exact: both(tool, prints.exact), masked: both(tool, prints.masked) }, ids)
    }
}

fn mask(config: &Config) -> Mask<'_> {
    Mask { on: config.mask, ignored: [&config.ignored_fields, &[]], places: false }
}

/// How what a tool is asked and answers is masked.
fn mask_of<'a>(config: &'a Config, tool: &str) -> Mask<'a> {
    let own = config.tools.get(tool).map_or(&[][..], |own| &own.ignored_fields);
    Mask { on: config.mask, ignored: [&config.ignored_fields, own], places: false }
}

/// The fingerprint of a result, and the ids in it.
fn ids_of(mask: Mask<'_>, text: &str) -> (u64, Vec<u64>) {
    let mut ids = Vec::new();
    let prints = mask.prints(text, Text::Output, |id| {
        noted(&mut ids, id);
        None
    });
    (prints.masked, ids)
}

fn noted(ids: &mut Vec<u64>, id: u64) {
    if ids.len() < MOST_IDS {
        ids.push(id);
    }
}

/// Notes that a limit came near by what was added.
pub(super) fn crossed(near: &mut Vec<Near>, config: &Config, limit: Limit, before: f64, after: f64, most: Option<f64>) {
    let Some(most) = most else { return };
    let warn = most * config.warn_at;
    if before < warn && after >= warn && after <= most {
        near.push(Near { limit, used: after, most });
    }
}

//! The policies in a file, by name: what `check` explains and `simulate` tries.

use std::path::Path;

use stormproof::document::{Mistake, Reader};
use stormproof::settings::Settings;
use stormproof::{Invalid, config};

use crate::Unloaded;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// One policy, in a table `policy` or by itself.
    Policy,
    /// Policies of the library, in `[policies.NAME]`.
    Policies,
    /// Upstreams of the gateway, in `[upstreams.NAME]`.
    Upstreams,
}

impl Kind {
    /// By the names that its lines begin with.
    fn of(text: &str) -> Self {
        if begins(text, &["upstreams", "gateway"]) {
            Self::Upstreams
        } else if begins(text, &["policies"]) {
            Self::Policies
        } else {
            Self::Policy
        }
    }

    /// So many of what it holds.
    pub(crate) fn count(self, count: usize) -> String {
        let (one, more) = match self {
            Self::Policy | Self::Policies => ("policy", "policies"),
            Self::Upstreams => ("upstream", "upstreams"),
        };
        format!("{count} {}", if count == 1 { one } else { more })
    }
}

/// A file's policies by name. One that stands by itself is called `policy`.
pub(crate) fn read(path: &Path) -> Result<(Kind, Vec<(String, config::Config)>), Unloaded> {
    let text = crate::text(path)?;
    let kind = Kind::of(&text);
    let policies = match kind {
        Kind::Upstreams => {
            let upstreams = crate::load(path)?.upstreams;
            upstreams.into_iter().map(|(name, upstream)| (name, upstream.policy_in_force())).collect()
        }
        Kind::Policies => {
            let settings = crate::read_with(|environment| Settings::parse_with(&text, environment));
            settings.map_err(|mistakes| crate::invalid(path, &mistakes))?.policies.into_iter().collect()
        }
        Kind::Policy => vec![("policy".to_owned(), parse(&text).map_err(|mistakes| neither(path, &mistakes))?)],
    };
    Ok((kind, policies))
}

/// The policy in a text: in a table `policy`, or the whole of it.
fn parse(text: &str) -> Result<config::Config, Vec<Mistake>> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Document {
        policy: config::Config,
    }
    if !begins(text, &["policy"]) {
        let says_something = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
        let is_empty = !text.lines().any(says_something);
        let judge = |policy: &config::Config| match policy.validate() {
            _ if is_empty => vec![Invalid::new("", "empty", "a policy, policies or upstreams")],
            mistakes => mistakes,
        };
        return Reader::new().policies("").read(text, judge);
    }
    let within = |mistake: Invalid| mistake.under("policy");
    let validate = |document: &Document| document.policy.validate().into_iter().map(within).collect();
    Reader::new().policies("policy").read(text, validate).map(|document| document.policy)
}

/// The mistakes of a file; with all that there is, if it may have been meant as something else: nothing in it is a setting
/// of a policy, or like one.
fn neither(path: &Path, mistakes: &[Mistake]) -> Unloaded {
    let strange = |mistake: &Mistake| {
        let unknown = mistake.message.starts_with("is unknown") && !mistake.message.contains("Did you mean");
        mistake.path.is_empty() || unknown && !mistake.path.contains('.')
    };
    let told = crate::invalid(path, mistakes);
    let all_strange = mistakes.iter().all(strange);
    let Unloaded::Invalid(mistakes) = told else { return told };
    if !all_strange {
        return Unloaded::Invalid(mistakes);
    }
    let kinds = "one policy stands in [policy] or by itself, policies of the library stand in [policies.NAME], upstreams \
                 of the gateway in [upstreams.NAME]";
    Unloaded::Invalid(format!("{mistakes}\n{}: {kinds}", path.display()))
}

/// Whether a line of the text begins with one of these names: as a table, or as the first part of a setting.
fn begins(text: &str, names: &[&str]) -> bool {
    let first = |line: &str| {
        let line = line.trim_start_matches(['[', ' ', '\t']);
        line.split(['.', ']', '=', ' ', '\t']).next().unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    text.lines().map(first).any(|name| names.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_the_names_its_lines_begin_with() {
        for (text, kind) in [
            ("[upstreams.a]\nurl = 'x'", Kind::Upstreams),
            ("  [ gateway ]", Kind::Upstreams),
            ("upstreams.a.url = 'x'", Kind::Upstreams),
            ("[\"policies\".a]", Kind::Policies),
            ("policies = {}", Kind::Policies),
            ("[policy]", Kind::Policy),
            ("deadline = '5s'", Kind::Policy),
            ("[policiesX]", Kind::Policy),
            ("", Kind::Policy),
        ] {
            assert_eq!(Kind::of(text), kind, "{text}");
        }
    }

    #[test]
    fn a_policy_stands_in_a_table_or_by_itself() {
        for text in ["deadline = 5", "[policy]\ndeadline = 5", "policy.deadline = 5"] {
            assert_eq!(parse(text).ok().and_then(|policy| policy.deadline), Some(std::time::Duration::from_secs(5)));
        }
        for text in ["preset = 'victor.ollama'", "[policy]\npreset = 'victor.ollama'"] {
            assert!(parse(text).is_ok_and(|policy| policy.breaker.is_some()), "{text}");
        }
        let shown = |text| parse(text).err().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown("# nothing\n"), ["1:1: is empty, allowed is a policy, policies or upstreams"]);
        assert!(shown("preset = 'nope'")[0].starts_with("1:10: preset: no preset is called \"nope\", there are "));
        let twice = "[retry]\nmax_retries = 1\nmax_attempts = 2\n";
        assert_eq!(shown(twice), ["3:1: retry.max_attempts: excludes `max_retries`: set one of them"]);
    }
}

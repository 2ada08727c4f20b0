//! `stormproof check FILE`: names every mistake in a configuration file, or says what it means in numbers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use stormproof::config;
use stormproof::settings::Settings;

use crate::Unloaded;

/// Check a configuration file: name each mistake with its line and column, or explain each policy in numbers
///
/// A file with tables [policies.NAME] is one of the library, any other one of the gateway.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration file
    file: PathBuf,
    /// Say only whether the file is valid
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match read(&args.file) {
        Ok((kind, policies)) => {
            let count = policies.len();
            let kind = if count == 1 { kind.0 } else { kind.1 };
            let mut text = format!("{}: ok ({count} {kind})\n", args.file.display());
            if !args.quiet {
                text.extend(policies.iter().map(explain));
            }
            crate::print(&text);
            ExitCode::SUCCESS
        }
        Err(wrong @ Unloaded::Unreadable(_)) => {
            eprintln!("{wrong}");
            wrong.code()
        }
        Err(wrong) => {
            crate::print(&format!("{wrong}\n"));
            wrong.code()
        }
    }
}

/// What a policy belongs to: one of it, and several.
pub(crate) type Kind = (&'static str, &'static str);

/// What the file has, and their policies by name.
pub(crate) fn read(path: &Path) -> Result<(Kind, Vec<(String, config::Config)>), Unloaded> {
    let text = crate::text(path)?;
    if is_settings(&text) {
        let settings = crate::read_with(|environment| Settings::parse_with(&text, environment));
        let settings = settings.map_err(|mistakes| crate::invalid(path, &mistakes))?;
        return Ok((("policy", "policies"), settings.policies.into_iter().collect()));
    }
    let upstreams = crate::load(path).map_err(|wrong| say_which_kind(wrong, path, &text))?.upstreams;
    Ok((
        ("upstream", "upstreams"),
        upstreams.into_iter().map(|(name, upstream)| (name, upstream.policy_in_force())).collect(),
    ))
}

/// Adds to the mistakes of a file that is of neither kind which kinds there are.
fn say_which_kind(wrong: Unloaded, path: &Path, text: &str) -> Unloaded {
    match wrong {
        Unloaded::Invalid(mistakes) if !crate::simulate::has_tables(text, &["upstreams", "gateway"]) => {
            let kinds =
                "policies of the library stand in [policies.NAME], upstreams of the gateway in [upstreams.NAME]";
            Unloaded::Invalid(format!("{mistakes}\n{}: {kinds}", path.display()))
        }
        other => other,
    }
}

/// Whether a text is a settings file of the library: then it has policies at its top.
fn is_settings(text: &str) -> bool {
    let begins = |line: &str| line.trim_start_matches(['[', ' ', '\t']).starts_with("policies");
    text.lines().any(begins)
}

fn explain((name, policy): &(String, config::Config)) -> String {
    let explained = policy.explain().to_string();
    let lines = explained.lines().map(|line| format!("  {line}\n"));
    format!("\n{name}\n{}", lines.collect::<String>())
}

//! One command with what it needs and what it must not print, and how a list of them is run.
//!
//! Owns processes, timing and reporting; what the steps are is said elsewhere.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A command to run at the root of the workspace.
pub(crate) struct Step {
    name: String,
    words: Vec<String>,
    env: &'static [(&'static str, &'static str)],
    needs: Option<&'static Tool>,
    only: &'static [&'static str],
    only_if: Option<&'static str>,
}

/// Folder for the tools that `cargo install` brings: a chore leaves nothing in the user's home.
const TOOLS: &str = "target/tools";

/// A tool that a fresh machine may lack: `probe` succeeds when it is there, `install` brings it. `cargo install` needs
/// `--root target/tools`.
pub(crate) struct Tool {
    pub(crate) probe: &'static str,
    pub(crate) install: &'static str,
}

impl Step {
    /// `command` is split at blanks; no shell is involved.
    pub(crate) fn new(name: impl Into<String>, command: &str) -> Self {
        Self { name: name.into(), words: split(command), env: &[], needs: None, only: &[], only_if: None }
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = String>) -> Self {
        self.words.extend(args);
        self
    }

    pub(crate) fn env(mut self, env: &'static [(&'static str, &'static str)]) -> Self {
        self.env = env;
        self
    }

    pub(crate) fn needs(mut self, tool: &'static Tool) -> Self {
        self.needs = Some(tool);
        self
    }

    /// Fails when a line of the output starts with a word that is not among these.
    pub(crate) fn only(mut self, words: &'static [&'static str]) -> Self {
        self.only = words;
        self
    }

    /// Leaves the step out when this path does not exist.
    pub(crate) fn only_if(mut self, path: &'static str) -> Self {
        self.only_if = Some(path);
        self
    }

    /// The line to paste into a shell to repeat this step.
    fn repeat(&self) -> String {
        let env = self.env.iter().map(|(key, value)| format!("{key}={}", quote(value)));
        env.chain(self.words.iter().map(|word| quote(word))).collect::<Vec<_>>().join(" ")
    }

    fn applies(&self, root: &Path) -> bool {
        self.only_if.is_none_or(|path| root.join(path).exists())
    }

    fn run(&self, root: &Path, env: &[(&str, String)]) -> Result<(), String> {
        if let Some(tool) = self.needs {
            tool.ensure(root)?;
        }
        let mut command = prepare(&self.words, root)?;
        command.envs(env.iter().map(|(name, value)| (name, value))).envs(self.env.iter().copied());
        if self.only.is_empty() {
            return succeed(&mut command);
        }
        let text = capture(&mut command)?;
        let others = others(&text, self.only);
        if others.is_empty() { Ok(()) } else { Err(format!("not allowed here: {}", others.join(", "))) }
    }
}

impl Tool {
    fn ensure(&self, root: &Path) -> Result<(), String> {
        let mut probe = prepare(&split(self.probe), root)?;
        let present = probe.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        if present {
            return Ok(());
        }
        println!("    installing: {}", self.install);
        succeed(&mut prepare(&split(self.install), root)?).map_err(|error| format!("`{}`: {error}", self.install))
    }
}

/// Runs the steps in order and stops at the first that fails.
pub(crate) fn run_all(steps: Vec<Step>) -> Result<(), String> {
    run_all_with(steps, &[])
}

/// The same with more in the environment of each, which a step alone can do without.
pub(crate) fn run_all_with(steps: Vec<Step>, env: &[(&str, String)]) -> Result<(), String> {
    let root = root()?;
    let mut durations = Vec::new();
    let mut result = Ok(());

    for step in steps.into_iter().filter(|step| step.applies(&root)) {
        println!("==> {}: {}", step.name, step.repeat());
        let start = Instant::now();
        let outcome = step.run(&root, env);
        let took = start.elapsed();
        let word = if outcome.is_ok() { "done" } else { "FAILED" };
        println!("    {}: {word} in {}", step.name, seconds(took));
        durations.push((step.name.clone(), took));
        if let Err(error) = outcome {
            result = Err(format!("\n{} failed: {error}\nto repeat: {}", step.name, step.repeat()));
            break;
        }
    }

    if env::var_os("CI").is_some() {
        print!("{}", table(&durations));
    }
    result
}

/// What a command prints; its complaints go straight to the terminal.
pub(crate) fn output(command: &str) -> Result<String, String> {
    output_with(command, &[])
}

/// The same with more in its environment.
pub(crate) fn output_with(command: &str, env: &[(&str, &str)]) -> Result<String, String> {
    capture(prepare(&split(command), &root()?)?.envs(env.iter().copied()))
        .map_err(|error| format!("`{command}`: {error}"))
}

/// The root of the workspace.
pub(crate) fn root() -> Result<PathBuf, String> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().map(Path::to_path_buf).ok_or_else(|| format!("{} is not inside a workspace", own.display()))
}

fn split(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}

fn prepare(words: &[String], root: &Path) -> Result<Command, String> {
    let [program, args @ ..] = words else {
        return Err("an empty command".to_owned());
    };
    let mut command = Command::new(program);
    command.args(args).current_dir(root).env("PATH", search_path(root)?);
    Ok(command)
}

/// The caller's `PATH`, preceded by the folder below `target` that tools are installed into.
fn search_path(root: &Path) -> Result<OsString, String> {
    let others = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(root.join(TOOLS).join("bin")).chain(env::split_paths(&others));
    env::join_paths(folders).map_err(|error| error.to_string())
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| unstartable(command, &error))?;
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}

fn capture(command: &mut Command) -> Result<String, String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| unstartable(command, &error))?;
    if !output.status.success() {
        return Err(output.status.to_string());
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

fn unstartable(command: &Command, error: &std::io::Error) -> String {
    format!("cannot start {}: {error}", command.get_program().display())
}

/// The first words of lines that are not `known`, each once.
fn others(text: &str, known: &[&str]) -> Vec<String> {
    let first_words = text.lines().filter_map(|line| line.split_whitespace().next());
    let others: std::collections::BTreeSet<_> = first_words.filter(|word| !known.contains(word)).collect();
    others.into_iter().map(str::to_owned).collect()
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_+=/.,:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn table(durations: &[(String, Duration)]) -> String {
    let total = ("total".to_owned(), durations.iter().map(|(_, took)| *took).sum());
    let width = durations.iter().map(|(name, _)| name.len()).max().unwrap_or_default().max(total.0.len());
    let line = |(name, took): &(String, Duration)| format!("{name:width$}  {:>9}\n", seconds(*took));
    format!("\n{}{}", durations.iter().map(line).collect::<String>(), line(&total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_repeat_survives_a_shell() {
        let step = Step::new("loom", "cargo test --test loom_*").env(&[("RUSTFLAGS", "--cfg loom")]);
        assert_eq!(step.repeat(), "RUSTFLAGS='--cfg loom' cargo test --test 'loom_*'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn a_crate_that_is_not_listed_is_found_by_its_whole_name() {
        let tree = "stormproof-core v0.1.0\nmio v1.0.0\nserde v1.0.0\nserde-io v1.0.0\nmio v1.0.0 (*)\n";
        assert_eq!(others(tree, &["stormproof-core", "serde"]), ["mio", "serde-io"]);
    }

    #[test]
    fn a_step_runs_at_the_root_and_reports_failure() {
        let root = root().unwrap();
        assert_eq!(Step::new("manifest", "cargo --version").run(&root, &[]), Ok(()));
        assert!(Step::new("nothing", "no-such-program").run(&root, &[]).is_err());
        assert!(Step::new("not listed", "cargo --version").only(&["rustc"]).run(&root, &[]).is_err());
    }

    #[test]
    fn a_tool_is_installed_only_when_its_probe_fails() {
        let root = root().unwrap();
        let present = Tool { probe: "cargo --version", install: "no-such-program" };
        let absent = Tool { probe: "no-such-program", install: "no-such-program either" };
        assert_eq!(present.ensure(&root), Ok(()));
        assert!(absent.ensure(&root).unwrap_err().contains("`no-such-program either`"));
    }

    #[test]
    fn a_step_about_an_absent_folder_is_left_out() {
        let root = root().unwrap();
        assert!(Step::new("here", "cargo").only_if("xtask").applies(&root));
        assert!(!Step::new("absent", "cargo").only_if("no/such/folder").applies(&root));
    }

    #[test]
    fn the_table_ends_with_the_total() {
        let rows = [("format".to_owned(), Duration::from_millis(1_500)), ("test".to_owned(), Duration::from_secs(60))];
        assert_eq!(table(&rows), "\nformat      1.5 s\ntest       60.0 s\ntotal      61.5 s\n");
    }
}

//! What goes wrong in the demo, and when: the same for the same seed.

use std::time::Duration;

/// How an upstream behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Behaviour {
    /// Answers.
    Healthy,
    /// Answers so many of a hundred calls with 500.
    Errors(u8),
    /// Takes the call and never answers.
    Stalls,
    /// Answers so many of a hundred calls with 429 and asks to come back after a second.
    Throttles(u8),
    /// Its process has been killed: connections are refused.
    Dead,
}

impl Behaviour {
    /// As a line for the upstream's standard input.
    pub(super) fn to_line(self) -> String {
        match self {
            Self::Healthy => "healthy".to_owned(),
            Self::Errors(percent) => format!("errors {percent}"),
            Self::Stalls => "stalls".to_owned(),
            Self::Throttles(percent) => format!("throttles {percent}"),
            Self::Dead => "dead".to_owned(),
        }
    }

    /// From such a line.
    pub(super) fn from_line(line: &str) -> Option<Self> {
        let (word, percent) = line.split_once(' ').unwrap_or((line, "0"));
        let percent = percent.parse().ok()?;
        match word {
            "healthy" => Some(Self::Healthy),
            "errors" => Some(Self::Errors(percent)),
            "stalls" => Some(Self::Stalls),
            "throttles" => Some(Self::Throttles(percent)),
            "dead" => Some(Self::Dead),
            _ => None,
        }
    }
}

/// A stretch of the demo.
#[derive(Debug)]
pub(super) struct Phase {
    pub(super) lasts: Duration,
    pub(super) behaviour: Behaviour,
    pub(super) says: &'static str,
}

impl Phase {
    /// A word for it below a chart.
    pub(super) const fn word(&self) -> &'static str {
        match self.behaviour {
            Behaviour::Healthy => "well",
            Behaviour::Errors(_) => "errors",
            Behaviour::Stalls => "stalls",
            Behaviour::Throttles(_) => "throttles",
            Behaviour::Dead => "dead",
        }
    }
}

const fn phase(seconds: u64, behaviour: Behaviour, says: &'static str) -> Phase {
    Phase { lasts: Duration::from_secs(seconds), behaviour, says }
}

/// The whole of it: 44 seconds.
pub(super) const SCRIPT: &[Phase] = &[
    phase(3, Behaviour::Healthy, "the upstream is well"),
    phase(9, Behaviour::Errors(30), "it answers 30 of 100 calls with 500"),
    phase(2, Behaviour::Healthy, "it is well again"),
    phase(5, Behaviour::Stalls, "it stalls: takes calls, answers none"),
    phase(4, Behaviour::Healthy, "it answers again"),
    phase(5, Behaviour::Dead, "its process is killed"),
    phase(4, Behaviour::Healthy, "its process is started again"),
    phase(8, Behaviour::Throttles(40), "it throttles: 40 of 100 calls get 429, Retry-After: 1"),
    phase(4, Behaviour::Healthy, "it is well again"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_script_fits_into_a_minute_and_every_line_is_understood() {
        assert!(SCRIPT.iter().map(|phase| phase.lasts).sum::<Duration>() < Duration::from_secs(50));
        for phase in SCRIPT {
            assert_eq!(Behaviour::from_line(&phase.behaviour.to_line()), Some(phase.behaviour));
        }
        assert_eq!(Behaviour::from_line("errors many"), None);
    }
}

//! What can go wrong with a server, and when.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Setup;

/// A bad time: of what kind, from when, how long.
///
/// Written `outage`, or `outage@1m` with its beginning, or `outage@1m+30s` with its length, too. Default: from a fifth to
/// two fifths of the duration.
///
/// ```
/// use std::time::Duration;
/// use stormproof_sim::simulation::Fault;
///
/// let fault: Fault = "brown-out@1m+30s".parse().unwrap();
/// assert_eq!(fault.start, Some(Duration::from_secs(60)));
/// assert!("bronw-out".parse::<Fault>().unwrap_err().contains("brown-out"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    kind: &'static Kind,
    /// When it begins.
    pub start: Option<Duration>,
    /// How long it lasts.
    pub length: Option<Duration>,
}

#[derive(Debug, PartialEq)]
struct Kind {
    name: &'static str,
    about: &'static str,
    weather: Weather,
    change: Change,
}

/// How a kind's weather goes on during the fault.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Steady,
    /// On and off, by these.
    Flaps(Duration, Duration),
    /// Slow in the beginning, twice as fast after each sixth of its length.
    WarmsUp,
}

/// What the server is like at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weather {
    /// Factor by which calls take longer.
    pub slowness: f64,
    /// This share is answered 500.
    pub failing: f64,
    /// No call is answered.
    pub hangs: bool,
    /// No connection is accepted.
    pub refuses: bool,
    /// Every call is answered 503 at once.
    pub sheds: bool,
    /// Calls above this share of its capacity are answered 429, with a hint to come back after two seconds.
    pub throttle: Option<f64>,
    /// Share of slow calls, and the factor by which they take longer.
    pub tail: (f64, f64),
    /// This share of the workers is there.
    pub workers: f64,
    /// Factor by which clients call more often.
    pub demand: f64,
}

impl Weather {
    /// All is well.
    pub const CALM: Self = Self {
        slowness: 1.0,
        failing: 0.0,
        hangs: false,
        refuses: false,
        sheds: false,
        throttle: None,
        tail: (0.0, 1.0),
        workers: 1.0,
        demand: 1.0,
    };
}

const fn steady(name: &'static str, about: &'static str, weather: Weather) -> Kind {
    Kind { name, about, weather, change: Change::Steady }
}

const CALM: Weather = Weather::CALM;
const KINDS: [Kind; 13] = [
    steady("none", "nothing goes wrong", CALM),
    steady("outage", "calls are accepted and never answered", Weather { hangs: true, ..CALM }),
    steady("refused", "connections are refused at once", Weather { refuses: true, ..CALM }),
    steady("unavailable", "every call is answered 503 at once", Weather { sheds: true, ..CALM }),
    steady("brown-out", "three times as slow, and three in ten fail", Weather { slowness: 3.0, failing: 0.3, ..CALM }),
    Kind {
        name: "flapping",
        about: "five seconds of outage, ten without, and again",
        weather: Weather { hangs: true, ..CALM },
        change: Change::Flaps(Duration::from_secs(5), Duration::from_secs(10)),
    },
    steady(
        "throttling",
        "429 with Retry-After above a quarter of the capacity",
        Weather { throttle: Some(0.25), ..CALM },
    ),
    steady("slow-tail", "three in a hundred calls take thirty times as long", Weather { tail: (0.03, 30.0), ..CALM }),
    Kind {
        name: "cold-start",
        about: "ten times as slow at first, getting faster",
        weather: Weather { slowness: 10.0, ..CALM },
        change: Change::WarmsUp,
    },
    steady("slow", "ten times as slow", Weather { slowness: 10.0, ..CALM }),
    steady("fewer-workers", "a quarter of the workers is left", Weather { workers: 0.25, ..CALM }),
    steady("failing", "half of all calls fail", Weather { failing: 0.5, ..CALM }),
    steady("surge", "clients call three times as often", Weather { demand: 3.0, ..CALM }),
];

impl Default for Fault {
    fn default() -> Self {
        Self { kind: &KINDS[0], start: None, length: None }
    }
}

impl Fault {
    /// All kinds, each with what it does.
    pub fn kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
        KINDS.iter().map(|kind| (kind.name, kind.about))
    }

    /// The kind's name.
    pub fn name(&self) -> &'static str {
        self.kind.name
    }

    /// What it does.
    pub fn about(&self) -> &'static str {
        self.kind.about
    }

    /// From when to when, in a run of that setup; `None` if nothing goes wrong.
    pub fn span(&self, setup: &Setup) -> Option<(Duration, Duration)> {
        if self.kind.name == "none" {
            return None;
        }
        let fifth = setup.duration / 5;
        let start = self.start.unwrap_or(fifth);
        Some((start, start.saturating_add(self.length.unwrap_or(fifth)).min(setup.duration)))
    }

    /// The weather at `time`.
    pub(super) fn weather(&self, span: Option<(Duration, Duration)>, time: Duration) -> Weather {
        let Some((start, end)) = span.filter(|(start, end)| (*start..*end).contains(&time)) else {
            return Weather::CALM;
        };
        let since = time.saturating_sub(start);
        match self.kind.change {
            Change::Steady => self.kind.weather,
            Change::Flaps(on, off) => {
                let within = since.as_nanos() % (on + off).as_nanos().max(1);
                if within < on.as_nanos() { self.kind.weather } else { Weather::CALM }
            }
            Change::WarmsUp => {
                let passed = since.as_secs_f64() / end.saturating_sub(start).as_secs_f64().max(1e-9);
                let slowness = 1.0 + (self.kind.weather.slowness - 1.0) * (-6.0 * passed).exp2();
                Weather { slowness, ..self.kind.weather }
            }
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, when) = text.split_once('@').map_or((text, None), |(name, when)| (name, Some(when)));
        let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
            let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
            return Err(format!("no fault is called {name:?}, allowed are {}", names.join(", ")));
        };
        let time = |text: &str| {
            humantime::parse_duration(text)
                .map_err(|_| format!("{text:?} is no time, allowed is such as {name}@1m or {name}@1m+30s"))
        };
        let (start, length) = match when.map(|when| when.split_once('+').map_or((when, None), |(a, b)| (a, Some(b)))) {
            None => (None, None),
            Some((start, length)) => (Some(time(start)?), length.map(time).transpose()?),
        };
        Ok(Self { kind, start, length })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name)?;
        if let Some(start) = self.start {
            write!(f, "@{}", humantime::format_duration(start).to_string().replace(' ', ""))?;
        }
        if let Some(length) = self.length {
            write!(f, "+{}", humantime::format_duration(length).to_string().replace(' ', ""))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fault_is_read_as_it_is_written() {
        for text in ["none", "outage@1m", "flapping@1h 30m+5s".replace(' ', "").as_str()] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        for text in ["", "outages", "outage@", "outage@x", "outage@1s+", "outage+1s"] {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
    }

    #[test]
    fn weather_is_bad_during_the_fault_only() {
        let setup = Setup::default();
        let fault: Fault = "flapping@10s+1m".parse().unwrap();
        let hangs = |second| fault.weather(fault.span(&setup), Duration::from_secs(second)).hangs;
        assert_eq!([9, 10, 14, 15, 24, 25, 69, 70].map(hangs), [false, true, true, false, false, true, false, false]);
    }

    fn words() -> impl Strategy<Value = String> {
        let word = prop::sample::select(vec![
            "outage",
            "flapping",
            "@",
            "+",
            "1m",
            "30s",
            " ",
            "-1",
            "9".repeat(30).leak(),
            "y",
        ]);
        prop_oneof![any::<String>(), prop::collection::vec(word, 0..6).prop_map(|words| words.concat())]
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_read_again(text in words(), at in any::<Duration>()) {
            if let Ok(fault) = text.parse::<Fault>() {
                prop_assert_eq!(fault.to_string().parse(), Ok(fault.clone()), "{}", text);
                let setup = Setup::default();
                let weather = fault.weather(fault.span(&setup), at);
                prop_assert!(weather.slowness.is_finite() && (0.0..=1.0).contains(&weather.failing));
            }
        }

        #[test]
        fn any_fault_is_read_as_it_is_written(
            kind in 0..KINDS.len(),
            start in any::<Option<Duration>>(),
            length in any::<Option<Duration>>(),
        ) {
            // A length is written behind a beginning.
            let fault = Fault { kind: &KINDS[kind], start, length: length.filter(|_| start.is_some()) };
            prop_assert_eq!(fault.to_string().parse(), Ok(fault));
        }
    }
}

//! Each style's lines, to the letter.

use std::time::{Duration, SystemTime};

use stormproof_core::breaker::{self, Change, Mode};
use stormproof_core::degrade::Parts;
use stormproof_core::event::Kind;
use stormproof_core::event::damper::Damper;
use stormproof_core::retry::Stop;
use stormproof_core::{CircuitBreaker, Event, Instant, Limit, Name, Reason, Stage, Trip, Verdict};

use super::{Level, Style, line, message, refusal, suppressed};

/// 2024-01-15T10:30:45.123Z.
fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_705_314_645_123)
}

fn event(kind: Kind) -> Event {
    Event::new(Instant::ZERO, "salesforce".into(), kind)
}

/// A circuit that opened, let a probe through, opened again, and was closed by an operator.
fn circuit(trip: Trip) -> Vec<Event> {
    let config = breaker::Config { trip: vec![trip], open_duration: Duration::from_secs(60), ..Default::default() };
    let circuit = CircuitBreaker::with_config("salesforce_agent", config).unwrap();
    let failure = Verdict::failure("TimeoutError");
    let mut now = Instant::ZERO;
    let mut changes = Vec::new();
    for _ in 0..20 {
        if let Ok(change) = circuit.allow_request(now) {
            changes.extend(change);
            changes.extend(circuit.record(now, &failure));
        }
        if changes.len() == 3 {
            break;
        }
        if !changes.is_empty() {
            now = now + Duration::from_secs(60);
        }
    }
    changes.extend(circuit.set_mode(now + Duration::from_secs(60), Mode::Normal).map(Change::Moved));
    changes.into_iter().map(|change| event(Kind::of_change(circuit.name(), change))).collect()
}

fn texts(style: Style, events: &[Event]) -> Vec<(Level, String)> {
    let lines = events.iter().filter_map(|event| line(style, event, noon()));
    lines.map(|line| (line.level, line.text)).collect()
}

fn golden(style: Style, events: &[Event], expected: &[(Level, &str)]) {
    let expected: Vec<_> = expected.iter().map(|&(level, text)| (level, text.to_owned())).collect();
    assert_eq!(texts(style, events), expected);
}

#[test]
fn a2a_circuits_are_the_objects_of_its_dashboards() {
    let of = |operation: &str, failures: u32, last: &str| {
        format!(
            r#"{{"timestamp":"2024-01-15T10:30:45.123Z","component":"circuit_breaker","operation_type":"CIRCUIT_BREAKER_{operation}","circuit_name":"salesforce_agent","failure_count":{failures},"last_failure_time":{last}}}"#
        )
    };
    let now = r#""2024-01-15T10:30:45.123Z""#;
    let before = r#""2024-01-15T10:29:45.123Z""#;
    golden(
        Style::A2a,
        &circuit(Trip::consecutive(5)),
        &[
            (Level::Error, &of("OPEN", 5, now)),
            (Level::Info, &of("HALF_OPEN", 5, before)),
            (Level::Error, &of("OPEN", 6, now)),
            (Level::Info, &of("CLOSED", 0, before)),
        ],
    );
}

#[test]
fn a2a_code_says_from_where_to_where_and_why() {
    let of = |from: &str, to: &str, reason: &str| {
        format!(
            r#"{{"timestamp":"2024-01-15T10:30:45.123Z","event":"circuit_breaker_state_change","circuit_name":"salesforce_agent","from_state":"{from}","to_state":"{to}","reason":"{reason}"}}"#
        )
    };
    golden(
        Style::A2aCode,
        &circuit(Trip::consecutive(2)),
        &[
            (Level::Error, &of("closed", "open", "tripped")),
            (Level::Info, &of("open", "half_open", "wait_over")),
            (Level::Error, &of("half_open", "open", "probe_failed")),
            (Level::Info, &of("open", "closed", "operator")),
        ],
    );
}

#[test]
fn the_book_names_the_failures_or_the_slow_calls() {
    golden(
        Style::Book,
        &circuit(Trip::consecutive(5)),
        &[(Level::Info, "Circuit opened after 5 failures"), (Level::Info, "Circuit opened after 6 failures")],
    );
    let trip = vec![Trip::slow(0.5, Duration::from_secs(1), 4, breaker::Window::Calls(10))];
    let slow = CircuitBreaker::with_config("b", breaker::Config { trip, ..Default::default() }).unwrap();
    let opened = (0..4).find_map(|_| {
        let mut permit = slow.admit(Instant::ZERO).unwrap();
        slow.settle(&mut permit, Instant::ZERO + Duration::from_secs(1), &Verdict::success())
    });
    let opened = event(Kind::of_change(&"b".into(), opened.unwrap()));
    golden(Style::Book, &[opened], &[(Level::Info, "Circuit opened after 4 slow calls")]);
    let forced = CircuitBreaker::new("b").set_mode(Instant::ZERO, Mode::ForcedOpen).map(Change::Moved).unwrap();
    let forced = event(Kind::of_change(&"b".into(), forced));
    golden(Style::Book, &[forced], &[(Level::Info, "Circuit opened: operator")]);
    let ratio = Trip::ratio(0.5, 4, breaker::Window::Calls(10));
    golden(Style::Book, &circuit(ratio)[..1], &[(Level::Info, "Circuit opened after 4 failures")]);
}

#[test]
fn retries_read_as_each_system_has_them() {
    let retry =
        event(Kind::RetryAttempted { retry: 2, delay: Duration::from_millis(1500), error: "RateLimitError".into() });
    let gave_up = event(Kind::GaveUp { stop: Stop::Exhausted, attempts: 4, error: "TimeoutError".into() });
    let denied = event(Kind::GaveUp { stop: Stop::BudgetDenied, attempts: 1, error: "TimeoutError".into() });
    let events = [retry, gave_up, denied];
    golden(Style::Victor, &events, &[(Level::Warning, "Retry 2: RateLimitError, waiting 1.5s")]);
    golden(
        Style::A2aCode,
        &events,
        &[
            (
                Level::Warning,
                r#"{"timestamp":"2024-01-15T10:30:45.123Z","event":"retry_attempt_failed","name":"salesforce","attempt":2,"error":"RateLimitError","delay":1.5}"#,
            ),
            (
                Level::Error,
                r#"{"timestamp":"2024-01-15T10:30:45.123Z","event":"all_retry_attempts_failed","name":"salesforce","attempts":4,"error":"TimeoutError"}"#,
            ),
        ],
    );
    golden(Style::Book, &events, &[]);
}

#[test]
fn victor_alerts_name_the_circuit() {
    let lines = texts(Style::Victor, &circuit(Trip::consecutive(1)));
    assert_eq!(lines[0], (Level::Error, "Circuit salesforce_agent opened".into()));
}

#[test]
fn our_own_style_says_all_of_every_event() {
    let late = event(Kind::TimedOut { limit: Limit::Call, after: Duration::from_secs(2) });
    golden(
        Style::Stormproof,
        &[late, circuit(Trip::consecutive(1)).swap_remove(0)],
        &[
            (
                Level::Error,
                r#"{"timestamp":"2024-01-15T10:30:45.123Z","event":"timed_out","policy":"salesforce","limit":"call","after":2.0}"#,
            ),
            (
                Level::Error,
                r#"{"timestamp":"2024-01-15T10:30:45.123Z","event":"circuit_opened","policy":"salesforce","breaker":"salesforce_agent","seq":2,"from":"closed","to":"open","cause":"tripped","rule":"consecutive","threshold":1,"calls":1,"failures":1,"last_failure_ago":0.0,"open_for":60.0}"#,
            ),
        ],
    );
}

#[test]
fn a_refusal_by_a_circuit_can_be_logged_by_who_got_it() {
    let circuit = CircuitBreaker::new("http://agent");
    circuit.set_mode(Instant::ZERO, Mode::ForcedOpen);
    let refused = circuit.allow_request(Instant::ZERO).unwrap_err().to_refused();
    let line = refusal(Style::A2a, &refused, noon()).unwrap();
    assert_eq!((line.level, &*line.text), (Level::Warning, "Agent http://agent circuit breaker open"));
    let line = refusal(Style::A2aCode, &refused, noon()).unwrap();
    assert!(
        line.text.contains(r#""event":"circuit_breaker_open","circuit_name":"http://agent","reason":"forced_open""#)
    );
    let line = refusal(Style::Stormproof, &refused, noon()).unwrap();
    assert!(line.text.contains(r#""event":"circuit_refused""#), "{}", line.text);
    assert_eq!(refusal(Style::Book, &refused, noon()), None);
}

/// A21: the texts that the seeds give their refusals, by choice.
#[test]
fn a_refusal_has_the_text_of_the_system_that_is_asked_for() {
    let config = breaker::Config { trip: vec![Trip::consecutive(1)], half_open_max_calls: 1, ..Default::default() };
    let circuit = CircuitBreaker::with_config("crm", config).unwrap();
    let mut permit = circuit.admit(Instant::ZERO).unwrap();
    circuit.settle(&mut permit, Instant::ZERO, &Verdict::failure("TimeoutError"));
    let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
    let open = circuit.admit(at(18)).unwrap_err().to_refused();
    let _probe = circuit.admit(at(60)).unwrap();
    let full = circuit.admit(at(60)).unwrap_err().to_refused();
    let texts = |style| (message(style, &open), message(style, &full));
    let said = |open: &str, full: &str| (open.to_owned(), full.to_owned());
    assert_eq!(texts(Style::Aragora), said("Circuit is open", "Circuit is open"));
    assert_eq!(texts(Style::A2a), said("Circuit breaker is OPEN", "Half-open call limit reached"));
    assert_eq!(texts(Style::Khive).0, "Circuit breaker is open");
    assert_eq!(texts(Style::Book).0, "Circuit breaker is OPEN. Retry in 42.0 seconds");
    for style in [Style::Stormproof, Style::Victor] {
        assert_eq!(texts(style), said(&open.to_string(), &full.to_string()));
    }
}

/// I11: a line says what happened, so nothing is said of caches where none was used or cleared.
#[test]
fn the_book_speaks_of_a_cache_only_where_one_answered() {
    use stormproof_core::fallback::{self, Used};
    let degradation = stormproof_core::Degradation::new("search");
    let shifts = [(0, 2), (100, 4), (200, 4), (300, 4)].into_iter().filter_map(|(seconds, successful)| {
        let parts = Parts { total: 4, successful, ..Default::default() };
        let shift = degradation.evaluate(Instant::ZERO + Duration::from_secs(seconds), parts)?;
        Some(event(Kind::Degradation { system: "search".into(), shift }))
    });
    let shifts: Vec<_> = shifts.collect();
    let texts: Vec<_> = texts(Style::Book, &shifts).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["Degraded mode: minimal", "Self-heal successful: full"]);
    let cached = event(Kind::FallbackUsed(Used::new(fallback::Kind::Cache, 1, "TimeoutError")));
    golden(Style::Book, &[cached], &[(Level::Warning, "Degraded mode: using cached data")]);
}

#[test]
fn a_name_cannot_begin_a_line_of_its_own() {
    let circuit = CircuitBreaker::new("a\nERROR forged");
    let opened = circuit.set_mode(Instant::ZERO, Mode::ForcedOpen).map(Change::Moved).unwrap();
    let opened = event(Kind::of_change(circuit.name(), opened));
    for style in [Style::Stormproof, Style::A2a, Style::A2aCode, Style::Victor] {
        let text = line(style, &opened, noon()).unwrap().text;
        assert!(!text.contains('\n') && text.contains("forged"), "{text}");
    }
}

#[test]
fn a_summary_counts_what_was_held_back() {
    let name = Name::from("p");
    let (stage, reason, retry_after) = (Stage::Rate, Reason::RateExceeded, Duration::ZERO);
    let limited = Event::new(Instant::ZERO, name.clone(), Kind::Refused { stage, name, reason, retry_after });
    let mut damper = Damper::new(Duration::from_secs(10));
    for _ in 0..42 {
        damper.offer(Instant::ZERO, &limited);
    }
    let summary = damper.due(Instant::ZERO + Duration::from_secs(10)).swap_remove(0);
    assert_eq!(
        suppressed(&summary, noon()),
        r#"{"timestamp":"2024-01-15T10:30:45.123Z","event":"rate_limited","policy":"p","suppressed":41,"over":10.0}"#
    );
}

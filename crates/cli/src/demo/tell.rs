//! Tells what happens, as it happens: the script's phases and the circuit's transitions.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use stormproof::breaker::{Cause, State, Transition};
use stormproof::event::Kind;
use stormproof_gateway::Server;
use tokio::sync::broadcast::error::RecvError;

/// Prints lines with the time since the start.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    began: Instant,
    states: Arc<Mutex<Vec<State>>>,
}

impl Teller {
    /// Begins to tell what happens in `server`.
    pub(super) fn new(server: &Server) -> Self {
        let teller = Self { began: Instant::now(), states: Arc::new(Mutex::new(vec![State::Closed])) };
        let (_, mut events) = server.feed().follow(None);
        let listener = teller.clone();
        tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(told) => {
                        if let Kind::Circuit { transition, .. } = &told.event.kind {
                            listener.transition(transition);
                        }
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        teller
    }

    pub(super) fn say(&self, line: &str) {
        println!("{:5.1} s  {line}", self.began.elapsed().as_secs_f64());
    }

    fn transition(&self, transition: &Transition) {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).push(transition.to);
        let name = |state: State| state.as_str().to_uppercase();
        self.say(&format!("    {} -> {}  {}", name(transition.from), name(transition.to), why(transition)));
    }

    /// Whether the circuit went from closed to open, to half-open and to closed again, perhaps with probes that failed.
    pub(super) fn went_through_all_states(&self) -> bool {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = states.iter();
        [State::Closed, State::Open, State::HalfOpen, State::Closed].iter().all(|next| seen.any(|state| state == next))
    }
}

fn why(transition: &Transition) -> String {
    let count = transition.count;
    let wait = format!("for {:.1} s", transition.open_for.as_secs_f64());
    match transition.cause {
        Cause::Tripped(_) => format!("{} of {} calls failed, {wait}", count.failures, count.calls),
        Cause::ProbeFailed => format!("a probe failed, {wait}"),
        Cause::WaitOver => "the wait is over, probes may pass".into(),
        Cause::Recovered => "the probes succeeded".into(),
        _ => String::new(),
    }
}

//! Where one turn of the model ends and the next begins: what it asks for in one turn, it asks for before it has seen what
//! came of it, so that counts once.

/// Number of calls after which a turn is taken to be over.
const MOST_CALLS: usize = 64;

/// The present turn.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub(super) struct Turns {
    pub(super) number: u64,
    /// The model may have seen what came of this turn.
    answered: bool,
    /// The calls of this turn.
    calls: Vec<u64>,
}

impl Turns {
    /// A call is asked for: in another turn if that is after an answer, or for the second time.
    pub(super) fn call(&mut self, call: u64) {
        if self.answered || self.calls.len() >= MOST_CALLS || self.calls.contains(&call) {
            self.next();
        }
        self.calls.push(call);
    }

    /// A call was answered.
    pub(super) fn answered(&mut self) {
        self.answered = true;
    }

    /// Another turn begins.
    pub(super) fn next(&mut self) {
        self.number = self.number.wrapping_add(1);
        self.answered = false;
        self.calls.clear();
    }
}

//! What the steps of a run are: every kind at every place, over the runs.

/// Steps of a run.
pub const STEPS: u32 = 20;

/// What a step does, and so what is checked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// A step that tells the bank: at least once.
    Note,
    /// An effect with a probe, at an account that refuses calls with an older fence than it has seen: exactly once.
    Fenced,
    /// A row in the journal's own database: exactly once.
    Row,
    /// An effect that always runs again, with the same key.
    Keyed,
    /// An effect with a probe, at an account that compares nothing: once, but for calls of a worker that had been replaced.
    Probed,
}

/// So many steps of run `number`, from `seq` on, are under way at the same time.
pub fn beside(number: u64, seq: u32) -> u32 {
    u32::try_from((number / 5 + u64::from(seq)) % 3).unwrap_or_default() + 1
}

impl Act {
    const ALL: [Self; 5] = [Self::Note, Self::Fenced, Self::Row, Self::Keyed, Self::Probed];

    /// What step `seq` (from 1) of run `number` does.
    pub fn of(number: u64, seq: u32) -> Self {
        let place = (number + u64::from(seq)) % Self::ALL.len() as u64;
        Self::ALL[usize::try_from(place).unwrap_or_default()]
    }

    /// The name of the step, and of the account.
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Fenced => "fenced",
            Self::Row => "row",
            Self::Keyed => "keyed",
            Self::Probed => "probed",
        }
    }
}

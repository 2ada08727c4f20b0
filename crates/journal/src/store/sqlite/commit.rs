//! Rows of the user and the record of the step that wrote them, in one transaction.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, Transaction};

use super::clock::Now;
use super::writer::{Ask, savepoint};
use super::{rows, steps};
use crate::error::StoreError;
use crate::run::{Progress, Step};
use crate::store::{Committed, Fence, Undo, Work, Written};

thread_local! {
    /// Whether code of the user runs on this thread, on the writer's connection.
    static GUEST: Cell<bool> = const { Cell::new(false) };
}

/// Why a commit was taken back.
enum Back {
    Asked(Undo),
    Not(Written),
    Sqlite(rusqlite::Error),
}

/// A commit that is asked for.
pub(super) struct Commit {
    pub(super) fence: Fence,
    pub(super) step: Step,
    pub(super) work: Work,
}

impl Ask<Committed> for Commit {
    fn grouped(&mut self, tx: &Transaction<'_>, _: Now) -> rusqlite::Result<Committed> {
        commit(tx, &self.fence, &self.step, &mut self.work)
    }

    fn refused(&self, error: &StoreError) -> Option<Committed> {
        match error {
            StoreError::Refused { why, .. } | StoreError::Unavailable { why, .. } => {
                Some(Committed::Refused(why.clone()))
            }
            _ => None,
        }
    }
}

/// Runs `work` and records what it gives, both or neither. What it failed with is recorded, too, without its rows.
fn commit(tx: &Transaction<'_>, fence: &Fence, step: &Step, work: &mut Work) -> rusqlite::Result<Committed> {
    if steps::written_before(tx, fence, step)? {
        return Ok(Committed::Written(Written::Already));
    }
    if !steps::holds(tx, fence)? {
        return Ok(Committed::Written(Written::Fenced));
    }
    let outcome = savepoint(tx, || {
        let value = as_guest(|| work(tx)).map_err(Back::Asked)?;
        let step = Step { state: Progress::Done, value: Some(value), ..step.clone() };
        match steps::record(tx, fence, &step) {
            Ok(Written::Done) => Ok(()),
            // Another attempt has done this step.
            Ok(not) => Err(Back::Not(not)),
            Err(error) => Err(Back::Sqlite(error)),
        }
    })?;
    match outcome {
        Ok(()) => Ok(Committed::Written(Written::Done)),
        Err(Back::Asked(Undo::Nothing)) => Ok(Committed::Undone),
        Err(Back::Asked(Undo::Failed(failure))) => {
            let step =
                Step { state: Progress::Failed, value: Some(rows::failure_text(&failure).into()), ..step.clone() };
            steps::record(tx, fence, &step).map(Committed::Written)
        }
        Err(Back::Not(not)) => Ok(Committed::Written(not)),
        Err(Back::Sqlite(error)) => Err(error),
    }
}

/// Keeps user code from ending the transaction it shares with others, from changing the connection for those after it,
/// and from writing into the journal's own tables. Asked only when a statement is prepared.
pub(super) fn guard(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.authorizer(Some(|asked: AuthContext<'_>| {
        if GUEST.get() && !is_allowed(&asked.action) { Authorization::Deny } else { Authorization::Allow }
    }))
}

fn is_allowed(action: &AuthAction<'_>) -> bool {
    match action {
        AuthAction::Transaction { .. } | AuthAction::Attach { .. } | AuthAction::Detach { .. } => false,
        AuthAction::Savepoint { savepoint_name, .. } => !savepoint_name.starts_with("stormproof"),
        AuthAction::Pragma { pragma_name, pragma_value } => {
            pragma_value.is_none()
                || matches!(*pragma_name, "defer_foreign_keys" | "foreign_key_check" | "index_info" | "index_list")
                || pragma_name.starts_with("table_")
        }
        AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name }
        | AuthAction::DropTable { table_name }
        | AuthAction::DropIndex { table_name, .. }
        | AuthAction::CreateTrigger { table_name, .. }
        | AuthAction::AlterTable { table_name, .. } => !super::TABLES.contains(table_name),
        _ => true,
    }
}

fn as_guest(work: impl FnOnce() -> Result<Box<str>, Undo>) -> Result<Box<str>, Undo> {
    GUEST.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    GUEST.set(false);
    outcome.unwrap_or(Err(Undo::Nothing))
}

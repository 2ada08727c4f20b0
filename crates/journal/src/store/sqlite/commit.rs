//! Rows of the user and the record of the step that wrote them, in one transaction.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, Transaction};

use super::steps;
use super::writer::savepoint;
use crate::run::{Failure, Progress, Step};
use crate::store::{Committed, Fence, Written};

thread_local! {
    /// Whether code of the user runs on this thread, on the writer's connection.
    static GUEST: Cell<bool> = const { Cell::new(false) };
}

/// Why a commit was taken back.
enum Back {
    Failed(Failure),
    Fenced,
    Sqlite(rusqlite::Error),
}

/// Runs `work` and records what it gives.
pub(super) fn commit<F>(tx: &Transaction<'_>, fence: &Fence, step: Step, work: F) -> rusqlite::Result<Committed>
where
    F: FnOnce(&Transaction<'_>) -> Result<Box<str>, Failure>,
{
    if let Some(value) = steps::done_before(tx, fence, &step)? {
        return Ok(Committed::Done(value.unwrap_or_else(|| "null".into())));
    }
    if !steps::holds(tx, fence)? {
        return Ok(Committed::Fenced);
    }
    let outcome = savepoint(tx, || {
        let value = as_guest(|| work(tx)).map_err(Back::Failed)?;
        let step = Step { state: Progress::Done, value: Some(value), ..step };
        match steps::record(tx, fence, &step) {
            Ok(Written::Done) => Ok(step.value.unwrap_or_default()),
            // Another attempt has done this step.
            Ok(_) => Err(Back::Fenced),
            Err(error) => Err(Back::Sqlite(error)),
        }
    })?;
    match outcome {
        Ok(value) => Ok(Committed::Done(value)),
        Err(Back::Failed(failure)) => Ok(Committed::Failed(failure)),
        Err(Back::Fenced) => Ok(Committed::Fenced),
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

fn as_guest(work: impl FnOnce() -> Result<Box<str>, Failure>) -> Result<Box<str>, Failure> {
    GUEST.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    GUEST.set(false);
    outcome
        .unwrap_or_else(|panic| Err(Failure { kind: "panicked".into(), message: said(&*panic), ..Failure::default() }))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

//! What loop guards remember of tasks.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::clock::Now;
use crate::run::millis;
use crate::store::Task;

/// What is known of a task, until its time is over.
pub(super) fn find(connection: &Connection, id: &str, now: Now) -> rusqlite::Result<Option<Task>> {
    connection
        .prepare_cached("SELECT rev, state FROM stormproof_task AS task WHERE id = ?1 AND expires_at > ?2")?
        .query_row(params![id, now.wall], |row| Ok(Task { rev: row.get(0)?, state: row.get(1)? }))
        .optional()
}

/// Keeps it, if nobody else did since it was read. To keep the very same again is fine.
pub(super) fn keep(
    tx: &Connection,
    id: &str,
    task: &Task,
    ttl: std::time::Duration,
    now: Now,
) -> rusqlite::Result<bool> {
    let known = find(tx, id, now)?;
    let fits = match &known {
        Some(there) => there.rev == task.rev.saturating_sub(1) || there == task,
        None => task.rev == 1,
    };
    if fits {
        tx.prepare_cached(
            "INSERT INTO stormproof_task AS task (id, rev, state, expires_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (id) DO UPDATE SET
                 rev = excluded.rev, state = excluded.state, expires_at = excluded.expires_at",
        )?
        .execute(params![id, task.rev, task.state, now.wall.saturating_add(millis(ttl))])?;
    }
    Ok(fits)
}

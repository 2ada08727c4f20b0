-- The highest epoch of all runs that were forgotten.
ALTER TABLE stormproof_meta ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;

CREATE TABLE stormproof_worker (
    id          TEXT PRIMARY KEY,
    lease_until INTEGER NOT NULL, -- ms since the machine was started
    host        TEXT NOT NULL,
    version     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE stormproof_run (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    version     TEXT NOT NULL,
    input       TEXT NOT NULL,
    fp          TEXT NOT NULL,
    state       TEXT NOT NULL,
    epoch       INTEGER NOT NULL,
    owner       TEXT,             -- while running
    attempts    INTEGER NOT NULL,
    wake_at     INTEGER,          -- while queued
    at_once     INTEGER NOT NULL DEFAULT 0, -- queued, and due even if the clock was set back behind wake_at
    parked      INTEGER NOT NULL DEFAULT 0, -- queued, and due as soon as a signal comes
    signalled   INTEGER NOT NULL DEFAULT 0, -- a signal came since it was claimed
    result      TEXT,
    error       TEXT,
    parent      TEXT,
    forked_from TEXT,
    expires_at  INTEGER,
    ended_at    INTEGER,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX stormproof_run_state ON stormproof_run (state);
CREATE INDEX stormproof_run_queued ON stormproof_run (name, version, at_once, wake_at) WHERE state = 'queued';
CREATE INDEX stormproof_run_running ON stormproof_run (owner) WHERE state = 'running';
CREATE INDEX stormproof_run_ended ON stormproof_run (ended_at, expires_at) WHERE ended_at IS NOT NULL;
CREATE INDEX stormproof_run_expires ON stormproof_run (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE stormproof_step (
    run_id     TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    name       TEXT NOT NULL,
    fp         TEXT NOT NULL,
    kind       TEXT NOT NULL,
    state      TEXT NOT NULL,
    value      TEXT,
    epoch      INTEGER NOT NULL,
    attempt_id TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE stormproof_inbox (
    run_id   TEXT NOT NULL,
    topic    TEXT NOT NULL,
    id       TEXT NOT NULL,
    body     TEXT NOT NULL,
    taken_by INTEGER,             -- the step that took it
    PRIMARY KEY (run_id, topic, id)
) STRICT;

CREATE TABLE stormproof_task (
    id         TEXT PRIMARY KEY,
    rev        INTEGER NOT NULL,
    state      TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX stormproof_task_expires ON stormproof_task (expires_at);

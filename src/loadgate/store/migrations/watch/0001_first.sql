-- The watch database, first version. docs/run-database.md says what every column means.

CREATE TABLE schema_version (
    version    INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE TABLE probe (
    id      INTEGER PRIMARY KEY,
    at      REAL NOT NULL,
    probe   TEXT NOT NULL,
    reading TEXT NOT NULL,
    value   REAL,
    error   TEXT NOT NULL,
    took    REAL NOT NULL
) STRICT;

CREATE INDEX probe_at ON probe (probe, at);

CREATE TABLE alert (
    id       INTEGER PRIMARY KEY,
    at       REAL NOT NULL,
    wall     TEXT,
    rule     TEXT NOT NULL,
    severity TEXT NOT NULL,
    state    TEXT NOT NULL,
    value    REAL,
    detail   TEXT NOT NULL
) STRICT;

CREATE INDEX alert_rule ON alert (rule, id);

CREATE TABLE action (
    id     INTEGER PRIMARY KEY,
    at     REAL NOT NULL,
    wall   TEXT,
    alert  INTEGER REFERENCES alert (id),
    step   TEXT NOT NULL,
    stage  TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;

CREATE INDEX action_alert ON action (alert, id);

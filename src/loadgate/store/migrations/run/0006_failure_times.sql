-- When each kind of failure came, so that a report can draw them by kind over time.

CREATE TABLE failure_kind (
    id       INTEGER PRIMARY KEY,
    endpoint TEXT NOT NULL,
    outcome  TEXT NOT NULL,
    kind     TEXT NOT NULL,
    message  TEXT NOT NULL,
    UNIQUE (endpoint, outcome, kind, message)
) STRICT;

CREATE TABLE failure_time (
    second  INTEGER NOT NULL,
    span    INTEGER NOT NULL CHECK (span >= 1),
    kind_id INTEGER NOT NULL REFERENCES failure_kind (id),
    count   INTEGER NOT NULL,
    PRIMARY KEY (second, span, kind_id)
) STRICT, WITHOUT ROWID;

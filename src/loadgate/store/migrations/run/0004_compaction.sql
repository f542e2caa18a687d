-- What old rows need when they are merged into longer ones. Nothing was written to objective_window before.

ALTER TABLE fleet ADD COLUMN span INTEGER NOT NULL DEFAULT 1;
ALTER TABLE fleet ADD COLUMN told INTEGER NOT NULL DEFAULT 1;
ALTER TABLE fleet ADD COLUMN marks TEXT NOT NULL DEFAULT '';

ALTER TABLE ledger ADD COLUMN span INTEGER NOT NULL DEFAULT 1;

-- What the windows in objective_window say: a row for each objective that was evaluated.
CREATE TABLE objective (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    definition TEXT    NOT NULL UNIQUE,
    kept       INTEGER NOT NULL
) STRICT;

DROP TABLE objective_window;

CREATE TABLE objective_window (
    objective    INTEGER NOT NULL,
    start        REAL    NOT NULL,
    span         REAL    NOT NULL,
    value        REAL,
    n            INTEGER NOT NULL,
    "over"       INTEGER,
    over_alert   INTEGER,
    bad          INTEGER NOT NULL,
    counts       TEXT    NOT NULL,
    late         INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (objective, start)
) STRICT, WITHOUT ROWID;

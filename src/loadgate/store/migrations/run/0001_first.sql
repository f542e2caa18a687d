-- The run database, first version. docs/run-database.md says what every column means.

CREATE TABLE schema_version (
    version    INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE TABLE run (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Rows are kilobytes long, so this stays a rowid table: its key lives in a small index of its own.
CREATE TABLE window (
    second                 INTEGER NOT NULL,
    span                   INTEGER NOT NULL CHECK (span >= 1),
    endpoint               TEXT    NOT NULL,
    phase                  TEXT    NOT NULL,
    arrivals               INTEGER NOT NULL,
    ok                     INTEGER NOT NULL,
    failed                 INTEGER NOT NULL,
    timeout                INTEGER NOT NULL,
    unsent_pool            INTEGER NOT NULL,
    unsent_generator       INTEGER NOT NULL,
    unfinished             INTEGER NOT NULL,
    lost                   INTEGER NOT NULL,
    retries                INTEGER NOT NULL,
    bytes_received         INTEGER NOT NULL,
    hits                   INTEGER NOT NULL,
    misses                 INTEGER NOT NULL,
    repeat_hits            INTEGER NOT NULL,
    repeat_misses          INTEGER NOT NULL,
    rate_limited           INTEGER NOT NULL,
    rate_limit_exhausted   INTEGER NOT NULL,
    "over"                 TEXT    NOT NULL,
    histograms             BLOB    NOT NULL,
    revision               INTEGER NOT NULL,
    PRIMARY KEY (second, span, endpoint, phase)
) STRICT;

CREATE INDEX window_revision ON window (revision);

CREATE TABLE failure (
    endpoint TEXT    NOT NULL,
    outcome  TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    message  TEXT    NOT NULL,
    count    INTEGER NOT NULL,
    first    REAL    NOT NULL,
    last     REAL    NOT NULL,
    samples  TEXT    NOT NULL,
    PRIMARY KEY (endpoint, outcome, kind, message)
) STRICT;

CREATE TABLE fleet (
    second           INTEGER NOT NULL,
    worker           TEXT    NOT NULL,
    incarnation      INTEGER NOT NULL,
    offered          INTEGER NOT NULL,
    started          INTEGER NOT NULL,
    finished         INTEGER NOT NULL,
    in_flight        INTEGER NOT NULL,
    users            INTEGER NOT NULL,
    cpu              REAL    NOT NULL,
    rss              INTEGER NOT NULL,
    start_lag_p99_us REAL    NOT NULL,
    loop_lag_p99_us  REAL    NOT NULL,
    loop_lag_max_us  REAL    NOT NULL,
    PRIMARY KEY (second, worker, incarnation)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
    id     INTEGER PRIMARY KEY,
    at     REAL NOT NULL,
    wall   TEXT,
    kind   TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;

CREATE TABLE objective_window (
    objective TEXT    NOT NULL,
    start     REAL    NOT NULL,
    span      REAL    NOT NULL,
    value     REAL,
    n         INTEGER NOT NULL,
    "over"    INTEGER NOT NULL,
    PRIMARY KEY (objective, start)
) STRICT, WITHOUT ROWID;

-- The delta keys that were committed, as closed ranges of sequence numbers: a worker that loses
-- nothing takes one row, however long the run.
CREATE TABLE delta (
    worker         TEXT    NOT NULL,
    incarnation    INTEGER NOT NULL,
    first_sequence INTEGER NOT NULL,
    last_sequence  INTEGER NOT NULL CHECK (last_sequence >= first_sequence),
    PRIMARY KEY (worker, incarnation, first_sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE delta_source (
    worker      TEXT    NOT NULL,
    incarnation INTEGER NOT NULL,
    committed   INTEGER NOT NULL,
    duplicates  INTEGER NOT NULL,
    PRIMARY KEY (worker, incarnation)
) STRICT, WITHOUT ROWID;

-- What the steady rows of ten minutes come to, so that a week is judged without reading each of its rows.

CREATE TABLE total_block (
    second INTEGER PRIMARY KEY,
    span   INTEGER NOT NULL CHECK (span >= 1),
    state  TEXT    NOT NULL CHECK (state IN ('whole', 'stale', 'none'))
) STRICT;

CREATE TABLE window_total (
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
    loss                   INTEGER NOT NULL,
    PRIMARY KEY (second, endpoint)
) STRICT;

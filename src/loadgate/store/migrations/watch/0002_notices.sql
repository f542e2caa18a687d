-- What was told to whom: one row for each attempt to deliver a message, written after the attempt.

CREATE TABLE notice (
    id       INTEGER PRIMARY KEY,
    at       REAL NOT NULL,
    wall     TEXT,
    key      TEXT NOT NULL,
    receiver TEXT NOT NULL,
    stage    TEXT NOT NULL,
    detail   TEXT NOT NULL
) STRICT;

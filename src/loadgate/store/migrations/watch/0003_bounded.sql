-- What keeps a watch database small over weeks: old readings and points are packed by the hour, without loss.

CREATE TABLE probe_block (
    probe TEXT    NOT NULL,
    start INTEGER NOT NULL,
    n     INTEGER NOT NULL,
    data  BLOB    NOT NULL,
    PRIMARY KEY (probe, start)
) STRICT;

CREATE TABLE alert_point (
    rule    TEXT NOT NULL,
    start   REAL NOT NULL,
    "end"   REAL NOT NULL,
    seconds REAL NOT NULL,
    value   REAL,
    n       INTEGER NOT NULL,
    past    INTEGER,
    clear   INTEGER,
    pair    REAL,
    short   REAL NOT NULL,
    bad     INTEGER NOT NULL,
    "of"    INTEGER NOT NULL,
    PRIMARY KEY (rule, start)
) STRICT, WITHOUT ROWID;

CREATE TABLE alert_point_block (
    rule  TEXT    NOT NULL,
    start INTEGER NOT NULL,
    n     INTEGER NOT NULL,
    data  BLOB    NOT NULL,
    PRIMARY KEY (rule, start)
) STRICT;

CREATE TABLE dropped (
    kind TEXT    NOT NULL,
    name TEXT    NOT NULL,
    n    INTEGER NOT NULL,
    until REAL   NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT;

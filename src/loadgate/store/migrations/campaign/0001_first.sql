-- The campaign database, first version. docs/campaign.md says what every column means.

CREATE TABLE schema_version (
    version    INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE TABLE entry (
    seq       INTEGER PRIMARY KEY,
    at        TEXT NOT NULL,
    boot      TEXT NOT NULL,
    monotonic REAL NOT NULL,
    kind      TEXT NOT NULL,
    content   TEXT NOT NULL,
    previous  TEXT NOT NULL,
    hash      TEXT NOT NULL
) STRICT;

-- Against mistakes. Against people the chain of hashes stands.
CREATE TRIGGER entry_stays BEFORE UPDATE ON entry BEGIN
    SELECT RAISE(ABORT, 'entries of a campaign are never changed');
END;

CREATE TRIGGER entry_remains BEFORE DELETE ON entry BEGIN
    SELECT RAISE(ABORT, 'entries of a campaign are never removed');
END;

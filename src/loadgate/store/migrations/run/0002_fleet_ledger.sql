-- What the master knows of its fleet, second by second, and which windows a loss of workers touches.
-- Rows of older runs had no such figures: their zeros mean "not measured".

ALTER TABLE fleet ADD COLUMN p99_us REAL NOT NULL DEFAULT 0;
ALTER TABLE fleet ADD COLUMN clock_offset_us REAL NOT NULL DEFAULT 0;
ALTER TABLE fleet ADD COLUMN clock_error_us REAL NOT NULL DEFAULT 0;
ALTER TABLE fleet ADD COLUMN unacknowledged INTEGER NOT NULL DEFAULT 0;

CREATE TABLE ledger (
    second    INTEGER PRIMARY KEY,
    expected  INTEGER NOT NULL,
    reporting INTEGER NOT NULL,
    late      INTEGER NOT NULL,
    lost      INTEGER NOT NULL,
    unoffered INTEGER NOT NULL
) STRICT;

ALTER TABLE window ADD COLUMN loss INTEGER NOT NULL DEFAULT 0;

-- What each worker may use and used of it, and the control's latency: the generator as a witness.
-- Rows of older runs had no such figures: their zeros mean "not measured".

ALTER TABLE fleet ADD COLUMN cpu_allowed REAL NOT NULL DEFAULT 0;
ALTER TABLE fleet ADD COLUMN throttled_us REAL NOT NULL DEFAULT 0;
ALTER TABLE fleet ADD COLUMN fds INTEGER NOT NULL DEFAULT 0;
ALTER TABLE fleet ADD COLUMN fds_limit INTEGER NOT NULL DEFAULT 0;
ALTER TABLE fleet ADD COLUMN ports INTEGER NOT NULL DEFAULT 0;
ALTER TABLE fleet ADD COLUMN ports_limit INTEGER NOT NULL DEFAULT 0;
ALTER TABLE fleet ADD COLUMN gc_pause_max_us REAL NOT NULL DEFAULT 0;
ALTER TABLE fleet ADD COLUMN control_n INTEGER NOT NULL DEFAULT 0;
ALTER TABLE fleet ADD COLUMN control_failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE fleet ADD COLUMN control_p50_us REAL NOT NULL DEFAULT 0;
ALTER TABLE fleet ADD COLUMN control_p99_us REAL NOT NULL DEFAULT 0;

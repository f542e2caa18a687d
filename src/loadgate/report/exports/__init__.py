"""What was measured, in forms that other tools read: HDR logs, CSV, JSON Lines, Parquet and Arrow."""

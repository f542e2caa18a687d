"""What to run: scenarios, SLA tables and units, read strictly."""

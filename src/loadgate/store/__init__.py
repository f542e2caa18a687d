"""Where numbers stay: run folders and the run database."""

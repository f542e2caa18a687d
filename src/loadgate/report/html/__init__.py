"""The HTML report: one file that works offline, prints, and is read on a phone."""

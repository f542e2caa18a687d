"""The reference staging service, also a test double for users."""

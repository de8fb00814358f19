"""``adafire demo``."""

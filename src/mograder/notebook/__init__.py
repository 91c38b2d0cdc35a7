"""Pure functions over notebook text; no I/O."""

"""Pure functions over notebook text; no I/O."""

MAX_NOTEBOOK = 16_000_000
"""Largest size of a notebook in bytes; larger ones have data pasted into code."""

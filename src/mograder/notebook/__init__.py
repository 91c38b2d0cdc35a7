"""Pure functions over notebook text; no I/O."""

MAX_NOTEBOOK = 16_000_000
"""Bytes of one notebook; larger ones are data that was pasted into code."""

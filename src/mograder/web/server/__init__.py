"""The assignment server, ``mograder serve``: a course over plain HTTPS (seed 002, compat.md 4)."""

"""Check one notebook against its own checks, and report the result."""

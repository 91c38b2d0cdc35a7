"""Live marimo sessions: which exist, which start, which stop."""

"""Answers and submissions as a marker sees them: one, equal ones, and similar ones."""

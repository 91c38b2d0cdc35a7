"""Judge all submissions of an assignment, and keep their results."""

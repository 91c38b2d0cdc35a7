"""Opening what the hub works with: its database, sandboxes, sessions, nodes and grading."""

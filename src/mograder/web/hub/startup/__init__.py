"""Starting a hub: what it works with, which is its database, sandboxes, sessions, nodes and grading."""

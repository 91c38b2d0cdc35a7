"""Starting a hub: its database, sandboxes, sessions, nodes and grading, and the wait for it."""

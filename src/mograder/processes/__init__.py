"""Child processes that are no sandboxes."""

"""The supervisor: the process that starts, watches and ends sandboxes, and answers the hub."""

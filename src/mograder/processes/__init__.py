"""Child processes that run without a sandbox."""

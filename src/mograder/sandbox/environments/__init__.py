"""Environments of notebooks: locking, building, static files, removal."""

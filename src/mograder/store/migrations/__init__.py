"""Alembic environment and revisions of the hub's state."""

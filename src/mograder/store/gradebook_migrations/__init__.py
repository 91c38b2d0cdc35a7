"""Alembic environment and revisions of ``gradebook.db``."""

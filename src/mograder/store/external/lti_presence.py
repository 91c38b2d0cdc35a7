"""Whether the hub's database has learning platforms, asked without importing what they need."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, exists, or_, select

from mograder.store.database.database import reading
from mograder.store.external.external_tables import lti_platforms, lti_registrations


def has_platforms(engine: Engine, now: datetime) -> bool:
    """Return whether a platform is registered, or may be with an address that has not expired."""
    registered = exists().select_from(lti_platforms)
    invited = exists().where(lti_registrations.c.expires > now)
    with reading(engine) as connection:
        return bool(connection.execute(select(or_(registered, invited))).scalar_one())

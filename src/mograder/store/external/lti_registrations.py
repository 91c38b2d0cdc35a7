"""One-time addresses at which a learning platform registers itself, by the hashes of their codes.

An address is made for one platform: its row has the platform's address, and the settings that the
platform does not tell about itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from pydantic import ValidationError
from sqlalchemy import Engine, delete, insert, select

from mograder.core.errors import InvalidInput
from mograder.core.external_settings import LtiPlatform
from mograder.store.database.database import reading, writing
from mograder.store.external.external_tables import lti_registrations

REGISTRATION_LIFE: Final = timedelta(hours=1)
"""The lifetime of an unused address."""

UNREGISTERED: Final = "(not registered yet)"
"""The client id in the settings of a platform that has not registered."""


class Registrations:
    """The addresses that wait for a platform; methods may raise ``core.errors.Busy``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, code_hash: str, platform: LtiPlatform, now: datetime) -> datetime:
        """Store an address for a platform, remove those that have expired, and return its end.

        Raises:
            Conflict: An address with this hash exists.
        """
        table, expires = lti_registrations, now + REGISTRATION_LIFE
        row = insert(table).values(
            code_hash=code_hash, settings=platform.model_dump_json(), expires=expires
        )
        with writing(self._engine) as connection:
            connection.execute(delete(table).where(table.c.expires <= now))
            connection.execute(row)
        return expires

    def find(self, code_hash: str, now: datetime) -> LtiPlatform | None:
        """Return the platform of an address; None if it is unknown, used or expired.

        Raises:
            InvalidInput: A newer mograder has stored it.
        """
        table = lti_registrations
        wanted = select(table.c.settings).where(table.c.code_hash == code_hash)
        with reading(self._engine) as connection:
            text = connection.execute(wanted.where(table.c.expires > now)).scalar_one_or_none()
        return None if text is None else _parsed(text)

    def use(self, code_hash: str, now: datetime) -> LtiPlatform | None:
        """Remove an address and return its platform; of several callers one gets it.

        Raises:
            InvalidInput: A newer mograder has stored it.
        """
        table = lti_registrations
        used = (
            delete(table)
            .where(table.c.code_hash == code_hash)
            .returning(table.c.settings, table.c.expires)
        )
        with writing(self._engine) as connection:
            row = connection.execute(used).one_or_none()
        return None if row is None or row.expires <= now else _parsed(row.settings)


def _parsed(text: str) -> LtiPlatform:
    try:
        return LtiPlatform.model_validate_json(text)
    except ValidationError as error:
        raise InvalidInput(
            "A registration in the hub's database cannot be read.",
            hint="Make a new address with mograder hub lti register.",
        ) from error

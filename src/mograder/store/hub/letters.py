"""The queue of letters by e-mail: at most one for an event, each sent at most once."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Index, delete, select, update

from mograder.store.database.database import (
    Hash,
    Line,
    Name,
    Tables,
    Word,
    table_of,
    values_of,
    writing,
)
from mograder.store.hub.hub_tables import links, metadata

INVITED = "invited"
"""The kind of the letters that bring a one-time link."""

_BEGUN = "begun"
_KEPT = timedelta(days=90)


class LetterState(StrEnum):
    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LetterRow:
    """A letter to a person about an event, which ``kind``, ``username``, ``item`` and ``key`` name.

    ``next`` is from when it is to be sent, ``error`` why it was not sent, ``tries`` how often the
    server did not take it.
    """

    key: Hash
    kind: Word
    username: Name
    item: Name
    address: Line
    subject: Line
    text: str
    at: datetime
    next: datetime
    state: LetterState = LetterState.WAITING
    tries: int = 0
    error: Line = ""


letters = table_of("letters", metadata, LetterRow, ("key",), Index(None, "state", "next"))


def letter_key(*parts: str) -> str:
    """Return the key of an event's letter, which is another for other parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]


class Letters(Tables):
    def open(self, now: datetime) -> datetime:
        """Return since when this hub has sent letters; called once at its start.

        Letters that a hub was sending at its end may have arrived, so they are not sent again.
        """
        interrupted = "The hub ended while it was sent, so it may have arrived."
        c = letters.c
        with writing(self._engine) as connection:
            connection.execute(
                update(letters)
                .where(c.state == LetterState.SENDING)
                .values(state=LetterState.FAILED, error=interrupted, at=now, text="")
            )
            connection.execute(delete(letters).where(c.at < now - _KEPT, c.kind != _BEGUN))
            begun: datetime | None = connection.execute(
                select(c.at).where(c.kind == _BEGUN)
            ).scalar()
            if begun is None or begun > now:  # the clock was ahead then
                connection.execute(delete(letters).where(c.kind == _BEGUN))
                row = LetterRow(_BEGUN, _BEGUN, "", "", "", "", "", now, now, LetterState.SENT)
                connection.execute(letters.insert(), values_of(row))
                return now
        return begun

    def known(self, keys: Collection[str]) -> frozenset[str]:
        return frozenset(self._values(select(letters.c.key).where(letters.c.key.in_(keys))))

    def add(self, rows: Iterable[LetterRow]) -> None:
        """Add letters about events that have none yet."""
        values = [values_of(each) for each in rows]
        if values:
            self._change(letters.insert(), values)

    def due(self, now: datetime, limit: int) -> tuple[LetterRow, ...]:
        c = letters.c
        wanted = select(letters).where(c.state == LetterState.WAITING, c.next <= now)
        return self._rows(LetterRow, wanted.order_by(c.next, c.key).limit(limit))

    def has_link(self, username: str, now: datetime) -> bool:
        """Return whether a person has a one-time link that is valid."""
        c = links.c
        wanted = select(c.code_hash).where(c.username == username, c.expires > now).limit(1)
        return self._value(wanted) is not None

    def begin(self, key: str) -> bool:
        """Note that a letter is being sent; return false if it does not wait any more."""
        c = letters.c
        waiting = update(letters).where(c.key == key, c.state == LetterState.WAITING)
        return self._change(waiting.values(state=LetterState.SENDING)) == 1

    def end(self, key: str, state: LetterState, now: datetime, error: str = "") -> None:
        """Record the end of a letter; its text, which may have a one-time link, is removed."""
        self._set([key], state=state, at=now, error=error, text="")

    def postpone(
        self, keys: Iterable[str], until: datetime, error: str, *, refused: bool = False
    ) -> None:
        """Let letters that were not sent wait; those that the server ``refused`` count it."""
        tries = letters.c.tries + int(refused)
        self._set(keys, state=LetterState.WAITING, next=until, error=error, tries=tries)

    def _set(self, keys: Iterable[str], **values: object) -> None:
        self._change(update(letters).where(letters.c.key.in_(list(keys))).values(values))

    def failed(self, since: datetime, limit: int) -> tuple[LetterRow, ...]:
        c = letters.c
        wanted = select(letters).where(c.state == LetterState.FAILED, c.at >= since)
        return self._rows(LetterRow, wanted.order_by(c.at.desc()).limit(limit))

"""The records of a class at work, in SQL: results of checks, help requests, and messages.

The hub's database holds all of it, so that several hubs show the same.

The newest result of each copy's validation is here, too (B55). A student can change the report in
their folder, so the hub does not read it back; it stores its own results, to have them after a
restart.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from sqlalchemy import Delete, Index, String, delete, false, func, insert, select, update

from mograder.core.errors import Conflict, NotFound
from mograder.store.database.database import (
    Name,
    Tables,
    Word,
    add_row,
    incoming,
    reading,
    table_of,
    upsert,
    values_of,
    writing,
)
from mograder.store.hub.hub_tables import metadata

MOST_LABEL = 200
"""Maximum characters of a check's label on the board."""

MOST_MESSAGES = 5
"""Messages of one item that are shown at a time; a further one is refused."""

_CHECKS_KEPT = timedelta(days=200)
_HELP_KEPT = timedelta(hours=12)
Label = Annotated[str, String(MOST_LABEL)]


@dataclass(frozen=True, slots=True)
class CheckRow:
    """What a student's notebook or a validation said of one check; it is no mark.

    ``status`` is the last one, a word of :data:`mograder.judging.Status`. ``attempts`` counts the
    reports, but those of a check that waited for code. ``passed_at`` is the first success.
    """

    item: Name
    username: Name
    label: Label
    status: Word
    earned: float
    total: float
    attempts: int
    first_at: datetime
    last_at: datetime
    passed_at: datetime | None


board_checks = table_of(
    "board_checks",
    metadata,
    CheckRow,
    ("item", "username", "label"),
    Index(None, "item", "last_at"),
    Index(None, "last_at"),
)


@dataclass(frozen=True, slots=True)
class HelpRow:
    """A student's open request for help with an item; there is at most one per copy.

    ``label`` is the check that it is about, "" for none; ``text`` the student's words. ``helper``
    is the person who took it, "" before. ``together`` is whether the helper may enter the
    student's session.
    """

    item: Name
    username: Name
    label: Label
    text: str
    asked_at: datetime
    helper: Name = ""
    together: bool = False


help_requests = table_of(
    "help_requests", metadata, HelpRow, ("item", "username"), helper="", together=false()
)


@dataclass(frozen=True, slots=True)
class MessageRow:
    """Shown ``until`` then, to the student ``username`` alone, "" for everybody."""

    number: int
    item: Name
    text: str
    sender: Name
    sent_at: datetime
    until: datetime
    username: Name = ""


item_messages = table_of(
    "item_messages", metadata, MessageRow, ("number",), Index(None, "until"), username=""
)


class Board(Tables):
    """The tables of the board.

    A report that is lost with the power is sent again when the check runs, so reports do not wait
    for the disk (``fleeting``).
    """

    # ---- reports of checks

    def record(self, seen: Sequence[CheckRow]) -> None:
        """Add reports to what is known of their checks, in one transaction.

        A row has the reports of one check of one copy since the last write. ``attempts`` may be 0:
        the check waited for code.
        """
        if not seen:
            return
        rows = [values_of(each) for each in seen]
        with writing(self._engine, fleeting=True) as connection:
            c = board_checks.c
            added = upsert(
                connection,
                board_checks,
                rows[0],
                attempts=c.attempts + incoming("attempts"),
                first_at=c.first_at,
                passed_at=func.coalesce(c.passed_at, incoming("passed_at")),
            )
            connection.execute(added, rows)

    def checks(self, item: str) -> tuple[CheckRow, ...]:
        return self._rows(CheckRow, select(board_checks).filter_by(item=item))

    def checks_of(self, username: str, items: Collection[str]) -> tuple[CheckRow, ...]:
        own = select(board_checks).filter_by(username=username)
        return self._rows(CheckRow, own.where(board_checks.c.item.in_(items)))

    def forget_old(self, now: datetime) -> None:
        """Remove what no board shows any more."""
        with writing(self._engine, fleeting=True) as connection:
            old = board_checks.c.last_at < now - _CHECKS_KEPT
            connection.execute(delete(board_checks).where(old))
            connection.execute(delete(item_messages).where(item_messages.c.until <= now))
            connection.execute(_delete_old_requests(now))

    # ---- help

    def requests(self, now: datetime) -> tuple[HelpRow, ...]:
        c = help_requests.c
        wanted = select(help_requests).where(c.asked_at > now - _HELP_KEPT)
        return self._rows(HelpRow, wanted.order_by(c.asked_at, c.item, c.username))

    def ask(self, request: HelpRow) -> bool:
        """Add a request; return False if this copy has an open one already, which then stays."""
        try:
            with writing(self._engine) as connection:
                connection.execute(_delete_old_requests(request.asked_at))
                connection.execute(insert(help_requests), values_of(request))
        except Conflict:
            return False
        return True

    def take(self, item: str, username: str, helper: str) -> None:
        """Raise NotFound if there is no request, Conflict if another helper has it."""
        c = help_requests.c
        place = (c.item == item, c.username == username)
        with writing(self._engine) as connection:
            free = update(help_requests).where(*place, c.helper.in_(("", helper)))
            if connection.execute(free.values(helper=helper)).rowcount:
                return
            found = connection.execute(select(c.helper).where(*place)).scalar_one_or_none()
        if found is None:
            raise NotFound("This request for help has ended.")
        raise Conflict(f"{found} has taken this request already.")

    def join(self, item: str, username: str, helper: str) -> None:
        """Let the helper enter the session. Raises: NotFound if this helper has no such request."""
        mine = update(help_requests).filter_by(item=item, username=username, helper=helper)
        if not self._change(mine.values(together=True)):
            raise NotFound("You have not taken this request, or it has ended.")

    def end(self, item: str, username: str) -> HelpRow | None:
        gone = delete(help_requests).filter_by(item=item, username=username)
        with writing(self._engine) as connection:
            row = connection.execute(gone.returning(*help_requests.c)).one_or_none()
        return None if row is None else HelpRow(*row)

    # ---- messages

    def messages(self, now: datetime) -> tuple[MessageRow, ...]:
        c = item_messages.c
        wanted = select(item_messages).where(c.until > now).order_by(c.number)
        return self._rows(MessageRow, wanted)

    def send(self, message: MessageRow) -> int:
        """Add a message; return its number. Raises: Conflict beyond :data:`MOST_MESSAGES`."""
        c, values = item_messages.c, values_of(message, "number")
        same = (c.item == message.item, c.username == message.username)
        shown = (*same, c.until > message.sent_at)
        with writing(self._engine) as connection:
            count = connection.execute(select(func.count()).where(*shown)).scalar_one()
            if count >= MOST_MESSAGES:
                raise Conflict(
                    f"{message.item} has {count} messages already.", hint="Take one back first."
                )
            return add_row(connection, item_messages, **values)

    def take_back(self, item: str, number: int) -> bool:
        return self._change(delete(item_messages).filter_by(item=item, number=number)) > 0


def _delete_old_requests(now: datetime) -> Delete:
    return delete(help_requests).where(help_requests.c.asked_at <= now - _HELP_KEPT)


@dataclass(frozen=True, slots=True)
class ResultRow:
    """The result of the last validation of a copy; ``answer`` is the hub's own JSON."""

    username: Name
    item: Name
    at: datetime
    answer: str


results = table_of("results", metadata, ResultRow, ("username", "item"), Index(None, "at"))


class KeptResults(Tables):
    """A lost result can be recomputed, so writes do not wait for the disk (``fleeting``)."""

    def save(self, row: ResultRow) -> None:
        self._put(results, values_of(row), fleeting=True)

    def remove(self, username: str, item: str) -> None:
        self._change(delete(results).filter_by(username=username, item=item), fleeting=True)

    def newest(self, most: int) -> tuple[ResultRow, ...]:
        """Return the newest, ``most`` characters in all, the oldest first; delete older ones."""
        wanted = select(results).order_by(results.c.at.desc())
        rows: list[ResultRow] = []
        with reading(self._engine) as connection:
            for each in connection.execute(wanted):
                most -= len(each.answer)
                if most < 0:
                    break
                rows.append(ResultRow(*each))
        if most < 0 and rows:
            self._change(delete(results).where(results.c.at < rows[-1].at), fleeting=True)
        return tuple(reversed(rows))

"""The queue of scores for learning platforms: a row for each grade of a person at a platform.

A row has the mark that is due now, and what became of it. It is written before anything is sent,
so that no mark is lost with the process; :meth:`LtiScores.take` lends a row to one process.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from types import MappingProxyType

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    case,
    delete,
    insert,
    select,
    tuple_,
    update,
)

from mograder.core.errors import Conflict, NotFound
from mograder.store.database.database import Tables, columns_of, values_of, writing
from mograder.store.external.external_tables import (
    PlatformKey,
    ScoreRow,
    ScoreState,
    lti_links,
    lti_scores,
)
from mograder.store.hub.hub_state import bounded

_NAME, _TEXT = 200, 1000
_MOST_OURS = 20
_SECOND = timedelta(seconds=1)

LONGEST_WAIT = timedelta(hours=1)
"""The longest time until a mark is tried again that could not be sent."""

LOOK_EVERY = timedelta(hours=1)
"""How often a grade item is read for marks that were seen there or changed there."""
LOOK_FOR_GONE_EVERY = timedelta(days=1)
"""How often one that does not exist is asked for: a proxy may have said so."""

CLOCK_WAS_AHEAD = (
    "The last mark was sent while the hub's clock was ahead: the platform takes this one after "
    "that time."
)
NOT_ENROLLED: Mapping[int, str] = MappingProxyType(
    {
        status: f"The platform does not take a mark for this person ({status}): no student there?"
        for status in (400, 422)  # Moodle's and Canvas's answers for a person who is no student
    }
)
"""Why a mark is refused until its person comes from the course, or an instructor sends it."""

_SOON = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class DueScore:
    """A mark that a grade item of a platform shall have for a person there.

    ``username`` is the person's name on this hub. ``given`` None erases the mark that this hub
    sent.
    """

    issuer: str
    client_id: str
    lineitem: str
    subject: str
    username: str
    given: float | None
    maximum: float
    comment: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """The address of the grade item and the person, which name one row."""
        return self.lineitem, self.subject

    @property
    def platform(self) -> PlatformKey:
        return self.issuer, self.client_id

    @property
    def digest(self) -> str:
        """A hash of what would be sent, by which changes are found."""
        values = [self.given, self.maximum, self.comment]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()


_ROWS = select(*columns_of(lti_scores, ScoreRow))

_LOOKED_AT = (ScoreState.TAKEN, ScoreState.SENT, ScoreState.CHANGED, ScoreState.GONE)


class LtiScores(Tables):
    def set_due(self, item: str, due: Iterable[DueScore], now: datetime) -> int:
        """Make the queue of an item hold these marks; return how many will be sent.

        A mark that waits and is not among them is stopped. One that is erased counts only where a
        mark was sent before.

        Raises: Conflict if another process does the same now.
        """
        wanted = {each.key: each for each in due}
        c = lti_scores.c
        with writing(self._engine) as connection:
            known = _known(connection, item, wanted)
            new = [each for key, each in wanted.items() if key not in known]
            news = [_waiting(item, each, now) for each in new if each.given is not None]
            stopped, changes = [], []
            for key, row in known.items():
                each = wanted.get(key)
                if each is None or (each.given is None and not row.ours):
                    stopped += [row.number] if row.state is ScoreState.WAITING else []
                elif row.state is ScoreState.STOPPED or (
                    (row.digest, row.item, row.platform) != (each.digest, item, each.platform)
                ):
                    changes.append({"which": row.number, **_waiting(item, each, now), **_UNTRIED})
            if news:
                connection.execute(insert(lti_scores), news)
            if changes:
                connection.execute(_CHANGE, changes)
            ended = update(lti_scores).where(c.number.in_(stopped))
            connection.execute(ended.values(state=ScoreState.STOPPED, next_at=now, **_UNTRIED))
        return len(news) + len(changes)

    def take(
        self, platforms: Collection[PlatformKey], now: datetime, lease: timedelta
    ) -> ScoreRow | None:
        """Take the mark of one of the platforms that is due first; None if none is.

        Another process takes it only after the lease. The row's ``stamp`` is the one to send: a
        new one for a mark that was never tried, and never ahead of ``now``.
        """
        while True:
            with writing(self._engine) as connection:
                row = _first(connection, platforms, now)
                if row is None:
                    return None
                found = _taken(connection, row, now, now + lease)
            if found is not None:
                return found

    def took(self, row: ScoreRow, at: datetime) -> None:
        """Note that the platform says it took a mark; it is looked at from now on."""
        taken = {"state": ScoreState.TAKEN, "detail": "", "next_at": at}
        c = lti_scores.c
        same = (c.number == row.number) & (c.digest == row.digest)  # also if it was stopped since
        self._change(update(lti_scores).where(same).values(taken))

    def to_look_at(
        self, platforms: Collection[PlatformKey], now: datetime
    ) -> tuple[tuple[ScoreRow, ...], ...]:
        """Return the marks that may be at the platforms, by grade item, where one is to be read."""
        c = lti_scores.c
        mine = c.state.in_(_LOOKED_AT)
        own = tuple_(c.issuer, c.client_id).in_(list(platforms))
        soon = (c.state != ScoreState.GONE) & _is_due(now, LOOK_EVERY)
        due = select(c.lineitem).where(mine, own, soon | _is_due(now, LOOK_FOR_GONE_EVERY))
        wanted = _ROWS.where(mine, own, c.lineitem.in_(due)).order_by(c.lineitem, c.number)
        rows = self._rows(ScoreRow, wanted)
        return tuple(tuple(each) for _, each in groupby(rows, lambda row: row.lineitem))

    def look_later(self, rows: Iterable[ScoreRow], next_at: datetime) -> None:
        for row in rows:
            self._set(row, next_at=next_at)

    def done(self, row: ScoreRow, at: datetime, detail: str = "") -> None:
        """Note that a mark was seen there; a mark that replaced it meanwhile goes on waiting."""
        c = lti_scores.c
        seen = {"state": ScoreState.SENT, "detail": detail, "overwrite": False, "ours": (row.part,)}
        changed = update(lti_scores).where(c.number == row.number)
        with writing(self._engine) as connection:
            if row.state is not ScoreState.SENT:
                connection.execute(changed.values(sent_at=at))
            same = changed.where(c.digest == row.digest)
            connection.execute(same.values(seen | {"next_at": at + LOOK_EVERY}))

    def end(self, row: ScoreRow, state: ScoreState, detail: str, at: datetime) -> None:
        """Note why a mark is not there, unless another one has replaced it meanwhile.

        Where the grade item is gone, its other marks are looked at, too.
        """
        c = lti_scores.c
        again = LOOK_FOR_GONE_EVERY if state is ScoreState.GONE else LOOK_EVERY
        told = bounded(detail, _TEXT)
        self._set(row, state=state, detail=told, overwrite=False, next_at=at + again)
        if state is ScoreState.GONE:
            seen = c.state.in_((ScoreState.SENT, ScoreState.CHANGED))
            beside = update(lti_scores).where(c.lineitem == row.lineitem, seen)
            self._change(beside.values(next_at=at))

    def resume(self, row: ScoreRow, next_at: datetime, detail: str = "") -> None:
        """Let a mark wait again that is not there, though it was taken or its grade item back."""
        self._set(row, state=ScoreState.WAITING, next_at=next_at, detail=detail)

    def later(self, row: ScoreRow, next_at: datetime, detail: str) -> None:
        self._set(row, next_at=next_at, detail=bounded(detail, _TEXT))

    def put_behind(self, row: ScoreRow, next_at: datetime, detail: str) -> None:
        """Let other marks that wait for this grade item wait too: those of others go first."""
        c = lti_scores.c
        beside = (c.lineitem == row.lineitem) & (c.number != row.number)
        due = (c.state == ScoreState.WAITING) & (c.next_at < next_at)
        waits = {"next_at": next_at, "detail": bounded(detail, _TEXT)}
        self._change(update(lti_scores).where(beside, due).values(waits))

    def move(self, row: ScoreRow, lineitem: str, now: datetime) -> bool:
        """Try a mark at its activity's new grade item; false if the person has one there."""
        link = lti_links.c
        own = (link.issuer == row.issuer) & (link.client_id == row.client_id)
        activity = update(lti_links).where(own, link.lineitem == row.lineitem)
        try:
            self._change(activity.values(lineitem=lineitem))
            # None of this hub's marks is there yet.
            there = {"lineitem": lineitem, "ours": (), "sent_at": None}
            self._set(row, next_at=now, state=ScoreState.WAITING, **there)
        except Conflict:
            return False
        return True

    def send_again(self, item: str, now: datetime, *, number: int = 0) -> int:
        """Try marks of an item again now, all or one; return how many.

        Those that wait, were refused, or are others at the platform, which are replaced then. Those
        that were seen there are looked at again.
        """
        c = lti_scores.c
        again = (ScoreState.WAITING, ScoreState.REFUSED, ScoreState.CHANGED, ScoreState.GONE)
        which = (c.item == item) & c.state.in_(again)
        if number:
            which &= c.number == number
        values = {
            "overwrite": case((c.state == ScoreState.CHANGED, True), else_=c.overwrite),
            "tries": case((c.state == ScoreState.WAITING, c.tries), else_=0),
            "state": ScoreState.WAITING,
            "next_at": now,
        }
        there = (c.item == item) & (c.state == ScoreState.SENT)
        with writing(self._engine) as connection:
            connection.execute(update(lti_scores).where(there).values(next_at=now))
            return connection.execute(update(lti_scores).where(which).values(values)).rowcount

    def came(self, platform: PlatformKey, context: str, subject: str, now: datetime) -> None:
        """Try a person's marks again that a course refused until the person is enrolled there."""
        c, link = lti_scores.c, lti_links.c
        place = (link.issuer == platform[0], link.client_id == platform[1], link.context == context)
        which = (
            (c.issuer == platform[0])
            & (c.client_id == platform[1])
            & (c.subject == subject)
            & (c.state == ScoreState.REFUSED)
            & c.detail.in_(NOT_ENROLLED.values())
            & c.lineitem.in_(select(link.lineitem).where(*place))
        )
        if self._values(select(c.number).where(which)):  # else a launch writes nothing
            again = {"state": ScoreState.WAITING, "next_at": now, **_UNTRIED}
            self._change(update(lti_scores).where(which).values(again))

    def put_away(self, item: str, number: int) -> str:
        """Forget the activity of a mark whose grade item is gone; return its address.

        All its marks go, and the activity until it is launched again.

        Raises: NotFound if there is no such mark, or its grade item exists.
        """
        c, link = lti_scores.c, lti_links.c
        gone = (c.item == item) & (c.state == ScoreState.GONE)
        with writing(self._engine) as connection:
            wanted = select(c.issuer, c.client_id, c.lineitem).where(gone, c.number == number)
            found = connection.execute(wanted).one_or_none()
            if found is None:
                raise NotFound("This activity exists, or was put away already.")
            issuer, client_id, lineitem = found
            mine = (c.issuer == issuer) & (c.client_id == client_id) & (c.lineitem == lineitem)
            connection.execute(delete(lti_scores).where(mine))
            own = (link.issuer == issuer) & (link.client_id == client_id)
            connection.execute(delete(lti_links).where(own, link.lineitem == lineitem))
        return str(lineitem)

    def of(self, item: str) -> tuple[ScoreRow, ...]:
        c = lti_scores.c
        return self._rows(ScoreRow, _ROWS.where(c.item == item).order_by(c.username, c.number))

    def at(self, lineitems: Collection[str]) -> tuple[ScoreRow, ...]:
        return self._rows(ScoreRow, _ROWS.where(lti_scores.c.lineitem.in_(lineitems)))

    def _set(self, row: ScoreRow, **values: object) -> None:
        c = lti_scores.c
        which = (c.number == row.number) & (c.digest == row.digest) & (c.state == row.state)
        self._change(update(lti_scores).where(which).values(values))


_UNTRIED: dict[str, object] = {"detail": "", "tries": 0}
_CHANGE = update(lti_scores).where(lti_scores.c.number == bindparam("which"))


def _known(
    connection: Connection, item: str, wanted: Collection[tuple[str, str]]
) -> dict[tuple[str, str], ScoreRow]:
    """Return the rows of an item, and those of other items at the same grade items."""
    c = lti_scores.c
    lineitems = {lineitem for lineitem, _ in wanted}
    found = connection.execute(_ROWS.where((c.item == item) | c.lineitem.in_(lineitems)))
    rows = {(row.lineitem, row.subject): row for row in (ScoreRow(*each) for each in found)}
    return {key: row for key, row in rows.items() if row.item == item or key in wanted}


def _waiting(item: str, due: DueScore, now: datetime) -> dict[str, object]:
    told = {"username": bounded(due.username, _NAME), "item": item, "digest": due.digest}
    return values_of(due) | told | {"state": ScoreState.WAITING, "next_at": now}


def _is_due(now: datetime, longest: timedelta) -> ColumnElement[bool]:
    """Return the condition that the time of a row has come.

    A time that lies further ahead than any wait comes of a clock that was ahead and put right.
    """
    c = lti_scores.c
    return (c.next_at <= now) | (c.next_at > now + longest)


def _first(
    connection: Connection, platforms: Collection[PlatformKey], now: datetime
) -> ScoreRow | None:
    c = lti_scores.c
    wanted = (
        _ROWS.where(c.state == ScoreState.WAITING, _is_due(now, LONGEST_WAIT))
        .where(tuple_(c.issuer, c.client_id).in_(list(platforms)))
        .order_by(c.next_at, c.number)
        .limit(1)
    )
    row = connection.execute(wanted).one_or_none()
    return None if row is None else ScoreRow(*row)


def _taken(
    connection: Connection, row: ScoreRow, now: datetime, until: datetime
) -> ScoreRow | None:
    """Take a row; None if its time is not yet come, or another process was faster."""
    c, stamp = lti_scores.c, row.stamp
    if stamp is None or not row.tries:  # the platform takes the time of the first try once only
        whole = now.replace(microsecond=0)
        stamp = whole if stamp is None else max(whole, stamp + _SECOND)
    if stamp > now:
        waits: dict[str, object] = {"next_at": min(stamp, now + LONGEST_WAIT)}
        if stamp - now > _SOON:
            waits["detail"] = CLOCK_WAS_AHEAD
        connection.execute(update(lti_scores).where(c.number == row.number).values(waits))
        return None
    ours = (*(each for each in row.ours if each != row.part), row.part)
    taken = (
        update(lti_scores)
        .where(c.number == row.number, c.next_at == row.next_at)
        .where(c.state == row.state, c.digest == row.digest)
        .values(next_at=until, stamp=stamp, tries=c.tries + 1, ours=ours[-_MOST_OURS:])
    )
    if not connection.execute(taken).rowcount:
        return None
    return replace(row, stamp=stamp, tries=row.tries + 1)

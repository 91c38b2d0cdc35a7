"""The queue of scores for learning platforms: a row for each grade of a person at a platform.

A row has the mark that is due now, and what became of it. It is written before anything is sent,
so that no mark is lost with the process; :meth:`LtiScores.take` lends a row to one process.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby

from sqlalchemy import (
    Connection,
    Engine,
    RowMapping,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

from mograder.core.errors import Conflict, NotFound
from mograder.store.database.database import reading, writing
from mograder.store.external.external_tables import lti_links, lti_scores
from mograder.store.hub.hub_state import bounded

_NAME, _TEXT = 200, 1000
_MOST_OURS = 20
_SECOND = timedelta(seconds=1)

LOOK_EVERY = timedelta(hours=1)
"""How often a grade item is read for marks that were seen there or changed there."""
LOOK_FOR_GONE_EVERY = timedelta(days=1)
"""How often one that does not exist is asked for: a proxy may have said so."""

PlatformKey = tuple[str, str]
"""A platform's issuer and client id."""


class ScoreState(StrEnum):
    """What became of a mark."""

    WAITING = "waiting"
    TAKEN = "taken"
    """The platform answered that it took it; whether it is there has not been read yet."""
    SENT = "sent"
    """It was seen at the platform."""
    REFUSED = "refused"
    """The platform does not take it; tried again only when the mark changes, or on request."""
    CHANGED = "changed"
    """The platform has another mark, or none, and keeps that."""
    GONE = "gone"
    """Its activity or grade item does not exist any more."""
    STOPPED = "stopped"
    """It is no longer due, and was not sent."""


@dataclass(frozen=True, slots=True)
class Grade:
    """Where a mark goes: a platform's grade item, and a person there.

    ``username`` is the person's name on this hub.
    """

    platform: PlatformKey
    lineitem: str
    subject: str
    username: str

    @property
    def key(self) -> tuple[str, str]:
        """The address of the grade item and the person, which name one row."""
        return self.lineitem, self.subject


@dataclass(frozen=True, slots=True)
class DueScore:
    """A mark that a platform shall have; ``given`` None erases the mark that this hub sent."""

    grade: Grade
    given: float | None
    maximum: float
    comment: str = ""

    @property
    def digest(self) -> str:
        """A hash of what would be sent, by which changes are found."""
        values = [self.given, self.maximum, self.comment]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A row as it is kept; ``stamp`` is the time sent with the mark, in whole seconds."""

    number: int
    grade: Grade
    item: str
    given: float | None
    maximum: float
    comment: str
    digest: str
    state: ScoreState
    detail: str
    tries: int
    next_at: datetime
    stamp: datetime | None
    sent_at: datetime | None
    ours: tuple[float | None, ...]
    overwrite: bool

    @property
    def part(self) -> float | None:
        """The mark as part of the maximum; None where the mark is erased."""
        return None if self.given is None else self.given / self.maximum


_LOOKED_AT = (ScoreState.TAKEN, ScoreState.SENT, ScoreState.CHANGED, ScoreState.GONE)


class LtiScores:
    """The queue; every method may raise :class:`~mograder.core.errors.Busy`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def set_due(self, item: str, due: Iterable[DueScore], now: datetime) -> int:
        """Make the queue of an item hold these marks; return how many will be sent.

        A mark that waits and is not among them is stopped. One that is erased counts only where a
        mark was sent before.

        Raises:
            Conflict: Another process does the same now.
        """
        wanted = {each.grade.key: each for each in due}
        with writing(self._engine) as connection:
            known = _known(connection, item, wanted)
            added = [_new(item, each, now) for key, each in wanted.items() if key not in known]
            news = [row for row in added if row["given"] is not None]
            changed = [_change(item, row, wanted.get(key), now) for key, row in known.items()]
            changes = [each for each in changed if each is not None]
            if news:
                connection.execute(insert(lti_scores), news)
            if changes:
                connection.execute(_CHANGE, changes)
        return len(news) + sum(each["state"] is ScoreState.WAITING for each in changes)

    def take(
        self, platforms: Collection[PlatformKey], now: datetime, lease: timedelta
    ) -> ScoreRow | None:
        """Take the mark of one of the platforms that is due first; None if none is.

        Another process takes it only after the lease. The row's ``stamp`` is the one to send: a
        new one for a mark that was never tried, and never ahead of ``now``.
        """
        found: ScoreRow | None = None
        more = True
        while found is None and more:
            with writing(self._engine) as connection:
                row = _first(connection, platforms, now)
                more = row is not None
                found = None if row is None else _taken(connection, row, now, now + lease)
        return found

    def took(self, row: ScoreRow, at: datetime) -> None:
        """Note that the platform says it took a mark; it is looked at from now on."""
        taken = {"state": ScoreState.TAKEN.value, "detail": "", "next_at": at}
        c = lti_scores.c
        same = (c.number == row.number) & (c.digest == row.digest)  # also if it was stopped since
        with writing(self._engine) as connection:
            connection.execute(update(lti_scores).where(same).values(taken))

    def to_look_at(
        self, platforms: Collection[PlatformKey], now: datetime
    ) -> tuple[tuple[ScoreRow, ...], ...]:
        """Return the marks that may be at the platforms, by grade item, where one is to be read."""
        c = lti_scores.c
        mine = c.state.in_([each.value for each in _LOOKED_AT])
        own = tuple_(c.issuer, c.client_id).in_(list(platforms))
        due = select(c.lineitem).where(mine, own, c.next_at <= now)
        wanted = (
            select(lti_scores).where(mine, own, c.lineitem.in_(due)).order_by(c.lineitem, c.number)
        )
        with reading(self._engine) as connection:
            rows = tuple(map(_row, connection.execute(wanted).mappings()))
        return tuple(tuple(each) for _, each in groupby(rows, lambda row: row.grade.lineitem))

    def look_later(self, rows: Iterable[ScoreRow], next_at: datetime) -> None:
        """Put off looking at marks."""
        for row in rows:
            self._set(row, next_at=next_at)

    def done(self, row: ScoreRow, at: datetime, detail: str = "") -> None:
        """Note that a mark was seen there; a mark that replaced it meanwhile goes on waiting."""
        c = lti_scores.c
        same = c.digest == row.digest
        values = {
            "state": case((same, ScoreState.SENT.value), else_=c.state),
            "detail": case((same, detail), else_=c.detail),
            "overwrite": case((same, False), else_=c.overwrite),
            "ours": case((same, json.dumps([row.part])), else_=c.ours),
            "next_at": case((same, at + LOOK_EVERY), else_=c.next_at),
            "sent_at": at if row.state is not ScoreState.SENT else c.sent_at,
            "sent_digest": row.digest,
        }
        with writing(self._engine) as connection:
            connection.execute(update(lti_scores).where(c.number == row.number).values(values))

    def end(self, row: ScoreRow, state: ScoreState, detail: str, at: datetime) -> None:
        """Note why a mark is not there, unless another one has replaced it meanwhile.

        Where the grade item is gone, its other marks are looked at, too.
        """
        c = lti_scores.c
        again = LOOK_FOR_GONE_EVERY if state is ScoreState.GONE else LOOK_EVERY
        told = bounded(detail, _TEXT)
        self._set(row, state=state.value, detail=told, overwrite=False, next_at=at + again)
        if state is ScoreState.GONE:
            seen = c.state.in_([ScoreState.SENT.value, ScoreState.CHANGED.value])
            beside = update(lti_scores).where(c.lineitem == row.grade.lineitem, seen)
            with writing(self._engine) as connection:
                connection.execute(beside.values(next_at=at))

    def resume(self, row: ScoreRow, next_at: datetime, detail: str = "") -> None:
        """Let a mark wait again that is not there, though it was taken or its grade item back."""
        self._set(row, state=ScoreState.WAITING.value, next_at=next_at, detail=detail)

    def later(self, row: ScoreRow, next_at: datetime, detail: str) -> None:
        """Note why a mark could not be sent, and when to try again."""
        self._set(row, next_at=next_at, detail=bounded(detail, _TEXT))

    def move(self, row: ScoreRow, lineitem: str, now: datetime) -> bool:
        """Try a mark again now at another grade item, to which its activity changes.

        Returns false if the person has another mark there already.
        """
        link = lti_links.c
        issuer, client_id = row.grade.platform
        own = (link.issuer == issuer) & (link.client_id == client_id)
        activity = update(lti_links).where(own, link.lineitem == row.grade.lineitem)
        try:
            with writing(self._engine) as connection:
                connection.execute(activity.values(lineitem=lineitem))
            there = {"ours": "[]", "sent_at": None}  # it has none of this hub's marks yet
            waiting = ScoreState.WAITING.value
            self._set(row, lineitem=lineitem, next_at=now, state=waiting, **there)
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
        which = (c.item == item) & c.state.in_([each.value for each in again])
        if number:
            which &= c.number == number
        values = {
            "overwrite": case((c.state == ScoreState.CHANGED.value, True), else_=c.overwrite),
            "tries": case((c.state == ScoreState.WAITING.value, c.tries), else_=0),
            "state": ScoreState.WAITING.value,
            "next_at": now,
        }
        there = (c.item == item) & (c.state == ScoreState.SENT.value)
        with writing(self._engine) as connection:
            connection.execute(update(lti_scores).where(there).values(next_at=now))
            return connection.execute(update(lti_scores).where(which).values(values)).rowcount

    def put_away(self, item: str, number: int) -> str:
        """Forget the activity of a mark whose grade item is gone; return its address.

        All its marks go, and the activity until it is launched again.

        Raises: NotFound if there is no such mark, or its grade item exists.
        """
        c, link = lti_scores.c, lti_links.c
        gone = (c.item == item) & (c.state == ScoreState.GONE.value)
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
        """Return the marks of an item, ordered by username."""
        c = lti_scores.c
        wanted = select(lti_scores).where(c.item == item).order_by(c.username, c.number)
        with reading(self._engine) as connection:
            return tuple(map(_row, connection.execute(wanted).mappings()))

    def counts(self) -> Mapping[ScoreState, int]:
        """Return how many marks there are in each state."""
        c = lti_scores.c
        wanted = select(c.state, func.count()).group_by(c.state)
        with reading(self._engine) as connection:
            return {ScoreState(state): count for state, count in connection.execute(wanted)}

    def _set(self, row: ScoreRow, **values: object) -> None:
        c = lti_scores.c
        which = (c.number == row.number) & (c.digest == row.digest) & (c.state == row.state)
        with writing(self._engine) as connection:
            connection.execute(update(lti_scores).where(which).values(values))


_CHANGED = ("item", "username", "given", "maximum", "comment", "digest")
_CHANGE = (
    update(lti_scores)
    .where(lti_scores.c.number == bindparam("which"))
    .values({name: bindparam(f"new_{name}") for name in _CHANGED})
    .values(
        state=bindparam("state"),
        detail=bindparam("detail"),
        tries=bindparam("tries"),
        next_at=bindparam("next_at"),
    )
)


def _known(
    connection: Connection, item: str, wanted: Collection[tuple[str, str]]
) -> dict[tuple[str, str], RowMapping]:
    """Return the rows of an item, and those of other items at the same grade items."""
    c = lti_scores.c
    lineitems = {lineitem for lineitem, _ in wanted}
    rows = connection.execute(
        select(lti_scores).where((c.item == item) | c.lineitem.in_(lineitems))
    ).mappings()
    found = {(row["lineitem"], row["subject"]): row for row in rows}
    return {key: row for key, row in found.items() if row["item"] == item or key in wanted}


def _new(item: str, due: DueScore, now: datetime) -> dict[str, object]:
    issuer, client_id = due.grade.platform
    return {
        "issuer": issuer,
        "client_id": client_id,
        "lineitem": due.grade.lineitem,
        "subject": due.grade.subject,
        "username": bounded(due.grade.username, _NAME),
        "item": item,
        "given": due.given,
        "maximum": due.maximum,
        "comment": due.comment,
        "digest": due.digest,
        "state": ScoreState.WAITING,
        "next_at": now,
    }


def _change(
    item: str, row: RowMapping, due: DueScore | None, now: datetime
) -> dict[str, object] | None:
    """Return what becomes of a row, None if nothing."""
    waits = row["state"] == ScoreState.WAITING
    if due is None or (due.given is None and row["ours"] == "[]"):
        stopped = {name: row[name] for name in _CHANGED}
        return _changed(row, stopped, ScoreState.STOPPED, now) if waits else None
    if row["digest"] == due.digest and row["state"] != ScoreState.STOPPED and row["item"] == item:
        return None
    values = {**_new(item, due, now)}
    return _changed(row, values, ScoreState.WAITING, now)


def _changed(
    row: RowMapping, values: Mapping[str, object], state: ScoreState, now: datetime
) -> dict[str, object]:
    new = {f"new_{name}": values[name] for name in _CHANGED}
    done = {"state": state, "detail": "", "tries": 0, "next_at": now}
    return {"which": row["number"], **new, **done}


def _first(
    connection: Connection, platforms: Collection[PlatformKey], now: datetime
) -> RowMapping | None:
    c = lti_scores.c
    wanted = (
        select(lti_scores)
        .where(c.state == ScoreState.WAITING, c.next_at <= now)
        .where(tuple_(c.issuer, c.client_id).in_(list(platforms)))
        .order_by(c.next_at, c.number)
        .limit(1)
    )
    return connection.execute(wanted).mappings().one_or_none()


def _taken(
    connection: Connection, row: RowMapping, now: datetime, until: datetime
) -> ScoreRow | None:
    """Take a row; None if its time is not yet come, or another process was faster."""
    c, stamp = lti_scores.c, _stamp(row, now)
    if stamp > now:
        later = update(lti_scores).where(c.number == row["number"]).values(next_at=stamp)
        connection.execute(later)
        return None
    part = None if row["given"] is None else row["given"] / row["maximum"]
    ours = [*(each for each in json.loads(row["ours"]) if each != part), part]
    taken = (
        update(lti_scores)
        .where(c.number == row["number"], c.next_at == row["next_at"])
        .where(c.state == row["state"], c.digest == row["digest"])
        .values(next_at=until, stamp=stamp, tries=c.tries + 1, ours=json.dumps(ours[-_MOST_OURS:]))
    )
    if not connection.execute(taken).rowcount:
        return None
    return _row({**row, "stamp": stamp, "tries": row["tries"] + 1})


def _stamp(row: RowMapping, now: datetime) -> datetime:
    """Return the time to send: that of the first try, which the platform takes once only."""
    last: datetime | None = row["stamp"]
    if last is not None and row["tries"]:
        return last
    whole = now.replace(microsecond=0)
    return whole if last is None else max(whole, last + _SECOND)


def _row(row: Mapping[str, object] | RowMapping) -> ScoreRow:
    values = dict(row)
    grade = Grade(
        (str(values["issuer"]), str(values["client_id"])),
        str(values["lineitem"]),
        str(values["subject"]),
        str(values["username"]),
    )
    own: Sequence[str] = [name for name in ScoreRow.__slots__ if name in values]
    kept = {name: values[name] for name in own}
    kept["state"] = ScoreState(str(values["state"]))
    kept["ours"] = tuple(json.loads(str(values["ours"])))
    return ScoreRow(grade=grade, **kept)

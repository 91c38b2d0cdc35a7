"""Requests of students to look at a mark again: two tables of the gradebook.

A request is about one question; there is at most one for each student and question. Its messages
form a thread. Rows are only added, and the state of a request follows from its messages.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, and_, select, true
from sqlalchemy.sql.elements import ColumnElement

from mograder.core.errors import Conflict, NotFound
from mograder.store.database.database import add_row, columns_of, values_of
from mograder.store.gradebook.gradebook import OfBook
from mograder.store.gradebook.gradebook_tables import regrade_messages, regrade_requests
from mograder.store.gradebook.mark_release import NewRelease, insert_releases


class MessageKind(StrEnum):
    ASKED = "asked"
    """Words of the student."""
    ANSWERED = "answered"
    """Words of staff, without a decision."""
    ASSIGNED = "assigned"
    CHANGED = "changed"
    """The decision for another mark."""
    KEPT = "kept"
    """The decision for the same mark; or without ``after``, where that counts no more."""
    REOPENED = "reopened"
    WITHDRAWN = "withdrawn"


class RequestState(StrEnum):
    OPEN = "open"
    """It waits for staff."""
    ANSWERED = "answered"
    """Staff wrote, and it is not decided."""
    DECIDED = "decided"
    WITHDRAWN = "withdrawn"


_STATES = {
    MessageKind.ASKED: RequestState.OPEN,
    MessageKind.REOPENED: RequestState.OPEN,
    MessageKind.ANSWERED: RequestState.ANSWERED,
    MessageKind.CHANGED: RequestState.DECIDED,
    MessageKind.KEPT: RequestState.DECIDED,
    MessageKind.WITHDRAWN: RequestState.WITHDRAWN,
}


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a thread; ``number`` is 0 before it is recorded, ``at`` is aware.

    ``assignee`` is the person who is to answer from then on, of ``asked`` and ``assigned`` only;
    empty for any instructor. ``before`` and ``after`` are the points of a decision.
    """

    kind: MessageKind
    by: str
    at: datetime
    text: str = ""
    assignee: str = ""
    before: float | None = None
    after: float | None = None
    number: int = 0


_MESSAGE = columns_of(regrade_messages, Message, number="id")


@dataclass(frozen=True, slots=True)
class RegradeRequest:
    """A request with its messages, oldest first; there is at least one."""

    number: int
    assignment: str
    student: str
    question: str
    messages: tuple[Message, ...]

    @property
    def state(self) -> RequestState:
        """How far it is, by the last message that says so."""
        kinds = [each.kind for each in self.messages if each.kind in _STATES]
        return _STATES[kinds[-1]] if kinds else RequestState.OPEN

    @property
    def waits(self) -> bool:
        return self.state in (RequestState.OPEN, RequestState.ANSWERED)

    @property
    def assignee(self) -> str:
        """The person who is to answer, empty for any instructor."""
        telling = (MessageKind.ASKED, MessageKind.ASSIGNED)
        named = [each.assignee for each in self.messages if each.kind in telling]
        return named[-1] if named else ""

    @property
    def decision(self) -> Message | None:
        """The message that decided it, None while it is not decided."""
        if self.state is not RequestState.DECIDED:
            return None
        made = (MessageKind.CHANGED, MessageKind.KEPT)
        return [each for each in self.messages if each.kind in made][-1]

    @property
    def last(self) -> int:
        """The number of the newest message: give it to :meth:`RegradeRequests.add`."""
        return self.messages[-1].number


class RegradeRequests(OfBook):
    def ask(self, assignment: str, student: str, question: str, message: Message) -> int:
        """Record a request, or again after a withdrawal; return its number. Raises: Conflict."""
        with self._book.writing() as connection:
            for known in _read(connection, _of(assignment, student, question)):
                if known.state is not RequestState.WITHDRAWN:
                    raise Conflict(
                        f"You have asked about {question or 'this mark'} already.",
                        hint="Read the thread.",
                    )
                _insert(connection, known.number, message)
                return known.number
            owner = {"assignment": assignment, "student": student, "question": question}
            number = add_row(connection, regrade_requests, **owner, by=message.by, at=message.at)
            _insert(connection, number, message)
            return number

    def add(
        self, number: int, message: Message, *, seen: int, release: NewRelease | None = None
    ) -> None:
        """Record a message of a thread whose newest message is ``seen``.

        ``release`` is recorded with it: a decision and the mark that the student sees go together.

        Raises:
            NotFound: There is no such request.
            Conflict: There is a newer message.
        """
        with self._book.writing() as connection:
            request = _find(connection, number)
            if request.last != seen:
                # Without a name: markers may not know the student, nor the student them.
                raise Conflict(
                    "There is a newer message in this thread.",
                    hint="Read it, then send yours again.",
                )
            _insert(connection, number, message)
            if release is not None:
                by, at = message.by, message.at
                insert_releases(connection, request.assignment, [release], by=by, at=at)

    def find(self, number: int) -> RegradeRequest:
        with self._book.reading() as connection:
            return _find(connection, number)

    def of(
        self,
        assignment: str | None = None,
        student: str | None = None,
        question: str | None = None,
    ) -> tuple[RegradeRequest, ...]:
        """Return the requests about an assignment, a student, a question, or all; oldest first."""
        with self._book.reading() as connection:
            return _read(connection, _of(assignment, student, question))


def _of(assignment: str | None, student: str | None, question: str | None) -> ColumnElement[bool]:
    wanted = {"assignment": assignment, "student": student, "question": question}
    table = regrade_requests.c
    given = (table[name] == value for name, value in wanted.items() if value is not None)
    return and_(true(), *given)


def _read(connection: Connection, where: ColumnElement[bool]) -> tuple[RegradeRequest, ...]:
    c = regrade_requests.c
    wanted = select(c.id, c.assignment, c.student, c.question).where(where).order_by(c.id)
    found = connection.execute(wanted).all()
    threads: defaultdict[int, list[Message]] = defaultdict(list)
    m = regrade_messages.c
    own = m.request.in_(select(c.id).where(where))
    messages = select(m.request, *_MESSAGE).where(own).order_by(m.id)
    for request, kind, *values in connection.execute(messages) if found else ():
        threads[request].append(Message(MessageKind(kind), *values))
    return tuple(RegradeRequest(*row, tuple(threads[row.id])) for row in found)


def _find(connection: Connection, number: int) -> RegradeRequest:
    for request in _read(connection, regrade_requests.c.id == number):
        return request
    raise NotFound("There is no such request.")


def _insert(connection: Connection, request: int, message: Message) -> None:
    values = values_of(message, "number") | {"kind": message.kind.value}
    add_row(connection, regrade_messages, request=request, **values)

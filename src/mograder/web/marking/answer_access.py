"""What the handlers of the JSON API of marking share: the request, and an assignment's answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel

from mograder.auth.roles import Role
from mograder.core.errors import Forbidden, NotFound
from mograder.core.name_lookup import nfc
from mograder.core.names import ItemName
from mograder.grading.marking.answer_names import (
    answer_id,
    marking_order,
    question_of,
    student_of,
)
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import WHOLE
from mograder.store.marking.question_marking import QuestionMarks
from mograder.web.marking.access import Marker
from mograder.web.marking.context import CurrentMarker, CurrentMarking, MarkingApp
from mograder.web.request_body import read_json

B = TypeVar("B", bound=BaseModel)
_LIMIT = 256 * 1024
"""Bytes of a body with a comment, a reason and identifiers."""


@dataclass(frozen=True, slots=True)
class Answers:
    """An assignment's answers in a marker's order.

    ``labels`` are by student: "Answer 12", or the name where names are shown.
    """

    assignment: ItemName
    order: tuple[str, ...]
    labels: Mapping[str, str]
    key: bytes

    def id_of(self, student: str) -> str:
        """Return the name of a student's answers in addresses."""
        return answer_id(self.key, self.assignment, student)

    def student_of(self, answer: str) -> str:
        """Return the student of an answer.

        Raises:
            NotFound: There is no such answer.
        """
        return student_of(self.key, self.assignment, answer, self.order)

    def markable_by(self, marker: Marker, answer: str) -> str:
        """Return the student of an answer that a person may mark.

        Instructors have every right in the course and may mark a trial submission of their own.

        Raises:
            NotFound: As :meth:`student_of`.
            Forbidden: It is the marker's own.
        """
        student = self.student_of(answer)
        if not may_mark(marker, student):
            raise Forbidden(
                "This is your own answer.", hint="Another marker or an instructor marks it."
            )
        return student


def may_mark(marker: Marker, student: str) -> bool:
    """Return whether a person may mark a student's answer: any but, as a marker, their own."""
    own = nfc(student).casefold() == nfc(marker.name).casefold()
    return marker.role is Role.INSTRUCTOR or not own


def may_show_names(marking: MarkingApp, marker: Marker) -> bool:
    """Return whether a person may ask for the students' names."""
    return marker.role is Role.INSTRUCTOR or marking.loaded.settings.marking.names != "never"


def names_shown(marking: MarkingApp, marker: Marker, asked: bool | None) -> bool:
    """Return whether names are shown; ``asked`` None means as the course's setting says."""
    if asked is None:
        return marking.loaded.settings.marking.names == "shown"
    return asked and may_show_names(marking, marker)


@dataclass(frozen=True, slots=True)
class Here:
    """A request about an assignment; most of its methods block.

    ``question`` is the key of the question in the path, and ``answer`` the name of the answer, ""
    where the path has none.
    """

    request: Request
    marking: MarkingApp
    marker: Marker
    item: ItemName
    question: str
    answer: str

    @property
    def book(self) -> Gradebook:
        """The gradebook."""
        return self.marking.book()

    @property
    def autograded(self) -> Path:
        """The directory of the assignment's graded submissions."""
        return self.marking.loaded.path(self.marking.loaded.settings.dirs.autograded) / self.item

    @property
    def submitted(self) -> Path:
        """The directory of the assignment's submissions."""
        return self.marking.loaded.path(self.marking.loaded.settings.dirs.submitted) / self.item

    def answers(self, names: bool | None = None) -> Answers:
        """Return the assignment's answers; ``names`` None means as the course's setting says."""
        key, book = self.marking.key, self.book
        students = QuestionMarks(book).students(self.item)
        order = marking_order(key, self.item, self.marker.name, students)
        shown = names_shown(self.marking, self.marker, names)
        full = book.students() if shown else {}
        labels = {
            student: (full.get(student) or student) if shown else f"Answer {number}"
            for number, student in enumerate(order, start=1)
        }
        return Answers(self.item, order, labels, key)

    def demand_question(self, key: str) -> None:
        """Refuse a question that the assignment does not have.

        Raises:
            NotFound: It does not.
        """
        known = (each.key for each in self.marking.progress.of(self.book, self.item).known)
        if key != WHOLE and key not in known:
            raise NotFound(f"{self.item} has no question {key[:100]!r}.")

    async def read(self, shape: type[B]) -> B:
        """Return the body of the request; raises as :func:`read_json`."""
        return await read_json(self.request, shape, _LIMIT)

    async def record(self, action: str, what: str) -> None:
        """Write what the person did to the audit log."""
        await self.marking.record(self.request, action, what)


async def _here(request: Request, marking: CurrentMarking, marker: CurrentMarker) -> Here:
    """Raises: NotFound for no name of an assignment or a question."""
    named = request.path_params
    question = question_of(named["question"]) if "question" in named else WHOLE
    item = ItemName.valid(named["a"])
    if item is None:
        raise NotFound("There is no such assignment.")
    return Here(request, marking, marker, item, question, named.get("answer", ""))


CurrentHere = Annotated[Here, Depends(_here)]

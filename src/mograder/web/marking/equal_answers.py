"""Equal answers in marking: the groups of a question, and taking an answer out of its group."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from anyio import to_thread
from starlette.responses import JSONResponse, Response

from mograder.grading.marking.answer_names import group_id, question_of, question_title
from mograder.grading.marking.equal_answers import AnswerGroup, answer_groups
from mograder.grading.marking.graded_work import WorkFiles
from mograder.grading.marking.question_sources import QuestionSources, sources_or_none
from mograder.store.marking.shares import Separations
from mograder.web.marking.answer_access import Answers, CurrentHere, Here
from mograder.web.marking.answer_json import Json
from mograder.web.marking.models import GroupChange
from mograder.web.marking.reports import stamp_of

_PATIENCE_SECONDS = 0.1
"""How long a page waits for groups that are not known yet; a later request will find them."""

_LONG = 3600.0
"""How long a request waits that asks for the groups alone: until they are known."""


@dataclass(frozen=True, slots=True)
class EqualAnswers:
    """The groups of a question, by student, and the students whose answer is apart.

    ``names`` are those of the groups in addresses, by their first student.
    """

    groups: Mapping[str, AnswerGroup]
    names: Mapping[str, str]
    apart: frozenset[str]

    def with_mark_of(self, student: str) -> tuple[str, ...]:
        """Return the students of the answer's group that get its mark, itself among them."""
        group = self.groups.get(student)
        if group is None or student in self.apart:
            return (student,)
        return tuple(each for each in group.students if each not in self.apart)

    def of(self, student: str) -> Json | None:
        """Return the group of an answer, None without one.

        ``separate``: taken out of it. ``same`` is False for texts of which some differ in a few
        words. ``size`` counts those that get one mark; of an answer taken out, all of the group.
        """
        group = self.groups.get(student)
        if group is None:
            return None
        apart = student in self.apart
        size = len(group.students) if apart else len(self.with_mark_of(student))
        name = self.names[group.students[0]]
        return {"id": name, "size": size, "separate": apart, "same": group.same}

    def shared_by(self, student: str) -> str | None:
        """Return the name of the group whose mark an answer gets; None if it is alone."""
        if len(self.with_mark_of(student)) < 2:
            return None
        return self.names[self.groups[student].students[0]]


async def equal_answers(
    here: Here, answers: Answers, key: str, *, wait: bool = False
) -> EqualAnswers | None:
    """Return the groups of a question; None if they are not known soon, and not waited for."""
    students = tuple(sorted(answers.order))

    def look() -> tuple[QuestionSources, Hashable]:
        sources, _ = sources_or_none(here.marking.source(here.item))
        return sources, (students, sources, stamp_of((here.autograded, here.submitted)))

    async def make() -> tuple[AnswerGroup, ...]:
        files = WorkFiles(here.autograded, here.submitted)
        return await answer_groups(here.marking.works, files, students, sources, key)

    sources, stamp = await to_thread.run_sync(look)
    name, patience = ("equal answers", here.item, key), _LONG if wait else _PATIENCE_SECONDS
    found = await here.marking.reports.get(name, stamp, make, patience)
    if found is None:
        return None
    apart = await to_thread.run_sync(
        lambda: Separations(here.book).of(here.item, key) if found else frozenset[str]()
    )
    first = (group.students[0] for group in found)
    names = {student: group_id(answers.key, here.item, key, student) for student in first}
    by_student = {student: group for group in found for student in group.students}
    return EqualAnswers(by_student, names, apart)


async def groups(here: CurrentHere, question: str) -> Response:
    """Return the groups of equal answers to a question, by their names, the largest first.

    ``question`` is the question's address; ``separate`` are the answers taken out of a group.
    """
    key = question_of(question)
    answers = await to_thread.run_sync(here.answers)
    found = await equal_answers(here, answers, key, wait=True)
    return JSONResponse({"groups": _json(answers, found) if found else []})


def _json(answers: Answers, found: EqualAnswers) -> list[Json]:
    named = ((name, found.groups[first]) for first, name in found.names.items())
    return [
        {
            "id": name,
            "same": group.same,
            "answers": [answers.id_of(each) for each in group.students],
            "separate": [answers.id_of(each) for each in group.students if each in found.apart],
        }
        for name, group in named
    ]


async def separate(here: CurrentHere) -> Response:
    """Take an answer that the person may mark out of its group of equal ones, or put it back."""
    apart, key = (await here.read(GroupChange)).separate, here.question

    def write() -> tuple[Answers, str]:
        answers, by, at = here.answers(), here.marker.name, here.marking.clock.now()
        student = answers.markable_by(here.marker, here.answer)
        Separations(here.book).put(here.item, key, student, separate=apart, by=by, at=at)
        return answers, student

    answers, student = await to_thread.run_sync(write)
    action = "separate answer" if apart else "put answer back"
    await here.record(action, f"{student}/{here.item}/{question_title(key)}")
    found = await equal_answers(here, answers, key)
    return JSONResponse({"group": found.of(student) if found else None})

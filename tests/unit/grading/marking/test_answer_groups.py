"""Groups of equal answers, from the files of a course."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from mograder.grading.marking import answer_groups
from mograder.grading.marking.answer_groups import AnswerGroups, AssignmentWork
from mograder.grading.marking.question_sources import question_sources
from mograder.grading.marking.shown_work import ShownWork, WorkToShow, show_work
from mograder.grading.similarity.equal_answers import AnswerGroup
from tests.support.marking_course import SOURCE, submission_of

Groups = tuple[AnswerGroup, ...] | None
SOURCES = question_sources(SOURCE, "hw1.py")


def work_in(course: Path, **texts: str) -> AssignmentWork:
    submitted = course / "submitted"
    submitted.mkdir(exist_ok=True)
    for student, text in texts.items():
        (submitted / f"{student}.py").write_text(text)
        os.utime(submitted / f"{student}.py", ns=(len(text), len(text)))
    students = tuple(sorted(path.stem for path in submitted.glob("*.py")))
    return AssignmentWork("hw1", students, course / "autograded", submitted, SOURCES)


def names(text: str) -> str:
    """Return a submission whose second question uses other names."""
    return text.replace("def twice(x)", "def twice(value)").replace("2 * x", "2 * value")


def test_names_that_students_choose_do_not_matter_but_those_asked_for_do(tmp_path: Path) -> None:
    text = submission_of()
    other = text.replace("area = 3.1", "size = 3.1").replace("return (area,)", "return (size,)")
    work = work_in(tmp_path, alice=text, bob=names(text), eve=other)
    groups = AnswerGroups()

    async def both() -> tuple[Groups, Groups]:
        return await groups.of(work, "Q2"), await groups.of(work, "Q1")

    second, first = asyncio.run(both())
    assert [each.students for each in second or ()] == [("alice", "bob", "eve")]
    assert [each.students for each in first or ()] == [("alice", "bob")]
    assert {"area", "twice", "mo"} <= SOURCES.kept


def test_submissions_are_parsed_once_until_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []

    def counting(work: WorkToShow) -> ShownWork:
        parsed.append(work.text)
        return show_work(work)

    monkeypatch.setattr(answer_groups, "show_work", counting)
    groups = AnswerGroups()

    async def asked(work: AssignmentWork) -> list[tuple[str, ...]]:
        found = await asyncio.gather(*(groups.of(work, "Essay") for _ in range(3)))
        assert found[0] == found[1] == found[2]
        return [each.students for each in found[0] or ()]

    async def all_of() -> None:
        work = work_in(tmp_path, alice=submission_of("One."), bob=submission_of("One."))
        assert await asked(work) == [("alice", "bob")]
        assert await asked(work) == [("alice", "bob")]
        assert len(parsed) == 1  # two files with one text
        other = work_in(tmp_path, bob=submission_of("Another."), eve=submission_of("One."))
        assert await asked(other) == [("alice", "eve")]
        assert len(parsed) == 2

    asyncio.run(all_of())


def test_what_cannot_be_read_or_is_very_long_is_in_no_group(tmp_path: Path) -> None:
    long = submission_of("word " * 5000)
    work = work_in(tmp_path, alice=long, bob=long, eve="no notebook (", dan="no notebook (")
    work = AssignmentWork(
        "hw1", (*work.students, "gone"), work.autograded, work.submitted, work.sources
    )
    assert asyncio.run(AnswerGroups().of(work, "Essay")) == ()


def test_a_caller_without_patience_gets_nothing_until_it_is_computed(tmp_path: Path) -> None:
    work = work_in(tmp_path, alice=submission_of(), bob=submission_of())
    groups = AnswerGroups()

    async def impatient() -> None:
        assert await groups.of(work, "Essay", 0) is None
        assert len(await groups.of(work, "Essay") or ()) == 1
        assert len(await groups.of(work, "Essay", 0) or ()) == 1

    asyncio.run(impatient())

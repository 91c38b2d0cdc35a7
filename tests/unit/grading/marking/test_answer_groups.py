"""Groups of equal answers, from the files of a course."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mograder.core.errors import Busy, TooLarge
from mograder.grading.marking import shown_work
from mograder.grading.marking.equal_answers import answer_groups
from mograder.grading.marking.graded_work import WorkFiles
from mograder.grading.marking.question_sources import question_sources
from mograder.grading.marking.shown_work import ShownWork, Works, WorkToShow, show_work
from mograder.notebook import MAX_NOTEBOOK
from tests.support.marking_course import SOURCE, submission_of

SOURCES = question_sources(SOURCE, "hw1.py")


@pytest.fixture
def works() -> Works:
    return Works()


def groups(works: Works, course: Path, question: str, **texts: str) -> list[tuple[str, ...]]:
    """Return the groups of a course's students, some of whose submissions are new."""
    submitted = course / "submitted"
    submitted.mkdir(exist_ok=True)
    for student, text in texts.items():
        (submitted / f"{student}.py").write_text(text)
    students = [*sorted(path.stem for path in submitted.glob("*.py")), "gone"]
    files = WorkFiles(course / "autograded", submitted)
    found = asyncio.run(answer_groups(works, files, students, SOURCES, question))
    return [each.students for each in found]


def names(text: str) -> str:
    """Return a submission whose second question uses other names."""
    return text.replace("def twice(x)", "def twice(value)").replace("2 * x", "2 * value")


def test_names_that_students_choose_do_not_matter_but_those_asked_for_do(
    works: Works, tmp_path: Path
) -> None:
    text = submission_of()
    other = text.replace("area = 3.1", "size = 3.1").replace("return (area,)", "return (size,)")
    texts = {"alice": text, "bob": names(text), "eve": other}
    assert groups(works, tmp_path, "Q2", **texts) == [("alice", "bob", "eve")]
    assert groups(works, tmp_path, "Q1") == [("alice", "bob")]
    assert {"area", "twice", "mo"} <= SOURCES.kept


def test_a_submission_is_parsed_once_for_all_questions(
    works: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []

    def counting(work: WorkToShow) -> ShownWork:
        parsed.append(work.text)
        return show_work(work)

    monkeypatch.setattr(shown_work, "show_work", counting)
    texts = {"alice": submission_of("One."), "bob": submission_of("One.")}
    assert groups(works, tmp_path, "Essay", **texts) == [("alice", "bob")]
    assert groups(works, tmp_path, "Q1") == [("alice", "bob")]
    assert len([text for text in parsed if text]) == 1  # two files with one text
    texts = {"bob": submission_of("Another."), "eve": submission_of("One.")}
    assert groups(works, tmp_path, "Essay", **texts) == [("alice", "eve")]
    assert len([text for text in parsed if text]) == 2


def test_a_submission_that_cannot_be_read_now_leaves_the_groups_of_the_others(
    works: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(work: WorkToShow) -> ShownWork:
        if "Alone." in work.text:
            raise Busy("The notebook could not be checked just now.")
        return show_work(work)

    monkeypatch.setattr(shown_work, "show_work", failing)
    texts = {"alice": submission_of("Alone."), "bob": submission_of(), "eve": submission_of()}
    assert groups(works, tmp_path, "Q1", **texts) == [("bob", "eve")]


def test_what_cannot_be_read_or_is_very_long_is_in_no_group(works: Works, tmp_path: Path) -> None:
    long = submission_of("word " * 5000)
    texts = {"alice": long, "bob": long, "eve": "no notebook (", "dan": "no notebook ("}
    assert groups(works, tmp_path, "Essay", **texts) == []


def test_a_submission_that_is_too_large_is_told_so_without_its_name(tmp_path: Path) -> None:
    """It was told to be no regular file, since the other error was caught first."""
    with (tmp_path / "alice.py").open("wb") as file:
        file.truncate(MAX_NOTEBOOK + 1)
    with pytest.raises(TooLarge, match="larger than a notebook") as caught:
        WorkFiles(tmp_path / "autograded", tmp_path).graded_first("alice")
    assert "alice" not in str(caught.value)

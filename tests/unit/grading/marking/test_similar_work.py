"""Similar submissions from the files of a course."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mograder.core.names import ItemName, Username
from mograder.core.settings import load_settings
from mograder.grading.marking.similar_pairs import Place
from mograder.grading.marking.similar_work import (
    ComparedWork,
    SimilarWork,
    compared_work,
    marked_lines,
    similar_work,
)
from mograder.notebook.points import VERIFICATION
from mograder.store.submissions.submissions import Submissions
from tests.support.similar_submissions import RELEASE, copied, honest


def compared(course: Path, *given: Path) -> SimilarWork:
    work = ComparedWork(course / "autograded", course / "submitted", given)
    return asyncio.run(similar_work(work))


def hand_in(course: Path, student: str, text: str, folder: str = "submitted") -> None:
    path = course / folder / f"{student}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_files_are_compared_without_the_teachers_text(tmp_path: Path) -> None:
    (tmp_path / "release.py").write_text(RELEASE)
    one = honest(1)
    for student, text in {"alice": one, "bob": copied(one, 5), "eve": honest(2)}.items():
        hand_in(tmp_path, student, text)
    hand_in(tmp_path, "dan", "a" * 20_000_000)
    found = compared(tmp_path, tmp_path / "release.py")
    assert [(pair.one, pair.other) for pair in found.pairs] == [("alice", "bob")]
    assert (found.students, found.unread, found.without_given) == (3, ("dan",), False)
    assert found.pair("bob", "alice") == found.pairs[0]
    assert found.pair("alice", "eve") is None
    (tmp_path / "release.py").write_text(one)
    assert compared(tmp_path, tmp_path / "release.py").pairs == ()


def test_of_a_hubs_submissions_those_that_count_are_compared(tmp_path: Path) -> None:
    (tmp_path / "release.py").write_text(RELEASE)
    kept, now = Submissions(tmp_path / "submitted"), datetime(2026, 9, 1, tzinfo=UTC)
    one = honest(1)
    for hours, (student, text) in enumerate(
        (("alice", honest(2)), ("alice", one), ("bob", copied(one, 5)))
    ):
        at = now + timedelta(hours=hours)
        kept.add(Username.parse(student), ItemName.parse("A1"), text.encode(), at)
    work = ComparedWork(
        tmp_path / "autograded" / "A1", tmp_path / "submitted" / "A1", (tmp_path / "release.py",)
    )
    found = asyncio.run(similar_work(work))
    assert [(pair.one, pair.other) for pair in found.pairs] == [("alice", "bob")]
    assert (found.students, found.unread) == (2, ())
    (tmp_path / "submitted" / "A1" / "eve.py").symlink_to(tmp_path / "release.py")
    assert asyncio.run(similar_work(work)).unread == ("eve",)


def test_cells_that_grading_added_do_not_count(tmp_path: Path) -> None:
    added = honest(4).replace("def _():\n", f"def _():\n    {VERIFICATION}\n")
    for student in ("alice", "bob"):
        hand_in(tmp_path, student, added, "autograded")
    assert compared(tmp_path).pairs == ()
    for student in ("alice", "bob"):
        hand_in(tmp_path, student, added)
    assert len(compared(tmp_path).pairs) == 1  # the comment does not hide a student's own cell


def test_identical_files_are_named_however_many_or_short_they_are(tmp_path: Path) -> None:
    (tmp_path / "release.py").write_text(RELEASE)
    for student in ("ada", "bob", "cleo", "dan", "eve", "fay"):
        hand_in(tmp_path, student, honest(1))
    short = RELEASE.replace("app.run()", "app.run()  # mine")
    for student, text in {"gil": short, "hal": short, "ida": RELEASE, "jon": RELEASE}.items():
        hand_in(tmp_path, student, text)
    found = compared(tmp_path, tmp_path / "release.py")
    assert found.pairs == (), "what six students share counts as common"
    assert found.identical == (("ada", "bob", "cleo", "dan", "eve", "fay"), ("gil", "hal"))


def test_a_release_that_only_the_hub_has_is_the_teachers_text(tmp_path: Path) -> None:
    """As of a course whose author publishes from another computer, and sends no source."""
    published = tmp_path / "hub-release" / "A1" / "A1.py"
    published.parent.mkdir(parents=True)
    published.write_text(RELEASE)
    (tmp_path / "submitted").mkdir()
    for student in ("ada", "bob"):
        hand_in(tmp_path, student, RELEASE, "submitted/A1")
    work = compared_work(load_settings(tmp_path), ItemName.parse("A1"), None)
    found = asyncio.run(similar_work(work))
    assert (found.students, found.identical, found.without_given) == (2, (), False)


def test_a_course_without_submissions_has_no_pairs(tmp_path: Path) -> None:
    assert compared(tmp_path) == SimilarWork(0, (), (), (), (), (), without_given=True)


def test_a_submission_of_which_only_a_part_is_compared_is_named(tmp_path: Path) -> None:
    one = honest(1)
    before, cell, rest = copied(one, 5).partition("@app.cell\n")
    data = f"{cell}def _():\n    _data = [{'1,' * 10_000}]\n    return\n\n\n"
    for student, text in {"alice": one, "bob": before + data + cell + rest}.items():
        hand_in(tmp_path, student, text)
    found = compared(tmp_path)
    assert [(pair.one, pair.other) for pair in found.pairs] == [("alice", "bob")]
    assert found.cut == ("bob",)


def test_lines_tell_their_matches() -> None:
    lines = marked_lines("a\nb\nc\nd", [Place(2, 3), Place(3, 9)])
    assert [(each.number, each.text, each.matches) for each in lines] == [
        (1, "a", ()),
        (2, "b", (1,)),
        (3, "c", (1, 2)),
        (4, "d", (2,)),
    ]

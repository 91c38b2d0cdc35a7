"""One table of names for every command that takes the name of an assignment."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mograder.clients.course_server import RemoteAssignment
from mograder.clients.moodle.records import Assignment
from mograder.core.errors import InvalidInput, MograderError, NotFound
from mograder.core.name_lookup import Entry, counterpart, find, find_name, find_or_new
from mograder.exchange.assignment_lookup import choose_assignment, choose_remote, local_name
from mograder.publishing.local_release import find_release, read_release
from mograder.store.course.course import find_notebooks, find_source

COMPOSED = "Übung 1"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)

COURSE = ("A1-Intro", "A10-Sort", "B2_Two", "Extra A10", DECOMPOSED, "Week_1", "week10", "X-1")
SHORT = ("A1", "A10")

TABLE = [
    (COURSE, "A1-Intro", "A1-Intro"),
    (COURSE, "A1", "A1-Intro"),
    (COURSE, "a1", "A1-Intro"),
    (COURSE, "A10", "A10-Sort"),
    (COURSE, " A10-S ", "A10-Sort"),
    (COURSE, "B2", "B2_Two"),
    (COURSE, "b", "B2_Two"),
    (COURSE, "extra a1", "Extra A10"),
    (COURSE, "sort", "A10-Sort"),
    (COURSE, COMPOSED, COMPOSED),
    (COURSE, DECOMPOSED, COMPOSED),
    (COURSE, COMPOSED.lower(), COMPOSED),
    (COURSE, DECOMPOSED[:3], COMPOSED),
    (COURSE, "week1", "Week_1"),
    (COURSE, "week", "Week_1"),
    (COURSE, "A", InvalidInput),
    (COURSE, "we", "week10"),
    (COURSE, "WE", InvalidInput),
    (COURSE, "A11", NotFound),
    (COURSE, "", NotFound),
    (COURSE, "..", NotFound),
    (SHORT, "A1", "A1"),
    (SHORT, "a10", "A10"),
    (SHORT, "A", InvalidInput),
    ((COMPOSED,), DECOMPOSED, COMPOSED),
    ((), "A1", NotFound),
]


def by_source(names: Sequence[str], typed: str, base: Path) -> str:
    """Generate."""
    return find_source(typed, _items(base, names)).name


def by_notebooks(names: Sequence[str], typed: str, base: Path) -> str:
    """Validate: half of the items are here as sources, half as releases only."""
    bases = (_items(base / "source", names[::2]), _items(base / "release", names[1::2]))
    (notebook,) = find_notebooks(typed, bases)
    return notebook.parent.name


def by_release(names: Sequence[str], typed: str, base: Path) -> str:
    """Hub publish, moodle upload."""
    release = read_release(find_release(typed, _items(base, names)))
    assert [file.name for file in release.files] == [f"{release.name}.py"]
    return release.name


def by_server(names: Sequence[str], typed: str, base: Path) -> str:
    """Https fetch, submit, feedback, fetch-submissions; moodle fetch, submit, feedback."""
    return choose_remote(typed, [RemoteAssignment(f"k-{name}", name) for name in names]).name


def by_moodle(names: Sequence[str], typed: str, base: Path) -> str:
    """Moodle fetch-submissions, upload-feedback; hub publish, which compares with Moodle."""
    there = [Assignment(900 + at, 1, 2, name) for at, name in enumerate(names)]
    return choose_assignment(typed, there).name


def by_name(names: Sequence[str], typed: str, base: Path) -> str:
    """Https receipt."""
    return find_name(typed, names)


DOORS = (by_source, by_notebooks, by_release, by_server, by_moodle, by_name)


def _items(base: Path, names: Sequence[str]) -> Path:
    for name in names:
        (base / name).mkdir(parents=True)
        (base / name / f"{name}.py").write_text("import marimo\n")
    return base


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("names", "typed", "answer"), TABLE)
def test_a_name_means_the_same_to_every_command(
    door: Callable[[Sequence[str], str, Path], str],
    names: Sequence[str],
    typed: str,
    answer: str | type[MograderError],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Floors 8.4: `generate A1` and `hub publish A1` agree, also on accents of either form."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mograder.toml").touch()
    if isinstance(answer, str):
        found = door(names, typed, tmp_path / "items")
        assert unicodedata.normalize("NFC", found) == answer
        return
    # To generate and validate, a name that matches nothing is a mistake of the command line.
    wanted = (InvalidInput, NotFound) if door in (by_source, by_notebooks) else answer
    if door is by_release and typed == "..":
        return  # a path
    with pytest.raises(wanted) as refused:
        door(names, typed, tmp_path / "items")
    if answer is InvalidInput:
        assert f"'{typed}' may mean " in refused.value.message
        assert "whole name" in refused.value.hint
    else:
        assert f"'{typed}'" in refused.value.message
        hint = unicodedata.normalize("NFC", refused.value.hint)
        assert all(unicodedata.normalize("NFC", name) in hint for name in names)


def test_digits_are_a_number_or_the_first_word_and_never_guessed() -> None:
    """0.3.16 takes a Moodle ID; "2" may also be the beginning of "2. Sorting"."""
    course = [Entry("1. Intro", number=7), Entry("2. Sorting", number=8), Entry("Quiz", number=2)]
    assert find("8", course) == 1
    assert find("1", course) == 0
    assert find("Quiz", course) == 2
    with pytest.raises(InvalidInput, match=r"'2' may mean 2\. Sorting \(8\), Quiz \(2\)"):
        find("2", course)
    assert find("2", [*course, Entry("2", number=30)]) == 3
    for name in ("A240 exam", "124", "Week 240"):
        with pytest.raises(NotFound):
            find("24", [Entry(name, number=7)])
    assert find("24", [Entry("Week 24", number=7), Entry("Week 240")]) == 0


def test_an_assignment_on_moodle_is_also_found_by_its_name_here() -> None:
    course = [Entry("A1. Introduction", ("lab1",), 1), Entry("Lab1 exam", (), 2)]
    assert find("lab1", course) == 0
    twice = [Entry("A1. Quiz", ("A1-Intro",), 1), Entry("A1. Homework", ("A1-Intro",), 2)]
    with pytest.raises(InvalidInput, match=r"A1\. Quiz \(1\), A1\. Homework \(2\)"):
        find("A1-Intro", twice)


def test_a_name_that_may_be_new_is_not_completed() -> None:
    """Hub visibility sets rules for items that are published later."""
    assert find_or_new("A1", ["A10-Sort"]) == "A1"
    assert find_or_new("A10", ["A10-Sort"]) == "A10-Sort"
    with pytest.raises(InvalidInput):
        find_or_new("A10", ["A10-Sort", "A10-Walk"])


@pytest.mark.parametrize(
    ("title", "directory"),
    [
        ("A1. Introduction", "A1-Intro"),
        ("Week 1: Intro", "week1-basics"),
        ("Blind & hidden", "blind-hidden"),
        (f"{COMPOSED}!", f"{DECOMPOSED}"),
        ("A2. Other", ""),
        ("Week 2", ""),
        ("2026 exam", ""),
        ("Übung", ""),
    ],
)
def test_a_title_on_moodle_and_a_directory_here_are_paired(title: str, directory: str) -> None:
    """Never by a bare word or a year: "Week 2" is not "week1-basics"."""
    here = ["A1-Intro", "week1-basics", "blind-hidden", DECOMPOSED, "2026-homework"]
    assert counterpart(title, here) == directory
    twice = directory in {"A1-Intro", "week1-basics"}
    more = [*here, "A1-More", "week1-more"]
    assert counterpart(title, more) == ("" if twice else directory)


@pytest.mark.parametrize("typed", ["24", "Week", "Week 1/2: intro", "week 1/2"])
def test_the_directory_is_never_named_by_the_typed_text(typed: str) -> None:
    """Three directories for one assignment, one of them nested."""
    there = [Assignment(24, 1, 2, "Week 1/2: intro"), Assignment(30, 1, 2, "A2")]
    chosen = choose_assignment(typed, there)
    assert local_name(typed, (), (), chosen) == "Week 1_2_ intro"

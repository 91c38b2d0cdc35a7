"""Which assignment a person means (compat.md 4)."""

from __future__ import annotations

import pytest

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import ItemName
from mograder.exchange.finding import find_assignment, folder_of
from mograder.transports.interface import RemoteAssignment

COURSE = tuple(
    RemoteAssignment(name, name, number=number)
    for number, name in enumerate(["hw1", "hw10", "HW2", "A1-Pi", "A10-Walks", "7", "Übung"], 1)
)


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("hw1", "hw1"),
        ("3", "HW2"),
        ("7", "7"),
        ("hw2", "HW2"),
        ("walk", "A10-Walks"),
        ("A1", "A1-Pi"),
        ("a10", "A10-Walks"),
        (" hw10 ", "hw10"),
        ("übung", "Übung"),
        ("Ubung".replace("U", "U\u0308"), "Übung"),
    ],
)
def test_b149_a_name_a_number_or_a_part_of_a_name_says_which(wanted: str, name: str) -> None:
    assert find_assignment(COURSE, wanted).name == name


def test_b149_a_part_of_several_names_is_refused_and_names_them() -> None:
    with pytest.raises(InvalidInput, match=r"'hw' may mean hw1, hw10, HW2") as failure:
        find_assignment(COURSE, "hw")
    assert "whole name" in failure.value.hint


@pytest.mark.parametrize("wanted", ["hw3", "99", "", "  "])
def test_b149_what_there_is_not_is_told_with_what_there_is(wanted: str) -> None:
    with pytest.raises(NotFound) as failure:
        find_assignment(COURSE, wanted)
    assert "hw1, hw10, HW2, A1-Pi" in failure.value.hint


def test_an_empty_course_says_so() -> None:
    with pytest.raises(NotFound, match="no assignment") as failure:
        find_assignment((), "hw1")
    assert failure.value.hint == "The server offers none."


@pytest.mark.parametrize(
    "name", ["hw1", "Week 1: Intro/Part 2", "../../etc", "...", "a" * 300, "日本 1", "user", " x. "]
)
def test_an_assignments_folder_is_a_safe_name_whatever_the_server_calls_it(name: str) -> None:
    folder = folder_of(RemoteAssignment("k17", name))
    assert ItemName.parse(folder) == folder
    assert folder == "hw1" or name != "hw1"

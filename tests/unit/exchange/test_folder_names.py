"""The name of an assignment's local folder."""

from __future__ import annotations

import pytest

from mograder.clients.course_server import RemoteAssignment
from mograder.core.names import ItemName
from mograder.core.portable_names import problem
from mograder.exchange.assignment_lookup import folder_of


@pytest.mark.parametrize(
    "name", ["hw1", "Week 1: Intro/Part 2", "../../etc", "...", "a" * 300, "日本 1", "user", " x. "]
)
def test_an_assignments_folder_is_a_safe_name_whatever_the_server_calls_it(name: str) -> None:
    folder = folder_of(RemoteAssignment("k17", name))
    assert folder_of(RemoteAssignment("k17", name), windows=True) == folder
    assert ItemName.parse(folder) == folder
    assert folder == "hw1" or name != "hw1"


@pytest.mark.parametrize("name", ["aux", "Con", "nul.part 1", "COM1"])
def test_on_windows_a_reserved_name_gets_a_line_before_it(name: str) -> None:
    assignment = RemoteAssignment("k17", name)
    assert folder_of(assignment, windows=False) == name
    assert folder_of(assignment, windows=True) == f"_{name}"
    assert problem(folder_of(assignment, windows=True)) == ""

"""A student's `mograder https` commands as on Windows and macOS, against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.other_system import OtherSystem
from tests.support.served_course import (
    HOMEWORK,
    Course,
    make_course,
    serving_course,
    token_of,
)

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    """One course for the module; every test is other people."""
    with serving_course(make_course(tmp_path_factory.mktemp("course") / "course")) as course:
        yield course


class Student:
    """A student with a home folder, on a system."""

    def __init__(self, system: OtherSystem, here: Path, token: str, url: str) -> None:
        self.here = here
        self._system = system
        self._server = ("--url", url, "--token", token)

    def https(self, *words: str) -> str:
        """Run a command that has to work; return what it prints."""
        server = () if words[:2] == ("receipt", "show") else self._server
        done = self._system.mograder("https", *words, *server, cwd=self.here)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *words: str) -> tuple[int, str]:
        done = self._system.mograder("https", *words, *self._server, cwd=self.here)
        return done.returncode, done.stderr

    def json(self, *words: str) -> Any:
        return json.loads(self.https(*words, "--json"))


@pytest.fixture(params=["windows", "macos", "linux"])
def student(
    request: pytest.FixtureRequest, tmp_path: Path, served: Course, fresh_name: Any
) -> Student:
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    system = OtherSystem(request.param, home=tmp_path / "home")
    return Student(system, tmp_path / "here", token_of(fresh_name("alice")), served.url)


def test_fetch_edit_submit_and_receipt(student: Student) -> None:
    assert HOMEWORK in student.https("fetch", "--list")
    print(student.https("fetch", HOMEWORK, "-o", "work"))
    print(sorted((student.here / "work").rglob("*")))

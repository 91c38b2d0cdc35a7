"""`mograder quality` in real sandboxes: planted faults are found, and sound items are clean."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mograder.notebook.source.release import make_release
from tests.support.command_line import cli
from tests.support.course import EXAMPLE_COURSE, REPOSITORY

PLANTED = REPOSITORY / "tests" / "data" / "quality" / "planted_faults.py"
Report = dict[str, Any]
pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]


@pytest.fixture
def course(tmp_path: Path, uv_cache: Path) -> Path:
    """A course with the planted faults."""
    place = tmp_path / "source" / "F1"
    place.mkdir(parents=True)
    shutil.copy(PLANTED, place / "F1.py")
    (tmp_path / "mograder.toml").write_text(f'[hub]\nuv_cache_dir = "{uv_cache}"\n')
    return tmp_path


def examined(*command: str, status: int) -> list[Report]:
    """Return the reports of a command."""
    reports: list[Report] = cli("quality --json", *command, status=status).json["notebooks"]
    return reports


def texts_of(course: Path, report: Report) -> Iterator[tuple[str, str]]:
    """Yield the fault of each finding, and the text of its line."""
    lines = (course / "source/F1/F1.py").read_text().splitlines()
    for finding in report["findings"]:
        yield finding["fault"], lines[finding["line"] - 1].strip()


def test_every_planted_fault_is_found(course: Path) -> None:
    submissions = course / "submissions"
    submissions.mkdir()
    text = (course / "source/F1/F1.py").read_text()
    release = make_release(text, filename="F1.py", assignment="F1")
    assert release is not None
    for name in ("anna", "ben", "cleo", "dan", "eve"):
        answered = release.text.replace("price = ...", "price = 2 if age < 18 else 4")
        (submissions / f"{name}.py").write_text(answered)
    (submissions / "finn.py").symlink_to("eve.py")
    command = ["F1", "-C", str(course), "--submissions", str(submissions)]
    (report,) = examined(*command, status=1)
    assert report["complete"]
    assert any("finn was not judged: " in note and "is a link" in note for note in report["notes"])
    found = list(texts_of(course, report))
    for fault, fragment in (
        ("mutant", "if age < 18:"),
        ("empty", "Empty: Colour"),
        ("machine", "time.perf_counter()"),
        ("date", "_today = datetime.date.today()"),
        ("given away", "Given: Another loan"),
        ("given away", "Repeated: Loan"),
    ):
        assert any(each == fault and fragment in line for each, line in found), (fault, found)
    told = [(each["fault"], each["message"].split("'")) for each in report["findings"]]
    messages = {(fault, parts[1]) for fault, parts in told if len(parts) > 1}
    for expected in (
        ("junk", "Junk: Even numbers"),
        ("everybody passes", "Mutant: Fare"),
        ("nobody passes", "Sound: Doubled"),
    ):
        assert expected in messages
    sound = {each for each in messages if each[1] == "Sound: Doubled"}
    assert sound == {("nobody passes", "Sound: Doubled")}


@pytest.mark.parametrize("name", ["A1", "A2", "A3"])
def test_the_examples_are_clean(tmp_path: Path, uv_cache: Path, name: str) -> None:
    shutil.copytree(EXAMPLE_COURSE, tmp_path / "course")
    with (tmp_path / "course" / "mograder.toml").open("a") as settings:
        settings.write(f'uv_cache_dir = "{uv_cache}"\n')
    (report,) = examined(name, "-C", str(tmp_path / "course"), status=0)
    assert report["findings"] == []
    assert report["complete"]
    tried = report["mutants"]["tried"]
    assert tried >= 12

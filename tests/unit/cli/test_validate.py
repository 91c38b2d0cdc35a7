"""``mograder validate`` as a command: the folder, the limits and the time of a notebook.

None is really run.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

import mograder.cli.validate
from tests.support.command_line import cli
from tests.support.fake_judges import FakeJudges, FakeRuns, fake_workbench
from tests.support.notebooks import SCRIPT_HEAD, notebook

NOTEBOOK = notebook("x = 1")
LIMITS = "# [tool.mograder.limits]\n# memory_mb = 512\n# processes = 5\n# ///\n\nimport"
LIMITED = notebook("x = 1", head=SCRIPT_HEAD.replace("# ///\n\nimport", LIMITS))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    """Runs of the command, in place of a workbench with sandboxes."""
    made = FakeRuns()
    opened = partial(fake_workbench, made, FakeJudges())
    monkeypatch.setattr(mograder.cli.validate, "open_workbench", opened)
    return made


def write(course: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (course / name).parent.mkdir(parents=True, exist_ok=True)
        (course / name).write_text(text)


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        ("", "release/A1"),
        ("--release release", "release/A1"),
        ("--release release/A1/A1.py", "release/A1"),
        ("--release release/A1/A1.py mine/A1.py", "mine"),
    ],
)
def test_a_submission_reads_its_release_and_no_other_submission(
    here: Path, runs: FakeRuns, words: str, folder: str
) -> None:
    files = ("release/A1/A1.py", "submitted/A1/ada.py", "submitted/A1/bob.py", "mine/A1.py")
    for name in files:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(NOTEBOOK)
    file = () if "mine" in words else ("submitted/A1/ada.py",)
    cli("validate", *words.split(), *file, status=1)
    (request,) = runs.asked
    assert request.folder is not None
    assert request.folder.resolve() == here / folder


def test_a_submission_without_a_release_reads_nothing(here: Path, runs: FakeRuns) -> None:
    (here / "submitted" / "A1").mkdir(parents=True)
    (here / "submitted" / "A1" / "ada.py").write_text(NOTEBOOK)
    cli("validate submitted/A1/ada.py", status=1)
    assert [request.folder for request in runs.asked] == [None]


@pytest.mark.parametrize("place", [".", "hw1"])
def test_a_fetched_notebook_is_compared_with_its_release_from_any_directory(
    here: Path, runs: FakeRuns, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """As `mograder https fetch hw1 -o hw1/` leaves them (B149)."""
    check = 'from mograder.runtime import check\n\ncheck("Q1: one", [({}, "not one")])'
    for name, condition in {".mograder/release/hw1/work.py": "x == 1", "work.py": "True"}.items():
        path = here / "hw1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(notebook("x = 1", check.format(condition)))
    monkeypatch.chdir(here / place)
    file = "hw1/work.py" if place == "." else "work.py"
    (answer,) = cli("validate --json", file, status=1).json
    assert answer["integrity_level"] == "source"
    (request,) = runs.asked
    assert "x == 1" in request.text


@pytest.mark.parametrize(
    ("releases", "level"),
    [
        ({"Homework 1_ curves": "A1"}, "source"),
        ({"Homework 1_ curves": "A1", "Homework 2": "A2"}, "source"),
        ({"Homework 1": "A1", "Homework 1_ curves": "A1"}, "none"),
        ({"Homework 2": "A2"}, "none"),
    ],
)
def test_a_notebook_fetched_by_its_title_is_compared_with_the_only_release_of_its_assignment(
    here: Path, runs: FakeRuns, releases: dict[str, str], level: str
) -> None:
    """Its header names the assignment, and `moodle fetch` keeps the release by the title there."""
    header = '# /// script\n# mograder-assignment = "{}"\n# ///\n' + NOTEBOOK
    kept = {f".mograder/release/{title}/hw1.py": own for title, own in releases.items()}
    write(here, {name: header.format(own) for name, own in {"hw1.py": "A1", **kept}.items()})
    (answer,) = cli("validate --json hw1.py", status=1).json
    assert answer["integrity_level"] == level


@pytest.mark.parametrize("file", ["source/A1/A1.py", "submitted/A1/ada.py"])
def test_limits_are_the_items_by_the_teachers_header_and_the_settings(
    here: Path, runs: FakeRuns, file: str
) -> None:
    settings = "[items.A1.limits]\nprocesses = 7\n"
    teachers = dict.fromkeys(("source/A1/A1.py", "release/A1/A1.py"), LIMITED)
    write(here, {"mograder.toml": settings, **teachers, "submitted/A1/ada.py": NOTEBOOK})
    cli("validate", file, status=1)
    (request,) = runs.asked
    assert (request.limits.memory_mb, request.limits.processes) == (512, 7)


def test_a_submission_without_a_release_cannot_raise_its_limits(here: Path, runs: FakeRuns) -> None:
    settings = "[limits]\nmemory_mb = 300\nprocesses = 4\n"
    write(here, {"mograder.toml": settings, "submitted/A1/ada.py": LIMITED})
    cli("validate submitted/A1/ada.py", status=1)
    (request,) = runs.asked
    assert (request.limits.memory_mb, request.limits.processes) == (300, 4)


@pytest.mark.parametrize(
    ("settings", "option", "expected"),
    [
        ("", "", 300),
        ("[defaults]\ntimeout = 900\n", "", 900),
        ("[defaults]\ntimeout = 900\n", "--timeout 20", 20),
    ],
)
def test_the_time_is_that_of_the_option_or_of_the_settings(
    here: Path, runs: FakeRuns, settings: str, option: str, expected: int
) -> None:
    write(here, {"mograder.toml": settings, "source/A1/A1.py": NOTEBOOK})
    cli("validate A1", *option.split(), status=1)
    assert [request.seconds for request in runs.asked] == [expected]

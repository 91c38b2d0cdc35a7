"""Grading by a real hub with its supervisor and sandboxes: marks, restarts, and who has none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mograder.store.gradebook.gradebook import Gradebook
from tests.support.course import put_release
from tests.support.hub import HubProcess
from tests.support.identity import instructor
from tests.support.notebooks import notebook
from tests.support.shared_hub import HEADER, SharedCaches, module_hub, until

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

ITEM, WITHOUT_SOURCE = "G1-Sums", "G2-Sums"
SOLUTION = "### BEGIN SOLUTION\ndef total(values):\n    return sum(values)\n### END SOLUTION"
RIGHT = "def total(values):\n    return sum(values)"
STUDENTS = {
    "alice": RIGHT,
    "bob": "def total(values):\n    return values[0] + values[1]",
    "carol": "def total(values):\n    while True: pass",
    "dave": "total = ...",
    "erin": "import os\nos._exit(0)\ntotal = 1",
    "frank": "def total(values):\n    return type('A', (int,), {'__eq__': lambda *_: 1})()",
}
MARKS = {"alice": 10.0, "bob": 4.0, "carol": 0.0, "dave": 0.0, "erin": 0.0, "frank": 0.0}


def answered(answer: str) -> str:
    """The notebook with this answer, in the environment that all tests share."""
    return HEADER + notebook(
        "from mograder.runtime import Grader",
        """
        # === MOGRADER: MARKS ===
        _marks = {"Q1": 4, "Q2": 6}
        grader = Grader(_marks)
        check = grader.check
        """,
        answer,
        'check("Q1: a sum", [(total([1, 2]) == 3, "1 + 2 is 3")])',
        'check("Q2: nothing", [(total([]) == 0, "the sum of nothing is 0")])',
    )


def _prepare(course: Path) -> None:
    for item in (ITEM, WITHOUT_SOURCE):
        put_release(course, item, answered("# YOUR CODE HERE\ntotal = ..."))
        (course / "submitted" / item).mkdir(parents=True)
    place = course / "submitted" / ITEM
    for student, answer in STUDENTS.items():
        (place / f"{student}.py").write_text(answered(f"# YOUR CODE HERE\n{answer}"))
    (place / "mallory.py").symlink_to("/etc/passwd")
    alone = course / "submitted" / WITHOUT_SOURCE / "alice.py"
    alone.write_text(answered(f"# YOUR CODE HERE\n{RIGHT}"))


@contextmanager
def _hub(name: str, uv_cache: Path, run_directory: Path) -> Iterator[HubProcess]:
    """A hub with submissions, and a source that an instructor has sent."""
    settings = {"defaults.timeout": 10, "defaults.jobs": 2}
    caches = SharedCaches(uv_cache, run_directory)
    with module_hub(name, caches, prepare=_prepare, settings=settings) as hub:
        with hub.client(instructor()) as client:
            sent = {"files": (f"{ITEM}.py", answered(SOLUTION).encode())}
            answer = client.put(f"/source/{ITEM}", files=sent)
        assert answer.status_code == 200, answer.text
        yield hub


@pytest.fixture(scope="module")
def hub(uv_cache: Path, run_directory: Path) -> Iterator[HubProcess]:
    """A hub for all tests that do not kill it."""
    with _hub("grading", uv_cache, run_directory) as hub:
        yield hub


@pytest.fixture
def killed(uv_cache: Path, run_directory: Path) -> Iterator[HubProcess]:
    """A hub to be killed."""
    with _hub("grading-killed", uv_cache, run_directory) as hub:
        yield hub


def status(hub: HubProcess, item: str = ITEM) -> dict[str, Any]:
    """What the hub tells of the item's grading."""
    with hub.client(instructor()) as client:
        answer = client.get(f"/autograde/{item}")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def grade(hub: HubProcess, item: str = ITEM, **request: object) -> None:
    with hub.client(instructor()) as client:
        answer = client.post(f"/autograde/{item}", json=request)
    assert answer.status_code == 202, answer.text


def ended(hub: HubProcess, item: str = ITEM) -> dict[str, Any]:
    """Wait for the end of the job, and return what the hub tells."""
    until(lambda: status(hub, item)["job"]["state"] not in ("queued", "running"), 400)
    return status(hub, item)


def runs(hub: HubProcess) -> dict[str, int]:
    """How many results the gradebook has of each student."""
    with Gradebook(hub.course / "gradebook.db") as gradebook:
        return {student: len(gradebook.runs(ITEM, student)) for student in STUDENTS}


def test_submissions_are_graded_by_the_source_that_was_sent(hub: HubProcess) -> None:
    grade(hub)
    told = ended(hub)
    assert (told["job"]["error"], told["job"]["state"]) == ("", "done")
    assert told["source"] == "sent"
    found = {each["student"]: each for each in told["students"]}
    assert {name: found[name]["mark"] for name in STUDENTS} == MARKS
    assert {found[name]["state"] for name in ("alice", "bob")} == {"judged"}
    first = told["students"][0]
    assert (first["student"], first["mark"], first["state"]) == ("mallory", None, "needs attention")
    assert "is a link" in first["problem"]
    assert {path.stem for path in (hub.course / "autograded" / ITEM).glob("*.html")} == set(
        STUDENTS
    )


def test_without_a_source_a_mark_is_a_proposal(hub: HubProcess) -> None:
    grade(hub, WITHOUT_SOURCE)
    told = ended(hub, WITHOUT_SOURCE)
    (alice,) = told["students"]
    assert (told["source"], told["job"]["state"]) == ("none", "done")
    assert (alice["state"], alice["mark"]) == ("unprotected", None)
    assert "not confirmed yet" in alice["problem"]


def test_a_hub_that_is_killed_goes_on_and_makes_each_result_once(killed: HubProcess) -> None:
    """Also where all are to be graded again, whether up to date or not."""
    grade(killed, force=True)
    until(lambda: status(killed)["job"]["completed"] >= 2, 200)
    killed.kill()
    assert 2 <= sum(runs(killed).values()) < len(STUDENTS)
    killed.restart()
    told = ended(killed)
    assert (told["job"]["state"], told["job"]["force"]) == ("done", True)
    assert set(runs(killed).values()) == {1}
    found = {each["student"]: each["mark"] for each in told["students"]}
    assert {name: found[name] for name in STUDENTS} == MARKS

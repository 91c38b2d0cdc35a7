"""Counting copies in the background: what a page costs does not grow with the class."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mograder.core.names import ItemName, Username
from mograder.hub import counts
from mograder.store.copies.workspaces import CopyFacts, CopyState, Workspaces
from tests.support.clock import ManualClock


class Counted(Workspaces):
    """Workspaces that record which folders were read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.listed: list[str] = []
        self.goes_on = threading.Event()
        self.goes_on.set()

    def facts_of(self, user: Username) -> tuple[CopyFacts, ...]:
        self.goes_on.wait(60)
        self.listed.append(user)
        return super().facts_of(user)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three people with two copies each."""
    for user in ("alice", "bob", "carol"):
        for item in ("A1", "A2"):
            folder = tmp_path / user / item
            folder.mkdir(parents=True)
            (folder / f"{item}.py").write_text("import marimo\n")
    (tmp_path / ".staging").mkdir()
    return tmp_path


async def test_pages_share_one_count_a_minute(root: Path) -> None:
    spaces, clock = Counted(root), ManualClock()
    copy_counts = counts.copy_counts(spaces, clock)
    first = await copy_counts.look()
    again = await copy_counts.look()
    assert first is again
    assert sorted(spaces.listed) == ["alice", "bob", "carol"]
    assert first.begun == {"A1": 3, "A2": 3}
    clock.advance(61)
    spaces.goes_on.clear()
    assert await copy_counts.look() is first  # the new count takes long and is not waited for
    spaces.goes_on.set()
    await copy_counts.close()


async def test_an_old_count_is_made_again_before_it_is_shown_if_that_is_quick() -> None:
    clock, numbers = ManualClock(), iter((1, 2))

    async def count() -> int:
        return next(numbers)

    counted = counts.Counted(clock, count, 0, fresh=60, first=20, again=20)
    assert [await counted.look(), await counted.look()] == [1, 1]
    clock.advance(61)
    assert await counted.look() == 2


async def test_a_course_where_nobody_has_begun_counts_to_nothing(tmp_path: Path) -> None:
    copy_counts = counts.copy_counts(Workspaces(tmp_path / "none"), ManualClock())
    found = await copy_counts.look()
    assert found.copies == {}
    assert found.at is not None


def test_what_is_no_plain_notebook_is_no_copy(root: Path) -> None:
    alice, item = Username.parse("alice"), ItemName.parse("A1")
    notebook = root / "alice" / "A1" / "A1.py"
    notebook.unlink()
    notebook.symlink_to("/etc/passwd")
    spaces = Workspaces(root)
    assert spaces.facts(alice, item) is None
    assert [each.item for each in spaces.facts_of(alice)] == ["A2"]
    assert spaces.facts_of(Username.parse("nobody")) == ()


def test_the_state_of_a_copy_is_told_by_the_times_of_its_files(root: Path) -> None:
    folder, bob = root / "bob" / "A1", Username.parse("bob")
    spaces, item = Workspaces(root), ItemName.parse("A1")
    times = {"A1.py": 50, ".uploaded": 40}
    assert _state(spaces, folder, {"A1.py": 30, ".uploaded": 40}) is CopyState.DOWNLOADED
    assert _state(spaces, folder, times) is CopyState.EDITED
    assert _state(spaces, folder, {**times, ".exported": 60}) is CopyState.EXPORTED
    assert _state(spaces, folder, {**times, ".submitted": 60}) is CopyState.SUBMITTED
    assert _state(spaces, folder, {**times, "A1.py": 70}) is CopyState.EDITED
    facts = spaces.facts(bob, item)
    assert facts is not None
    assert facts.submitted is not None


@pytest.mark.parametrize("left", [[], [".exported"], [".exported", ".submitted"]])
def test_a_copy_that_nobody_edited_was_saved_when_it_was_made(root: Path, left: list[str]) -> None:
    """Also if it was exported or submitted as it is: its file has the release's time."""
    times = {"A1.py": 30, ".uploaded": 40} | dict.fromkeys(left, 50)
    _state(Workspaces(root), root / "bob" / "A1", times)
    facts = Workspaces(root).facts(Username.parse("bob"), ItemName.parse("A1"))
    assert facts is not None
    assert facts.saved.timestamp() == 1_700_000_040


def _state(spaces: Workspaces, folder: Path, times: dict[str, int]) -> CopyState:

    for name, at in times.items():
        (folder / name).touch()
        os.utime(folder / name, (1_700_000_000 + at, 1_700_000_000 + at))
    found = spaces.facts(Username.parse("bob"), ItemName.parse("A1"))
    assert found is not None
    return found.state

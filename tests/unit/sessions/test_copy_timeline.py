"""What a timeline lists: each state once, and which of them is the present one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mograder.core.errors import NotFound
from mograder.core.names import ItemName, Username
from mograder.notebook.saved_cells import SavedCells
from mograder.processes import isolated_call
from mograder.sessions.copy_timeline import CopyTimelines, Timeline, _without_repeats
from mograder.sessions.session import CopyOf
from mograder.store.versions.versions import Origin, Version

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def version(number: int, text: str, origin: Origin = Origin.EDITOR) -> Version:
    return Version(number, NOW, origin, digest=text, size=1, release="")


@pytest.mark.parametrize("again", [Origin.FOUND, Origin.RESET])
def test_a_state_that_was_found_again_after_unsaved_work_is_listed_once(again: Origin) -> None:
    versions = (
        version(4, "a", again),
        version(3, "b", Origin.UNSAVED),
        version(2, "a"),
        version(1, "z", Origin.RELEASE),
    )
    assert [each.number for each in _without_repeats(versions)] == [3, 2, 1]


def test_a_state_to_which_the_student_came_back_is_listed_again() -> None:
    versions = (version(3, "a"), version(2, "b"), version(1, "a"))
    assert [each.number for each in _without_repeats(versions)] == [3, 2, 1]


def test_a_version_follows_the_one_that_the_copy_had() -> None:
    versions = (version(3, "c"), version(2, "b", Origin.UNSAVED), version(1, "a"))
    timeline = Timeline(versions, versions[0])
    followed = [timeline.before(each) for each in versions]
    assert followed == [versions[2], versions[2], None]


def test_a_version_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        Timeline((version(1, "a"),), None).find(2)


@pytest.mark.parametrize(("size", "counted"), [(1_000, 39), (150_000, 13), (250_000, 0)])
async def test_the_changed_lines_of_large_versions_are_counted_for_the_newest_alone(
    size: int, counted: int
) -> None:
    read: set[int] = set()

    def texts(user: str, item: str, numbers: Collection[int]) -> dict[int, bytes]:
        read.update(numbers)
        return dict.fromkeys(numbers, b"x\n")

    recorder: Any = SimpleNamespace(versions=SimpleNamespace(texts=texts))
    none: Any = None
    timelines = CopyTimelines(none, recorder, none)
    shown = tuple(replace(version(each, str(each)), size=size) for each in range(40, 0, -1))
    copy = CopyOf(Username("alice"), ItemName("A1"))
    found = await timelines.changes(copy, Timeline(shown, shown[0]), shown)
    assert sorted(found) == list(range(41 - counted, 41))
    assert sum(shown[0].size for _ in read) <= 4_000_000


async def test_short_work_that_was_not_saved_is_written_in_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """marimo compiles it: some kilobytes took gigabytes of the hub's memory."""

    async def ask(request: bytes, seconds: int) -> bytes:
        return b'{"result": {"text": "apart", "follows": true, "lines": 1}}'

    monkeypatch.setattr(isolated_call, "_ask", ask)
    monkeypatch.setattr(isolated_call, "SYSTEM", "linux")
    nothing = cast(Any, None)
    timelines = CopyTimelines(nothing, nothing, nothing)
    copy = CopyOf(Username.parse("alice"), ItemName.parse("A1"))
    written = await timelines._written(copy, SavedCells("{}", "", "A1.py"))
    assert written.text == "apart"

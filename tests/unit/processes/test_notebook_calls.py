"""Merges of copies, as updates ask for them."""

from __future__ import annotations

import asyncio

import pytest

from mograder.core.errors import InvalidInput
from mograder.notebook.merge.cell_merge import Merge
from mograder.processes import notebook_calls
from mograder.processes.notebook_calls import CopyMerger, MergeQuestion

QUESTION = MergeQuestion("release", "update", "release")


async def test_copies_that_nobody_edited_are_merged_once_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When a class begins, each start would wait for a process of its own."""
    asked: list[str] = []

    def merge(base: str | None, new: str, mine: str) -> Merge:
        asked.append(mine)
        return Merge(f"{new} of {mine}")

    monkeypatch.setattr(notebook_calls, "merge", merge)
    merger = CopyMerger()
    found = await asyncio.gather(*(merger.merge(QUESTION) for _ in range(30)))
    assert {each.text for each in found} == {"update of release"}
    assert asked == ["release"]
    for mine in ("edited", "other", "edited"):
        merged = await merger.merge(MergeQuestion("release", "update", mine))
        assert merged.text == f"update of {mine}"
    later = await merger.merge(MergeQuestion("release", "second update", "release"))
    assert later.text == "second update of release"
    assert asked == ["release", "edited", "other", "edited", "release"]


async def test_a_merge_that_failed_is_tried_for_the_next_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failures = [InvalidInput("not this time")]

    def merge(base: str | None, new: str, mine: str) -> Merge:
        if failures:
            raise failures.pop()
        return Merge(new)

    monkeypatch.setattr(notebook_calls, "merge", merge)
    merger = CopyMerger()
    with pytest.raises(InvalidInput, match="not this time"):
        await merger.merge(QUESTION)
    assert (await merger.merge(QUESTION)).text == "update"

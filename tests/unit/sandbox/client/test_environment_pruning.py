"""Removing environments: never one that is needed, in use, or just requested."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from mograder.core.errors import RemoteFailed
from mograder.sandbox.client.environment_pruning import (
    GRACE_SECONDS,
    finished_environments,
    prune_environments,
    unneeded_environments,
)
from mograder.sandbox.environments.build_job import LOCK
from mograder.sandbox.environments.builder import REQUESTS
from mograder.sandbox.environments.environment_root import mark_used
from mograder.sandbox.environments.record import RECORD, EnvironmentRecord
from mograder.sandbox.environments.static_assets import ASSETS

LONG_AGO = time.time() - 10 * GRACE_SECONDS
BYTES = 100_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four environments, the later ones used earlier, and what belongs to them."""
    root = tmp_path / "environments"
    (root / REQUESTS).mkdir(parents=True)
    for number, name in enumerate(("a", "b", "c", "d")):
        assets = f"1.0-{number:016}"
        directory = root / name
        (directory / "env").mkdir(parents=True)
        (directory / "env" / "package").write_bytes(b"x" * BYTES)
        record = EnvironmentRecord(
            key=name, python="3.11", marimo="1", interpreter_roots=(), assets=assets
        )
        (directory / RECORD).write_text(record.model_dump_json())
        (directory / LOCK).write_text("")
        os.utime(directory / LOCK, (LONG_AGO - number, LONG_AGO - number))
        (root / ASSETS / assets).mkdir(parents=True)
        os.utime(root / ASSETS / assets, (LONG_AGO, LONG_AGO))
        (root / REQUESTS / f"of-{name}").write_text(name)
    return root


async def nothing() -> frozenset[str]:
    return frozenset()


def names(root: Path) -> set[str]:
    return {path.name for path in finished_environments(root)}


async def test_needed_and_used_environments_stay_and_the_rest_goes_with_all_of_its_own(
    root: Path,
) -> None:
    async def in_use() -> frozenset[str]:
        return frozenset({"b"})

    pruned = await prune_environments(root, frozenset({"a"}), in_use)
    assert names(root) == {"a", "b"}
    assert pruned.in_use == ("b",)
    assert pruned.freed >= 2 * BYTES
    assert {path.name for path in (root / REQUESTS).iterdir()} == {"of-a", "of-b"}
    assert len(list((root / ASSETS).iterdir())) == 2
    left = await asyncio.to_thread(lambda: list(root.glob(".*")))
    assert left == []


async def test_a_dry_run_says_it_and_removes_nothing(root: Path) -> None:
    pruned = await prune_environments(root, frozenset({"a"}), nothing, dry_run=True)
    assert [each.path.name for each in pruned.removed] == ["d", "c", "b"]
    assert names(root) == {"a", "b", "c", "d"}


async def test_with_a_limit_only_those_used_longest_ago_go(root: Path) -> None:
    (size, *_) = [each.size for each in unneeded_environments(root, frozenset())]
    await prune_environments(root, frozenset(), nothing, keep=2 * size)
    assert names(root) == {"a", "b"}
    await prune_environments(root, frozenset(), nothing, keep=2 * size)
    assert names(root) == {"a", "b"}


async def test_one_that_was_asked_for_within_the_hour_stays(root: Path) -> None:
    assert mark_used(root / "d")
    await prune_environments(root, frozenset(), nothing)
    assert names(root) == {"d"}


async def test_one_that_is_asked_for_at_the_last_moment_gets_its_name_back(root: Path) -> None:
    """A start that found it before it was renamed: by its mark, and by the supervisor's word."""
    asked = 0

    async def in_use() -> frozenset[str]:
        nonlocal asked
        asked += 1
        aside = await asyncio.to_thread(lambda: list(root.glob(".pruned-*")))
        if aside and asked == 2:
            return frozenset({"d"})
        return frozenset()

    await prune_environments(root, frozenset(), in_use)
    assert names(root) == {"d"}
    assert (root / "d" / "env" / "package").stat().st_size == BYTES


async def test_a_supervisor_that_does_not_answer_keeps_everything(root: Path) -> None:
    async def silent() -> frozenset[str]:
        raise RemoteFailed("The session supervisor does not answer.")

    with pytest.raises(RemoteFailed):
        await prune_environments(root, frozenset(), silent)
    assert names(root) == {"a", "b", "c", "d"}

"""Environments of a node: the hub's lock and name, and nothing else of that name."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import ValidationError

from mograder.core.errors import Conflict, InvalidInput, SandboxUnavailable
from mograder.sandbox.environments.locked_builds import LockedBuilds, order_of
from mograder.sandbox.environments.record import read_record
from mograder.sandbox.protocol import PrepareEnvironment
from tests.support.session_pools import ignore_progress
from tests.unit.sandbox.environments.test_builder import HASHED, NUMPY, Uv, make


async def order(place: Path, uv: Uv) -> PrepareEnvironment:
    """The order of a hub that has built an environment with hashes in its lock."""
    uv.lock = HASHED
    await asyncio.to_thread((place / "mograder-1-py3-none-any.whl").write_bytes, b"the hub's")
    built = await make(place / "hub", uv, place).prepare(NUMPY, ignore_progress)
    uv.commands.clear()
    return order_of(built.directory)


def builds_of(place: Path, uv: Uv) -> LockedBuilds:
    return LockedBuilds(place / "node", uv, seconds=60)


def changed(order: PrepareEnvironment, lock: str) -> PrepareEnvironment:
    return order.model_copy(update={"lock": lock})


async def test_it_is_built_once_by_the_lock_and_never_resolved(tmp_path: Path) -> None:
    uv = Uv()
    wanted = await order(tmp_path, uv)
    builds = builds_of(tmp_path, uv)
    built = await asyncio.gather(*(builds.prepare(wanted, ignore_progress) for _ in range(3)))
    assert {each.directory for each in built} == {tmp_path / "node" / wanted.key}
    assert uv.commands == ["venv", "install", "install", "warm"]
    assert (built[0].directory / "lock.txt").read_text() == HASHED
    assert order_of(built[0].directory) == wanted
    assert builds.keys() == (wanted.key,)
    again = await builds_of(tmp_path, uv).prepare(wanted, ignore_progress)
    assert again == built[0]
    assert len(uv.commands) == 4


async def test_another_lock_under_a_known_name_is_refused(tmp_path: Path) -> None:
    uv = Uv()
    wanted = await order(tmp_path, uv)
    builds = builds_of(tmp_path, uv)
    await builds.prepare(wanted, ignore_progress)
    with pytest.raises(Conflict, match=wanted.key):
        await builds.prepare(changed(wanted, "evil==1\n"), ignore_progress)
    more_files = changed(wanted, HASHED.replace("bb\n", "bb \\\n    --hash=sha256:cc\n"))
    assert (await builds.prepare(more_files, ignore_progress)).key == wanted.key


async def test_static_files_that_the_hub_does_not_have_are_not_shared(tmp_path: Path) -> None:
    uv = Uv()
    wanted = await order(tmp_path, uv)
    other = wanted.model_copy(update={"assets": "0.1-abcdef"})
    built = await builds_of(tmp_path, uv).prepare(other, ignore_progress)
    assert wanted.assets
    assert read_record(built.directory).assets == ""


async def test_a_python_that_the_node_lacks_is_named(tmp_path: Path) -> None:
    uv = Uv()
    wanted = await order(tmp_path, uv)
    with pytest.raises(InvalidInput, match="not a version"):
        await builds_of(tmp_path, uv).prepare(
            wanted.model_copy(update={"python": "--index-url=x"}), ignore_progress
        )


@pytest.mark.full
async def test_no_other_python_is_taken(tmp_path: Path) -> None:
    """Another Python would be searched with uv, which starts a process."""
    uv = Uv()
    wanted = await order(tmp_path, uv)
    with pytest.raises(SandboxUnavailable, match=r"no Python 3\.2"):
        await builds_of(tmp_path, uv).prepare(
            wanted.model_copy(update={"python": "3.2.1"}), ignore_progress
        )


@pytest.mark.parametrize("key", ["../evil", "a/b/c/d/e/f", ".building-1", ""])
async def test_a_name_is_no_path(tmp_path: Path, key: str) -> None:
    wanted = await order(tmp_path, Uv())
    with pytest.raises(ValidationError):
        PrepareEnvironment.model_validate({**wanted.model_dump(), "key": key})

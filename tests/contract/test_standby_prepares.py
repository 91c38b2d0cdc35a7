"""A hub that waits, on a machine of its own, prepares what it needs to take over at once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.contract.test_two_hubs import built
from tests.support.course import put_release
from tests.support.postgres import PostgresServer
from tests.support.shared_hub import (
    TINY,
    SharedCaches,
    notebook,
    servers_of,
    start,
    stop,
    until,
)
from tests.support.two_hubs import TwoHubs, two_hubs, waits

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]
LATER = "T2-Later"
_HEADER = """\
# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo"{more}]
# ///

"""


def publish(share: Path, item: str, more: str = "") -> None:
    """Put an item into the releases, which hubs and nodes share."""
    put_release(share, item, notebook(header=_HEADER.format(more=more)))


def requests(both: TwoHubs) -> dict[str, int]:
    """The headers that the second hub has locked, and when."""
    found = (both.hubs[1].course.parent / "environments" / "requests").iterdir()
    return {path.name: path.stat().st_mtime_ns for path in found}


@pytest.fixture
def apart(
    installed_postgres: PostgresServer, uv_cache: Path, run_directory: Path
) -> Iterator[TwoHubs]:
    caches = SharedCaches(uv_cache, run_directory)
    small = partial(publish, item=TINY)
    with two_hubs(installed_postgres, caches, small, apart=True) as both:
        yield both


def test_a_hub_that_takes_over_opens_what_the_other_had_published_without_a_build(
    apart: TwoHubs,
) -> None:
    one, two = apart.hubs
    with apart.node("a") as node:
        until(lambda: built(one), 300)
        publish(apart.place / "share", LATER, ', "six"')
        start(one, "alice", LATER)
        until(lambda: apart.environments(1) == apart.environments(0), 300)
        assert len(apart.environments(0)) == 2
        assert waits(two)
        supervisors, locked = psutil.Process(two.pid).children(), requests(apart)
        one.kill()
        until(two.healthy, 30)
        until(lambda: built(two), 60)
        start(two, "bob", LATER)
        assert len(servers_of("alice", LATER)) == 1  # it outlived its hub
        for user in ("alice", "bob"):
            assert stop(two, user, LATER)
        assert requests(apart) == locked
        assert psutil.Process(two.pid).children() == supervisors
        assert len(supervisors) == 1
        assert node.returncode is None

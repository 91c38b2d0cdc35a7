"""A hub that starts and stops sessions for longer than a developer waits: `make test-long`."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from tests.support.hub import HubProcess
from tests.support.shared_hub import SharedCaches, module_hub, start, stop, until

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

_ROUNDS = 40


@pytest.fixture
def hub(caches: SharedCaches) -> Iterator[HubProcess]:
    with module_hub("long", caches) as hub:
        yield hub


def test_starting_and_stopping_for_long_leaves_nothing_behind(hub: HubProcess) -> None:
    start(hub, "alice")
    stop(hub, "alice")
    process = psutil.Process(hub.pid)
    descriptors, below = process.num_fds(), _below(process)
    for _ in range(_ROUNDS):
        start(hub, "alice")
        assert stop(hub, "alice")
    # Fewer, if something was still going on after the first start.
    until(lambda: _below(process) <= below)
    assert process.num_fds() <= descriptors + 5


def _below(process: psutil.Process) -> int:
    """How many processes the hub has, its supervisor's among them."""
    return len(process.children(recursive=True))

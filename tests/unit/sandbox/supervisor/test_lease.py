"""The end of a lease: what is called, and what may start in which term."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest

from mograder.core.errors import SandboxUnavailable
from mograder.sandbox.supervisor import lease as lease_module
from mograder.sandbox.supervisor.lease import Lease, boot_time
from tests.support.supervisors import PATIENCE, until

_LOG = logging.getLogger("mograder.supervisor")


async def test_without_a_lease_there_is_no_end_and_no_thread() -> None:
    before = threading.active_count()
    lease = Lease(lambda: None)
    assert lease.demand() == lease.demand(0) == 0
    assert threading.active_count() == before


async def test_at_the_end_all_is_killed_once_and_nothing_starts_until_the_next_lease() -> None:
    killed: list[float] = []
    lease = Lease(lambda: killed.append(boot_time()))
    end = boot_time() + 0.3
    lease.hold(end)
    lease.hold(end - 0.2)  # an older message never shortens it
    term = lease.demand()
    await until(lambda: bool(killed))
    assert end <= killed[0]
    with pytest.raises(SandboxUnavailable, match="connection"):
        lease.demand()
    lease.hold(boot_time() - 1)  # a message that was late
    with pytest.raises(SandboxUnavailable):
        lease.demand()
    lease.hold(boot_time() + 60)
    assert lease.demand() == term + 1
    with pytest.raises(SandboxUnavailable):  # a start that began in the earlier term
        lease.demand(term)
    assert len(killed) == 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that gives the loop less time."""
    monkeypatch.setattr(lease_module, "_LOOP_SECONDS", 0.1)


async def test_a_renewal_that_comes_too_late_does_not_save_the_sessions() -> None:
    """The loop was busy when the lease ended, and reads the next one first."""
    killed: list[None] = []
    lease = Lease(lambda: killed.append(None))
    lease.hold(boot_time() + 0.05)
    time.sleep(0.1)  # noqa: ASYNC251 - the loop is to be busy
    lease.hold(boot_time() + 60)
    await until(lambda: bool(killed))
    assert lease.demand() == 1
    assert len(killed) == 1


@pytest.mark.usefixtures("impatient")
async def test_a_loop_that_hangs_is_not_waited_for() -> None:
    gave_up = threading.Event()
    killed: list[None] = []
    lease = Lease(lambda: killed.append(None), give_up=gave_up.set)
    lease.hold(boot_time() + 0.05)
    assert gave_up.wait(PATIENCE)  # this blocks the loop
    assert killed == []
    await asyncio.sleep(0)


@pytest.mark.usefixtures("impatient")
async def test_a_log_that_hangs_delays_no_end() -> None:
    """The loop hangs while it writes a line of the log, on a disk that does not answer."""
    gave_up = threading.Event()
    lease = Lease(lambda: None, give_up=gave_up.set)
    handler = logging.StreamHandler()
    assert handler.lock is not None
    _LOG.addHandler(handler)
    try:
        with handler.lock:
            lease.hold(boot_time() + 0.05)
            assert gave_up.wait(PATIENCE)  # this blocks the loop, as its line would
    finally:
        _LOG.removeHandler(handler)
    await asyncio.sleep(0)

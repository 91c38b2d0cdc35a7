"""A node's own rules: its lease, its end, the paths that it takes, what it removes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.sections.settings_model import LimitsSettings
from mograder.core.settings import read_environ
from mograder.sandbox.environments.builder import LOCK
from mograder.sandbox.environments.pruning import finished_environments
from mograder.sandbox.environments.record import keep
from mograder.sandbox.nodes import node_supervisor
from mograder.sandbox.nodes.node_config import node_config
from mograder.sandbox.nodes.node_supervisor import (
    MARGIN_SECONDS,
    Drain,
    NodePaths,
    Statuses,
    prune_unused,
)
from mograder.sandbox.protocol import Mode, StartSession
from tests.support.clock import ManualClock
from tests.support.supervisors import LIMITS, shell_environment


def test_a_node_takes_its_limits_from_its_variables() -> None:
    """It has no mograder.toml, and used the defaults of all of them."""
    limits = {
        "BUILD_TIMEOUT": "3600",
        "WARM_ENVIRONMENTS": "0",
        "WARM_MEMORY_MB": "512",
        "DISK_RESERVE_MB": "2048",
        "DISK_RESERVE_PERCENT": "7",
    }
    config = node_config(read_environ({f"MOGRADER_LIMITS_{key}": limits[key] for key in limits}))
    kept = config.supervisor
    assert (config.build_seconds, kept.warm_environments, kept.warm_memory_mb) == (3600, 0, 512)
    assert (kept.disk_reserve_mb, kept.disk_reserve_percent) == (2048, 7)
    assert node_config(read_environ({})).build_seconds == LimitsSettings().build_timeout
    with pytest.raises(InvalidInput, match="MOGRADER_LIMITS_BUILD_TIMEOUT"):
        node_config(read_environ({"MOGRADER_LIMITS_BUILD_TIMEOUT": "long"}))


def test_a_lease_counts_from_when_the_status_was_sent_less_the_margin() -> None:
    clock = ManualClock()
    statuses = Statuses(clock.steady)
    number = statuses.next_number()
    clock.advance(4)  # the hub was slow
    assert statuses.end_of(number, 12) == 1000 + 12 - MARGIN_SECONDS


def test_a_status_that_was_not_sent_lately_gives_no_lease() -> None:
    statuses = Statuses(ManualClock().steady)
    first = statuses.next_number()
    with pytest.raises(InvalidInput):
        statuses.end_of(first + 1, 12)
    for _ in range(200):
        statuses.next_number()
    with pytest.raises(InvalidInput):
        statuses.end_of(first, 12)


def test_a_hub_is_overdue_after_a_third_of_a_lease_and_some_seconds_at_least() -> None:
    clock = ManualClock()
    statuses = Statuses(clock.steady)
    statuses.end_of(statuses.next_number(), 63)
    clock.advance(20)
    assert not statuses.is_overdue()
    clock.advance(1)
    assert statuses.is_overdue()
    statuses.end_of(statuses.next_number(), 6)
    clock.advance(3.9)
    assert not statuses.is_overdue()
    clock.advance(0.2)
    assert statuses.is_overdue()
    statuses.expect()
    assert not statuses.is_overdue()


def test_a_drain_ends_when_the_node_is_empty_or_its_time_is_over() -> None:
    clock = ManualClock()
    drain = Drain(20, clock.steady)
    assert not drain.is_over(busy=False)
    drain.leave(hurry=False)
    assert drain.draining
    assert drain.seconds_left() is None
    assert not drain.is_over(busy=True)
    assert drain.is_over(busy=False)
    drain.stay()
    assert not drain.is_over(busy=False)
    drain.leave(hurry=True)
    drain.stay()
    assert drain.is_over(busy=False), "its engine has asked for the end, and kills it otherwise"
    clock.advance(19)
    assert not drain.is_over(busy=True)
    clock.advance(1)
    assert drain.is_over(busy=True)


def test_a_second_signal_ends_it_at_once_and_a_hubs_wish_never_does() -> None:
    drain = Drain(20)
    drain.wish(draining=True)
    assert drain.draining
    assert not drain.is_over(busy=False)
    drain.leave(hurry=True)
    assert not drain.is_over(busy=True)
    drain.leave(hurry=True)
    assert drain.is_over(busy=True)


def test_sessions_end_evenly_over_the_second_half_of_a_drain() -> None:
    clock = ManualClock()
    drain, sessions = Drain(120, clock.steady), 60
    assert (drain.due(sessions), drain.seconds_granted()) == (0, None)
    drain.leave(hurry=True)
    assert (drain.due(sessions), drain.seconds_granted()) == (0, 60)
    clock.advance(60)
    assert (drain.due(sessions), drain.seconds_granted()) == (0, 0)
    ends = []
    for _ in range(40):
        clock.advance(1.5)
        ends.append(drain.due(sessions))
        sessions -= ends[-1]
    assert sessions == 0
    assert set(ends) == {1, 2}


def test_sessions_that_leave_by_themselves_are_not_replaced_by_others() -> None:
    clock = ManualClock()
    drain = Drain(20, clock.steady)
    drain.leave(hurry=True)
    clock.advance(12)
    assert drain.due(10) == 2
    clock.advance(3)
    assert drain.due(4) == 0, "five may still go on"
    drain.leave(hurry=True)
    assert drain.due(4) == 4


def test_a_drain_without_time_ends_all_at_its_end() -> None:
    drain = Drain(0)
    drain.leave(hurry=True)
    assert drain.due(5) == 0
    assert drain.is_over(busy=True)


def test_an_environment_is_this_nodes_own_whatever_its_path_on_the_hub(tmp_path: Path) -> None:
    paths = NodePaths((), tmp_path)
    assert paths.own(Path("/x/0123456789")) == tmp_path / "0123456789"
    for name in ("/etc/..", "/", "/x/short", "/x/.building-1234"):
        with pytest.raises(InvalidInput):
            paths.own(Path(name))


def test_the_server_of_a_share_is_asked_before_a_session_opens_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(node_supervisor, "look_for", asked.append)
    directory = tmp_path.resolve() / "alice/A1"
    request = StartSession(
        session_id="session-1",
        mode=Mode.EDIT,
        directory=directory,
        notebook="A1.py",
        environment=Path("/x/0123456789"),
        base_url="/edit/user/alice/A1",
        uid_slot=1,
        limits=LIMITS,
    )
    assert NodePaths((tmp_path.resolve(),), tmp_path).of(request)["directory"] == directory
    assert asked == [directory]


DAY = 86_400


def environment(root: Path, name: str, days: float) -> None:
    """An environment that was last used some days ago."""
    shell_environment(root / name, "true")
    (root / name / LOCK).write_text("")
    then = time.time() - days * DAY
    os.utime(root / name / LOCK, (then, then))


def test_only_what_was_not_used_for_a_month_is_removed(tmp_path: Path) -> None:
    for name, days in (("recent-1", 29.0), ("unused-1", 31.0), ("running-", 31.0)):
        environment(tmp_path, name, days)

    kept = keep(tmp_path / "running-")
    assert prune_unused(tmp_path) == ("unused-1",)
    os.close(kept)
    left = [path.name for path in finished_environments(tmp_path)]
    assert left == ["recent-1", "running-"]

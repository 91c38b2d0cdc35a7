"""``sandbox.cgroups`` on the kernel's real cgroup v2, as root and as a service user.

security.md, "The sandbox": limits per session through cgroup v2 where it is delegated.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mograder.sandbox.limits.cgroup2 import FOR_SESSIONS, SessionGroup, SessionGroups, cpu_max
from mograder.sandbox.protocol import Limits
from tests.vm.cgroup_members import close, enter, entered, hold_memory, joined, spin, stay
from tests.vm.delegated_cgroups import (
    ROOT,
    SERVICE,
    SLICE,
    Unit,
    apart,
    child,
    ended,
    inside,
    number_in,
    open_unit,
    resident,
    sleep_forever,
    status_of,
    wait_for_events,
    words_of,
)

pytestmark = pytest.mark.full

SESSION = "session-one"
MIB = 1 << 20
LIMITS = Limits(processes=32, open_files=64, file_size_mb=16, tmp_mb=16, memory_mb=64)
BUSY_SECONDS = 6.0
SPINNERS = 20

users = pytest.mark.parametrize("unit", [ROOT, SERVICE], ids=["root", "service"], indirect=True)


@pytest.fixture
def unit(request: pytest.FixtureRequest) -> Iterator[Unit]:
    with open_unit("hub", request.param) as unit:
        yield unit


def ours() -> SessionGroups:
    """Return the delegated cgroups as a supervisor finds them at its start."""
    found = SessionGroups.find()
    assert found is not None
    return found


# --- whose tree it is -----------------------------------------------------------------------


@users
def test_a_delegated_cgroup_is_divided_and_its_inhabitant_moves(unit: Unit) -> None:
    def work() -> None:
        assert ours().root == unit.path
        assert Path("/proc/self/cgroup").read_text().endswith("/hub.service/supervisor\n")

    inside(unit, work)
    for branch in (unit.path, unit.path / "sessions-course"):
        assert {"cpu", "memory", "pids"} <= set(words_of(branch / "cgroup.subtree_control"))
        assert words_of(branch / "cgroup.procs") == []


@users
def test_a_hub_in_the_same_cgroup_moves_along(unit: Unit) -> None:
    hub = resident(unit, lambda: None)
    with ended(hub):
        inside(unit, ours)
        assert words_of(unit.path / "supervisor/cgroup.procs") == [str(hub)]


@users
def test_a_second_supervisor_of_the_moved_hub_finds_the_same_place(unit: Unit) -> None:
    def work() -> None:
        ours()
        assert status_of(child(lambda: _finds(unit.path))) == 0

    inside(unit, work)


@users
def test_so_does_one_that_follows_a_supervisor_that_ended_well(unit: Unit) -> None:
    """Its branches are gone then; the hub, or the shell that it was started in, is still moved."""

    def work() -> None:
        for _ in range(2):
            ours().close()
            assert status_of(child(lambda: _finds(unit.path))) == 0

    inside(unit, work)
    assert not (unit.path / "supervisor/supervisor").exists()


def _finds(root: Path) -> None:
    assert ours().root == root


@users
def test_what_is_not_delegated_is_left_alone(unit: Unit) -> None:
    with open_unit("other", unit.uid, delegate=False) as other:
        inside(other, _finds_nothing)
        assert not (other.path / "supervisor").exists()


@users
def test_a_cgroup_without_the_controllers_is_left_alone(unit: Unit) -> None:
    """``Delegate=pids``: what systemd has not switched on cannot be handed down."""

    def work() -> None:
        (unit.path / "inner").mkdir()
        (unit.path / "inner/cgroup.procs").write_text(str(os.getpid()))
        _finds_nothing()

    inside(unit, work)


def _finds_nothing() -> None:
    assert SessionGroups.find() is None


# --- one session's leaf ---------------------------------------------------------------------


@users
def test_the_limits_are_written(unit: Unit) -> None:
    limits = LIMITS.model_copy(update={"memory_soft_mb": 48, "cpu_weight": 50})

    inside(unit, lambda: ours().make(SESSION, limits))
    leaf = unit.path / "sessions-course" / SESSION
    read = {
        name: (leaf / name).read_text().strip()
        for name in ("memory.max", "memory.high", "memory.oom.group", "pids.max", "cpu.weight")
    }
    assert read == {
        "memory.max": str(64 * MIB),
        "memory.high": str(48 * MIB),
        "memory.oom.group": "1",
        "pids.max": "32",
        "cpu.weight": "50",
    }


@users
def test_a_session_without_limits_has_none(unit: Unit) -> None:
    free = LIMITS.model_copy(update={"memory_mb": 0})
    inside(unit, lambda: ours().make(SESSION, free))
    leaf = unit.path / "sessions-course" / SESSION
    assert words_of(leaf / "memory.max") == words_of(leaf / "memory.high") == ["max"]


@users
def test_a_process_that_enters_is_counted_with_its_children(unit: Unit) -> None:
    def work() -> None:
        group = ours().make(SESSION, LIMITS)
        first = joined(group, lambda: hold_memory(24 * MIB))
        second = joined(group, stay)
        assert sorted(group.pids()) == sorted([first, second])
        use = group.use()
        assert use.tasks == 2
        assert 24 * MIB <= use.memory < 48 * MIB
        assert use.cpu > 0
        close(group, first, second)
        assert not group.path.exists()

    inside(unit, work)


@users
def test_files_that_are_only_cached_are_not_counted(unit: Unit) -> None:
    """The kernel drops them at once when it needs the place."""

    def work() -> None:
        group = ours().make(SESSION, LIMITS.model_copy(update={"memory_mb": 256}))
        reader = joined(group, lambda: _read_much(64 * MIB))
        assert group.use().memory < 32 * MIB
        close(group, reader)

    inside(unit, work)


def _read_much(amount: int) -> None:
    """Read files of the system until this much has gone by."""
    for path in Path("/usr/lib/x86_64-linux-gnu").iterdir():
        if amount > 0 and path.is_file():
            amount -= len(path.read_bytes())
    stay()


@users
def test_a_process_past_its_memory_is_killed_with_all_of_its_session_and_nobody_else(
    unit: Unit,
) -> None:
    def work() -> None:
        groups = ours()
        group, neighbour = groups.make(SESSION, _hard(48)), groups.make("session-two", LIMITS)
        kept = joined(neighbour, stay)
        helper = joined(group, stay)
        bomb = child(lambda: entered(group, lambda: hold_memory(128 * MIB)))
        assert status_of(bomb) == status_of(helper) == -signal.SIGKILL
        assert group.events().oom_kills >= 1
        assert group.events().own_limit >= 1
        assert neighbour.pids() == [kept]
        assert neighbour.events().oom_kills == 0
        close(group)
        assert group.events().oom_kills >= 1, "also when the leaf is gone"
        close(neighbour, kept)

    inside(unit, work)


def _hard(memory_mb: int) -> Limits:
    """A hard limit that is met before the soft one slows anything."""
    return LIMITS.model_copy(update={"memory_mb": memory_mb, "memory_soft_mb": memory_mb})


@users
def test_a_process_past_the_soft_limit_is_slowed_and_lives(unit: Unit) -> None:
    def work() -> None:
        soft = LIMITS.model_copy(update={"memory_mb": 256, "memory_soft_mb": 32})
        group = ours().make(SESSION, soft)
        large = joined(group, lambda: hold_memory(33 * MIB))
        assert number_in(group.path / "memory.events", "high") > 0
        assert group.events().oom_kills == 0
        assert group.pids() == [large]
        close(group, large)

    inside(unit, work)


@users
def test_the_kernel_refuses_one_process_too_many(unit: Unit) -> None:
    def work() -> None:
        group = ours().make(SESSION, LIMITS)
        assert group.events().refused == 0
        assert status_of(child(lambda: entered(group, _fork_until_refused))) == 0
        assert group.events().refused >= 1
        assert group.use().tasks <= LIMITS.processes
        close(group)

    inside(unit, work)


def _fork_until_refused() -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            child(lambda: apart(sleep_forever))


@users
def test_twenty_busy_processes_take_no_more_than_one(unit: Unit) -> None:
    """A ratio of the processor's time, not a time: without weights it is about one to ten."""

    def work() -> None:
        groups = ours()
        crowd, single = groups.make(SESSION, LIMITS), groups.make("session-two", LIMITS)
        spinners = [joined(crowd, spin, stays=False) for _ in range(SPINNERS)]
        spinner = joined(single, spin, stays=False)
        before = crowd.use().cpu, single.use().cpu
        time.sleep(BUSY_SECONDS)  # what is measured is what they use meanwhile
        crowds, singles = crowd.use().cpu - before[0], single.use().cpu - before[1]
        assert singles > 0.3 * (crowds + singles), (crowds, singles)
        close(crowd, *spinners)
        close(single, spinner)

    inside(unit, work)


@users
def test_a_capped_session_uses_no_more_than_its_cap_until_it_is_lifted(unit: Unit) -> None:
    """Ratios of the processor's time in one run: capped at a tenth of one, and then not."""

    def work() -> None:
        group = ours().make(SESSION, LIMITS)
        branch = (unit.path / "sessions-course/cpu.max").read_text().strip()
        assert branch == cpu_max(FOR_SESSIONS * (os.cpu_count() or 1))
        spinner = joined(group, spin, stays=False)
        group.cap(0.1)
        capped = _used(group)
        group.cap(None)
        free = _used(group)
        close(group, spinner)
        assert capped < 0.2 * BUSY_SECONDS
        assert capped < 0.4 * free

    inside(unit, work)


def _used(group: SessionGroup) -> float:
    """Seconds on a processor in a while."""
    before = group.cpu()
    time.sleep(BUSY_SECONDS)
    return group.cpu() - before


# --- the end --------------------------------------------------------------------------------


@users
def test_closing_kills_what_is_left_and_nothing_stays(unit: Unit) -> None:
    def work() -> None:
        groups = ours()
        for name in ("session-one", "session-two"):
            joined(groups.make(name, LIMITS), lambda: _spread(5))
        for group in (unit.path / "sessions-course").iterdir():
            if group.is_dir():
                groups.put_away(SessionGroup(group))
        for group in (unit.path / "sessions-course").iterdir():
            if group.is_dir():
                wait_for_events(group, "populated 0")
        groups.close()
        groups.close()  # processes not reaped yet are reaped by the second call

    inside(unit, work)
    assert not (unit.path / "sessions-course").exists()


def _spread(depth: int) -> None:
    """Fork children and grandchildren, each in its own session; the last one reports."""
    if depth:
        child(lambda: apart(lambda: _spread(depth - 1)))
        sleep_forever()
    stay()


@users
def test_a_killed_supervisors_sessions_are_ended_by_the_next(unit: Unit) -> None:
    left: list[int] = []

    def die() -> None:
        group = ours().make(SESSION, LIMITS)
        enter(group)
        child(lambda: apart(sleep_forever))

    supervisor = resident(unit, die)
    leaf = unit.path / "sessions-course" / SESSION
    left += map(int, words_of(leaf / "cgroup.procs"))
    os.kill(supervisor, signal.SIGKILL)
    status_of(supervisor)
    assert len(left) == 2

    def follow() -> None:
        groups = ours()
        if leaf.exists():  # the killed are still on their way
            wait_for_events(leaf, "populated 0")
        groups.make(SESSION, LIMITS)

    inside(unit, follow)
    assert words_of(leaf / "cgroup.procs") == []


@users
def test_another_supervisors_sessions_are_left_alone(unit: Unit) -> None:
    """Two courses' supervisors may share a unit; each sweeps what bears its own name."""

    def hold() -> None:
        groups = SessionGroups.find("spring")
        assert groups is not None
        joined(groups.make(SESSION, LIMITS), stay)

    supervisor = resident(unit, hold)
    with ended(supervisor):
        inside(unit, ours)
        leaf = unit.path / "sessions-spring" / SESSION
        assert len(words_of(leaf / "cgroup.procs")) == 1


def test_the_machine_has_what_these_tests_are_about() -> None:
    """cgroup v2 and nothing of v1, or they would test something else."""
    mounted = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    assert [fields[1] for fields in mounted if fields[2] == "cgroup2"] == ["/sys/fs/cgroup"]
    assert not [fields for fields in mounted if fields[2] == "cgroup"]
    assert {"cpu", "memory", "pids"} <= set(words_of(SLICE / "cgroup.subtree_control"))

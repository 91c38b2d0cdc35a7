"""Sessions in their cgroups: a real supervisor as a service, real sandboxes, bad students.

security.md, "The sandbox": a session that hits a limit dies alone, and its student reads why.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from mograder.sandbox.client.supervisor_client import SupervisorClient
from tests.support.supervisors import until
from tests.vm.delegated_cgroups import ROOT, SERVICE, number_in, words_of
from tests.vm.service import LIMITS, Service, UnitSessions, open_service

pytestmark = pytest.mark.full

SLEEPER = "touch up; exec sleep 600"
ON_A_SIGN = "touch up; while [ ! -e go ]; do sleep 0.2; done"
MEMORY_BOMB = f"{ON_A_SIGN}; tail /dev/zero"
FORK_BOMB = f"{ON_A_SIGN}; (while :; do setsid sleep 600 & done); exec sleep 600"
SPIN = "spin() { while :; do :; done; }"
SPINNERS = 20
MEASURED_SECONDS = 8.0
LOOK = """{
cat /proc/self/cgroup
grep cgroup /proc/mounts
ls -d /sys/fs/cgroup
mkdir /tmp/c && mount -t cgroup2 none /tmp/c && ls /tmp/c
} >seen 2>&1
touch up; exec sleep 600"""


@pytest.fixture(scope="module", params=[ROOT, SERVICE], ids=["root", "service"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    with open_service("supervisor", request.param) as service:
        yield service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[SupervisorClient]:
    client = SupervisorClient(service.config)
    yield client
    if await client.answers():
        for info in await client.sessions():
            await client.stop(info.session_id)
    await client.close()


@pytest.fixture
def sessions(
    client: SupervisorClient, service: Service, request: pytest.FixtureRequest
) -> UnitSessions:
    """Below a directory of this test's own."""
    place = service.place / f"test-{abs(hash(request.node.name))}"
    place.mkdir()
    return UnitSessions(client, place, uid=service.unit.uid)


def go(sessions: UnitSessions, name: str) -> None:
    """Give a session that waits for it the sign."""
    (sessions.place / f"workspace-{name}" / "go").touch()


async def test_a_session_lives_in_a_leaf_with_its_limits(
    sessions: UnitSessions, service: Service
) -> None:
    await sessions.start("one", SLEEPER)
    leaf = service.leaf("one")
    assert words_of(leaf / "memory.max") == [str(LIMITS.memory_mb << 20)]
    assert words_of(leaf / "pids.max") == [str(LIMITS.processes)]
    assert words_of(leaf / "cpu.weight") == [str(32 * LIMITS.cpu_weight)], "it starts"
    sessions.client.answered("session-one")
    await until(lambda: words_of(leaf / "cpu.weight") == [str(LIMITS.cpu_weight)])
    inside = set(words_of(leaf / "cgroup.procs"))
    assert len(inside) >= 2, "the sandbox's first process and the program"
    assert not inside & set(words_of(service.unit.path / "supervisor/cgroup.procs"))
    assert await sessions.client.stop("session-one")
    assert service.leaves() == []


async def test_a_memory_bomb_ends_for_its_memory_and_alone(
    sessions: UnitSessions, service: Service
) -> None:
    await sessions.start("kept", SLEEPER, slot=2)
    await sessions.start("bomb", MEMORY_BOMB)
    go(sessions, "bomb")
    assert (await sessions.outcome("bomb")).reason == "memory"
    assert [info.session_id for info in await sessions.client.sessions()] == ["session-kept"]
    assert number_in(service.leaf("kept") / "memory.events", "oom_kill") == 0
    assert service.leaves() == ["session-kept"]


async def test_a_fork_bomb_of_sessions_of_their_own_ends_for_its_processes_and_alone(
    sessions: UnitSessions, service: Service
) -> None:
    await sessions.start("kept", SLEEPER, slot=2)
    await sessions.start("bomb", FORK_BOMB)
    leaf = service.leaf("bomb")
    go(sessions, "bomb")
    await until(lambda: number_in(leaf / "pids.events", "max") > 0)
    assert (await sessions.outcome("bomb")).reason == "processes"
    assert [info.session_id for info in await sessions.client.sessions()] == ["session-kept"]
    assert service.leaves() == ["session-kept"]


async def test_twenty_spinners_leave_a_neighbour_its_half(
    sessions: UnitSessions, service: Service
) -> None:
    """A ratio of the processors' time: without weights the neighbour would have a tenth."""
    crowd = f"{ON_A_SIGN}; {SPIN}; for i in $(seq {SPINNERS}); do spin & done; wait"
    await sessions.start("crowd", crowd)
    await sessions.start("single", f"{ON_A_SIGN}; {SPIN}; spin", slot=2)
    leaves = [service.leaf(name) for name in ("crowd", "single")]
    for name in ("crowd", "single"):
        go(sessions, name)
    await until(lambda: int((leaves[0] / "pids.current").read_text()) > SPINNERS)

    def used() -> list[float]:
        return [number_in(leaf / "cpu.stat", "usage_usec") / 1e6 for leaf in leaves]

    before = used()
    await until(lambda: sum(used()) - sum(before) > MEASURED_SECONDS)
    many, one = (after - early for after, early in zip(used(), before, strict=True))
    assert one > 0.3 * (many + one), (many, one)


async def test_a_crowd_of_spinners_is_capped_while_another_session_starts(
    sessions: UnitSessions, service: Service
) -> None:
    crowd = f"{SPIN}; for i in $(seq {SPINNERS}); do spin & done; touch up; wait"
    await sessions.start("crowd", crowd)
    leaf = service.leaf("crowd")
    sessions.client.answered("session-crowd")
    await until(lambda: words_of(leaf / "cpu.weight") == [str(LIMITS.cpu_weight)])
    assert words_of(leaf / "cpu.max")[0] == "max"
    await sessions.start("new", SLEEPER, slot=2)
    await until(lambda: words_of(leaf / "cpu.max")[0] != "max")
    sessions.client.answered("session-new")
    await until(lambda: words_of(leaf / "cpu.max")[0] == "max")


async def test_a_student_sees_no_cgroup_to_write_to(
    sessions: UnitSessions, service: Service
) -> None:
    await sessions.start("curious", LOOK)
    seen = (sessions.place / "workspace-curious/seen").read_text()
    assert seen.startswith("0::/")
    assert "system.slice" not in seen
    assert "cgroup.procs" not in seen
    assert "cannot access '/sys/fs/cgroup'" in seen
    assert "cgroup2" not in "".join(line for line in seen.splitlines() if "rw," in line)


@pytest.mark.parametrize("uid", [ROOT, SERVICE], ids=["root", "service"])
async def test_a_killed_supervisor_leaves_nothing_to_the_next(uid: int) -> None:
    with open_service("doomed", uid) as service:
        first = SupervisorClient(service.config)
        sessions = UnitSessions(first, service.place, uid=uid)
        for slot, name in ((1, "one"), (2, "two")):
            await sessions.start(name, SLEEPER, slot=slot)
        assert service.leaves() == ["session-one", "session-two"]
        service.kill()
        await first.close()
        service.start()
        assert service.leaves() == []
        second = SupervisorClient(service.config)
        assert await second.sessions() == ()
        await second.start(sessions.request("three", SLEEPER))
        assert service.leaves() == ["session-three"]
        await second.shutdown()
        await second.close()
        service.reap()
        branches = [path.name for path in service.unit.path.iterdir() if path.is_dir()]
        assert branches == ["supervisor"]

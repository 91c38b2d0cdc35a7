"""Escape attempts from inside a real session's kernel (security.md, "The sandbox"; B22-B26).

One hostile session runs beside another session, the hub and the host's secrets; it may not see,
reach or change any of them, however it was started.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.security.probe_session import NEEDLE, Attack, memory_holds, sessions, staged, zygotes
from tests.security.probes.attempts import ATTEMPTS, WORK_WITHOUT_A_SANDBOX
from tests.support.hub import HubProcess
from tests.support.identity import SECRET, student, token
from tests.support.shared_hub import TINY, SharedCaches, start, stop, workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

KINDS = ["cold", "warm"]
USUAL = "warm" if os.geteuid() == 0 else "cold"
"""The usual start of this user's sessions, which `make test` tries."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do all of it anyway")


@pytest.fixture(scope="module", params=KINDS)
def attack(request: pytest.FixtureRequest, uv_cache: Path, run_directory: Path) -> Iterator[Attack]:
    """Everything, tried once for each way to start; the tests look at what came of it."""
    if request.param == "warm" and os.geteuid() != 0:
        pytest.skip("a service user's sessions start cold")
    with staged(request.param, SharedCaches(uv_cache, run_directory)) as attack:
        yield attack


@pytest.fixture(scope="module")
def unsandboxed(attack: Attack) -> dict[str, str]:
    return attack.unsandboxed()


@pytest.mark.parametrize(
    "attack",
    [pytest.param(kind, marks=pytest.mark.journey if kind == USUAL else ()) for kind in KINDS],
    indirect=True,
    scope="module",
)
@pytest.mark.parametrize("name", ATTEMPTS)
def test_student_code_never(attack: Attack, name: str) -> None:
    assert attack.found[name] == "", f"student code of a {attack.kind} start {name}"


@as_root
@pytest.mark.parametrize("name", WORK_WITHOUT_A_SANDBOX)
def test_without_a_sandbox_the_same_probe_is_one_that(
    unsandboxed: dict[str, str], name: str
) -> None:
    """A probe that gets nothing here either would prove nothing."""
    got = unsandboxed[name]
    assert got, f"on the host, too, the probe gets nothing: {name}"
    assert "broke" not in got
    assert got != "hung"


def test_the_neighbours_words_are_as_they_were(attack: Attack) -> None:
    assert (workspace(attack.hub, "alice") / "diary.txt").read_text() == NEEDLE


@as_root
def test_each_student_is_a_user_of_their_own_on_the_host_and_none_is_root(attack: Attack) -> None:
    """Student code never runs as root; two students never share a uid when the hub is root."""
    owners = {pid: Path(f"/proc/{pid}").stat().st_uid for pid in sessions(attack.hub)}
    assert len(owners) >= 2
    assert 0 not in owners.values()
    assert len(set(owners.values())) == 2
    files = [workspace(attack.hub, user).stat().st_uid for user in ("alice", "mallory")]
    assert set(files) == set(owners.values())


def test_a_link_that_student_code_puts_in_the_notebooks_place_leads_nowhere(
    attack: Attack,
) -> None:
    hub, user = attack.hub, f"linker-{attack.kind}"
    start(hub, user)
    stop(hub, user)
    notebook = workspace(hub, user) / f"{TINY}.py"
    notebook.rename(notebook.with_name("aside.py"))
    notebook.symlink_to(workspace(hub, "alice") / "diary.txt")
    with hub.client(student(user)) as client:
        answer = client.post(f"/start-edit-deep/{TINY}")
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert NEEDLE not in answer.text


@pytest.fixture
def zygote(attack: Attack) -> int:
    if attack.kind == "cold":
        assert zygotes(attack.hub) == []
        pytest.skip("there is no zygote")
    (zygote,) = zygotes(attack.hub)
    return zygote


def test_a_zygote_has_next_to_no_rights(zygote: int) -> None:
    """security.md: it has only SETUID and SETGID."""
    process = Path(f"/proc/{zygote}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    kept = (1 << 6 | 1 << 7) if os.geteuid() == 0 else 0
    for name in ("CapEff", "CapPrm", "CapBnd"):
        assert int(status[name], 16) == kept, name
    assert (status["NoNewPrivs"], status["Seccomp"], status["Threads"]) == ("1", "2", "1")
    assert process.stat().st_uid != 0


def test_a_zygote_sees_nothing_of_anybodys(zygote: int) -> None:
    process = Path(f"/proc/{zygote}")
    points = [line.split()[4] for line in (process / "mountinfo").read_text().splitlines()]
    files = [point for point in points if not point.endswith(".py")]  # but those of our programs
    assert not [point for point in files if "work" in point or "cache" in point], points
    for space in ("net", "pid", "mnt", "ipc", "uts", "user"):
        ours = Path(f"/proc/self/ns/{space}").readlink()
        assert (process / "ns" / space).readlink() != ours, space
    opened = {str(link.readlink()) for link in (process / "fd").iterdir()}
    assert all(name.startswith(("socket:", "pipe:", "/dev/null")) for name in opened), opened
    assert len([name for name in opened if name.startswith("socket:")]) == 1, opened


@as_root
def test_a_zygotes_memory_holds_no_secret_and_nothing_of_a_students(
    attack: Attack, zygote: int
) -> None:
    words = [SECRET, NEEDLE, *(token(user).rpartition(":")[2] for user in ("alice", "mallory"))]
    # Whoever is told to start a session of alice's knows her name; no more than that.
    assert memory_holds(zygote, words) == []
    assert memory_holds(zygote, ["zygote.py"]), "the search finds what is there"


def test_the_processes_of_a_session_hold_no_secret_of_the_hubs(
    attack: Attack,
) -> None:
    found = {pid: memory_holds(pid, [SECRET]) for pid in sessions(attack.hub)}
    assert found
    assert not any(found.values()), found
    assert _hub_knows_its_secret(attack.hub), "the search finds what is there"


def _hub_knows_its_secret(hub: HubProcess) -> bool:
    return bool(memory_holds(hub.pid, [SECRET]))

"""Our part of the cgroup tree: found, divided, swept. On plain directories, as far as they go.

What the kernel does with it is tested in a virtual machine (``make test-vm``).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mograder.sandbox.client.bootstrap import command_config
from mograder.sandbox.limits.cgroup2 import GroupEvents, Reading, SessionGroup, SessionGroups
from mograder.sandbox.protocol import Limits
from mograder.sandbox.supervisor.config import cgroups_of
from tests.support.supervisors import make_config, short_directory

LIMITS = Limits(processes=64, open_files=1, file_size_mb=1, tmp_mb=1, memory_mb=400, cpu_weight=250)

UNMANAGED = Path("/dev/null/systemd")
"""Where no system manager is: nothing can be made below a device."""
BRANCHES = ("supervisor", "zygotes-c", "sessions-c")


@pytest.fixture
def tree() -> Iterator[Path]:
    """A delegated cgroup, and a matching ``/proc``."""
    with short_directory() as place:
        yield _tree(place)


def _tree(place: Path) -> Path:
    ours = place / "cgroup/system.slice/hub.service"
    ours.mkdir(parents=True)
    (ours / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    for name in ("cgroup.procs", "cgroup.subtree_control"):
        (ours / name).write_text("")
    proc = place / "proc/self"
    proc.mkdir(parents=True)
    (proc / "cgroup").write_text("0::/system.slice/hub.service\n")
    mount = f"30 24 0:26 / {place}/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
    (proc / "mountinfo").write_text(mount)
    return ours


def _find(tree: Path, **choices: Path) -> SessionGroups | None:
    proc = tree.parent.parent.parent / "proc"
    return SessionGroups.find("c", proc=proc, **{"managed": UNMANAGED, **choices})


def test_a_delegated_cgroup_is_divided(tree: Path) -> None:
    (tree / "cgroup.procs").write_text("123\n")
    groups = _find(tree)
    assert groups is not None
    assert groups.root == tree
    assert (tree / "supervisor/cgroup.procs").read_text() == "123"
    for branch in (tree, tree / "sessions-c"):
        assert (branch / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    weights = [int((tree / name / "cpu.weight").read_text()) for name in BRANCHES]
    assert weights[0] == weights[1] == 1000
    assert weights[2] == 100 * (os.cpu_count() or 1), "sessions come after who serves them"
    groups.shelter(77)
    assert (tree / "zygotes-c/cgroup.procs").read_text() == "77"


def test_no_weight_is_larger_than_the_kernel_takes_with_many_processors(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more than 10,000 it refuses the write, and no session would be limited by it."""
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    assert _find(tree) is not None
    assert (tree / BRANCHES[2] / "cpu.weight").read_text() == "10000"


def test_the_supervisor_of_a_command_leaves_the_hubs_part_of_the_tree_alone(
    tree: Path, tmp_path: Path
) -> None:
    hubs = make_config(tmp_path / "run", tmp_path, owned=False)
    place = {"proc": tree.parent.parent.parent / "proc", "managed": UNMANAGED}
    assert cgroups_of(hubs, **place) is not None
    (next(tree.glob("zygotes-*")) / "cgroup.procs").write_text("77")
    (tree / "cgroup.procs").write_text("123\n")  # a command that is started beside the hub
    before = {path: path.read_text() for path in tree.rglob("*") if path.is_file()}
    assert cgroups_of(command_config(hubs, tmp_path / "own"), **place) is None
    assert {path: path.read_text() for path in tree.rglob("*") if path.is_file()} == before


def test_a_supervisor_in_the_leaf_of_the_one_before_finds_the_same_tree(tree: Path) -> None:
    assert _find(tree) is not None
    (tree / "cgroup.subtree_control").write_text("cpu memory pids\n")  # in the kernel's format
    (tree.parent.parent.parent / "proc/self/cgroup").write_text(
        "0::/system.slice/hub.service/supervisor\n"
    )
    again = _find(tree)
    assert again is not None
    assert again.root == tree


@pytest.mark.parametrize("words", ["", "4:memory:/x\n", "0::/../other\n", "0::/elsewhere\n"])
def test_without_a_cgroup_of_its_own_there_is_none(tree: Path, words: str) -> None:
    (tree.parent.parent.parent / "proc/self/cgroup").write_text(words)
    assert _find(tree) is None


def test_asking_whether_it_is_ours_changes_nothing(tree: Path) -> None:
    """`hub check` asks beside a running hub."""
    proc, nowhere = tree.parent.parent.parent / "proc", UNMANAGED
    before = sorted(tree.rglob("*"))
    assert SessionGroups.refusal(proc=proc, managed=nowhere) == ""
    assert sorted(tree.rglob("*")) == before
    (tree / "cgroup.controllers").write_text("cpu pids\n")
    refusal = SessionGroups.refusal(proc=proc, managed=nowhere)
    assert refusal == f"{tree} has no memory controller"
    assert _find(tree) is None


def test_systemds_own_tree_is_left_alone(tree: Path, tmp_path: Path) -> None:
    """As root everything is writable; only the mark tells that it is ours."""
    managed = tmp_path / "managed"
    managed.mkdir()
    is_root = tree.parents[1].stat().st_uid == 0
    assert (_find(tree, managed=managed) is None) is is_root


def test_a_session_has_its_limits(tree: Path) -> None:
    groups = _find(tree)
    assert groups is not None
    group = groups.make("session-1", LIMITS)
    entry = group.entry()
    os.write(entry, b"4711")
    os.close(entry)
    written = {path.name: path.read_text() for path in group.path.iterdir()}
    assert written == {
        "memory.max": str(400 << 20),
        "memory.high": str((400 << 20) * 31 // 32),
        "memory.oom.group": "1",
        "pids.max": "64",
        "cpu.weight": "250",
        "cgroup.procs": "4711",
    }
    assert group.pids() == [4711]
    group.weigh(25)
    assert (group.path / "cpu.weight").read_text() == "25"


@pytest.mark.parametrize(
    ("limits", "high", "most"),
    [
        ({"memory_mb": 0}, "max", "max"),
        ({"memory_mb": 0, "memory_soft_mb": 7}, str(7 << 20), "max"),
        ({"memory_mb": 9, "memory_soft_mb": 99}, str(9 << 20), str(9 << 20)),
    ],
)
def test_limits_of_memory_may_be_left_out(
    tree: Path, limits: dict[str, int], high: str, most: str
) -> None:
    groups = _find(tree)
    assert groups is not None
    group = groups.make("session-1", LIMITS.model_copy(update=limits))
    assert (group.path / "memory.high").read_text() == high
    assert (group.path / "memory.max").read_text() == most


def test_what_a_session_uses_is_read(tmp_path: Path) -> None:
    for name, text in {
        "memory.current": "3000\n",
        "memory.stat": "anon 5\ninactive_file 1000\n",
        "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
        "pids.current": "17\n",
        "memory.events": "low 0\nhigh 3\nmax 2\noom 1\noom_kill 4\n",
        "pids.events": "max 6\n",
    }.items():
        (tmp_path / name).write_text(text)
    group = SessionGroup(tmp_path)
    assert group.use() == Reading(memory=2000, cpu=2.5, tasks=17)
    assert group.events() == GroupEvents(oom_kills=4, own_limit=1, refused=6)
    (tmp_path / "memory.events").unlink()
    assert group.events().oom_kills == 4, "what is known of a leaf that is gone"


def test_what_a_killed_supervisor_left_is_ended_and_removed(tree: Path) -> None:
    stale = tree / "sessions-c/session-old"
    stale.mkdir(parents=True)
    other = tree / "sessions-another/session-alive"
    other.mkdir(parents=True)
    assert _find(tree) is not None
    assert not stale.exists()
    assert other.exists(), "another course's"


@pytest.mark.full
def test_what_is_left_in_a_leaf_is_killed(tmp_path: Path) -> None:
    leaf = tmp_path / "leaf"
    leaf.mkdir()
    with subprocess.Popen(["sleep", "600"]) as process:
        (leaf / "cgroup.procs").write_text(f"{process.pid}\n0\n")
        assert SessionGroup(leaf).close() is False, "a plain directory with a file in it stays"
        assert process.wait() == -9

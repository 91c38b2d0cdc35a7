"""Escape attempts from inside a real session's kernel (security.md, "The sandbox"; B22-B26).

Two students and the hub's own secrets stand around one hostile session; nothing of theirs may be
seen, reached or changed by it. Covers `Done when` 3 of the house issue.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract.sandbox_rig import until
from tests.e2e.support.hub import HubProcess
from tests.e2e.support.identity import SECRET
from tests.e2e.support.marimo import Address, open_editor
from tests.security import probe

pytestmark = pytest.mark.timeout(300)

ITEM = "A1-Measuring-Pi"
WORKSPACE = "/home/student/work"
NEEDLE = "the-neighbours-own-words-8f1c"
SOURCE_NEEDLE = "a-line-of-the-solution-2b7d"


@dataclass(frozen=True)
class Findings:
    """What the hostile session found, and what stood around it."""

    found: dict[str, Any]
    hub: HubProcess
    neighbour: Path
    runtime: Path


@pytest.fixture(params=["cold", "warm"])
def start_kind(request: pytest.FixtureRequest) -> str:
    """How the sessions under attack start; the hub is told to start none the other way."""
    return str(request.param)


@pytest.fixture
async def findings(
    start_hub: Callable[..., HubProcess], course: Path, work_directory: Path, start_kind: str
) -> Findings:
    place = work_directory / "course"
    shutil.copytree(course, place)
    shutil.copytree(place / "release" / ITEM, place / "hub-release" / ITEM)
    source = next((place / "source" / ITEM).glob("*.py"))
    source.write_text(source.read_text() + f"\n# {SOURCE_NEEDLE}\n")
    runtime = work_directory / "run"
    hub = start_hub(place, settings={"hub.runtime_dir": str(runtime), **_settings(start_kind)})
    await _start_sessions(hub, ("alice", "mallory"), start_kind)
    neighbour = place / "hub-notebooks" / "alice" / ITEM / "diary.txt"
    neighbour.write_text(NEEDLE)
    neighbour.chmod(0o666)
    found = await _look_around(hub, _hints(place, neighbour, runtime, hub.port))
    return Findings(found, hub, neighbour, runtime)


def _settings(start_kind: str) -> dict[str, object]:
    return {"limits.warm_environments": 1 if start_kind == "warm" else 0}


async def _start_sessions(hub: HubProcess, users: Sequence[str], start_kind: str) -> None:
    """Start a session of each; all but the first are sure to start in the way asked for."""
    for number, user in enumerate(users):
        before = _warm_starts(hub)
        with hub.client({"X-Remote-User": user}) as client:
            client.post(f"/start-edit-deep/{ITEM}").raise_for_status()
        if start_kind == "cold":
            assert _warm_starts(hub) == 0
        elif number:
            assert _warm_starts(hub) == before + 1
        else:
            await until(lambda: "is ready" in _supervisor_log(hub))


def _warm_starts(hub: HubProcess) -> int:
    return _supervisor_log(hub).count("started warm")


def _supervisor_log(hub: HubProcess) -> str:
    return (hub.course / ".mograder" / "supervisor.log").read_text()


def _hints(course: Path, neighbour: Path, runtime: Path, port: int) -> dict[str, Any]:
    sockets = [str(path) for path in runtime.rglob("*.sock")]
    assert len(sockets) == 3, "two sessions and the supervisor"
    return {
        "paths": [str(course), str(course / "hub-notebooks"), str(runtime), str(neighbour.parent)],
        "files": [
            str(neighbour),
            str(course / ".mograder" / "hub.db"),
            str(course / "mograder.toml"),
            *(str(path) for path in (course / "source").rglob("*.py")),
            "/proc/1/environ",
            f"/proc/{os.getpid()}/environ",
            "/etc/shadow",
            "/root/.ssh/id_rsa",
        ],
        "needles": [NEEDLE, SECRET, SOURCE_NEEDLE],
        "ports": [port, 22, 5432],
        "sockets": sockets,
    }


async def _look_around(hub: HubProcess, hints: dict[str, Any]) -> dict[str, Any]:
    code = inspect.getsource(probe).replace("from __future__ import annotations", "")
    code += f"\nimport json\nprint('FOUND' + json.dumps(look({hints!r})))"
    address = Address(
        base_url=f"{hub.url}/edit/user/mallory/{ITEM}", headers={"X-Remote-User": "mallory"}
    )
    async with open_editor(address, run=False) as editor:
        await editor.edit(0, code)
        said = editor.progress.console[editor.cells.ids[0]]
    found: dict[str, Any] = json.loads(said.partition("FOUND")[2].partition("\n")[0])
    return found


async def test_a_hostile_kernel_finds_nothing_and_reaches_nobody(findings: Findings) -> None:
    found = findings.found
    _sees_no_file_of_others(found)
    _knows_no_secret(found)
    _reaches_no_network(found)
    _has_no_power(found)
    _writes_only_where_it_may(found)
    assert findings.neighbour.read_text() == NEEDLE


def _sees_no_file_of_others(found: dict[str, Any]) -> None:
    refused = {**found["paths"], **found["files"]}
    refused.pop("/proc/1/environ")  # its own first process; see below
    assert {path: said for path, said in refused.items() if not said.startswith("refused")} == {}
    assert found["needles"] == []
    assert SECRET not in found["files"]["/proc/1/environ"]


def _knows_no_secret(found: dict[str, Any]) -> None:
    assert SECRET not in json.dumps(found)
    allowed = {"HOME", "USER", "PATH", "LANG", "TMPDIR", "VIRTUAL_ENV", "PWD", "UV_CACHE_DIR"}
    allowed |= {"UV_OFFLINE", "MOGRADER_DASHBOARD", "LC_CTYPE", "OLDPWD"}
    names = {n for n in found["environment"] if not n.startswith(("XDG_", "MARIMO_", "MPL"))}
    assert names <= allowed
    for descriptor, target in found["descriptors"].items():
        assert not target.startswith("/") or target.startswith(
            ("/dev/", "/proc/", "/home/", "/tmp/")
        ), (
            descriptor,
            target,
        )


def _reaches_no_network(found: dict[str, Any]) -> None:
    reached = {**found["ports"], **found["sockets"], "outside": found["outside"]}
    assert all(said.startswith("refused") for said in reached.values()), reached
    assert found["interfaces"] == ["lo"]
    families = found["families"]
    assert families["1"].startswith("OK"), "AF_UNIX works"
    assert families["2"].startswith("OK"), "AF_INET works: the kernel itself needs loopback"
    for closed in ("40", "38", "17"):  # vsock, alg, packet
        assert families[closed].startswith("refused"), closed
    assert found["raw"].startswith("refused")


def _has_no_power(found: dict[str, Any]) -> None:
    assert found["uid"] == 1000
    status = found["capabilities"]
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert {name for name, result in found["calls"].items() if result >= 0} == set()
    assert found["nested"].startswith("refused")
    assert found["sysctl"].startswith("refused")
    assert len(found["processes"]) < 12, "only the sandbox's own processes are in sight"


def _writes_only_where_it_may(found: dict[str, Any]) -> None:
    private = {"/home/student", "/home/student/work", "/tmp", "/dev", "/dev/shm"}
    assert set(found["writable"]) <= private
    assert "/home/student/work" in found["writable"], "the workspace itself is writable (B24)"


async def test_the_process_runs_as_nobody_who_matters_on_the_host(
    start_hub: Callable[..., HubProcess], start_kind: str
) -> None:
    """Student code never runs as root; two students never share a uid when the hub is root."""
    hub = start_hub(settings=_settings(start_kind))
    shutil.copytree(hub.course / "release" / ITEM, hub.course / "hub-release" / ITEM)
    await _start_sessions(hub, ("carol", "alice", "bob"), start_kind)
    uids = [_uid(pid) for pid in _sessions_of(hub)]
    assert len(uids) >= 3, "and what marimo starts beside itself"
    assert 0 not in uids
    if os.geteuid() == 0:
        assert len(set(uids)) == 3


async def test_a_zygote_sees_nothing_of_anybodys_and_has_next_to_no_rights(
    start_hub: Callable[..., HubProcess],
) -> None:
    """security.md: it has only SETUID and SETGID, and sees no workspace."""
    hub = start_hub(settings=_settings("warm"))
    shutil.copytree(hub.course / "release" / ITEM, hub.course / "hub-release" / ITEM)
    await _start_sessions(hub, ("alice",), "warm")
    (zygote,) = [
        pid for pid in _descendants(hub.pid) if _arguments(pid)[1:2] == ["/opt/mograder/zygote.py"]
    ]
    _has_next_to_no_rights(Path(f"/proc/{zygote}"))


def _has_next_to_no_rights(process: Path) -> None:
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    kept = (1 << 6 | 1 << 7) if os.geteuid() == 0 else 0
    for name in ("CapEff", "CapPrm", "CapBnd"):
        assert int(status[name], 16) == kept, name
    assert (status["NoNewPrivs"], status["Seccomp"], status["Threads"]) == ("1", "2", "1")
    assert process.stat().st_uid != 0
    points = [line.split()[4] for line in (process / "mountinfo").read_text().splitlines()]
    assert not [point for point in points if "work" in point or "cache" in point], points
    assert SECRET.encode() not in (process / "environ").read_bytes()
    for space in ("net", "pid", "mnt", "ipc", "uts", "user"):
        ours = Path(f"/proc/self/ns/{space}").readlink()
        assert (process / "ns" / space).readlink() != ours, space
    opened = {str(link.readlink()) for link in (process / "fd").iterdir()}
    assert all(name.startswith(("socket:", "pipe:", "/dev/null")) for name in opened), opened
    assert len([name for name in opened if name.startswith("socket:")]) == 1, opened


def _sessions_of(hub: HubProcess) -> list[int]:
    """The python processes that stand in a workspace inside this hub's sandboxes."""
    below = [pid for pid in _descendants(hub.pid) if "python" in _arguments(pid)[0]]
    return [pid for pid in below if str(Path(f"/proc/{pid}/cwd").readlink()) == WORKSPACE]


def _descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *_descendants(child)]
    return found


def _arguments(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")


def _uid(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid

"""One hostile session beside another student's session, a hub and the host's files."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.security import probes
from tests.security.probes.attempts import ATTEMPTS
from tests.support.hub import HubProcess
from tests.support.identity import SECRET, instructor_token, token
from tests.support.marimo import open_editor
from tests.support.process import accepts
from tests.support.shared_hub import (
    TINY,
    SharedCaches,
    editor,
    module_hub,
    servers_of,
    start,
    until,
    workspace,
)

NEEDLE = "the-neighbours-own-words-8f1c"
SOURCE_NEEDLE = "a-line-of-the-solution-2b7d"
CANARY = "what-the-search-must-find-77e0"
IPC_KEY = 0x6D6F6772
LIMITS = {"processes": 200, "open_files": 600, "file_size_mb": 48, "tmp_mb": 64}
OUTSIDE = ("192.0.2.1", "169.254.169.254", "8.8.8.8", "2001:db8::1", "fe80::1")
SPACES = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
_IPC_CREATE, _IPC_REMOVE = 0o1000, 0

PLANT = """\
import ctypes, os, socket
for _place in ("/tmp", "/dev/shm", "/home/student"):
    with open(_place + "/{name}", "w") as _file:
        _file.write("{needle}")
_libc = ctypes.CDLL(None)
_kept = (_libc.shmget({key}, 4096, 0o1666), _libc.msgget({key}, 0o1666))
named = socket.socket(socket.AF_UNIX)
named.bind("\\0{name}")
named.listen()
listening = socket.create_server(("127.0.0.1", {port}))
print("PLANTED", _kept)
"""


@dataclass(frozen=True)
class Attack:
    """The results of the hostile session, by attempt, and its surroundings."""

    kind: str
    found: dict[str, str]
    hints: dict[str, Any]
    hub: HubProcess

    def unsandboxed(self) -> dict[str, str]:
        """Return the results of the same attempts in an unsandboxed process of root."""
        script = f"{probes.source()}\nimport json\n"
        script += f"hints = {self.hints!r}\n"
        script += "print(json.dumps(make_attempts(hints, WORK_WITHOUT_A_SANDBOX)))"
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
        )
        found: dict[str, str] = json.loads(done.stdout)
        return found


@contextlib.contextmanager
def staged(kind: str, shared: SharedCaches) -> Iterator[Attack]:
    """Start a hub whose sessions start in this way, and run all attempts in one of them."""
    settings: dict[str, object] = {f"limits.{name}": value for name, value in LIMITS.items()}
    settings["limits.warm_environments"] = 8 if kind == "warm" else 0
    with (
        module_hub(f"sandbox-{kind}", shared, prepare=_hide_a_solution, settings=settings) as hub,
        _on_the_host() as host,
    ):
        if kind == "warm":
            until(lambda: "is ready" in supervisor_log(hub))
        for user in ("alice", "mallory"):
            before = _warm_starts(hub)
            start(hub, user)
            assert _warm_starts(hub) == before + (kind == "warm"), supervisor_log(hub)[-3000:]
        diary = workspace(hub, "alice") / "diary.txt"
        diary.write_text(NEEDLE)
        diary.chmod(0o666)
        hints = {**_hints(hub, diary), **host}
        found = asyncio.run(_plant_and_look(hub, hints))
        yield Attack(kind, found, hints, hub)


def supervisor_log(hub: HubProcess) -> str:
    return (hub.course / ".mograder" / "supervisor.log").read_text()


def supervisor_pid(hub: HubProcess) -> int:
    """The supervisor of a hub that started its own."""
    for child in psutil.Process(hub.pid).children():
        if "mograder.sandbox.supervisor.server" in child.cmdline():
            return child.pid
    raise AssertionError("there is no supervisor")


def zygotes(hub: HubProcess) -> list[int]:
    below = psutil.Process(hub.pid).children(recursive=True)
    return [child.pid for child in below if _is_zygote(child)]


def sessions(hub: HubProcess) -> list[int]:
    """Return the processes of this hub's sandboxes whose directory is a workspace."""
    return [
        child.pid
        for child in psutil.Process(hub.pid).children(recursive=True)
        if _stands_at(child, "/home/student/work") and "python" in child.name()
    ]


def _stands_at(process: psutil.Process, place: str) -> bool:
    with contextlib.suppress(OSError, psutil.Error):
        return str(Path(f"/proc/{process.pid}/cwd").readlink()) == place
    return False


def _is_zygote(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()[1:2] == ["/opt/mograder/programs/zygote.py"]
    return False


def _warm_starts(hub: HubProcess) -> int:
    return supervisor_log(hub).count("started warm")


def _hide_a_solution(course: Path) -> None:
    source = course / "source" / TINY
    source.mkdir(parents=True)
    (source / f"{TINY}.py").write_text(f"# {SOURCE_NEEDLE}\n")


@contextlib.contextmanager
def _on_the_host() -> Iterator[dict[str, Any]]:
    """Create files, a socket and shared memory on the host, and yield their names."""
    name = f"mograder-planted-{os.getpid()}"
    files = [Path(tempfile.gettempdir()) / name, Path("/dev/shm") / name]
    libc = ctypes.CDLL(None)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(f"\0host-{name}")
        listener.listen()
        key = IPC_KEY + os.getpid()
        segment = libc.shmget(key, 4096, _IPC_CREATE | 0o666)
        assert segment >= 0
        stack.callback(libc.shmctl, segment, _IPC_REMOVE, None)
        for file in files:
            file.write_text(NEEDLE)
            stack.callback(file.unlink)
        yield {
            "planted": [*map(str, files), f"/home/student/{name}", f"/tmp/{name}"],
            "abstract_sockets": [f"host-{name}", name],
            "ipc_key": key,
            "name": name,
        }


def _hints(hub: HubProcess, diary: Path) -> dict[str, Any]:
    course, runtime = hub.course, hub.course.parent / "run"
    sockets = [str(path) for path in runtime.rglob("*") if path.is_socket()]
    assert len(sockets) == 3, "two sessions and the supervisor"
    outside = [os.getpid(), hub.pid, supervisor_pid(hub), *zygotes(hub), *_of_alice()]
    secrets = [NEEDLE, SECRET, SOURCE_NEEDLE, *_tokens("alice", "mallory")]
    return {
        "directories": [
            *map(str, (course, course / "hub-notebooks", course / ".mograder", runtime)),
            *map(str, (diary.parent, runtime / "s")),
        ],
        "files": [
            *map(str, (diary, course / ".mograder" / "hub.db", course / "mograder.toml")),
            *map(str, (course / "source").rglob("*.py")),
            *(f"/proc/{pid}/environ" for pid in (os.getpid(), hub.pid)),
            *(str(path) for path in Path.home().iterdir() if path.is_file()),
            *("/etc/shadow", "/etc/machine-id", "/root/.ssh/id_rsa", "/var/log/dpkg.log"),
        ],
        "sockets": sockets,
        "ports": [hub.port, *(port for port in (22, 80, 5432) if accepts(port))],
        "addresses": _own_addresses(),
        "outside": OUTSIDE,
        "pids": outside,
        "namespaces": [_space(pid, kind) for pid in outside for kind in SPACES],
        "names": [socket.gethostname()],
        "foreign_words": ["user/alice", str(course)],
        "reversed_secrets": [secret[::-1] for secret in secrets],
        "reversed_canary": CANARY[::-1],
        "own_place": "/tmp",
        "neighbours_port": 4711,
        "rlimits": {
            "RLIMIT_NPROC": LIMITS["processes"],
            "RLIMIT_NOFILE": LIMITS["open_files"],
            "RLIMIT_FSIZE": LIMITS["file_size_mb"] << 20,
            "RLIMIT_CORE": 0,
        },
    }


def _of_alice() -> list[int]:
    (server,) = servers_of("alice")
    return [server.pid, *(child.pid for child in server.children(recursive=True))]


def _tokens(*users: str) -> list[str]:
    """The part of each token that is a secret."""
    return [text.rpartition(":")[2] for text in (*map(token, users), instructor_token())]


def _own_addresses() -> list[str]:
    kinds = (socket.AF_INET, socket.AF_INET6)
    every = [a for addresses in psutil.net_if_addrs().values() for a in addresses]
    return sorted({a.address.partition("%")[0] for a in every if a.family in kinds})


def _space(pid: int, kind: str) -> str:
    return str(Path(f"/proc/{pid}/ns/{kind}").readlink())


async def _plant_and_look(hub: HubProcess, hints: dict[str, Any]) -> dict[str, str]:
    plant = PLANT.format(
        name=hints["name"], needle=NEEDLE, key=hints["ipc_key"], port=hints["neighbours_port"]
    )
    assert "PLANTED" in await _printed(hub, "alice", plant)
    hints["ports"].append(hints["neighbours_port"])
    look = f"{probes.source()}\nimport json\nhints = {hints!r}\n"
    look += "canary = hints['reversed_canary'][::-1]\n"
    look += "print('FOUND' + json.dumps(make_attempts(hints, list(ATTEMPTS))))"
    said = await _printed(hub, "mallory", look)
    assert "FOUND" in said, said[-3000:]
    found: dict[str, str] = json.loads(said.partition("FOUND")[2].partition("\n")[0])
    assert found.keys() == ATTEMPTS.keys()
    return found


async def _printed(hub: HubProcess, user: str, code: str) -> str:
    async with open_editor(editor(hub, user), run=False) as tab:
        await tab.edit(0, code)
        return tab.progress.console.get(tab.cells.ids[0], "") + str(tab.progress.outputs)


def memory_holds(pid: int, words: Sequence[str]) -> list[str]:
    """Which of these words the memory of a process holds, looked at by the host's root."""
    found: set[str] = set()
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            area, rights, *_ = line.split()
            start, end = (int(number, 16) for number in area.split("-"))
            with contextlib.suppress(OSError):
                data = os.pread(memory.fileno(), end - start, start) if "r" in rights else b""
                found |= {word for word in words if word.encode() in data}
    return sorted(found)

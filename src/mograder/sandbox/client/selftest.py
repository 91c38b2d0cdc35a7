"""Trials of sandboxes: what a session can reach of the host, and whether sessions start warm.

Their sandboxes are created by the same code as a student's. Inspecting the kernel's version and
profiles would prove nothing (security.md, "The sandbox").
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import MograderError, RemoteFailed
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.environments.record import RECORD, EnvironmentRecord, make_own_environment
from mograder.sandbox.protocol import (
    COMMANDS_SLOT,
    Arrived,
    Ended,
    Limits,
    Mode,
    News,
    RunCommand,
    StartSession,
)

_SECONDS = 30.0
_LIMITS = Limits(processes=64, open_files=256, file_size_mb=16, tmp_mb=16)
_WARM_SECONDS = 60.0
_WARM_LIMITS = Limits(processes=128, open_files=512, file_size_mb=16, tmp_mb=64)
_ATTEMPTS = 2
_SAYS, _END = "PROOF ", "PROOF end"
_LOOK = """\
#!/bin/sh
for path in {hidden}; do
    if [ -e "$path" ]; then echo "PROOF file $path"; fi
done
while read -r name rest; do
    case "$name" in
        Inter-*|face*|lo:*) ;;
        *) echo "PROOF network $name" ;;
    esac
done < /proc/net/dev
for process in /proc/[0-9]*; do
    if [ "$process" != "/proc/$$" ]; then
        read -r name < "$process/comm" && echo "PROOF process $name"
    fi
done
if (echo x > /usr/{token}) 2> /dev/null; then echo "PROOF write /usr"; fi
if env | grep -q MOGRADER_HUB; then echo "PROOF secret MOGRADER_HUB"; fi
echo "PROOF end"
"""
_OWN_PROCESSES = frozenset({"bwrap", "python", "sh"})
"""The names of the sandbox's own processes: its first one and the script's."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A part of the host that a session could reach: its kind and its name."""

    what: str
    which: str


async def look_from_inside(
    client: SupervisorClient, place: Path, hidden: Sequence[Path]
) -> tuple[Seen, ...]:
    """Run a session that looks for ``hidden`` files, a network and others' processes.

    Return what it could reach; an empty tuple is a pass. ``place`` is a directory for the session's
    files. The client's callbacks are replaced: ends of other sessions are not reported.

    Raises:
        RemoteFailed: The session's report is not complete.
        SandboxUnavailable: It cannot be started.
    """
    ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
    request = await asyncio.to_thread(_proof, place, hidden)

    def hear(news: Ended) -> None:
        if news.session_id == request.session_id and not ended.done():
            ended.set_result(news)

    client.watch(hear, lambda: None)
    await client.start(request)
    try:
        async with asyncio.timeout(_SECONDS):
            log = (await ended).log_tail
    except TimeoutError as error:
        raise RemoteFailed("A session that only looks around did not end.") from error
    finally:
        await client.stop(request.session_id)
    return read_report(log)


def read_report(log: str) -> tuple[Seen, ...]:
    """Return what a session's log says it could reach; raises RemoteFailed without an end line."""
    lines = [line for line in log.splitlines() if line.startswith(_SAYS)]
    if _END not in lines:
        said = " ".join(log.split())[-500:]
        raise RemoteFailed(f"A session that only looks around broke off: {said or 'it is silent'}")
    found = (line.removeprefix(_SAYS).partition(" ") for line in lines if line != _END)
    return tuple(
        Seen(what, which)
        for what, _, which in found
        if not (what == "process" and which in _OWN_PROCESSES)
    )


async def uv_version(client: SupervisorClient, place: Path) -> str:
    said: list[str] = []
    await asyncio.to_thread(place.mkdir, 0o700)
    command = RunCommand(argv=("uv", "--version"), directory=place, timeout=_SECONDS)
    status = await client.run(command, said.append)
    words = " ".join(line.strip() for line in said if line.strip())
    if status != 0:
        raise RemoteFailed(f"uv does not run in a sandbox: {words or f'exit status {status}'}")
    return words


async def refusal_of_warm_starts(client: SupervisorClient, place: Path) -> str:
    """Start a session warm and end it; return why that is not possible, or "".

    Warm starts need more of the kernel than cold ones, which a container may forbid alone.
    ``place`` is a directory for its files; the supervisor must keep zygotes. The client's callbacks
    are replaced. It takes some seconds: marimo is imported.

    Raises: :class:`~mograder.core.errors.MograderError` if no session can be started at all.
    """
    arrived: asyncio.Future[Arrived] = asyncio.get_running_loop().create_future()
    notebook = "import marimo\n\napp = marimo.App()\n"
    request = await asyncio.to_thread(_trial, "trial", place, notebook, _WARM_LIMITS)
    await asyncio.to_thread(make_own_environment, request.environment)

    def hear(news: News) -> None:
        if isinstance(news, Arrived) and not arrived.done():
            arrived.set_result(news)

    client.watch(lambda _: None, lambda: None, hear)
    for _ in range(_ATTEMPTS):  # on a busy machine the first one may end before the import does
        if await client.warm(request.environment):
            break
    else:
        return "no process can be kept from which sessions are forked"
    try:
        await client.start(request)
        async with asyncio.timeout(_WARM_SECONDS):
            news = await arrived
    except TimeoutError:
        return "the start was not reported"
    finally:
        with contextlib.suppress(MograderError):
            await client.stop(request.session_id)
    return "" if news.warm else news.fallback or "the start was cold"


def _proof(place: Path, hidden: Sequence[Path]) -> StartSession:
    """Make a workspace, and an environment whose python is the shell script that reports."""
    request = _trial("proof", place, "", _LIMITS)
    environment = request.environment
    for directory in (environment / "env" / "bin", environment / "caches"):
        directory.mkdir(parents=True)
    record = EnvironmentRecord(key="proof", python="", marimo="", interpreter_roots=())
    (environment / RECORD).write_text(record.model_dump_json())
    names = " ".join(shlex.quote(str(path)) for path in hidden) or "/nothing"
    program = environment / "env" / "bin" / "python"
    program.write_text(_LOOK.format(hidden=names, token=secrets.token_hex(8)))
    program.chmod(0o755)
    return request


def _trial(word: str, place: Path, notebook: str, limits: Limits) -> StartSession:
    """Make a workspace below ``place`` with a notebook of this text; return the request.

    ``word`` names the session and its notebook. The environment is still to be made.
    """
    workspace = place / "workspace"
    workspace.mkdir(parents=True)
    (workspace / f"{word}.py").write_text(notebook)
    return StartSession(
        session_id=f"{word}-{secrets.token_hex(8)}"[:16],
        mode=Mode.EDIT,
        directory=workspace,
        notebook=f"{word}.py",
        environment=place / "environment",
        base_url=f"/{word}",
        uid_slot=COMMANDS_SLOT,
        limits=limits,
    )

"""The list of attempts, and how they are made: each in a child of its own, within seconds.

An attempt is named so that "student code NAME" is a sentence. It returns what it got hold of:
nothing, or an ``OSError``, means that it was refused. Anything else is a finding.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

Hints = dict[str, Any]
Action = Callable[[Hints], object]

ATTEMPTS: dict[str, Action] = {}
WORK_WITHOUT_A_SANDBOX: list[str] = []
"""Those that must get something where nothing stops them: they prove that they look right."""

SECONDS = 60.0
SAID_BYTES = 3000


def attempt(name: str, *, unsandboxed: bool = False) -> Callable[[Action], Action]:
    """Put a function on the list."""

    def register(action: Action) -> Action:
        ATTEMPTS[name] = action
        if unsandboxed:
            WORK_WITHOUT_A_SANDBOX.append(name)
        return action

    return register


def make_attempts(hints: Hints, names: list[str]) -> dict[str, str]:
    """Make all of them; returns what each got, "" where it was refused."""
    return {name: made_in_a_child(ATTEMPTS[name], hints) for name in names}


def made_in_a_child(action: Action, hints: Hints) -> str:
    """A child has all that we have, and may be killed or hang without harm."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        os.write(write_end, outcome(action, hints).encode()[:SAID_BYTES])
        os._exit(0)
    os.close(write_end)
    said = b""
    deadline = time.monotonic() + SECONDS
    while select.select([read_end], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(read_end, SAID_BYTES)
        if not part:
            break
        said += part
    else:
        os.kill(pid, signal.SIGKILL)
        said = b"hung"
    os.close(read_end)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return said.decode() if said or status == 0 else f"died with status {status}"


def outcome(action: Action, hints: Hints) -> str:
    """Return the result of an attempt as text."""
    try:
        got = action(hints)
    except OSError:
        return ""
    except Exception as error:  # noqa: BLE001 - a probe that breaks must be seen, not end the rest
        return f"the probe broke: {error!r}"
    return repr(got) if got else ""


def that_work(tries: Mapping[str, Callable[[], object]]) -> dict[str, str]:
    """Make several, and return those that nothing refused."""
    found = {}
    for name, act in tries.items():
        try:
            found[name] = repr(act())[:200]
        except OSError:
            continue
    return found


def read_some(path: str) -> bytes:
    """Read the beginning of a file, without waiting for a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(descriptor, 300)
    finally:
        os.close(descriptor)


def visible_pids() -> list[int]:
    """Every process in sight."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def statuses() -> dict[int, dict[str, str]]:
    """The kernel's own words on every process in sight, but for one that just ended."""
    found = {}
    for pid in visible_pids():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found[pid] = status_of(pid)
    return found


def command_of(pid: int) -> str:
    """Return the command line of a process."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def status_of(pid: int | str) -> dict[str, str]:
    """The kernel's own words on a process."""
    with open(f"/proc/{pid}/status") as file:
        pairs = [line.split(":", 1) for line in file]
    return {name: value.strip() for name, value in pairs}

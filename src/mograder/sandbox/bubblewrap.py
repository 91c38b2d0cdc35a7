"""Run a plan in bubblewrap, or plainly where the administrator switched the sandbox off.

Only the supervisor calls this. A sandbox ends by SIGKILL to its first process through a pidfd:
student code can stop everything else, but not that (sessions.md, "What bites").
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from mograder.core.errors import SandboxUnavailable
from mograder.sandbox.mounts import MountSpace, Sources
from mograder.sandbox.ownership import give_to
from mograder.sandbox.policy import Bind, Host, Plan, bubblewrap_arguments
from mograder.sandbox.process import Child, Launch
from mograder.sandbox.seccomp import filter_program

_INFO_LIMIT = 4096
_CHILD_PID = re.compile(rb'"child-pid": (\d+)\b[^\d]')
_PR_SET_CHILD_SUBREAPER = 36
_KEYCTL_JOIN_SESSION_KEYRING = 1
_KEYCTL_NUMBERS = {"x86_64": 250, "aarch64": 219}


class Sandboxed(Protocol):
    """A running plan: ``exited`` resolves to its status."""

    exited: asyncio.Future[int]

    def end_gently(self) -> None:
        """Ask the program to finish what it is writing and stop."""
        ...

    def end(self) -> None:
        """Kill everything in it, at once and whatever it does."""
        ...


class Runner(Protocol):
    """Starts plans; ``kind`` is what ``hello`` answers."""

    @property
    def kind(self) -> str: ...

    def start(
        self, plan: Plan, *, uid_slot: int, keep: int | None, on_output: Callable[[bytes], None]
    ) -> Sandboxed: ...

    def reach(self, path: Path) -> None:
        """Bring a path of the hub's into sight, should this process have covered it."""
        ...

    def close(self) -> None:
        """Put away what was made on the host; nothing runs any more."""
        ...


@dataclass(frozen=True, slots=True)
class BubblewrapRunner:
    """Every plan in a sandbox of its own.

    ``uid_base`` is the host uid of slot 0 (builds) when the supervisor is root, else None: then
    all sandboxes share its uid and rely on their namespaces.
    """

    program: str
    host: Host
    sources: Sources
    uid_base: int | None
    kind: str = "bubblewrap"

    def start(
        self, plan: Plan, *, uid_slot: int, keep: int | None, on_output: Callable[[bytes], None]
    ) -> Sandboxed:
        """Start the plan as the student of this slot; ``keep`` is a descriptor to hand in.

        Raises: :class:`SandboxUnavailable` when bubblewrap cannot be executed.
        """
        uid = None if self.uid_base is None else self.uid_base + uid_slot
        # A supervisor lives for months: whatever fails on the way, nothing stays open or mounted.
        with contextlib.ExitStack() as failed, contextlib.ExitStack() as handed_in:
            binds = tuple(self._usable(bind, uid, failed) for bind in plan.binds)
            info_read, info_write = os.pipe()
            failed.callback(os.close, info_read)
            handed_in.callback(os.close, info_write)
            filter_fd = _memory_file(filter_program())
            handed_in.callback(os.close, filter_fd)
            arguments = bubblewrap_arguments(
                replace(plan, binds=binds),
                self._shared_host(),
                info_fd=info_write,
                seccomp_fd=filter_fd,
            )
            kept = () if keep is None else (keep,)
            launch = Launch(
                (self.program, *arguments), uid=uid, descriptors=(info_write, filter_fd, *kept)
            )
            try:
                child = Child(launch, on_output)
            except OSError as error:
                raise SandboxUnavailable(f"bubblewrap cannot be started: {error}.") from error
            failed.pop_all()
        sandbox = _Bubblewrapped(child, info_read)
        borrowed = [bind.source for bind in binds if bind.writable]
        sandbox.exited.add_done_callback(lambda _: self._release(borrowed))
        return sandbox

    def reach(self, path: Path) -> None:
        return None

    def close(self) -> None:
        self.sources.close()

    def _usable(self, bind: Bind, uid: int | None, failed: contextlib.ExitStack) -> Bind:
        if not bind.writable:
            return replace(bind, source=self.sources.shared(bind.source))
        if uid is not None:
            give_to(bind.source, uid)
        source = self.sources.own(bind.source)
        failed.callback(self.sources.release, source)
        return replace(bind, source=source)

    def _shared_host(self) -> Host:
        return replace(
            self.host,
            etc=self.sources.shared(self.host.etc),
            build_etc=self.sources.shared(self.host.build_etc),
        )

    def _release(self, borrowed: list[Path]) -> None:
        for source in borrowed:
            self.sources.release(source)


class _Bubblewrapped:
    """bwrap's monitor outside, its first process inside, the program below that.

    It has ended when the first process is gone, and with it, by the kernel's rule for pid
    namespaces, everything that was in there; the monitor's end alone promises nothing.
    """

    def __init__(self, child: Child, info: int) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = loop.create_future()
        self._child = child
        self._info = info
        self._told = b""
        self._first = -1
        self._first_pid = 0
        self._unwanted = False
        os.set_blocking(info, False)
        loop.add_reader(info, self._read_info)
        child.exited.add_done_callback(lambda _: self._monitor_gone())

    def _read_info(self) -> None:
        """bwrap tells the pid of the sandbox's first process as soon as it exists.

        It goes on writing after that, so the pipe is read to its end.
        """
        try:
            data = os.read(self._info, _INFO_LIMIT)
        except BlockingIOError:
            return
        self._told += data[: _INFO_LIMIT - len(self._told)]
        found = _CHILD_PID.search(self._told)
        if found and self._first < 0:
            self._first_pid = int(found[1])
            with contextlib.suppress(ProcessLookupError):
                self._first = os.pidfd_open(self._first_pid)
            if self._unwanted:
                self.end()
        if not data:
            self._stop_reading()

    def _stop_reading(self) -> None:
        if self._info >= 0:
            asyncio.get_running_loop().remove_reader(self._info)
            os.close(self._info)
            self._info = -1

    def end_gently(self) -> None:
        # A pid may have been reused between looking and signalling: the pidfd is taken first,
        # and what it names must still be the first process's child.
        programs = _children(self._first_pid) if self._first >= 0 else []
        for pid in programs:
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                if pid in _children(self._first_pid):
                    signal.pidfd_send_signal(descriptor, signal.SIGTERM)
                os.close(descriptor)
        if self._first < 0:
            # Not by its monitor's death: a first process that nobody knows yet would stay.
            self._unwanted = True
        elif not programs:  # nothing runs in there that could have something to save
            self.end()

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._first >= 0:
                signal.pidfd_send_signal(self._first, signal.SIGKILL)
            else:  # it never came up; its monitor takes what there is of it along
                self._child.signal(signal.SIGKILL)

    def _monitor_gone(self) -> None:
        if self._info >= 0:
            self._read_info()  # the last words, if the loop has not come to them yet
            self._stop_reading()
        if self._first < 0:
            self.exited.set_result(self._child.exited.result())
            return
        self.end()
        asyncio.get_running_loop().add_reader(self._first, self._first_gone)

    def _first_gone(self) -> None:
        asyncio.get_running_loop().remove_reader(self._first)
        os.close(self._first)
        self._first = -1
        with contextlib.suppress(ChildProcessError):  # ours since its monitor is gone
            os.waitpid(self._first_pid, os.WNOHANG)
        self.exited.set_result(self._child.exited.result())


@dataclass(frozen=True, slots=True)
class PlainRunner:
    """No sandbox: ``[security] use_bubblewrap = false``, or ``--dev`` without bubblewrap.

    Even then student code never runs as root: a supervisor that is root gives each student a
    uid of their own, counted from ``uid_base``, and ``space`` lets those uids walk to what they
    need below private directories. Both are None for a service user.
    """

    uid_base: int | None
    space: MountSpace | None
    kind: str = "none"

    def start(
        self, plan: Plan, *, uid_slot: int, keep: int | None, on_output: Callable[[bytes], None]
    ) -> Sandboxed:
        """Start the plan as it is, in a process group of its own.

        Raises: :class:`SandboxUnavailable` when the program cannot be executed.
        """
        uid = None if self.uid_base is None else self.uid_base + uid_slot
        for bind in plan.binds:
            self.reach(bind.source)
            if bind.writable and uid is not None:
                give_to(bind.source, uid)
        launch = Launch(
            plan.argv,
            dict(plan.variables),
            str(plan.directory),
            uid=uid,
            descriptors=() if keep is None else (keep,),
        )
        try:
            return _Plain(Child(launch, on_output))
        except OSError as error:
            raise SandboxUnavailable(f"{plan.argv[0]} cannot be started: {error}.") from error

    def reach(self, path: Path) -> None:
        if self.space is not None:
            self.space.open_way(path)

    def close(self) -> None:
        if self.space is not None:
            self.space.close()


class _Plain:
    def __init__(self, child: Child) -> None:
        self.exited = child.exited
        self._child = child

    def end_gently(self) -> None:
        self._child.signal(signal.SIGTERM)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if not self.exited.done():
                os.killpg(self._child.pid, signal.SIGKILL)


def find_bubblewrap() -> str:
    """Return bwrap's path. Raises: :class:`SandboxUnavailable` with the remedy."""
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxUnavailable(
            "bubblewrap (bwrap) is not installed, and student code runs only in a sandbox.",
            hint="Install it (apt install bubblewrap), or set [security] use_bubblewrap = false "
            "to run without any protection.",
        )
    return program


def system_links() -> tuple[tuple[tuple[str, str], ...], tuple[Path, ...]]:
    """Return the top-level links into ``/usr`` and, on an unmerged system, the directories."""
    links: list[tuple[str, str]] = []
    directories: list[Path] = []
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/") / name
        if path.is_symlink():
            links.append((f"/{name}", str(path.readlink())))
        elif path.is_dir():
            directories.append(path)
    return tuple(links), tuple(directories)


def adopt_orphans() -> None:
    """Become the parent of what a sandbox's monitor leaves behind, to reap it."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def leave_the_keyring() -> None:
    """Join a fresh session keyring, so that no sandbox descends from the login's own."""
    number = _KEYCTL_NUMBERS.get(os.uname().machine)
    if number is not None:
        ctypes.CDLL(None).syscall(number, _KEYCTL_JOIN_SESSION_KEYRING, None, 0, 0, 0)


def _children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _memory_file(data: bytes) -> int:
    descriptor = os.memfd_create("seccomp")
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor

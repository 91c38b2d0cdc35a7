"""Runs a plan in bubblewrap, or directly where the administrator switched the sandbox off.

Only the supervisor uses this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from mograder.core.context_managers import open_pipes
from mograder.core.errors import SandboxUnavailable
from mograder.core.files.disk import closing_fd
from mograder.sandbox.inside.enter_sandbox import leave_keyring, libc
from mograder.sandbox.isolation.bwrap_process import (
    BwrapProcess,
    Child,
    Echo,
    Held,
    begin_elsewhere,
)
from mograder.sandbox.isolation.mounts import MountSpace, Sources, give_to
from mograder.sandbox.isolation.namespace_helper import NamespaceHelper
from mograder.sandbox.isolation.namespaces import NESTED, SETFCAP, Founded, Joined, Launch
from mograder.sandbox.isolation.policy import Bind, Host, Plan, bubblewrap_arguments, held
from mograder.sandbox.isolation.seccomp import filter_program

_PR_SET_CHILD_SUBREAPER = 36

YARD_UIDS = 65_536
"""Number of uid slots in a zygote group; sessions of higher slots start cold."""

_log = logging.getLogger("mograder.supervisor")


class Sandboxed(Protocol):
    """A running plan; ``exited`` resolves to its exit status."""

    exited: asyncio.Future[int]

    def end_gently(self) -> None:
        """Send SIGTERM to the program, so that it can save and stop."""
        ...

    def end(self) -> None:
        """Kill every process in it at once."""
        ...


@dataclass(frozen=True, slots=True)
class Start:
    """A plan to start as the user of ``uid_slot``; slot 0 is that of builds.

    ``on_output`` receives the program's output. The program inherits the ``descriptors``.
    ``settle`` is called with the host pid of the sandbox's first process before that runs any
    code; if it raises :class:`OSError`, the sandbox is ended. ``open_entry`` opens the
    ``cgroup.procs`` that the first process writes to, or returns None; the start raises its errors.
    """

    plan: Plan
    uid_slot: int
    on_output: Callable[[bytes], None]
    descriptors: tuple[int, ...] = ()
    settle: Callable[[int], None] = lambda _: None
    open_entry: Callable[[], int | None] = lambda: None

    @contextlib.contextmanager
    def entry(self) -> Iterator[int | None]:
        entry = self.open_entry()
        with contextlib.nullcontext() if entry is None else closing_fd(entry):
            yield entry


@dataclass(frozen=True, slots=True)
class BwrapRunner:
    """Runs every plan in its own sandbox.

    ``uid_base`` is the host uid of slot 0 (builds) when the supervisor is root, else None: then
    all sandboxes share its uid and rely on their namespaces. ``helper`` starts those in a
    zygote group; if None, the supervisor itself forks.
    """

    program: str
    host: Host
    sources: Sources
    uid_base: int | None
    helper: NamespaceHelper | None = None
    kind: str = "bubblewrap"

    def start(self, start: Start) -> Sandboxed:
        """Start a plan. Raises: :class:`SandboxUnavailable` when bubblewrap cannot be executed."""
        (info_read, info_write), (gate_read, gate_write) = open_pipes(2)
        try:
            with start.entry() as entry:
                wanted = Launch(
                    uid=self._uid(start.uid_slot), descriptors=start.descriptors, entry=entry
                )
                prepared = self._prepared(start.plan, wanted, info=info_write, gate=gate_read)
                with prepared as (launch, release):
                    child = Child(launch, start.on_output)
        except BaseException:
            os.close(info_read)
            os.close(gate_write)
            raise
        finally:
            os.close(info_write)
            os.close(gate_read)
        sandbox = BwrapProcess(child, info_read, start.settle, gate_write)
        sandbox.exited.add_done_callback(lambda _: release())
        return sandbox

    async def found(self, plan: Plan, on_output: Callable[[bytes], None]) -> Held:
        """Start a zygote group: a sandbox with a placeholder, in whose namespaces others nest.

        Raises: :class:`SandboxUnavailable` when the kernel refuses.
        """
        place = Founded(os.geteuid(), os.getegid(), 1)
        if self.uid_base is not None:
            place = Founded(self.uid_base, self.uid_base, YARD_UIDS)
        return await self._hold(plan, Launch(place=place), on_output)

    async def hold(self, start: Start, zygote_group: int, entry: int | None) -> Held:
        """Make a plan's sandbox in the zygote group of this pidfd, with only a placeholder in it.

        ``entry`` is an open ``cgroup.procs``; that cgroup is the root of the cgroups seen inside.
        Must not be cancelled: the sandbox would remain.

        Raises: :class:`SandboxUnavailable` when the kernel refuses.
        """
        kept = (SETFCAP,) if self.uid_base is None else ()
        place = Joined(zygote_group, NESTED, self.uid_inside(start.uid_slot), kept)
        wanted = Launch(uid=self._uid(start.uid_slot), place=place, entry=entry)
        return await self._hold(start.plan, wanted, start.on_output)

    def uid_inside(self, uid_slot: int) -> int:
        """Return the uid of a slot as seen inside a zygote group."""
        return 0 if self.uid_base is None else uid_slot

    def reach(self, path: Path) -> None:
        """Do nothing: no path of the hub is covered."""

    def give(self, directory: Path, uid_slot: int) -> None:
        """Make a slot's user the owner of a directory; blocks, walking its tree; raises OSError."""
        if (uid := self._uid(uid_slot)) is not None:
            give_to(directory, uid)

    def close(self) -> None:
        """Remove mounts and directories made on the host; call when no sandbox runs."""
        if self.helper is not None:
            self.helper.close()
        self.sources.close()

    def _uid(self, uid_slot: int) -> int | None:
        return None if self.uid_base is None else self.uid_base + uid_slot

    async def _hold(self, plan: Plan, wanted: Launch, on_output: Callable[[bytes], None]) -> Held:
        """Start a sandbox with a placeholder, in a zygote group through the helper if possible."""
        stdin, told = os.pipe()
        echo = Echo(on_output)
        try:
            wanted = replace(wanted, stdin=stdin, lend_output=True)
            with self._prepared(held(plan), wanted) as (launch, release):
                begun = None
                if self.helper is not None and isinstance(wanted.place, Joined):
                    begun = await begin_elsewhere(launch, self.helper)
                sandbox = Held(Child(launch, echo.hear, begun), told, echo)
        except BaseException:
            os.close(told)
            raise
        finally:
            os.close(stdin)
        sandbox.exited.add_done_callback(lambda _: release())
        return sandbox

    @contextlib.contextmanager
    def _prepared(
        self, plan: Plan, wanted: Launch, *, info: int | None = None, gate: int | None = None
    ) -> Iterator[tuple[Launch, Callable[[], None]]]:
        """Prepare a start of bubblewrap by the ``with`` block; yield the launch and the clean-up.

        ``wanted`` is the launch without bubblewrap's arguments and their descriptors; ``info``
        and ``gate`` are those of ``--info-fd`` and ``--block-fd``.

        Raises: :class:`SandboxUnavailable` where the start in the block fails.
        """
        # A supervisor runs for months: a failed start must leave nothing open or mounted.
        with contextlib.ExitStack() as failed, contextlib.ExitStack() as handed_in:
            binds = tuple(self._usable(bind, wanted.uid, failed) for bind in plan.binds)
            filter_fd = os.memfd_create("seccomp")
            handed_in.callback(os.close, filter_fd)
            os.pwrite(filter_fd, filter_program(), 0)
            etc = self.sources.shared(self.host.build_etc if plan.network else self.host.etc)
            arguments = bubblewrap_arguments(
                replace(plan, binds=binds),
                replace(self.host, etc=etc, build_etc=etc),
                info_fd=info,
                seccomp_fd=filter_fd,
                zygote_group=isinstance(wanted.place, Founded),
                block_fd=gate,
            )
            own = (fd for fd in (filter_fd, info, gate) if fd is not None)
            launch = replace(
                wanted,
                argv=(self.program, *arguments),
                descriptors=(*own, *wanted.descriptors),
                output_rate=plan.output_rate,
            )

            def release() -> None:
                for bind in binds:
                    if bind.writable:
                        self.sources.release(bind.source)

            try:
                yield launch, release
            except (OSError, subprocess.SubprocessError) as error:
                raise SandboxUnavailable(f"bubblewrap cannot be started: {error}.") from error
            failed.pop_all()

    def _usable(self, bind: Bind, uid: int | None, failed: contextlib.ExitStack) -> Bind:
        if not bind.writable:
            return replace(bind, source=self.sources.shared(bind.source))
        if uid is not None:
            give_to(bind.source, uid)
        source = self.sources.own(bind.source)
        failed.callback(self.sources.release, source)
        return replace(bind, source=source)


@dataclass(frozen=True, slots=True)
class PlainRunner:
    """Runs plans without a sandbox: ``use_bubblewrap = false``, or ``--dev`` without bubblewrap.

    Even then student code never runs as root: a supervisor that is root gives each student a
    separate uid, counted from ``uid_base``, and ``space`` lets those uids reach the files that
    they need below private directories. Both are None for a service user.
    """

    uid_base: int | None
    space: MountSpace | None
    kind: str = "none"

    def start(self, start: Start) -> Sandboxed:
        """Start a plan directly, in its own process group; ``settle`` is called after the start.

        Raises: :class:`SandboxUnavailable` when the program cannot be executed.
        """
        plan = start.plan
        uid = None if self.uid_base is None else self.uid_base + start.uid_slot
        for bind in plan.binds:
            self.reach(bind.source)
            if bind.writable and uid is not None:
                give_to(bind.source, uid)
        try:
            with start.entry() as entry:
                launch = Launch(
                    plan.argv,
                    dict(plan.variables),
                    str(plan.directory),
                    uid=uid,
                    descriptors=start.descriptors,
                    output_rate=plan.output_rate,
                    entry=entry,
                )
                child = Child(launch, start.on_output)
        except OSError as error:
            raise SandboxUnavailable(f"{plan.argv[0]} cannot be started: {error}.") from error
        sandbox = _Plain(child)
        try:
            start.settle(child.pid)
        except OSError as error:
            sandbox.end()
            raise SandboxUnavailable(f"A session cannot be given its limits: {error}.") from error
        return sandbox

    def reach(self, path: Path) -> None:
        """Let the students' uids reach a path, also one made after its directory was covered."""
        if self.space is not None:
            self.space.open_way(path)

    def give(self, directory: Path, uid_slot: int) -> None:
        if self.uid_base is not None:
            give_to(directory, self.uid_base + uid_slot)

    def close(self) -> None:
        if self.space is not None:
            self.space.close()


Runner = BwrapRunner | PlainRunner
"""Starts plans; ``kind`` is reported in the answer to ``hello``."""


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


_LEAST = (0, 8, 0)
"""The first version of bubblewrap that has all options of our plans (``--disable-userns``)."""

_VERSION_SECONDS = 20.0


def find_bubblewrap() -> str:
    """Return bwrap's path; a version that it does not tell is taken for new enough.

    Raises: :class:`SandboxUnavailable` with a hint if it is not installed or too old.
    """
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxUnavailable(
            "bubblewrap (bwrap) is not installed, and student code runs only in a sandbox.",
            hint="Install it (apt install bubblewrap), or set [security] use_bubblewrap = false "
            "to run without any protection.",
        )
    version = _version_of(program)
    if version and version < _LEAST:
        least, found = (".".join(map(str, each)) for each in (_LEAST, version))
        raise SandboxUnavailable(
            f"bubblewrap {least} or newer is needed, and {program} is {found}.",
            hint="Take a system that has it (Debian 12, Ubuntu 24.04, or later ones), or set "
            "[security] use_bubblewrap = false to run without any protection.",
        )
    return program


def _version_of(program: str) -> tuple[int, ...]:
    """Return the version of a bwrap, empty if it does not tell it."""
    try:
        asked = subprocess.run(
            (program, "--version"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.match(rb"bubblewrap (\d+)\.(\d+)(?:\.(\d+))?", asked.stdout)
    return tuple(int(each or 0) for each in found.groups()) if found else ()


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
    """Become the subreaper, the parent of processes that a sandbox's monitor leaves behind."""
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def leave_the_keyring() -> None:
    """Join a new session keyring, so that sandboxes do not share that of the login.

    Raises: :class:`OSError` where that fails, unless with EPERM or ENOSYS: a container often
    forbids keyrings, for the processes in our sandboxes as well.
    """
    try:
        leave_keyring()
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS):
            raise
        _log.warning("a new session keyring could not be joined: %s", error)

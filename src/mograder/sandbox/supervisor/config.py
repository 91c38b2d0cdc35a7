"""A supervisor's configuration, its log, and what it prepares on the host.

That is, among others, the synthetic ``/etc`` of a sandbox: enough to resolve names and load shared
libraries.

A supervisor that was killed while a session was starting may leave processes, which the next one
kills: ``--die-with-parent`` takes effect only some milliseconds after bubblewrap was started, and
without a sandbox there is none. Only processes that belong to a session have its listening socket
open, whatever their parents are.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import signal
import stat
import sys
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict
from uv import find_uv_bin

from mograder.core.errors import SandboxUnavailable
from mograder.core.files import file_lock, open_flags
from mograder.core.files.disk import closing_fd
from mograder.core.log import QuietHandler
from mograder.core.operating_system import account_name
from mograder.sandbox.inside import copy_programs
from mograder.sandbox.isolation.bwrap import (
    BwrapRunner,
    PlainRunner,
    Runner,
    find_bubblewrap,
    system_links,
)
from mograder.sandbox.isolation.mounts import MountSpace, Sources, give_to
from mograder.sandbox.isolation.namespace_helper import NamespaceHelper
from mograder.sandbox.isolation.policy import ASSET_URL, Host
from mograder.sandbox.limits.cgroup2 import SessionGroups
from mograder.sandbox.limits.procfs import sockets_of

_INODE, _PATH = 6, 7  # columns of /proc/net/unix


def end_strays(sockets: Path) -> int:
    """Kill every process that has a socket below ``sockets`` open; return their number."""
    inodes: set[str] = set()
    for line in Path("/proc/net/unix").read_text("utf-8", "replace").splitlines():
        columns = line.split(maxsplit=_PATH)
        if len(columns) > _PATH and columns[_PATH].startswith(f"{sockets}/"):
            inodes.add(columns[_INODE])
    if not inodes:
        return 0
    pids = {int(p.name) for p in Path("/proc").iterdir() if p.name.isdecimal()} - {os.getpid()}
    return sum(_end(pid, inodes) for pid in pids)


def _end(pid: int, inodes: set[str]) -> bool:
    """Kill a process if it has one of these sockets open; return whether it had.

    The pidfd is opened before the check: the pid may be reused for another process, but the pidfd
    refers to the process that was checked, or to none.
    """
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    # Suppressed: it ended meanwhile, or belongs to another user.
    with closing_fd(process), contextlib.suppress(OSError):
        if not inodes.isdisjoint(sockets_of(pid).values()):
            signal.pidfd_send_signal(process, signal.SIGKILL)
            return True
    return False


_FILES = {
    "passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\n"
    "student:x:1000:1000:student:/home/student:/bin/bash\n",
    "group": "root:x:0:\nstudent:x:1000:\n",
    # marimo's kernel listens on localhost and resolves that name.
    "hosts": "127.0.0.1 localhost notebook\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_SESSION = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "fonts", "mime.types")
_BUILD = (*_SESSION, "resolv.conf", "ssl", "ca-certificates", "pki", "uv", "hosts")

_ALL_READ = 0o004
_ALL_ENTER = 0o005


def write_etc(directory: Path, *, network: bool, host: Path = Path("/etc")) -> Path:
    """Write a new synthetic ``/etc`` to ``directory`` and return it.

    Builds (``network``) also get the resolver configuration and the CA certificates for the
    package index. Of ``host``'s files, only those that every user of the machine may read are
    copied.
    """
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(mode=0o755, parents=True)
    for name, text in _FILES.items():
        (directory / name).write_text(text)
    for name in _BUILD if network else _SESSION:
        _copy(host / name, directory / name)
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    return directory


def refresh_resolver(directory: Path) -> None:
    """Copy ``resolv.conf`` again: the host may change networks while the supervisor runs."""
    _copy(Path("/etc/resolv.conf"), directory / "resolv.conf")


def _copy(source: Path, target: Path) -> None:
    if _unreadable(str(source.parent), [source.name]):
        return
    if source.is_dir():
        # Files that only root may read (private keys below /etc/ssl) are not copied.
        shutil.copytree(source, target, symlinks=True, ignore=_unreadable, dirs_exist_ok=True)
    elif source.is_file():  # resolv.conf is often a link to /run, which a sandbox does not have
        shutil.copyfile(source, target)


def _unreadable(directory: str, names: list[str]) -> list[str]:
    return [name for name in names if not _is_public(Path(directory) / name)]


def _is_public(path: Path) -> bool:
    """Return whether all users may read the path; true for a link, which is copied as a link.

    Inside, a link whose target is not public is dangling.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:  # removed meanwhile, or it never existed
        return False
    if stat.S_ISDIR(mode):
        return mode & _ALL_ENTER == _ALL_ENTER
    return stat.S_ISLNK(mode) or (stat.S_ISREG(mode) and bool(mode & _ALL_READ))


_log = logging.getLogger("mograder.supervisor")

SESSIONS = "s"
"""The directory of listening sockets below the runtime directory; not mounted in any sandbox."""

_SESSION_ID = 16
"""Length in characters of the session manager's ids."""

_SOCKET_PATH_BYTES = 107
_HOLD_SECONDS = 5.0
"""How long to wait for the lock of a supervisor that is ending."""


class SupervisorConfig(BaseModel):
    """A supervisor's settings, passed as JSON on its command line (they hold no secrets).

    ``runtime`` is the directory of the sessions' sockets, ``socket`` the supervisor's own.
    ``owned``: started by a hub, which ends it; it ends itself after ``linger`` seconds without
    any hub. ``build_variables`` are set in environment builds (proxies, indexes, certificates);
    ``build_readable`` are files that builds may read.
    ``warm_environments`` is the number of zygotes, which together use up to ``warm_memory_mb``;
    with 0 every session starts cold. ``disk_reserve_mb`` is the space that sessions leave free on
    a disk, at most ``disk_reserve_percent`` of it; 0 means no reserve.
    ``divide_cgroups`` is false for a command's own supervisor: the tree is the hub supervisor's.
    ``path`` is the hub's own ``PATH``, in which bubblewrap is searched.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    runtime: Path
    socket: Path
    uv_cache: Path
    sandbox: Literal["bubblewrap", "none"]
    uid_base: int
    owned: bool
    linger: float = 300.0
    log: Path | None = None
    path: str = os.defpath
    build_variables: dict[str, str] = {}
    build_readable: tuple[Path, ...] = ()
    warm_environments: int = 0
    disk_reserve_mb: int = 0
    disk_reserve_percent: int = 5
    warm_memory_mb: int = 1024
    divide_cgroups: bool = True
    course: str = ""
    """Identifies the course, so that another course's hub does not end its sessions as orphans."""
    asset_url: str = ASSET_URL
    """The URL below which pages load the sets of marimo's static files."""


def cgroups_of(config: SupervisorConfig, **where: Path) -> SessionGroups | None:
    """Divide the cgroup that is delegated to us, if the supervisor may; ``where`` as for ``find``.

    A command's supervisor touches no cgroup: it would move a hub that runs in the same tree.
    """
    if not config.divide_cgroups:
        return None
    return SessionGroups.find(runtime_name(config.runtime), **where)


def demand_own_interpreter() -> None:
    """Check that this user may execute the Python that this process runs in.

    A process that was started as root may run in an interpreter that it cannot start again, for
    example in a virtual environment below ``/root``.
    Raises: :class:`SandboxUnavailable` with the remedy.
    """
    if os.access(sys.executable, os.X_OK, effective_ids=True):
        return
    user = account_name(os.geteuid(), "uid {}")
    raise SandboxUnavailable(
        f"The hub runs as {user}, who cannot execute the hub's own Python ({sys.executable}).",
        hint="Install mograder where that user can read and execute it, for example in a virtual "
        "environment below /opt or in the user's home; not below another user's private directory.",
    )


def prepare_runtime(runtime: Path) -> int:
    """Create and lock the runtime directory; return the lock's file descriptor.

    Raises: :class:`SandboxUnavailable` if another user owns the directory (``/tmp`` is shared),
    another supervisor has locked it, or its path is too long for a socket's.
    """
    longest = runtime / SESSIONS / ("x" * _SESSION_ID + ".sock")
    if len(os.fsencode(longest)) > _SOCKET_PATH_BYTES:
        raise SandboxUnavailable(
            f"The path of the runtime directory {runtime} is too long for the sockets in it.",
            hint="Set [hub] runtime_dir to a shorter one, for example below /run.",
        )
    runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = runtime.lstat()
    if runtime.is_symlink() or status.st_uid != os.geteuid():
        raise SandboxUnavailable(
            f"The runtime directory {runtime} belongs to somebody else.",
            hint="Remove it, or set [hub] runtime_dir to a directory of your own.",
        )
    # Sandboxes that root starts run as other uids, and traverse it to reach their bind mounts.
    runtime.chmod(0o711 if os.geteuid() == 0 else 0o700)
    # The directory itself: what cleans /tmp spares one that is locked (systemd-tmpfiles(8)).
    held = os.open(runtime, os.O_RDONLY | open_flags.DIRECTORY | open_flags.CLOEXEC)
    # A second supervisor would unlink this one's sockets.
    if not file_lock.acquire(held, seconds=_HOLD_SECONDS):
        os.close(held)
        raise SandboxUnavailable(
            f"Another session supervisor is at work in {runtime}.",
            hint="Stop it, or set [hub] runtime_dir to a directory of this course's own.",
        )
    sessions = runtime / SESSIONS
    sessions.mkdir(mode=0o700, exist_ok=True)
    sessions.chmod(0o700)
    if strays := end_strays(sessions):
        _log.warning("killed %d processes that an earlier, killed supervisor had left", strays)
    for stale in sessions.iterdir():
        stale.unlink()
    return held


def runtime_name(runtime: Path) -> str:
    """Return a name that identifies a supervisor by its runtime directory."""
    return hashlib.sha256(os.fsencode(runtime)).hexdigest()[:12]


def prepare_runner(config: SupervisorConfig) -> tuple[Runner, Host]:
    """Return the runner that starts plans, and the host's paths that plans share.

    Raises: :class:`SandboxUnavailable` if sandboxes are required and cannot be created.
    """
    program = "" if config.sandbox == "none" else find_bubblewrap()
    uid_base: int | None = None
    space: MountSpace | None = None
    place = config.runtime
    if os.geteuid() == 0:
        uid_base = config.uid_base
        own = runtime_name(config.runtime)
        space = MountSpace((config.runtime, Path("/run"), Path("/tmp")), own)  # noqa: S108
        place = space.place
    keep_cache(config.uv_cache, uid_base)
    links, directories = system_links()
    copy_programs(place / "scripts")
    host = Host(
        etc=write_etc(place / "etc", network=False),
        build_etc=write_etc(place / "etc-build", network=True),
        uv=Path(find_uv_bin()),
        uv_cache=config.uv_cache,
        scripts=place / "scripts",
        links=links,
        directories=directories,
        build_variables=tuple(config.build_variables.items()),
        build_readable=config.build_readable,
        asset_url=config.asset_url,
    )
    if config.sandbox == "none":
        return PlainRunner(uid_base, space), host
    # Started last, so that its mount namespace has the mounts made above.
    helper = NamespaceHelper() if config.warm_environments else None
    return BwrapRunner(program, host, space or Sources(), uid_base, helper), host


def keep_cache(cache: Path, uid: int | None) -> None:
    """Create uv's cache if it is missing, and change its owner to the uid that runs builds.

    ``uid`` is None where builds run as this process's user.
    Raises: :class:`SandboxUnavailable`.
    """
    try:
        cache.mkdir(mode=0o755, parents=True, exist_ok=True)
        if uid is not None:
            give_to(cache, uid)
    except OSError as error:
        raise SandboxUnavailable(
            f"uv's cache {cache} cannot be made: {error.strerror}.",
            hint="Let the user who runs this write there, or name another place by [hub] "
            "uv_cache_dir, or on a node by the variable MOGRADER_NODE_UV_CACHE.",
        ) from error


_LARGEST = 1 << 20
_STANDARD_ERROR = 2


class LogFile(QuietHandler, RotatingFileHandler):
    """A file that only its owner reads; above 1 MiB a new one is begun, and one older is kept."""

    def __init__(self, path: Path) -> None:
        """Redirect standard error, too. Raises: :class:`OSError`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, maxBytes=_LARGEST, backupCount=1, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, _STANDARD_ERROR)
        return os.fdopen(descriptor, "a", encoding="utf-8")

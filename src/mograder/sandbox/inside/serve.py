"""Runs marimo's unmodified command line on an inherited listening socket.

Runs inside the sandbox, with the environment's own python, and imports only the standard library,
uvicorn and marimo. marimo has no option for a Unix socket, so uvicorn's public
``Server.run(sockets=...)`` is used (sessions.md, "What is replaced in marimo"; tested with marimo
0.14.17 to 0.25.2). Connections queue in the socket until the server accepts, so readiness need not
be polled.

Usage: ``python serve.py JSON -- MARIMO-ARGUMENTS...`` with JSON
``{"fd": 7, "rlimits": {"RLIMIT_NPROC": 256}, "config": "...", "caches": "/path"}``.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import stat
import sys
import threading
from typing import Any


def main(argv: list[str]) -> None:
    """Set the rlimits, prepare the home directory, then run marimo."""
    options = json.loads(argv[0])
    for name, value in options["rlimits"].items():
        _limit(getattr(resource, name), value)
    _write_first_configuration(options["config"])
    copy_caches(options["caches"])
    listener = socket.socket(fileno=options["fd"])
    # The kernel and its children must not keep the listening socket open.
    listener.set_inheritable(False)
    _serve_on(listener)
    _save_whole()
    _run_marimo(argv[2:])


def _limit(kind: int, wanted: int) -> None:
    """Set an rlimit, or the supervisor's hard limit if that is lower: it cannot be raised here."""
    hard = resource.getrlimit(kind)[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (value, value))


def _write_first_configuration(text: str) -> None:
    """Write marimo's user configuration unless the student already has one.

    Written here and not by the hub: the directory is the student's, and must be changed with the
    student's permissions only.
    """
    folder = pathlib.Path(os.environ["XDG_CONFIG_HOME"]) / "marimo"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "marimo.toml").open("x") as file:
            file.write(text)
    except OSError:
        return  # it exists, or the path is not usable: marimo handles both


def copy_caches(directory: str) -> None:
    """Copy the environment's warm caches (matplotlib's font list) to this session."""
    try:
        shutil.copytree(directory, os.environ["XDG_CACHE_HOME"], dirs_exist_ok=True)
    except (OSError, shutil.Error):
        return  # the session only starts more slowly


def _serve_on(listener: socket.socket) -> None:
    import uvicorn  # noqa: PLC0415 - the environment's, after the limits are in force

    run = uvicorn.Server.run

    def run_on_our_socket(self: Any, sockets: Any = None) -> None:
        run(self, sockets=[listener])

    uvicorn.Server.run = run_on_our_socket  # type: ignore[method-assign]


def _save_whole() -> None:
    """Make marimo save a notebook atomically, by a rename.

    marimo overwrites the file. A session killed while it writes, or a full disk, would leave
    half a notebook and lose the previous version.
    """
    try:
        storage: Any = importlib.import_module("marimo._session.notebook.storage")
        write = storage.FilesystemStorage.write
    except (ImportError, AttributeError):  # a marimo that saves elsewhere is left unchanged
        return

    @functools.wraps(write)
    def write_whole(self: Any, path: Any, content: str) -> None:
        target = pathlib.Path(path)
        if target.is_symlink() or not target.is_file():
            write(self, path, content)
            return
        beside = target.with_name(f".{target.name}.saving")
        try:
            write(self, beside, content)
            with beside.open("rb") as saved:
                os.fchmod(saved.fileno(), stat.S_IMODE(target.stat().st_mode))
                os.fsync(saved.fileno())
            beside.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()  # incomplete, on a disk that may be full
            raise

    storage.FilesystemStorage.write = write_whole


def _run_marimo(arguments: list[str]) -> None:
    from marimo._cli.cli import main as marimo  # noqa: PLC0415 - as above

    sys.argv = ["marimo", *arguments]
    marimo(args=arguments, prog_name="marimo", standalone_mode=True)


class _Forks(threading.local):
    """Lets processes that a notebook forks end on SIGTERM, as any process does.

    They inherit the kernel's handler, which is a Python function: Python drops a signal that
    arrives before the new process runs, and one that arrives just before a wait does not
    interrupt it. ``Pool.terminate`` sends one signal and then waits without a timeout.
    """

    _mask: set[int] | None = None
    """The signals that this thread had blocked before the fork; None outside a fork."""

    def before(self) -> None:
        of = getattr(signal.getsignal(signal.SIGTERM), "__module__", None)
        if isinstance(of, str) and of.startswith("marimo."):
            self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def after_in_parent(self) -> None:
        if self._mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            self._mask = None

    def after_in_child(self) -> None:
        if self._mask is not None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self.after_in_parent()


_forks = _Forks()
# At import, since a cold kernel is a spawned process, which imports only this module of ours.
os.register_at_fork(
    before=_forks.before,
    after_in_parent=_forks.after_in_parent,
    after_in_child=_forks.after_in_child,
)

if __name__ == "__main__":
    # Do not import from the script's own directory.
    sys.path[:] = [entry for entry in sys.path if entry != str(pathlib.Path(__file__).parent)]
    main(sys.argv[1:])

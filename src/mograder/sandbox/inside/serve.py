"""Put marimo's unmodified command line on a listening socket that it was given.

Runs inside the sandbox, as the environment's own python, so it stands alone: the standard library,
uvicorn and marimo, nothing of ours. marimo has no option for a Unix socket; uvicorn's public
``Server.run(sockets=...)`` is the seam (sessions.md, "What is replaced in marimo"; tried on marimo
0.14.17 to 0.25.2). Connections queue in the socket until the server accepts, so nobody has to poll
for readiness.

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
    """Limit this process, prepare its home, then become marimo."""
    options = json.loads(argv[0])
    for name, value in options["rlimits"].items():
        _limit(getattr(resource, name), value)
    _write_first_configuration(options["config"])
    copy_caches(options["caches"])
    listener = socket.socket(fileno=options["fd"])
    # The kernel and whatever it starts must not hold the door open.
    listener.set_inheritable(False)
    _serve_on(listener)
    _save_whole()
    _run_marimo(argv[2:])


def _limit(kind: int, wanted: int) -> None:
    """No more than the machine grants the supervisor: who runs here could not raise that."""
    hard = resource.getrlimit(kind)[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (value, value))


def _write_first_configuration(text: str) -> None:
    """Write marimo's user configuration unless the student already has one.

    Written in here, not by the hub: the directory is the student's, and what is done in it on
    their behalf is done with their rights.
    """
    folder = pathlib.Path(os.environ["XDG_CONFIG_HOME"]) / "marimo"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "marimo.toml").open("x") as file:
            file.write(text)
    except OSError:
        return  # there already, or the student put something odd there: marimo copes


def copy_caches(directory: str) -> None:
    """Hand the environment's warm caches (matplotlib's font list) to this session."""
    try:
        shutil.copytree(directory, os.environ["XDG_CACHE_HOME"], dirs_exist_ok=True)
    except (OSError, shutil.Error):
        return  # only slower


def _serve_on(listener: socket.socket) -> None:
    import uvicorn  # noqa: PLC0415 - the environment's, after the limits are in force

    run = uvicorn.Server.run

    def run_on_our_socket(self: Any, sockets: Any = None) -> None:
        run(self, sockets=[listener])

    uvicorn.Server.run = run_on_our_socket  # type: ignore[method-assign]


def _save_whole() -> None:
    """Let a save put the new notebook in the old one's place at once.

    marimo writes over the old text. A session that is killed in the middle, or a full disk,
    would leave half a notebook and nothing of what had been saved before.
    """
    try:
        storage: Any = importlib.import_module("marimo._session.notebook.storage")
        write = storage.FilesystemStorage.write
    except (ImportError, AttributeError):  # a marimo that saves elsewhere: as it does
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
                beside.unlink()  # half a notebook, on a disk that may be full
            raise

    storage.FilesystemStorage.write = write_whole


def _run_marimo(arguments: list[str]) -> None:
    from marimo._cli.cli import main as marimo  # noqa: PLC0415 - as above

    sys.argv = ["marimo", *arguments]
    marimo(args=arguments, prog_name="marimo", standalone_mode=True)


class _Forks(threading.local):
    """Lets processes that a notebook forks end by SIGTERM, as any process does.

    They inherit the kernel's handler, which is one in Python: of a signal that arrives before the
    new process has begun to run, Python forgets it, and one that comes just before a wait does
    not end the wait. ``Pool.terminate`` sends one signal and then waits for ever.
    """

    _mask: set[int] | None = None
    """Which signals this thread blocked before it began to fork."""

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
# Here, since the process of a cold kernel is spawned, and imports no more of ours than this.
os.register_at_fork(
    before=_forks.before,
    after_in_parent=_forks.after_in_parent,
    after_in_child=_forks.after_in_child,
)

if __name__ == "__main__":
    # The script's own directory is not a place to import from.
    sys.path[:] = [entry for entry in sys.path if entry != str(pathlib.Path(__file__).parent)]
    main(sys.argv[1:])

"""A zygote's warm-up run: marimo serves a built-in notebook, so that sessions start faster.

First-time work of a server takes a third of a start's CPU time: compiling regular expressions and
message types, and specialising bytecode. The zygote does it once before it forks, as an editor and
as an app, whose kernel is a thread, so far as that can be undone. What it changes of the process is
kept before and restored afterwards: a session must not find another session's app, files or
settings in marimo's modules. Runs beside ``zygote.py``, and imports nothing else of mograder.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import functools
import gc
import importlib
import json
import linecache
import logging
import multiprocessing
import os
import pathlib
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

import own_modules  # type: ignore[import-not-found]  # in this file's directory

_PACKAGES = ("marimo", "uvicorn", "starlette", "asyncio", "anyio", "tempfile")
_DEPTH = 2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGALRM)
_OF_ENVIRONMENT = (
    "marimo._utils.versions",
    "marimo._utils.site_packages",
    "marimo._output.md",
    "marimo._ast.",
)
"""Modules whose caches depend on the environment or the arguments alone, and are kept."""

_SYSTEM = ("argv", "stdin", "stdout", "stderr", "displayhook", "excepthook")


class ModuleSnapshot:
    """The state of this process at one moment: module attributes, ``sys``, environment, signals."""

    def __init__(self) -> None:
        self._spaces: list[tuple[Any, dict[str, object]]] = []
        self._contents: list[tuple[Any, Any]] = []
        self._seen: set[int] = set()
        for name, module in tuple(sys.modules.items()):
            if _of_packages(name):
                self._keep(module, 0)
        for logger in (logging.root, *logging.root.manager.loggerDict.values()):
            if isinstance(logger, logging.Logger):
                self._keep(logger, _DEPTH)
        self._system = {name: getattr(sys, name) for name in _SYSTEM}
        self._path, self._main = list(sys.path), sys.modules["__main__"]
        self._finders = [(each, vars(each).get("find_spec")) for each in sys.meta_path]
        self._variables = dict(os.environ)
        self._directory = pathlib.Path.cwd()
        self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        self._register, self._registered = atexit.register, list[Any]()
        atexit.register = self._remember  # type: ignore[assignment]  # same signature

    def _remember(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(function, "__self__", None) is not weakref.finalize:  # registers only once
            self._registered.append(function)
        return self._register(function, *args, **kwargs)

    def _keep(self, owner: Any, depth: int) -> None:
        if id(owner) in self._seen:
            return
        self._seen.add(id(owner))
        names = dict(vars(owner))
        self._spaces.append((owner, names))
        for value in names.values():
            if type(value) in {list, dict, set}:
                self._contents.append((value, value.copy()))
            elif depth < _DEPTH and _is_theirs(value):
                self._keep(value, depth + 1)

    def put_back(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        atexit.register = self._register
        for function in self._registered:
            atexit.unregister(function)
        for owner, names in self._spaces:
            _rebind(owner, names)
        for container, content in self._contents:
            _refill(container, content)
        _forget_files()
        for name, value in self._system.items():
            setattr(sys, name, value)
        sys.path[:], sys.modules["__main__"] = self._path, self._main
        self._put_back_finders()
        os.environ.clear()
        os.environ.update(self._variables)
        os.chdir(self._directory)

    def _put_back_finders(self) -> None:
        """Restore the import finders: an app's server hooks into imports, as a kernel does."""
        sys.meta_path[:] = [finder for finder, _ in self._finders]
        for finder, find_spec in self._finders:
            if find_spec is not None:
                finder.find_spec = find_spec  # type: ignore[method-assign]
            elif "find_spec" in vars(finder):
                del finder.find_spec


def traces() -> dict[str, object]:
    """Return the state that a forked session would inherit and that must equal the one before."""
    own = pathlib.Path("/proc/self")
    mask = os.umask(0o022)
    os.umask(mask)
    woken = signal.set_wakeup_fd(-1)
    return {
        "threads": own_modules.threads(),
        "children": _children(own / "task"),
        "descriptors": _descriptors(),
        "signals": [signal.getsignal(number) for number in _SIGNALS],
        "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "wakeup": woken,
        "umask": mask,
        "variables": dict(os.environ),
        "directory": pathlib.Path.cwd(),
        "path": list(sys.path),
        "main": id(sys.modules["__main__"]),
        "modules": frozenset(name for name in sys.modules if name.startswith("marimo.")),
    }


def _children(threads: pathlib.Path) -> str:
    """Return the children of all threads; those of one that ends meanwhile go to another."""
    found = ""
    for each in threads.glob("*/children"):
        with contextlib.suppress(OSError):
            found += each.read_text()
    return found


def _descriptors() -> dict[int, str]:
    """Return the target of each open descriptor, except for that of the listing itself."""
    held = {}
    for entry in pathlib.Path("/proc/self/fd").iterdir():
        try:
            held[int(entry.name)] = str(entry.readlink())
        except OSError:
            continue
    return {number: name for number, name in held.items() if not name.endswith("/fd")}


def _of_packages(name: str) -> bool:
    return name.partition(".")[0] in _PACKAGES


def _is_theirs(value: object) -> bool:
    kind = value if isinstance(value, type) else type(value)
    return _of_packages(str(kind.__module__)) and hasattr(value, "__dict__")


def _rebind(owner: Any, names: dict[str, object]) -> None:
    """Restore an object's attributes, except for dunder names such as ``__msgspec_cache__``.

    Those are caches and not state, and keeping them saves the most time.
    """
    now = dict(vars(owner))
    is_class = isinstance(owner, type)
    for name in [n for n in {**names, **now} if not n.startswith("__")]:
        if name not in names and is_class:
            delattr(owner, name)
        elif name not in names:
            del vars(owner)[name]
        elif name in now and now[name] is names[name]:
            continue
        elif is_class:
            setattr(owner, name, names[name])
        else:
            vars(owner)[name] = names[name]


def _refill(container: Any, content: Any) -> None:
    if isinstance(container, list):
        container[:] = content
    else:
        if not isinstance(container, dict) or container.keys() != content.keys():
            container.clear()
        container.update(content)


def _forget_files() -> None:
    """Clear marimo's caches of file contents: a session has other files at the same paths."""
    linecache.clearcache()
    for each in gc.get_objects():
        if isinstance(each, functools._lru_cache_wrapper):
            name = str(each.__module__)
            if name.startswith("marimo.") and not name.startswith(_OF_ENVIRONMENT):
                each.cache_clear()


VERSIONS = ("0.25.2",)
"""Versions of marimo for which tests have shown that a warm-up run can be undone completely."""

_SECONDS = 20
"""Timeout of a warm-up run, on a busy machine."""

_AGAIN_SECONDS = 2.0
"""Interval at which SIGALRM is repeated, should marimo have swallowed the first."""

_SETTLE_SECONDS = 1.0
_EDIT, _RUN = ("edit", "--skip-update-check"), ("run", "--include-code")
_BASE = "/warm-up"
_SESSION = "s_first1"
_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
_GOING = b"\x88\x82\0\0\0\0\x03\xe9"
"""The WebSocket close frame that a closed tab sends (code 1001)."""

_TOKEN = re.compile(rb'"serverToken":\s*"([^"]*)"')
_NOTEBOOK = """# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo"]
# ///
import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo
    return (mo,)


@app.cell
def _(mo):
    mo.md("# A *title*")
    return


@app.cell
def _():
    x = [1, 2]
    x
    return (x,)


@app.cell
def _(x):
    y = {"a": x}
    y
    return (y,)


@app.cell
def _(x, y):
    z = len(x) + len(y)
    z
    return


if __name__ == "__main__":
    app.run()
"""


def untested() -> str:
    """Return why the environment's marimo must not get a warm-up run, "" if it may."""
    version: str = importlib.import_module("marimo").__version__
    return "" if version in VERSIONS else f"marimo {version} is not one of {', '.join(VERSIONS)}"


def perform(tidy: Callable[[], None]) -> str:
    """Do a warm-up run and undo it; return why sessions must not be forked after it, or "".

    ``tidy`` closes the log files that marimo opens.
    """
    tidy()
    gc.collect()
    before = traces()
    try:
        kept = ModuleSnapshot()
        try:
            contextvars.copy_context().run(_perform)
        finally:
            try:
                _settle(before)  # a thread still ending could change the restored state again
                tidy()
            finally:
                kept.put_back()
    except BaseException:  # noqa: BLE001 - marimo may raise anything, also SystemExit
        return traceback.format_exc()
    gc.collect()
    now = traces()
    return "" if now == before else _differences(before, now)


def _perform() -> None:
    def too_long(_: int, __: FrameType | None) -> None:
        raise _TooLongError(f"it took more than {_SECONDS} seconds")

    signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS, _AGAIN_SECONDS)
    here, directory = pathlib.Path.cwd(), pathlib.Path(tempfile.mkdtemp())
    try:
        (directory / "warmup_run.py").write_text(_NOTEBOOK)
        for mode in (_EDIT, _RUN):
            os.chdir(directory)
            _serve(directory / f"{mode[0]}.sock", mode)
    finally:
        os.chdir(here)
        shutil.rmtree(directory, ignore_errors=True)


def _serve(door: pathlib.Path, mode: tuple[str, ...]) -> None:
    """Run marimo's command line on a Unix socket at ``door`` until one client has disconnected."""
    uvicorn: Any = importlib.import_module("uvicorn")
    command: Any = importlib.import_module("marimo._cli.cli")
    run = uvicorn.Server.run

    async def attend(_: object, *__: object) -> None:
        await _visit(str(door), instantiates=mode is _EDIT)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(door))
        listener.listen()
        uvicorn.Server.run = lambda server, sockets=None: run(server, sockets=[listener])
        uvicorn.Server.main_loop = attend
        words = ["-q", mode[0], "--headless", "--no-token", "--no-sandbox", mode[1]]
        words += ["--asset-url", "/assets/x", "--base-url", _BASE, "-p", "1"]
        words += ["--host", "127.0.0.1", "warmup_run.py"]
        sys.argv = ["marimo", *words]
        command.main(args=words, prog_name="marimo", standalone_mode=False)
        uvicorn.Server.run = run


async def _visit(door: str, *, instantiates: bool) -> None:
    """Act as a browser page: load, connect, and have every cell run."""
    await _ask(door, _request("GET", "/health"))
    page = await _ask(door, _request("GET", "/"))
    found = _TOKEN.search(page)
    reader, writer = await asyncio.open_unix_connection(door)
    try:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": _KEY}
        upgrade["Sec-WebSocket-Version"] = "13"
        writer.write(_request("GET", f"/ws?session_id={_SESSION}", upgrade))
        await _until(reader, b"kernel-ready")
        if instantiates:
            headers = {"Marimo-Session-Id": _SESSION, "Content-Type": "application/json"}
            headers["Marimo-Server-Token"] = found[1].decode() if found else ""
            body = json.dumps({"objectIds": [], "values": [], "autoRun": True}).encode()
            await _ask(door, _request("POST", "/api/kernel/instantiate", headers, body))
        await _until(reader, b"completed-run")
        writer.write(_GOING)
    finally:
        writer.close()


def _request(
    method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> bytes:
    lines = [f"{method} {_BASE}{path} HTTP/1.1", "Host: localhost"]
    given = {"Connection": "close", "Content-Length": str(len(body)), **(headers or {})}
    lines += [f"{name}: {value}" for name, value in given.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _ask(door: str, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(door)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


async def _until(reader: asyncio.StreamReader, word: bytes) -> None:
    seen = b""
    while word not in seen:
        part = await reader.read(1 << 16)
        if not part:
            raise EOFError(f"no {word!r} came")
        seen = seen[-len(word) :] + part


class _TooLongError(SystemExit):
    """A timeout; derived from SystemExit, which an event loop does not catch."""


def _settle(before: dict[str, object]) -> None:
    """Wait up to ``_SETTLE_SECONDS`` for threads, children and descriptors as in ``before``."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
        child.close()
    deadline = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < deadline:
        now = traces()
        if all(now[kind] == before[kind] for kind in ("threads", "children", "descriptors")):
            return
        gc.collect()
        time.sleep(0.01)


def _differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    said = []
    for kind, was in before.items():
        if now[kind] != was:
            more = now[kind] - was if isinstance(was, frozenset) else now[kind]
            said.append(f"{kind}: {more}"[:200])
    return "left behind: " + "; ".join(said)

"""A zygote's dress rehearsal: marimo serves a notebook of ours, so that sessions start warmed up.

What a server does for the first time takes a third of a start's processor time: parsers compile
their expressions, messages their types, and the interpreter settles on the code that runs. The
zygote does it all once before it forks, as an editor and as an app, whose kernel is a thread: so
much of a kernel as leaves nothing behind. Runs beside ``zygote.py``, and stands alone like it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib
import json
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
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_SECONDS = 20
"""How long a rehearsal may take, on a machine that has no time for it."""

_SETTLE_SECONDS = 2.0
_EDIT, _RUN = ("edit", "--skip-update-check"), ("run", "--include-code")
_BASE = "/rehearsal"
_SESSION = "s_first1"
_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
_GOING = b"\x88\x82\0\0\0\0\x03\xe9"
"""The WebSocket's frame of a tab that is closed."""

_TOKEN = re.compile(rb'"serverToken":\s*"([^"]*)"')
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGALRM)
_OF_FILES = ("marimo._config", "marimo._server.files")
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


def rehearse(tidy: Callable[[], None]) -> str:
    """Serve the notebook and put everything back; returns why sessions must not come after it.

    ``tidy`` closes the log files that marimo opens.
    """
    tidy()
    gc.collect()
    before = _traces()
    directory, here = pathlib.Path(tempfile.mkdtemp()), pathlib.Path.cwd()
    (directory / "rehearsal.py").write_text(_NOTEBOOK)
    try:
        with _put_back():
            os.chdir(directory)
            signal.alarm(_SECONDS)
            for mode in (_EDIT, _RUN):
                _serve(directory / f"{mode[0]}.sock", mode)
    except BaseException:  # noqa: BLE001 - whatever marimo does, leaving the program among it
        return traceback.format_exc()
    finally:
        os.chdir(here)
        shutil.rmtree(directory, ignore_errors=True)
    _forget()
    tidy()
    return _settled(before)


def _serve(door: pathlib.Path, mode: tuple[str, ...]) -> None:
    """Be marimo's command line until its one visitor has gone."""
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
        words += ["--host", "127.0.0.1", "rehearsal.py"]
        sys.argv = ["marimo", *words]
        command.main(args=words, prog_name="marimo", standalone_mode=False)
        uvicorn.Server.run = run


async def _visit(door: str, *, instantiates: bool) -> None:
    """Do what a page does: load, connect, have every cell run."""
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


@contextlib.contextmanager
def _put_back() -> Iterator[None]:
    """Undo what a server and its kernel change for their whole process."""
    uvicorn: Any = importlib.import_module("uvicorn")
    kept = {name: getattr(uvicorn.Server, name) for name in ("run", "main_loop")}
    names = ("argv", "stdin", "stdout", "stderr", "displayhook", "excepthook")
    system = {name: getattr(sys, name) for name in names}
    path, main, variables = list(sys.path), sys.modules["__main__"], dict(os.environ)
    finders = [(each, vars(each).get("find_spec")) for each in sys.meta_path]
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    signal.signal(signal.SIGALRM, _too_long)
    try:
        yield
    finally:
        signal.alarm(0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for name, value in kept.items():
            setattr(uvicorn.Server, name, value)
        for name, value in system.items():
            setattr(sys, name, value)
        sys.path[:], sys.modules["__main__"] = path, main
        os.environ.clear()
        os.environ.update(variables)
        _put_back_finders(finders)


def _put_back_finders(finders: list[tuple[Any, object]]) -> None:
    """An app's server hooks into imports; an editor's kernel does so itself."""
    sys.meta_path[:] = [finder for finder, _ in finders]
    for finder, find_spec in finders:
        if find_spec is not None:
            finder.find_spec = find_spec
        elif "find_spec" in vars(finder):
            del finder.find_spec


def _too_long(_: int, __: FrameType | None) -> None:
    raise TimeoutError(f"it took more than {_SECONDS} seconds")


def _forget() -> None:
    """Drop what marimo remembers of files: a session has others in their places."""
    for each in gc.get_objects():
        if isinstance(each, functools._lru_cache_wrapper) and each.__module__.startswith(_OF_FILES):
            each.cache_clear()


def _settled(before: tuple[object, ...]) -> str:
    """Wait until nothing of it is left; returns what stays, or nothing."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
        child.close()
    while (now := _traces()) != before:
        if time.monotonic() > deadline:
            return f"{before} became {now}"
        gc.collect()
        time.sleep(0.01)
    return ""


def _traces() -> tuple[object, ...]:
    """What would follow a session from here: threads, descriptors, children, signals."""
    threads = sum(1 for _ in pathlib.Path("/proc/self/task").iterdir())
    children = len(multiprocessing.active_children())
    return threads, _descriptors(), children, tuple(map(signal.getsignal, _SIGNALS))


def _descriptors() -> tuple[int, ...]:
    """The open ones, without the one that lists them."""
    names = [int(entry.name) for entry in pathlib.Path("/proc/self/fd").iterdir()]
    held = []
    for number in sorted(names):
        with contextlib.suppress(OSError):
            os.fstat(number)
            held.append(number)
    return tuple(held)

"""A zygote's warm-up run: marimo serves a built-in notebook, so that sessions start faster.

First-time work of a server takes a third of a start's CPU time: compiling regular expressions and
message types, and specialising bytecode. The zygote does it once before it forks, as an editor and
as an app, whose kernel is a thread, so far as that can be undone. Runs beside ``zygote.py``, and
imports nothing else of mograder.
"""

from __future__ import annotations

import asyncio
import contextvars
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
from collections.abc import Callable
from types import FrameType
from typing import Any

import module_snapshot  # type: ignore[import-not-found]  # in this directory, wherever it is

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
    before = module_snapshot.traces()
    try:
        kept = module_snapshot.ModuleSnapshot()
        try:
            contextvars.copy_context().run(_perform)
        finally:
            _settle(before)  # a thread still ending could change the restored state again
            tidy()
            kept.put_back()
    except BaseException:  # noqa: BLE001 - marimo may raise anything, also SystemExit
        return traceback.format_exc()
    gc.collect()
    now = module_snapshot.traces()
    return "" if now == before else _differences(before, now)


def _perform() -> None:
    """Run marimo as an editor and as an app in a temporary directory."""
    signal.signal(signal.SIGALRM, _too_long)
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


def _too_long(_: int, __: FrameType | None) -> None:
    raise _TooLongError(f"it took more than {_SECONDS} seconds")


def _settle(before: dict[str, object]) -> None:
    """Wait up to ``_SETTLE_SECONDS`` for threads, children and descriptors as in ``before``."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
        child.close()
    deadline = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < deadline:
        now = module_snapshot.traces()
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

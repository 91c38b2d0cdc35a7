"""The other side of a comparison: a cold ``marimo edit`` in the same environment, without us."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.load import Target
from bench.stage import ITEM, Stage, notebook_text
from bench.tab import PATIENCE, Tab
from tests.support.hub import outside
from tests.support.process import ServerFailed, ServerProcess, free_port

_AGAIN_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Plain:
    """One marimo of its own and the tab on it."""

    pid: int
    tab: Tab


@asynccontextmanager
async def plain_marimo(stage: Stage) -> AsyncIterator[Plain]:
    """Type ``marimo edit`` on a fresh copy; the tab is there, not opened, once it accepts."""
    place = Path(tempfile.mkdtemp(dir=stage.directory))
    notebook = place / f"{ITEM}.py"
    notebook.write_text(notebook_text())
    port = free_port()
    options = ["--headless", "--no-token", "--no-sandbox", "--skip-update-check"]
    where = ["--host", "127.0.0.1", "-p", str(port)]
    command = [str(stage.python), "-m", "marimo", "-q", "edit", *options, *where, str(notebook)]
    server = ServerProcess("marimo", place / "log")
    asked = time.perf_counter()
    try:
        server.launch(command, {**outside(), "HOME": str(place)}, place)
        await _accepts(server, port)
        yield Plain(server.pid, Tab(Target(path="", port=port), asked))
    finally:
        await asyncio.to_thread(server.stop)


def export(python: Path, notebook: Path) -> float:
    """Run a notebook as marimo's own command does, to a page; returns the seconds it took."""
    page = notebook.parent / "page.html"
    command = [str(python), "-m", "marimo", "-q", "-y", "export", "html", str(notebook)]
    options = ["--no-sandbox", "-o", str(page)]
    started = time.perf_counter()
    subprocess.run(
        [*command, *options],
        env={**outside(), "HOME": str(notebook.parent)},
        cwd=notebook.parent,
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - started
    page.unlink()
    return seconds


async def _accepts(server: ServerProcess, port: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await _connects(port):
            if server.returncode is not None:
                raise ServerFailed(server.tail())
            await asyncio.sleep(_AGAIN_SECONDS)


async def _connects(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True

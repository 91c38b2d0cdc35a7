"""`mograder.remote` in a real Pyodide, in Chromium, against the real assignment server.

Pyodide comes from its npm package, which is fetched once into ``.tools/``; so this is a test of
`make test-long`. The quick ones use a stand-in (``tests/contract/test_remote_token.py``).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from tests.support.browser import People
from tests.support.http_server import Quiet, answering
from tests.support.pyodide import unpacked_pyodide
from tests.support.served_course import HOMEWORK, Course, served, token_of

__all__ = ["served"]

VERSION = "314.0.7"
REPOSITORY = Path(__file__).parents[2]
REMOTE = REPOSITORY / "src" / "mograder" / "remote.py"

PAGE = "<!doctype html><title>Pyodide</title>"
WORKER = """\
import { loadPyodide } from "/pyodide/pyodide.mjs";
self.onmessage = async ({ data }) => {
  try {
    const python = await loadPyodide({ indexURL: "/pyodide/" });
    python.FS.writeFile("/home/pyodide/remote.py", data.remote);
    self.postMessage({ said: await python.runPythonAsync(data.code) });
  } catch (error) {
    self.postMessage({ error: String(error) });
  }
};
"""
ASK = """\
([remote, code]) => new Promise((resolve) => {
  const worker = new Worker("/worker.mjs", { type: "module" });
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = (event) => resolve({ error: event.message });
  worker.postMessage({ remote, code });
})
"""
CODE = """\
import json
import pathlib
import sys

sys.path.insert(0, "/home/pyodide")
import remote

fetched = remote.fetch({url!r}, "hw1", "work", token={token!r})
before = remote.status({url!r}, "hw1", "alice", {token!r})["status"]
handed = remote.submit({url!r}, "hw1", "work/homework.py", "alice", {token!r})
after = remote.status({url!r}, "hw1", "alice", {token!r})["status"]
try:
    remote.submit({url!r}, "hw1", "work/homework.py", "bob", {token!r})
except remote.RemoteError as error:
    refused = error.code
content = pathlib.Path("work/homework.py").read_text()
json.dumps([sys.platform, [str(p) for p in fetched], content, before, handed, after, refused])
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def pyodide() -> Path:
    """Pyodide's own files."""
    return unpacked_pyodide(VERSION)


@pytest.fixture
def site(tmp_path: Path, pyodide: Path) -> Iterator[str]:
    """A page on an origin of its own, as a notebook elsewhere is."""
    (tmp_path / "index.html").write_text(PAGE)
    (tmp_path / "worker.mjs").write_text(WORKER)
    (tmp_path / "pyodide").symlink_to(pyodide)
    with files_of(tmp_path) as url:
        yield url


async def test_a_notebook_in_a_browser_fetches_submits_and_asks(
    served: Course, site: str, people: People
) -> None:
    """B146 from another origin: the preflight lets the token through, and only its owner in."""
    code = CODE.format(url=served.url, token=token_of("alice"))
    person = await people.person("alice")
    page = await person.open(site)
    answer = await asyncio.wait_for(page.evaluate(ASK, [REMOTE.read_text(), code]), 240)
    assert "error" not in answer, answer
    assert json.loads(answer["said"]) == [
        "emscripten",
        ["work/data.csv", "work/homework.py"],
        HOMEWORK.decode(),
        "new",
        "ok",
        "submitted",
        403,
    ]
    assert (served.root / "submitted" / "hw1" / "alice.py").read_bytes() == HOMEWORK


@contextmanager
def files_of(directory: Path) -> Iterator[str]:
    """Serve a directory on a free port while the context lasts."""
    with answering(partial(_Files, directory=str(directory))) as url:
        yield f"{url}/"


class _Files(Quiet, SimpleHTTPRequestHandler):
    """Serves a directory."""

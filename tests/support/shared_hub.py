"""A hub shared by the tests of a module, tiny items, and a session's processes."""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import httpx
import psutil

from tests.support.course import log_place, put_release, work_place
from tests.support.hub import HubConfig, HubProcess
from tests.support.identity import student
from tests.support.marimo import Address
from tests.support.processes import processes_now

_OWNER = re.compile(r"mograder-test-(\d+)-")

_say_once = functools.cache(print)
"""Prints each line once, however often a test looks."""

Prepare: TypeAlias = Callable[[Path], None]
"""Fills the directory of a course."""

TINY = "T1-Tiny"
TALK = "L1-Talk"
ORIGIN_EACH = {
    "hub.public_url": "http://127.0.0.1:{port}",
    "hub.session_url": "http://{session}.sessions.localhost:{port}",
}
"""The settings that give each session an origin of its own."""

# The requirements of the example course, so that all tests of a run share one environment.
HEADER = """\
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "marimo",
#     "matplotlib",
#     "mograder",
#     "numpy",
# ]
# ///

"""
_CELLS = """\
import marimo

app = marimo.App()


@app.cell
def _():
{code}
    return


if __name__ == "__main__":
    app.run()
"""


@dataclass(frozen=True, slots=True)
class SharedCaches:
    """Directories that all hubs of a run share: uv's cache, and environments built once."""

    uv_cache: Path
    run_directory: Path

    def settings(self) -> dict[str, object]:
        """The settings that make a hub use them."""
        return {
            "hub.uv_cache_dir": str(self.uv_cache),
            "hub.environments_dir": str(self.run_directory / "environments"),
        }


def notebook(code: str = "1 + 1", header: str = HEADER) -> str:
    """The text of a notebook with one cell."""
    lines = "\n".join(f"    {line}" if line else "" for line in code.splitlines())
    return header + _CELLS.format(code=lines)


@contextmanager
def module_hub(
    name: str,
    shared: SharedCaches,
    *,
    prepare: Prepare = lambda _: None,
    settings: Mapping[str, object] | None = None,
) -> Iterator[HubProcess]:
    """One hub for all tests of a module, with a tiny assignment and a tiny lecture.

    ``prepare`` may fill the course before. The environment is built when this returns. The log
    stays behind as an artefact.
    """
    logs = log_place()
    (logs / f"{name}.log").unlink(missing_ok=True)
    with ExitStack() as stack:
        place = stack.enter_context(work_place())
        course = place / "c"
        course.mkdir()
        put_release(course, TINY, notebook())
        put_release(course, TALK, notebook(), "lecture")
        prepare(course)
        runtime = {"hub.runtime_dir": str(place / "run")}
        config = HubConfig(settings={**shared.settings(), **runtime, **(settings or {})})
        hub = stack.enter_context(HubProcess(course, logs / f"{name}.log", config))
        start(hub, "first")
        stop(hub, "first")
        yield hub


def start(hub: HubProcess, user: str, item: str = TINY) -> str:
    """Open a deep link as a student's client; returns the session's path."""
    with hub.client(student(user)) as client:
        answer = client.post(f"/start-edit-deep/{item}")
    assert answer.status_code == httpx.codes.OK, answer.text
    return "/" + str(answer.json()["url"])


def stop(hub: HubProcess, user: str, item: str = TINY) -> bool:
    """Stop a student's editor; return whether there was one."""
    with hub.client(student(user)) as client:
        answer = client.post(f"/stop-edit/{user}/{item}")
    return bool(answer.json()["terminated"])


def editor(hub: HubProcess, user: str, item: str = TINY) -> Address:
    """Return the address of a student's editor for a client with a bearer token."""
    return Address(base_url=f"{hub.url}/edit/user/{user}/{item}", headers=student(user))


def workspace(hub: HubProcess, user: str, item: str = TINY) -> Path:
    """A student's copy of an item on disk."""
    return hub.course / "hub-notebooks" / user / item


def servers_of(user: str, item: str = TINY, mode: str = "edit") -> list[psutil.Process]:
    """The marimo servers of a user's session, looked up on the host by their arguments."""
    base = f"/{mode}/user/{user}/{item}"
    found, others = {}, []
    for process in processes_now("cmdline", "ppid"):
        words = process.info["cmdline"] or [""]
        if not words[0].endswith("env/bin/python"):
            continue
        if base in words and not _is_anothers(process):
            found[process.pid] = process
        else:
            others.append((process.pid, " ".join(words).rstrip()[-200:]))
    if not found:  # shown if the test fails
        _say_once(f"no server of {base} among {others}")
    # A child of a server looks the same until it executes what it was made for.
    return [process for process in found.values() if process.info["ppid"] not in found]


def _is_anothers(process: psutil.Process) -> bool:
    """Return whether a process belongs to another worker's hub, by the pid in its directory."""
    try:
        lines = [" ".join(each.cmdline()) for each in process.parents()]
    except psutil.Error:  # it ended meanwhile, or its parents did
        return False
    owners = {int(owner) for line in lines for owner in _OWNER.findall(line)}
    return bool(owners) and os.getpid() not in owners


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something that has no event of its own: a process, a file, a row."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)

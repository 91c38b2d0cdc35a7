"""Pages: the hub's lists after a year of 50 students and of 500, 30 items each.

Two hubs that differ in nothing else are measured in turn; a page whose cost does not grow with
the course takes as long in both.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from urllib.parse import urlencode

from bench.figures import slope
from bench.options import Options
from bench.report import Budget, Row, say
from bench.stage import CACHE, Stage, notebook_text
from bench.year_of_course import ITEMS, LINES_EACH, headers_of, lay_out
from tests.support.hub import HubConfig, HubProcess
from tests.support.identity import instructor, instructor_token

SIZES = (50, 500)
_EACH_ROUND = 4
_TRIES = 10
"""The minimum counts: other load of the machine adds to some samples, a growing cost to all."""

_FLAT = 1.3
"""Ten times the students may cost so much more."""

_COUNTED_SECONDS = 120.0
_FRESH_SECONDS = 2.0
"""Servers hang up on a line that was silent for five seconds."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A page or an API answer, and the headers of the person who requests it."""

    name: str
    path: str
    headers: Mapping[str, str]


_STUDENT = headers_of(0)
_PROF = {**instructor(), "Accept": "text/html"}
SHEETS = (
    Sheet("a student's first page", "/", _STUDENT),
    Sheet("GET /assignments", "/assignments", {**_STUDENT, "Accept": "application/json"}),
    Sheet("the items", "/course/items", _PROF),
    Sheet("the students", "/course/students", _PROF),
    Sheet("the students, the last page", "/course/students?page=99", _PROF),
    Sheet("one student", "/course/students/student007", _PROF),
    Sheet("the sessions", "/course/sessions", _PROF),
    Sheet("the log", "/course/log", _PROF),
    Sheet("the log, long ago", "/course/log?before=200", _PROF),
)


class Reader:
    """One reader's connection to one hub."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=_COUNTED_SECONDS)
        self._last = time.monotonic()

    def read(self, sheet: Sheet) -> tuple[float, str]:
        """Request a page; return the milliseconds until it is complete, and its text.

        Raises: RuntimeError for anything but 200.
        """
        if time.monotonic() - self._last > _FRESH_SECONDS:
            self._connection.close()
            self._connection.connect()
        asked = time.perf_counter()
        self._connection.request("GET", sheet.path, headers=dict(sheet.headers))
        answer = self._connection.getresponse()
        body = answer.read()
        took = (time.perf_counter() - asked) * 1000
        self._last = time.monotonic()
        if answer.status != 200:
            raise RuntimeError(f"{sheet.path} answered {answer.status}: {body[:200]!r}")
        return took, body.decode()

    def send(self, path: str, fields: Mapping[str, str]) -> float:
        """Send a form; return the milliseconds until its redirect is there.

        Raises: RuntimeError for anything but 303.
        """
        self._connection.close()
        self._connection.connect()
        origin = f"http://{self._connection.host}:{self._connection.port}"
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin}
        asked = time.perf_counter()
        self._connection.request("POST", path, urlencode(fields), headers)
        answer = self._connection.getresponse()
        answer.read()
        took = (time.perf_counter() - asked) * 1000
        if answer.status != 303:
            raise RuntimeError(f"{path} answered {answer.status}")
        return took

    def close(self) -> None:
        self._connection.close()


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Write both courses, start a hub on each, and request every page of both in turn."""
    return await asyncio.to_thread(_measure, stage, options)


def _measure(stage: Stage, options: Options) -> list[Row]:
    with ExitStack() as stack:
        readers = []
        for size in SIZES:
            say(f"  laying out a year of {size} students")
            hub = stack.enter_context(_hub(stage, size))
            readers.append(Reader(hub.port))
            stack.callback(readers[-1].close)
            _until_counted(readers[-1], size)
        rows = [_compare(sheet, readers, options.rounds) for sheet in SHEETS]
        return [*rows, _redirect(readers[0], options.rounds)]


def _compare(sheet: Sheet, readers: list[Reader], rounds: int) -> Row:
    few: list[float] = []
    many: list[float] = []
    for reader in readers:
        reader.read(sheet)  # the first one fills caches
    for _ in range(rounds * _EACH_ROUND):
        pairs = [tuple(reader.read(sheet)[0] for reader in readers) for _ in range(_TRIES)]
        few.append(min(pair[0] for pair in pairs))
        many.append(min(pair[1] for pair in pairs))
    points = [(float(SIZES[0]), statistics.median(few)), (float(SIZES[1]), statistics.median(many))]
    climbs = slope(points) * 1000
    return Row(
        f"pages: {sheet.name}, {SIZES[1]} students",
        "ms",
        tuple(many),
        Budget(_FLAT),
        f"slope {climbs:+.2f} µs for each student more, with {ITEMS} copies and {LINES_EACH} lines "
        "of the log each",
        reference=f"{SIZES[0]} students",
        theirs=tuple(few),
    )


def _redirect(reader: Reader, rounds: int) -> Row:
    """Send a form that changes a little and ends in a redirect."""
    times = tuple(
        reader.send("/login", {"token": instructor_token()}) for _ in range(rounds * _TRIES)
    )
    return Row("pages: a form that redirects", "ms", times, Budget(20, unit="ms"))


def _until_counted(reader: Reader, size: int) -> None:
    """Wait for the first background count of all copies, which pages do not wait for."""
    students = next(sheet for sheet in SHEETS if sheet.path == "/course/students")
    deadline = time.monotonic() + _COUNTED_SECONDS
    began = time.monotonic()
    while "Copies were looked at" not in reader.read(students)[1]:
        if time.monotonic() > deadline:
            raise RuntimeError("the copies were never counted")
        time.sleep(0.5)
    say(f"  the copies of {size} students were counted within {time.monotonic() - began:.1f} s")


@contextmanager
def _hub(stage: Stage, size: int) -> Iterator[HubProcess]:
    """A hub of its own on a course of that size; the environment is the stage's, built already."""
    place = stage.directory / f"pages-{size}"
    course = place / "course"
    lay_out(course, size, notebook_text())
    with tempfile.TemporaryDirectory(prefix="mgb-", dir="/tmp") as runtime:
        settings: dict[str, object] = {
            "hub.uv_cache_dir": str(CACHE),
            "hub.environments_dir": str(stage.hub.course / ".mograder" / "environments"),
            "hub.runtime_dir": runtime,
        }
        with HubProcess(course, place / "hub.log", HubConfig(settings=settings)) as hub:
            yield hub
    shutil.rmtree(place)

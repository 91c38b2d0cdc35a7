"""Marking: the pages of a class of 500 with ten questions, and the saving of a mark.

Before each page a mark is saved, so that nothing that a page may keep of the gradebook is fresh:
this is the page as a team meets it while it marks.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

from bench.marked_class import BY_PEOPLE, JUDGED, NAME, add_items, lay_out, student_name
from bench.options import Options
from bench.report import Budget, Row, say
from bench.stage import CACHE, Stage
from mograder.web.marking.context import answer_id
from tests.support.hub import HubConfig, HubProcess, run_mograder
from tests.support.identity import instructor

_STUDENTS = 500
_QUESTION = BY_PEOPLE[0]
_ITEMS = 20
_PAGE_MS = 200.0
_EACH_ROUND = 4
_HEADERS = {**instructor(), "Accept": "text/html", "Content-Type": "application/json"}
_SAVE, _GRADEBOOK = "a save", f"the gradebook of {_ITEMS} items"
_BOUNDS = {_SAVE: 50.0, _GRADEBOOK: 300.0}


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Write the class, start a hub on it, and save marks and request pages in turn."""
    return await asyncio.to_thread(_measure, stage, options.rounds * _EACH_ROUND)


def _measure(stage: Stage, turns: int) -> list[Row]:
    with _hub(stage) as (hub, key):
        marker = _Marker(hub.port, key)
        for turn in range(turns + 1):
            if turn == 1:
                marker.took.clear()  # the first turn fills caches
            marker.turn(turn % _STUDENTS)
        add_items(hub.course, _ITEMS - 1)
        for _ in range(turns + 1):
            marker.look_at_gradebook()
        marker.close()
    return [_row(name, samples) for name, samples in marker.took.items()]


def _row(name: str, samples: list[float]) -> Row:
    bound = _BOUNDS.get(name, _PAGE_MS)
    title = f"marking: {name}, {_STUDENTS} students, {len(JUDGED) + len(BY_PEOPLE)} questions"
    note = f"slowest of {len(samples)}: {max(samples):.1f} ms"
    return Row(title, "ms", tuple(samples), Budget(bound, unit="ms"), note)


class _Marker:
    """A person who saves marks and opens pages, on one connection; ``took`` is in milliseconds."""

    def __init__(self, port: int, key: bytes) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=120)
        self._key = key
        self.took: dict[str, list[float]] = defaultdict(list)

    def turn(self, number: int) -> None:
        """Save a mark of this student, and request a page, until each page was requested."""
        work = answer_id(self._key, NAME, student_name(number))
        there, api = f"/marking/{NAME}", f"/marking/-/api/{NAME}"
        address = f"{api}/answers/{work}/questions/{_QUESTION}"
        for points, (name, path) in enumerate(
            (
                ("/marking", "/marking"),
                ("an assignment", there),
                ("the marking page", f"{there}/questions/{_QUESTION}"),
                ("its queue", f"{api}/queue?question={_QUESTION}"),
                ("the page of one student", f"{there}/answers/{work}"),
                ("an answer", address),
                ("the release page", f"{there}/release"),
                ("the page of late work", f"{there}/late"),
            )
        ):
            self._save(address, points)
            self.took[name].append(self._ask("GET", path)[0])

    def look_at_gradebook(self) -> None:
        self.took[_GRADEBOOK].append(self._ask("GET", "/course/gradebook")[0])

    def close(self) -> None:
        self._connection.close()

    def _save(self, address: str, points: int) -> None:
        version = json.loads(self._ask("GET", address)[1])["version"]
        change = {"points": points, "comment": "Read again.", "version": version}
        self.took[_SAVE].append(self._ask("PUT", address, json.dumps(change))[0])

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[float, bytes]:
        """Return the milliseconds until the answer was complete, and the answer.

        Raises: RuntimeError for anything but 200.
        """
        asked = time.perf_counter()
        self._connection.request(method, path, body, _HEADERS)
        answer = self._connection.getresponse()
        data = answer.read()
        took = (time.perf_counter() - asked) * 1000
        if answer.status != 200:
            raise RuntimeError(f"{method} {path} answered {answer.status}: {data[:300]!r}")
        return took, data


@contextmanager
def _hub(stage: Stage) -> Iterator[tuple[HubProcess, bytes]]:
    """Start a hub of its own on the class, whose marks are released; also return the key."""
    place = stage.directory / "marking"
    course = place / "course"
    say(f"  writing the marked submissions of {_STUDENTS} students")
    key = lay_out(course, _STUDENTS)
    done = run_mograder("gradebook", "release", NAME, cwd=course)
    assert done.status == 0, done
    with tempfile.TemporaryDirectory(prefix="mgb-", dir="/tmp") as runtime:
        settings: dict[str, object] = {
            "hub.uv_cache_dir": str(CACHE),
            "hub.environments_dir": str(stage.hub.course / ".mograder" / "environments"),
            "hub.runtime_dir": runtime,
        }
        with HubProcess(course, place / "hub.log", HubConfig(settings=settings)) as hub:
            yield hub, key

"""Versions: what the saves of a course take on disk, and how long one takes to be recorded.

A part of the course is recorded for real, with edits like those of students, and extrapolated: a
student changes or adds a few words, now and then deletes or moves some lines, and saves.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.options import Options
from bench.report import Budget, Row
from bench.stage import Stage
from mograder.store.database.database import open_engine, upgrade
from mograder.store.versions.version_survey import count
from mograder.store.versions.version_thinning import Thinning
from mograder.store.versions.versions import Origin, Versions
from tests.support.course import REPOSITORY

STUDENTS, ITEMS, SAVES = 300, 30, 200
"""The course that is meant."""

_STUDENTS, _ITEMS = 5, 4
"""The part that is recorded."""

_SOURCES = ("A1-Measuring-Pi", "A2-Cooling-Coffee", "A3-Counting-Bicycles")
_BEGIN = datetime(2026, 10, 12, 14, 0, tzinfo=UTC)
_WORDS = [
    "import",
    "numpy",
    "as",
    "np",
    "matplotlib",
    "plt",
    "value",
    "result",
    "total",
    "mean",
    "error",
    "for",
    "in",
    "range",
    "len",
    "if",
    "else",
    "return",
    "print",
    "sum",
    "abs",
    "x",
    "y",
    "t",
    "samples",
    "data",
    "fit",
    "slope",
    "curve",
    "temperature",
    "time",
    "minutes",
    "=",
    "+",
    "-",
    "*",
    "/",
    "(",
    ")",
    "[",
    "]",
    ":",
    ",",
    "0",
    "1",
    "2",
    "10",
    "0.5",
    "100",
    "np.linspace",
    "np.exp",
    "np.array",
    "plt.plot",
    "the",
    "of",
    "because",
    "we",
    "see",
    "that",
    "is",
    "smaller",
]


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Record the saves of some copies, all of one day, then thin them as in a month."""
    place = stage.directory / "versions"
    place.mkdir(exist_ok=True)
    return await asyncio.to_thread(_measure, place / "hub.db", options.seed)


def _measure(path: Path, seed: int) -> list[Row]:
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    empty, copies = _size(path), _STUDENTS * _ITEMS
    kept, seconds = Versions(engine), list[float]()
    work = [_Work(f"student{number // _ITEMS}", number % _ITEMS, seed) for number in range(copies)]
    for save in range(SAVES):
        with ThreadPoolExecutor(4) as threads:
            seconds += threads.map(lambda each: each.save(kept, save), work)  # noqa: B023
    engine.dispose()  # which writes all into the database's file
    whole = _size(path) - empty
    data = count(engine).bytes / (copies * SAVES)
    thinning, later = Thinning(engine), _BEGIN + timedelta(days=60)
    begun = time.perf_counter()
    removed = sum(thinning.thin(copy + 1, later).removed for copy in range(copies))
    thinned = time.perf_counter() - begun
    engine.dispose()
    share = STUDENTS * ITEMS / copies
    name = f"versions: {STUDENTS} students × {ITEMS} items × {SAVES} saves"
    note = f"{whole / copies / SAVES:.0f} bytes a save, {data:.0f} of them the difference"
    return [
        Row(f"{name}, none thinned", "MB", "", (whole * share / 1e6,), (), _BOUND, note),
        Row("versions: recording a save", "ms", "", _milliseconds(seconds), (), None),
        Row(
            "versions: thinning a copy after two months",
            "ms",
            "",
            (thinned * 1000 / copies,),
            (),
            None,
            f"{removed / copies:.0f} of {SAVES} removed",
        ),
    ]


_BOUND = Budget(1000, unit="MB")


def _milliseconds(seconds: Sequence[float]) -> tuple[float, ...]:
    return tuple(each * 1000 for each in seconds)


def _size(path: Path) -> int:
    """Return the size of the database, with what is not written into it yet."""
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))


@dataclass
class _Work:
    """A student's work on one item: ``lines`` is the notebook as it is now."""

    user: str
    item: int
    seed: int
    lines: list[str] = field(init=False)
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        name = _SOURCES[self.item % len(_SOURCES)]
        source = REPOSITORY / "examples" / "course" / "source" / name / f"{name}.py"
        self.lines = source.read_text("utf-8").splitlines(keepends=True)
        self.chance = random.Random(f"{self.seed} {self.user} {self.item}")

    def save(self, kept: Versions, number: int) -> float:
        """Edit the notebook and record it; return the seconds that it took."""
        if number:
            self._edit()
        text, now = "".join(self.lines).encode(), _BEGIN + number * timedelta(minutes=7)
        origin = Origin.EDITOR if number else Origin.RELEASE
        begun = time.perf_counter()
        kept.record(self.user, f"A{self.item}", text, origin, now)
        return time.perf_counter() - begun

    def _edit(self) -> None:
        at = self.chance.randrange(20, len(self.lines))
        what = self.chance.random()
        if what < 0.45:  # a line goes on, or is corrected
            words = self.lines[at].rstrip("\n").split(" ")
            words[self.chance.randrange(len(words)) :] = self._words(6)
            self.lines[at] = " ".join(words) + "\n"
        elif what < 0.9:
            self.lines[at:at] = [f"    {' '.join(self._words(8))}\n" for _ in range(2)]
        elif what < 0.97:
            del self.lines[at : at + 3]
        else:
            moved = self.lines[at : at + 6]
            del self.lines[at : at + 6]
            to = self.chance.randrange(20, len(self.lines))
            self.lines[to:to] = moved

    def _words(self, most: int) -> list[str]:
        words = self.chance.choices(_WORDS, k=self.chance.randint(1, most))
        return [*words, f"x{self.chance.randrange(1000)}"]

"""Variants of a notebook that should give the same results: under other circumstances. Pure.

A check whose result differs depends on the circumstance: on the order of cells that do not depend
on one another, on a second run, on random numbers, on the date, or on the machine. The variants are
for an author's own notebooks, which are trusted: a first cell changes what Python tells them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType

from mograder.notebook.cells import Cell, CellKind, LineEdit, NotebookText, replace_lines
from mograder.notebook.grading.grading_plan import GradingPlan
from mograder.notebook.quality.needed_cells import with_checks

_SEEDS = """\
import random as _random
_random.seed({seed})
try:
    import numpy as _numpy
    _numpy.random.seed({seed})
except ImportError:
    pass
"""
_DATE = """\
import datetime as _datetime
import time as _time
_days = 1000.4
_real = {name: getattr(_time, name) for name in ("time", "time_ns", "localtime", "gmtime")}
_date, _moment = _datetime.date, _datetime.datetime

class _OfOriginal(type):
    def __instancecheck__(cls, value):
        return isinstance(value, cls.original)

class _Date(_date, metaclass=_OfOriginal):
    original = _date
    @classmethod
    def today(cls):
        return _date.fromtimestamp(_time.time())

class _Moment(_moment, metaclass=_OfOriginal):
    original = _moment
    @classmethod
    def now(cls, tz=None):
        return _moment.fromtimestamp(_time.time(), tz)
    @classmethod
    def utcnow(cls):
        return _moment.fromtimestamp(_time.time(), _datetime.timezone.utc).replace(tzinfo=None)
    @classmethod
    def today(cls):
        return cls.now()

_time.time = lambda: _real["time"]() + 86400 * _days
_time.time_ns = lambda: _real["time_ns"]() + int(86400e9 * _days)
_time.localtime = lambda at=None: _real["localtime"](_time.time() if at is None else at)
_time.gmtime = lambda at=None: _real["gmtime"](_time.time() if at is None else at)
_datetime.date, _datetime.datetime = _Date, _Moment
"""
_MACHINE = """\
import locale as _locale
import os as _os
import platform as _platform
import socket as _socket
import time as _time
_kept = ("PYTHON", "MARIMO", "MOGRADER", "MPL", "XDG", "OPENBLAS", "OMP", "LD_", "TMP")
for _name in list(_os.environ):
    if not _name.startswith((*_kept, "TEMP", "SYSTEMROOT", "PATH")):
        del _os.environ[_name]
_os.environ.update(
    HOME="/nowhere", USER="another", LOGNAME="another", USERNAME="another", USERPROFILE="/nowhere"
)
_os.environ["TZ"] = "FAR-11:30"
if hasattr(_time, "tzset"):
    _time.tzset()
_os.cpu_count = lambda: 3
_os.getlogin = lambda: "another"
_socket.gethostname = _platform.node = lambda: "another-machine"
for _name in ("de_DE.UTF-8", "fr_FR.UTF-8", "de-DE"):
    try:
        _locale.setlocale(_locale.LC_ALL, _name)
        break
    except _locale.Error:
        pass
"""
OTHER_DATE = "date"
OTHER_MACHINE = "machine"
FIRST_CELLS: Mapping[str, str] = MappingProxyType({OTHER_DATE: _DATE, OTHER_MACHINE: _MACHINE})
"""The first cells that change a circumstance, by its name."""


def other_seed(seed: int) -> str:
    """Return the code of a first cell that seeds Python's and numpy's common random numbers."""
    return _SEEDS.format(seed=seed)


def with_first_cell(notebook: NotebookText, code: str) -> str:
    """Return a notebook in which code runs before everything else, whose names are private."""
    first = notebook.cells[0]
    indented = [f"    {line}" if line else "" for line in code.rstrip("\n").split("\n")]
    if first.kind is CellKind.SETUP:
        place = LineEdit(first.code_first, first.code_first - 1, tuple(indented))
    else:
        cell = ("@app.cell", "def _():", *indented, "    return", "", "")
        place = LineEdit(first.first, first.first - 1, cell)
    return replace_lines(notebook.lines, [place])


def in_other_order(notebook: NotebookText) -> str:
    """Return a notebook with its cells in the reverse order, but for the setup cell.

    marimo runs a cell after those that it depends on; the others run in the order of the file.
    """
    moved = [cell for cell in notebook.cells if cell.kind is not CellKind.SETUP]
    return replace_lines(
        notebook.lines,
        [
            LineEdit(place.first, place.last, _lines(notebook, cell))
            for place, cell in zip(moved, reversed(moved), strict=True)
        ],
    )


def with_checks_twice(notebook: NotebookText, plan: GradingPlan) -> tuple[str, frozenset[int]]:
    """Return a notebook in which checks run once more, and the cells that do.

    A cell that defines names for others cannot stand in a notebook twice, so it does not.
    """
    again = frozenset(_repeatable(notebook, with_checks(plan)))
    last = notebook.cells[-1].last
    lines = [
        line
        for cell in notebook.cells
        if cell.index in again
        for line in ("", "", *_lines(notebook, cell))
    ]
    text = replace_lines(notebook.lines, [LineEdit(last + 1, last, tuple(lines))])
    return text, again


def _repeatable(notebook: NotebookText, cells: Collection[int]) -> Iterator[int]:
    for cell in notebook.cells:
        if cell.index in cells and cell.kind is CellKind.CELL and not cell.returns:
            yield cell.index


def _lines(notebook: NotebookText, cell: Cell) -> tuple[str, ...]:
    return tuple(line.rstrip("\r\n") for line in notebook.lines[cell.first - 1 : cell.last])

"""A course after a year: all students' copies of every item, the list of people, the log.

Written straight to the disk and the database, as the hub would have left it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import insert

from mograder.store.database.database import database_url, open_engine, writing
from mograder.store.database.upgrades import upgrade
from mograder.store.hub.hub_tables import audit
from tests.support.identity import student

ITEMS = 30
LINES_EACH = 100
"""Of the audit log, for each student: some three a week."""

_BATCH = 5000
_BEGAN = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def person(number: int) -> str:
    return f"student{number:03}"


def item(number: int) -> str:
    return f"A{number:02}-Some-Assignment"


def lay_out(course: Path, students: int, notebook: str) -> None:
    """Fill an empty course directory."""
    for number in range(ITEMS):
        name = item(number)
        release = course / "hub-release" / name
        release.mkdir(parents=True)
        (release / f"{name}.py").write_text(notebook)
        manifest = {"files": [f"{name}.py"], "type": "assignment"}
        (release / "files.json").write_text(json.dumps(manifest))
    for number in range(students):
        for which in range(ITEMS):
            _copy(course / "hub-notebooks" / person(number) / item(which), which, notebook)
    names = "".join(f"{person(number)}\n" for number in range(students))
    (course / "allowed_users.txt").write_text(names)
    _log(course, students)


def headers_of(number: int) -> dict[str, str]:
    """Return the request headers of one of its students."""
    return {**student(person(number)), "Accept": "text/html"}


def _copy(folder: Path, which: int, notebook: str) -> None:
    folder.mkdir(parents=True)
    name = f"{folder.name}.py"
    for marker in (".uploaded", ".fetched"):
        (folder / marker).touch()
    (folder / name).write_text(notebook)
    if which % 2:
        (folder / ".exported").touch()
        (folder / f"{folder.name}.html").write_text("<p>a report</p>")


def _log(course: Path, students: int) -> None:
    place = course / ".mograder"
    place.mkdir(mode=0o700)
    engine = open_engine(database_url("", course))
    upgrade(engine)
    count = students * LINES_EACH
    for start in range(0, count, _BATCH):
        lines = [_line(number, students) for number in range(start, min(start + _BATCH, count))]
        with writing(engine, fleeting=True) as connection:
            connection.execute(insert(audit), lines)
    engine.dispose()


def _line(number: int, students: int) -> dict[str, object]:
    return {
        "at": _BEGAN + timedelta(minutes=number),
        "who": person(number % students),
        "action": "submit",
        "what": f"{person(number % students)}/{item(number % ITEMS)}",
        "origin": "192.0.2.1",
        "outcome": "ok",
    }

"""A student's file of several names (hard links) in a backup."""

from __future__ import annotations

import os
from pathlib import Path

from mograder.core.settings import load_settings
from mograder.operations.backup import back_up
from mograder.operations.restore import restore
from tests.support.progress import quiet

_LARGE, _SMALL = (1 << 20) + 1, 1000
_MORE = 5
"""Further names of each file."""


def test_a_large_file_of_many_names_is_read_once(tmp_path: Path) -> None:
    """security.md, "The workspace is theirs": by 60,000 names it would be read for weeks."""
    course, again = tmp_path / "course", tmp_path / "again"
    home, other = course / "hub-notebooks/alice/A1", course / "source"
    for place in (home, other):
        place.mkdir(parents=True)
        for name, size in (("large", _LARGE), ("small", _SMALL)):
            (place / name).write_bytes(os.urandom(size))
            for number in range(_MORE):
                (place / f"{name}{number}").hardlink_to(place / name)
    made = back_up(load_settings(course, environ={}), tmp_path / "backup", quiet)
    top = "course/hub-notebooks/alice/A1"
    said = {f"{top}/large{number}: another name of {top}/large" for number in range(_MORE)}
    assert set(made.left_out) == said
    assert made.by_students == _MORE, "so that no alarm starts"
    restore(tmp_path / "backup", again, {}, quiet)
    work = again / "hub-notebooks/alice/A1"
    assert (work / "large").read_bytes() == (home / "large").read_bytes()
    assert sorted(path.name for path in work.iterdir()) == [
        *("large", "small"),
        *(f"small{number}" for number in range(_MORE)),
    ]
    assert (work / "small4").read_bytes() == (home / "small").read_bytes()
    assert len(list((again / "source").iterdir())) == 2 + 2 * _MORE, "no student's: all is in it"


def test_many_names_of_a_smaller_file_end_as_well(tmp_path: Path) -> None:
    course = tmp_path / "course"
    home = course / "hub-notebooks/alice/A1"
    home.mkdir(parents=True)
    (home / "file").write_bytes(os.urandom(500_000))
    for number in range(20):
        (home / f"file{number:02}").hardlink_to(home / "file")
    made = back_up(load_settings(course, environ={}), tmp_path / "backup", quiet)
    assert made.by_students == 18, "three names have more than 1 MB together"

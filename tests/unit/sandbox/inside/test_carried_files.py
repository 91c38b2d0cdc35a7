"""Files that a check names among its arguments, as they are carried to an answer and back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sandbox.inside.codec import carried_files

TREE = {"a.txt": b"a", "below": {"b": b"b", "empty": {}}}


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_path_below_the_directory_for_temporary_files_is_carried(top: Path) -> None:
    inside = str(top / "x" / "a.txt")
    assert carried_files.named(inside) == carried_files.named(Path(inside)) == inside
    assert carried_files.named(f"{top}/x/../a.txt") == f"{top}/a.txt"


@pytest.mark.parametrize(
    "name", ["", "/", "../x", "x/../../y", "\0", "x" * 5000], ids=lambda each: each[:8]
)
def test_nothing_else_is_carried(top: Path, name: str) -> None:
    assert carried_files.named(f"{top}/{name}") is None
    assert carried_files.named(name) is None
    assert carried_files.named(3) is None
    assert carried_files.named([str(top / "x")]) is None


def test_a_folder_arrives_with_all_that_is_in_it(top: Path) -> None:
    carried_files.make(str(top / "one" / "two"), TREE)
    assert (top / "one" / "two" / "below" / "b").read_bytes() == b"b"
    assert carried_files.content(str(top / "one" / "two")) == TREE
    carried_files.make(str(top / "one" / "two"), {"a.txt": {}})
    assert carried_files.content(str(top / "one")) == {"two": {"a.txt": {}}}
    carried_files.make(str(top / "one" / "two"), b"file")
    assert (top / "one" / "two").read_bytes() == b"file"
    carried_files.make(str(top / "one"), None)
    assert carried_files.content(str(top / "one")) is None
    assert carried_files.content(str(top / "one" / "two")) is None


def test_links_and_pipes_count_as_nothing_and_are_not_followed(top: Path, tmp_path: Path) -> None:
    secret, place = tmp_path / "secret", top / "place"
    secret.mkdir()
    (secret / "kept").write_text("kept")
    place.mkdir()
    (place / "link").symlink_to(secret)
    os.mkfifo(place / "pipe")
    assert carried_files.content(str(place)) == {}
    assert carried_files.content(str(place / "link")) is None
    carried_files.make(str(place / "link"), {})
    assert (secret / "kept").exists()
    assert not (place / "link").is_symlink()


def test_too_large_a_folder_is_not_read(top: Path) -> None:
    (top / "large").write_bytes(b"x" * ((4 << 20) + 1))
    with pytest.raises(ValueError, match="4 MB"):
        carried_files.content(str(top / "large"))
    (top / "many").mkdir()
    for number in range(200):
        (top / "many" / str(number)).touch()
    with pytest.raises(ValueError, match="too many"):
        carried_files.content(str(top / "many"))


DEEP: dict[str, Any] = {}
for _ in range(12):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize(
    "told",
    [
        "text",
        3,
        {"..": b""},
        {".": {}},
        {"": b""},
        {"a/b": b""},
        {"a\0": b""},
        {"a": None},
        {"a" * 300: b""},
        {3: b""},
        {"\ud800x": b""},
        {"a": {"b": "text"}},
        DEEP,
        dict.fromkeys(map(str, range(300)), b""),
        b"x" * ((4 << 20) + 1),
    ],
    ids=lambda each: repr(each)[:12],
)
def test_what_a_hostile_worker_says_of_files_is_refused(told: object) -> None:
    with pytest.raises(ValueError):
        carried_files.check(told)


def test_what_an_honest_worker_says_is_taken() -> None:
    for told in (None, b"", b"x", {}, TREE):
        carried_files.check(told)

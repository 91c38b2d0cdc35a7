"""Zips from another server, unpacked safely (security.md, "Input")."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.core.errors import InvalidInput, TooLarge
from mograder.exchange import unpacking
from mograder.exchange.unpacking import is_hidden, safe_path, unpack, visible_path


def zipped(path: Path, files: Mapping[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return path


@pytest.fixture
def into(tmp_path: Path) -> Path:
    (tmp_path / "into").mkdir()
    return tmp_path / "into"


def all_below(directory: Path) -> set[str]:
    return {
        path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("dot", ["", "./"])
def test_files_and_folders_are_unpacked(tmp_path: Path, into: Path, dot: str) -> None:
    files = {"hw1.py": b"# 1", "data/a.csv": b"1,2", "data/deep/b.bin": b"\0"}
    listed = {f"{dot}{name}": data for name, data in {**files, "empty/": b""}.items()}
    archive = zipped(tmp_path / "hw1.zip", {dot: b"", **listed} if dot else listed)
    assert set(unpack(archive, into)) == set(files)
    assert {name: (into / name).read_bytes() for name in all_below(into)} == files


def test_hidden_files_are_left_out(tmp_path: Path, into: Path) -> None:
    files = {"hw1.py": b"", ".env": b"", "__MACOSX/._hw1.py": b"", ".git/config": b""}
    assert unpack(zipped(tmp_path / "z.zip", files), into) == ("hw1.py",)
    assert all_below(into) == {"hw1.py"}


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/etc/evil",
        "a//b",
        "..",
        "a\nb",
        "x" * 256,
    ],
)
def test_a_path_that_leaves_is_refused_and_nothing_is_written(
    tmp_path: Path, into: Path, name: str
) -> None:
    archive = zipped(tmp_path / "z.zip", {"hw1.py": b"", name: b"evil"})
    with pytest.raises(InvalidInput):
        unpack(archive, into)
    assert all_below(tmp_path) == {"z.zip"}


def test_a_link_in_an_archive_is_refused(tmp_path: Path, into: Path) -> None:
    archive = zipped(tmp_path / "z.zip", {"link": b"/etc/passwd"}, stat.S_IFLNK | 0o777)
    with pytest.raises(InvalidInput, match="link"):
        unpack(archive, into)


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b/c", "a/b")])
def test_a_name_of_a_file_and_a_folder_is_refused(
    tmp_path: Path, into: Path, names: tuple[str, str]
) -> None:
    with pytest.raises(InvalidInput, match="a file and a folder"):
        unpack(zipped(tmp_path / "z.zip", dict.fromkeys(names, b"")), into)
    assert not all_below(into)


def test_names_that_some_system_does_not_take_are_encoded(tmp_path: Path, into: Path) -> None:
    files = {"C:evil": b"1", "a\\..\\evil": b"2", "hw1.py": b"3", "HW1.py": b"4"}
    unpack(zipped(tmp_path / "z.zip", files), into)
    found = {name: (into / name).read_bytes() for name in all_below(into)}
    assert found == {"C%3Aevil": b"1", "a%5C..%5Cevil": b"2", "%68w1.py": b"3", "HW1.py": b"4"}


def test_on_windows_reserved_names_are_encoded_too(
    tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "SYSTEM", "windows")
    unpack(zipped(tmp_path / "z.zip", {"aux.py": b"", "why?/data.": b""}), into)
    assert all_below(into) == {"au%78.py", "why%3F/data%2E"}


def test_a_bomb_does_not_go_off(
    tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "MAX_UNPACKED", 1_000_000)
    archive = zipped(tmp_path / "z.zip", {"zeros": bytes(5_000_000)})
    assert archive.stat().st_size < 10_000
    with pytest.raises(TooLarge):
        unpack(archive, into)
    assert (into / "zeros").stat().st_size <= 1_000_000


def test_too_many_files_are_refused(
    tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "MAX_ENTRIES", 3)
    with pytest.raises(TooLarge, match="3 files"):
        unpack(zipped(tmp_path / "z.zip", {str(n): b"" for n in range(4)}), into)


def test_what_is_no_zip_is_told_in_words(tmp_path: Path, into: Path) -> None:
    whole = zipped(tmp_path / "z.zip", {"a": bytes(1000), "b": b"x" * 1000}).read_bytes()
    damaged = whole[:33] + bytes([whole[33] ^ 0xFF]) + whole[34:]
    for number, data in enumerate((b"", b"PK", whole[:-30], damaged)):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(data)
        scratch = into / str(number)
        scratch.mkdir()
        with pytest.raises(InvalidInput):
            unpack(path, scratch)


@given(st.text(max_size=40))
def test_a_safe_path_stays_below_its_directory(name: str) -> None:
    try:
        path = safe_path(name)
    except InvalidInput:
        return
    base = Path("/base")
    assert (base / path).resolve(strict=False).is_relative_to(base)
    assert path
    assert "\\" not in path
    assert is_hidden(path) == any(s.startswith(".") or s == "__MACOSX" for s in path.split("/"))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("notes.txt", "notes.txt"),
        (".notes.txt", "_.notes.txt"),
        ("..py", "_..py"),
        (".git/hooks/x", "_.git/hooks/x"),
        ("a/../../b", "a/_../_../b"),
        ("a:b.txt", "a_b.txt"),
        ("/etc/x", "_etc_x"),
        ("\0", "_"),
        ("", "_"),
        ("e\u0301.txt", "é.txt"),
    ],
)
def test_a_students_file_name_is_made_visible_and_safe(name: str, path: str) -> None:
    """It is kept, and a .git or .envrc of a student does nothing here."""
    assert visible_path(name) == path
    assert safe_path(visible_path(name)) == path
    assert not is_hidden(path)

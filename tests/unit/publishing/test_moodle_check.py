"""Comparison of local files with those on Moodle: every file, zips by content (B86 to B89)."""

from __future__ import annotations

import hashlib
import io
import unicodedata
import zipfile
from collections.abc import Mapping

import pytest

from mograder.clients.course_server import RemoteFile
from mograder.core.errors import InvalidInput, TooLarge
from mograder.publishing import local_release
from mograder.publishing.local_release import Differences, compare, remote_digests

NOTEBOOK, DATA = b"import marimo\n", b"1,2\n"
RELEASE = {"A1.py": NOTEBOOK, "data.csv": DATA}
LOCAL = {name: hashlib.sha256(content).hexdigest() for name, content in RELEASE.items()}


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def found(remote: Mapping[str, bytes]) -> Differences:
    """Compare the release with a Moodle that has these files."""
    files = [RemoteFile(name, name, len(content)) for name, content in remote.items()]
    return compare(LOCAL, remote_digests(files, lambda file, _: remote[file.address], "A1"))


@pytest.mark.parametrize(
    "remote",
    [
        {"A1.py": NOTEBOOK, "data.csv": DATA},
        {"A1.zip": zipped({"A1.py": NOTEBOOK, "data.csv": DATA})},
        {"all.ZIP": zipped({"A1/A1.py": NOTEBOOK, "A1/data.csv": DATA, "A1/": b""})},
        {"A1.py": NOTEBOOK, "rest.zip": zipped({"data.csv": DATA, ".DS_Store": b"x"})},
        {"A1.py": NOTEBOOK, "A1.zip": zipped({"A1.py": NOTEBOOK, "data.csv": DATA})},
        {"A1.py": NOTEBOOK, "data.csv": DATA, "A1.html": b"<html>a preview"},
        {"a.zip": zipped({"A1.py": NOTEBOOK, "data.csv": DATA, "A1.html": b"<html>"})},
        {"a.zip": zipped({f"A1/{name}": RELEASE.get(name, b"") for name in (*RELEASE, "A1.html")})},
    ],
    ids=[
        *("loose", "zip", "folder in a zip", "both", "twice"),
        *("preview", "preview in a zip", "preview in a folder in a zip"),
    ],
)
def test_b86_the_same_files_are_the_same_however_moodle_has_them(
    remote: Mapping[str, bytes],
) -> None:
    """B86, compatibility-0.3.16.md 10: previews do not count, zips are compared by content."""
    assert found(remote).none


def test_b86_a_zip_in_a_folder_is_one_of_the_releases_files() -> None:
    """B86: students get it as it is, loose or in the zip of the whole release."""
    inner = zipped({"a.csv": DATA})
    release = {"A1.py": NOTEBOOK, "data/raw.zip": inner, "data/spoilt.zip": b"PK broken"}

    def digests(files: Mapping[str, bytes]) -> Mapping[str, frozenset[str]]:
        listed = [RemoteFile(name, name, len(content)) for name, content in files.items()]
        return remote_digests(listed, lambda file, _: files[file.address], "A1")

    here = {name: min(each) for name, each in digests(release).items()}
    assert sorted(here) == sorted(release)
    assert compare(here, digests(release)).none
    assert compare(here, digests({"A1.zip": zipped(release)})).none


def test_b86_a_zip_of_a_mac_has_the_same_names() -> None:
    """B86: macOS writes a letter and its accent apart."""
    apart = unicodedata.normalize("NFD", "Übung 1")
    files = {f"{apart}/{apart}.py": NOTEBOOK}
    archive = RemoteFile("all.zip", "all.zip")
    found = remote_digests([archive], lambda *_: zipped(files), "Übung 1")
    assert set(found) == {"Übung 1.py"}


def test_b86_every_difference_is_said_by_name() -> None:
    """B86, compatibility-0.3.16.md 10: the three kinds, in its words."""
    differing = found({"A1.py": b"old", "old.py": b""})
    assert differing.lines() == [
        "  missing on Moodle: data.csv",
        "  content differs: A1.py",
        "  extra on Moodle (not local): old.py",
    ]
    assert not differing.none


def test_b86_a_file_that_moodle_has_twice_must_be_right_twice() -> None:
    """B86: a student may take either."""
    remote = {"A1.py": NOTEBOOK, "A1.zip": zipped({"A1.py": b"old", "data.csv": DATA})}
    assert found(remote).differing == ("A1.py",)


def test_what_cannot_be_unpacked_is_told_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match=r"A1\.zip on Moodle cannot be unpacked"):
        found({"A1.zip": b"PK broken"})
    monkeypatch.setattr(local_release, "MOST_BYTES", 1000)
    with pytest.raises(TooLarge, match="unpacks to too much"):
        found({"A1.zip": zipped({"A1.py": b"\0" * 5000})})
    with pytest.raises(TooLarge, match="is larger than"):
        found({"big.bin": b"\0" * 5000})

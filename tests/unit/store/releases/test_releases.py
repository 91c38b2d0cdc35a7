"""Releases: replaced as a whole, listed, and read by their manifest only.

See compatibility-0.3.16.md 2.7, 3.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.core.clock import SystemClock
from mograder.core.errors import Conflict, InvalidInput, NotFound, TooLarge
from mograder.core.files.disk import Disk
from mograder.core.names import ItemName
from mograder.store.releases.published_release import parse_file
from mograder.store.releases.releases import ItemKind, Limits, Release, Releases
from tests.support.clock import ManualClock
from tests.support.releases import publish
from tests.support.threads import at_once

A1 = ItemName.parse("A1")
NOTEBOOK = b"import marimo\n"


def got(releases: Releases) -> Release:
    release = releases.get(A1)
    assert release is not None
    return release


def lay(root: Path, item: str, files: Mapping[str, str]) -> None:
    """Put a release there as 0.3.16 or a person did."""
    for filename, content in files.items():
        path = root / item / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The release directory."""
    return tmp_path / "hub-release"


@pytest.fixture
def releases(root: Path) -> Releases:
    """Releases in an empty course."""
    return Releases(root)


def test_a_published_item_has_its_files_and_kind(releases: Releases, root: Path) -> None:
    release = publish(
        releases,
        {"A1.py": NOTEBOOK, "public/plot.png": b"png", "data.csv": b"1"},
        kind=ItemKind.LECTURE,
    )
    assert release == releases.get(A1)
    assert release.files == ("A1.py", "data.csv", "public/plot.png")
    assert release.kind is ItemKind.LECTURE
    assert release.notebook.read_bytes() == NOTEBOOK
    assert abs(release.updated - SystemClock().now()) < timedelta(minutes=1)
    assert (root / "A1" / "files.json").read_text() == (
        '{\n  "files": [\n    "A1.py",\n    "data.csv",\n    "public/plot.png"\n  ],\n'
        '  "type": "lecture"\n}\n'
    )


def test_a_sandbox_of_another_uid_can_read_a_release_whatever_the_umask(
    releases: Releases, root: Path
) -> None:
    previous = os.umask(0o077)
    try:
        publish(releases, {"A1.py": NOTEBOOK, "public/plot.png": b"png"})
    finally:
        os.umask(previous)
    modes = {
        path.relative_to(root).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in (root / "A1").rglob("*")
    }
    assert modes == {"A1/A1.py": 0o644, "A1/files.json": 0o644, "A1/public": 0o755} | {
        "A1/public/plot.png": 0o644
    }
    assert stat.S_IMODE((root / "A1").stat().st_mode) == 0o755


def test_publishing_again_replaces_everything_and_changes_the_version(releases: Releases) -> None:
    first = publish(releases, {"A1.py": NOTEBOOK, "public/mistake.txt": b"the solution"})
    second = publish(releases, {"A1.py": NOTEBOOK})
    assert second.version != first.version
    assert second.files == ("A1.py",)
    assert not (second.directory / "public").exists()


def test_the_same_files_published_again_are_not_newer(releases: Releases) -> None:
    """Copies of them are up to date, also where only the type is another one."""
    files = {"A1.py": NOTEBOOK, "data.csv": b"1"}
    first = publish(releases, files)
    os.utime(first.notebook, ns=(0, 10**18))
    again = publish(releases, files, kind=ItemKind.LECTURE)
    assert (again.kind, again.updated.timestamp()) == (ItemKind.LECTURE, 10**9)
    assert again.version != first.version
    (again.directory / "data.csv").unlink()
    restored = publish(releases, files)
    assert restored.updated > again.updated
    os.utime(restored.notebook, ns=(0, 10**18))
    assert publish(releases, {**files, "data.csv": b"2"}).updated > again.updated


def test_what_was_put_there_by_hand_is_carried_over_except_environments(
    releases: Releases, root: Path
) -> None:
    lay(
        root,
        "A1",
        {
            "A1.py": "old",
            "files.json": '{"files": ["A1.py", "old.csv"], "type": "assignment"}',
            "old.csv": "1",
            "data/big.csv": "2",
            ".note": "3",
            ".venv/bin/python": "4",
            "__pycache__/A1.pyc": "5",
        },
    )
    release = publish(releases, {"A1.py": NOTEBOOK})
    held = {
        path.relative_to(release.directory).as_posix()
        for path in release.directory.rglob("*")
        if path.is_file()
    }
    assert held == {"A1.py", "files.json", "data/big.csv", ".note"}
    assert release.files == ("A1.py",)


def test_items_are_listed_assignments_first_demos_last(releases: Releases) -> None:
    for name, kind in (
        ("L2", ItemKind.LECTURE),
        ("D0", ItemKind.DEMO),
        ("A2", ItemKind.ASSIGNMENT),
        ("L1", ItemKind.LECTURE),
        ("A1", ItemKind.ASSIGNMENT),
    ):
        publish(releases, {f"{name}.py": NOTEBOOK}, name, kind)
    assert [release.name for release in releases.all()] == ["A1", "A2", "L1", "L2", "D0"]


def test_a_course_without_releases_is_empty(releases: Releases) -> None:
    assert releases.all() == []
    assert releases.get(A1) is None


def test_an_item_exists_only_with_a_notebook_of_its_name(releases: Releases, root: Path) -> None:
    lay(root, "A1", {"other.py": "x"})
    lay(root, "A2", {"A2.py/inner": "x"})
    lay(root, ".hidden", {".hidden.py": "x"})
    lay(root, "user", {"user.py": "x"})
    lay(root, "elsewhere", {"elsewhere.py": "x"})
    (root / "A3").symlink_to("elsewhere")
    (root / "A4").mkdir()
    (root / "A4" / "A4.py").symlink_to("/etc/passwd")
    (root / ".visibility.json").write_text("{}")
    assert [release.name for release in releases.all()] == ["elsewhere"]


def test_a_directory_of_0_3_16_opens_without_its_keys_and_environment(
    releases: Releases, root: Path
) -> None:
    files = {
        "A1.py": "# /// script\n# mograder-type = 'lecture'\n# ///\n",
        "helper.py": "x",
        "A1.html": "x",
        "A1.zip": "x",
        "keys.json": "{}",
        "keys_all.json": "{}",
        ".secret": "x",
        ".venv/bin/python": "x",
        "data/inner.csv": "x",
    }
    lay(root, "A1", files)
    release = got(releases)
    assert release.kind is ItemKind.LECTURE
    assert release.files == ("A1.py", "helper.py")
    for filename in (*(files.keys() - {"A1.py", "helper.py"}), "files.json", "nothing", ""):
        with pytest.raises(NotFound):
            releases.readable(A1, filename)


def test_names_of_0_3_16_that_keep_something_from_students_are_told_at_the_start(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = ["data[1].csv", "x[]/a", "x[]/b"]
    listed = ["A1.py", *odd, "a/b/c/d", "data.csv", "keys.json", ".venv/x"]
    manifest = json.dumps({"files": listed})
    lay(root, "A1", {"A1.py": "x", "data[1].csv": "x", "files.json": manifest})
    lay(root, "A2", {"A2.py": "x", "50%.txt": "x", ".secret%": "x", "50%/inner": "x"})
    lay(root, "Week#1", {"Week#1.py": "x"})
    lay(root, "no#item", {"data.csv": "x"})
    Releases(root)
    allowed = "use only letters, digits, spaces and . _ - + @ ( ) , ' &."
    assert [each.getMessage() for each in caplog.records] == [
        f"{sentence} Students do not get it: rename it, and publish."
        for sentence in (
            "A1: Invalid file name 'a/b/c/d': it is more than 3 levels deep.",
            f"A1: Invalid file name 'data[1].csv': {allowed}",
            f"A1: Invalid file name 'x[]': {allowed}",
            f"A2: Invalid file name '50%.txt': {allowed}",
            f"Invalid name 'Week#1': {allowed}",
        )
    ]


def test_the_manifest_decides_the_kind_before_the_notebook(releases: Releases, root: Path) -> None:
    listed = ["A1.py", "keys_all.json", ".venv/x", "../../x", "files.json", "gone.csv", "A1.html"]
    lay(
        root,
        "A1",
        {
            "A1.py": "# mograder-type = 'lecture'\n",
            "A1.html": "x",
            "keys_all.json": "{}",
            ".venv/x": "x",
            "unlisted.csv": "x",
            "files.json": json.dumps({"files": listed, "type": "demo"}),
        },
    )
    release = got(releases)
    assert release.kind is ItemKind.DEMO
    assert release.files == ("A1.html", "A1.py")


@pytest.mark.parametrize("manifest", ["", "{", "[]", '{"files": 1}', '{"files": [], "type": "x"}'])
def test_a_manifest_that_makes_no_sense_lets_only_the_notebook_out(
    releases: Releases, root: Path, manifest: str
) -> None:
    lay(root, "A1", {"A1.py": "x", "solution.py": "x", "files.json": manifest})
    release = got(releases)
    assert (release.kind, release.files) == (ItemKind.ASSIGNMENT, ("A1.py",))


def test_a_listed_file_below_a_link_that_leads_nowhere_is_left_out(
    releases: Releases, root: Path
) -> None:
    listed = json.dumps({"files": ["A1.py", "round/and/round.csv"]})
    lay(root, "A1", {"A1.py": NOTEBOOK.decode(), "files.json": listed})
    (root / "A1" / "round").symlink_to("round")
    assert got(releases).files == ("A1.py",)


def test_a_listed_file_is_readable_and_one_that_is_gone_or_a_link_is_not(
    releases: Releases,
) -> None:
    release = publish(releases, {"A1.py": NOTEBOOK, "a.csv": b"1", "b.csv": b"2"})
    assert releases.readable(A1, "A1.py") == release.notebook
    (release.directory / "a.csv").unlink()
    (release.directory / "b.csv").unlink()
    (release.directory / "b.csv").symlink_to("/etc/passwd")
    for filename in ("a.csv", "b.csv"):
        with pytest.raises(NotFound):
            releases.readable(A1, filename)
    with pytest.raises(InvalidInput, match="Invalid filename"):
        releases.readable(A1, "../A1/A1.py")
    with pytest.raises(NotFound):
        releases.readable(ItemName.parse("A2"), "A2.py")


@pytest.mark.parametrize(
    "filename",
    [
        "../A1.py",
        "/etc/passwd",
        ".hidden",
        "public/.hidden",
        "public/../A1.py",
        "files.json",
        "a/b/c/d",
        "a//b",
        "a\\b",
        "a\0b",
        "A1.py",
        "A1.py/x",
        "public",
        "",
    ],
)
def test_a_file_name_that_is_bad_or_given_twice_is_refused(
    releases: Releases, root: Path, filename: str
) -> None:
    with releases.stage(A1) as staged:
        staged.add("A1.py", io.BytesIO(NOTEBOOK))
        staged.add("public/a.png", io.BytesIO(b""))
        with pytest.raises(InvalidInput):
            staged.add(filename, io.BytesIO(b"evil"))
        assert staged.files == ("A1.py", "public/a.png")
    assert releases.get(A1) is None
    assert list((root / ".staging").iterdir()) == []


@given(st.text(alphabet="aA.é/\\-_ \0~'", max_size=12))
def test_a_name_that_is_accepted_stays_below_its_directory(text: str) -> None:
    try:
        path = parse_file(text)
    except InvalidInput:
        return
    parts = path.split("/")
    assert 1 <= len(parts) <= 3
    assert not any(part in ("", ".", "..") or part.startswith(".") for part in parts)
    assert "\0" not in path


def test_a_release_without_its_notebook_is_refused_and_the_old_one_stays(
    releases: Releases,
) -> None:
    first = publish(releases, {"A1.py": NOTEBOOK})
    with pytest.raises(InvalidInput, match=r"A1\.py"):
        publish(releases, {"a1.py": b"new"})
    assert releases.get(A1) == first


def test_an_upload_that_is_synced_for_long_does_not_replace_a_later_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    releases = Releases(root, disk=disk)
    sync = disk.fsync_directory

    def sync_while_a_later_one_is_published(path: Path) -> None:
        monkeypatch.setattr(disk, "fsync_directory", sync)
        publish(releases, {"A1.py": b"later"})
        sync(path)

    with releases.stage(A1) as staged:
        staged.add("A1.py", io.BytesIO(b"earlier"))
        monkeypatch.setattr(disk, "fsync_directory", sync_while_a_later_one_is_published)
        with pytest.raises(Conflict, match="a newer upload of A1"):
            staged.commit(ItemKind.ASSIGNMENT)
    assert (root / "A1" / "A1.py").read_bytes() == b"later"


def test_an_upload_that_ended_takes_no_more(releases: Releases) -> None:
    with releases.stage(A1) as staged:
        staged.add("A1.py", io.BytesIO(NOTEBOOK))
        staged.commit(ItemKind.ASSIGNMENT)
        with pytest.raises(Conflict):
            staged.add("late.csv", io.BytesIO(b""))


def test_what_a_crash_left_is_swept_when_it_is_old_and_not_before(root: Path) -> None:
    clock = ManualClock(SystemClock().now())
    releases = Releases(root, clock=clock)
    growing = releases.stage(A1)
    litter = root / ".staging" / "litter"
    lay(root / ".staging", "litter", {"A1/A1.py": "half"})
    Releases(root, clock=clock)
    assert litter.exists()
    clock.advance(25 * 3600)
    publish(releases, {"A1.py": NOTEBOOK})
    assert not litter.exists()
    assert growing.path.exists()


def test_the_old_release_stays_for_a_day_for_open_lectures_that_read_it(root: Path) -> None:
    clock = ManualClock(SystemClock().now())
    publish(Releases(root, clock=clock), {"A1.py": b"old"})
    reader = os.open(root / "A1", os.O_RDONLY | os.O_DIRECTORY)
    publish(Releases(root, clock=clock), {"A1.py": b"new"})
    clock.advance(23 * 3600)
    Releases(root, clock=clock)
    with os.fdopen(os.open("A1.py", os.O_RDONLY, dir_fd=reader), "rb") as file:
        assert file.read() == b"old"
    os.close(reader)
    clock.advance(2 * 3600)
    Releases(root, clock=clock)
    assert list((root / ".staging").iterdir()) == []


def test_uploads_at_once_are_stored_whole_or_overtaken_by_a_later_one(releases: Releases) -> None:
    def one(number: int) -> int:
        for _ in range(5):
            with contextlib.suppress(Conflict):
                publish(releases, dict.fromkeys(("A1.py", "twin.py"), bytes([65 + number])))
        return number

    assert at_once(4, one) == [0, 1, 2, 3]
    release = got(releases)
    assert release.notebook.read_bytes() == (release.directory / "twin.py").read_bytes()


def test_the_bounds_of_an_upload_are_kept_and_named(root: Path) -> None:
    releases = Releases(root, limits=Limits(files=2, megabytes=1))
    with releases.stage(A1) as staged:
        staged.add("A1.py", io.BytesIO(NOTEBOOK))
        with pytest.raises(TooLarge, match="1 MB"):
            staged.add("large", io.BytesIO(bytes(2**20 + 1)))
        assert not (staged.path / "large").exists()
    with releases.stage(A1) as staged:
        staged.add("one", io.BytesIO(b""))
        staged.add("two", io.BytesIO(b""))
        with pytest.raises(TooLarge, match="2 files"):
            staged.add("three", io.BytesIO(b""))


def test_a_folder_of_releases_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    root = tmp_path / "hub-release"
    releases = Releases(root)
    root.symlink_to(root)
    with pytest.raises(InvalidInput, match="hub-release cannot be used: Too many levels"):
        releases.all()

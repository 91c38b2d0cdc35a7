"""A notebook that lies under another name is found, gets its name back, and is never doubled."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.core.errors import Conflict
from mograder.core.names import ItemName, Username
from mograder.store.copies.copy_facts import CopyListing
from mograder.store.copies.renamed_notebooks import printable
from mograder.store.copies.workspaces import FileStatus, Workspaces
from mograder.store.releases.releases import ItemKind, Release, Releases

ALICE = Username.parse("alice")
A1 = ItemName.parse("A1")
NOW = datetime(2026, 10, 1, 9, tzinfo=UTC)
LIMIT = 16_000_000

TEMPLATE = """{header}import marimo

app = marimo.App()


@app.cell
def _():
    import numpy as np
    return (np,)


@app.cell
def _(np):
    data = np.loadtxt("data.csv")
    return (data,)


@app.cell
def _(data):
    total = ...
    # YOUR CODE HERE
    pass
    return (total,)


if __name__ == "__main__":
    app.run()
"""
HEADER = """# /// script
# dependencies = ["numpy"]
# mograder-assignment = "A1"
# ///
"""
PLAIN = TEMPLATE.format(header="")
MARKED = TEMPLATE.format(header=HEADER)
SCRATCH = """import marimo

app = marimo.App()


@app.cell
def _():
    import random
    print(random.random())
    return


if __name__ == "__main__":
    app.run()
"""
HELPER = SCRATCH.replace("random.random()", "'a helper that was handed out'")


def work(release: str) -> str:
    """Return a student's version of a release."""
    return release.replace("total = ...", "total = data.sum()").replace("    pass\n", "")


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    """Return the published release."""
    return Releases(tmp_path / "hub-release")


@pytest.fixture
def workspaces(tmp_path: Path, releases: Releases) -> Workspaces:
    """The students' folders."""
    return Workspaces(tmp_path / "hub-notebooks", released=releases.get)


def publish(releases: Releases, files: Mapping[str, str]) -> Release:
    """Publish these files as A1."""
    with releases.stage(A1) as staged:
        for filename, content in files.items():
            staged.add(filename, io.BytesIO(content.encode()))
        return staged.commit(ItemKind.ASSIGNMENT)


def begun(workspaces: Workspaces, releases: Releases, text: str = PLAIN) -> tuple[Path, Release]:
    """Alice has a copy and worked on it; returns her folder and the release."""
    release = publish(releases, {"A1.py": text, "data.csv": "1\n", "helper.py": HELPER})
    folder = workspaces.ensure(ALICE, release)
    (folder / "A1.py").write_text(work(text))
    return folder, release


def texts(folder: Path) -> list[str]:
    """The notebooks in a folder with the student's work in it."""
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "data.sum()" in path.read_text("utf-8", "replace")
    ]


@pytest.mark.parametrize("text", [PLAIN, MARKED])
@pytest.mark.parametrize(
    "name", ["mine.py", "alice homework.py", "Übung – 1 ✓.py", "sub/mine.py", "A1.old", "A1 (2).py"]
)
def test_opening_gives_a_renamed_notebook_its_name_again(
    workspaces: Workspaces, releases: Releases, name: str, text: str
) -> None:
    folder, release = begun(workspaces, releases, text)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / "A1.py").rename(folder / name)
    assert workspaces.renamed(ALICE, A1) == name
    workspaces.ensure(ALICE, release)
    assert (folder / "A1.py").read_text() == work(text)
    assert texts(folder) == ["A1.py"]
    assert workspaces.renamed(ALICE, A1) is None


def test_all_that_reads_the_copy_reads_the_renamed_notebook(
    tmp_path: Path, workspaces: Workspaces, releases: Releases
) -> None:
    folder, _ = begun(workspaces, releases)
    (folder / "A1.py").rename(folder / "mine.py")
    later = (folder / ".uploaded").stat().st_mtime_ns + 1_000_000_000
    os.utime(folder / "mine.py", ns=(later, later))
    assert workspaces.has_copy(ALICE, A1)
    assert workspaces.file_status(ALICE, A1) is FileStatus.MODIFIED
    assert workspaces.text(ALICE, A1, LIMIT) == work(PLAIN)
    assert workspaces.read(ALICE, A1, "A1.py", LIMIT).data == work(PLAIN).encode()
    facts = CopyListing(tmp_path / "hub-notebooks", releases.get).facts(ALICE, A1)
    assert facts is not None
    assert facts.state == "edited"
    # A session opens the item's name only: it would make a new file of another.
    assert workspaces.notebook_size(ALICE, A1) is None


def test_a_replacement_keeps_a_renamed_notebook_as_an_earlier_version(
    workspaces: Workspaces, releases: Releases
) -> None:
    replacements: tuple[Callable[[Release], str | None], ...] = (
        lambda release: workspaces.renew(ALICE, release, NOW, only_replace=True),
        lambda release: workspaces.renew(ALICE, release, NOW),
        lambda release: workspaces.upload(ALICE, A1, PLAIN.encode(), NOW),
        lambda release: workspaces.restore(ALICE, A1, PLAIN.encode(), NOW),
    )
    for replace in replacements:
        folder, release = begun(workspaces, releases)
        (folder / "A1.py").rename(folder / "mine.py")
        kept = replace(release)
        assert kept is not None
        assert texts(folder) == [kept]
        assert (folder / "A1.py").read_text() == PLAIN
        assert [each.name for each in workspaces.archives(ALICE, A1)] == [kept]
        (folder / kept).unlink()


def test_of_several_the_one_that_was_saved_last_is_the_work(
    workspaces: Workspaces, releases: Releases
) -> None:
    folder, release = begun(workspaces, releases)
    (folder / "A1.py").rename(folder / "mine.py")
    (folder / "mine_copy.py").write_text(work(PLAIN) + "# newer\n")
    os.utime(folder / "mine.py", (1_000_000_000, 1_000_000_000))
    workspaces.ensure(ALICE, release)
    assert (folder / "A1.py").read_text().endswith("# newer\n")
    assert (folder / "mine.py").exists()


def test_a_notebook_of_the_students_own_is_not_taken_for_the_copy(
    workspaces: Workspaces, releases: Releases
) -> None:
    folder, release = begun(workspaces, releases)
    (folder / "scratch.py").write_text(SCRATCH)
    (folder / "other.py").write_text(MARKED.replace('"A1"', '"B7"'))
    (folder / "A1.py").unlink()
    assert workspaces.renamed(ALICE, A1) is None
    workspaces.ensure(ALICE, release)
    assert (folder / "A1.py").read_text() == PLAIN
    assert (folder / "scratch.py").read_text() == SCRATCH


def test_a_notebook_that_was_deleted_is_handed_out_again_beside_its_earlier_versions(
    workspaces: Workspaces, releases: Releases
) -> None:
    folder, release = begun(workspaces, releases)
    kept = workspaces.upload(ALICE, A1, work(PLAIN).encode() + b"# second\n", NOW)
    (folder / "A1.py").unlink()
    workspaces.ensure(ALICE, release)
    assert (folder / "A1.py").read_text() == PLAIN
    assert [each.name for each in workspaces.archives(ALICE, A1)] == [kept]


def test_work_on_an_older_release_is_found_after_an_update(
    workspaces: Workspaces, releases: Releases
) -> None:
    folder, _ = begun(workspaces, releases)
    (folder / "A1.py").rename(folder / "mine.py")
    newer = publish(releases, {"A1.py": PLAIN.replace("total = ...", "total = ...  # in euros")})
    workspaces.ensure(ALICE, newer)
    assert (folder / "A1.py").read_text() == work(PLAIN)


def test_a_notebook_under_a_support_files_name_is_the_work_and_the_support_file_is_not(
    workspaces: Workspaces, releases: Releases
) -> None:
    folder, release = begun(workspaces, releases)
    (folder / "A1.py").unlink()
    assert workspaces.renamed(ALICE, A1) is None
    (folder / "helper.py").write_text(work(PLAIN))
    assert workspaces.renamed(ALICE, A1) == "helper.py"
    workspaces.ensure(ALICE, release)
    assert texts(folder) == ["A1.py"]


def test_an_interrupted_first_copy_is_completed(workspaces: Workspaces, releases: Releases) -> None:
    folder, release = begun(workspaces, releases)
    (folder / "A1.py").unlink()  # the notebook is copied last
    workspaces.ensure(ALICE, release)
    assert (folder / "A1.py").read_text() == PLAIN
    assert (folder / "helper.py").read_text() == HELPER


def test_work_of_an_item_that_is_not_published_any_more_is_found(
    tmp_path: Path, workspaces: Workspaces, releases: Releases
) -> None:
    folder, _ = begun(workspaces, releases)
    (folder / "A1.py").rename(folder / "mine.py")
    (folder / "helper.py").unlink()
    alone = Workspaces(tmp_path / "hub-notebooks")
    assert alone.renamed(ALICE, A1) == "mine.py"
    assert alone.take_back(ALICE, A1) == "mine.py"


@pytest.mark.timeout(60)
def test_hostile_files_are_not_followed_read_or_waited_for(
    tmp_path: Path, workspaces: Workspaces, releases: Releases
) -> None:
    folder, release = begun(workspaces, releases)
    (folder / "A1.py").unlink()
    outside = tmp_path / "secret.py"
    outside.write_text(work(PLAIN))
    (folder / "link.py").symlink_to(outside)
    (folder / "up").symlink_to(tmp_path)
    os.link(outside, folder / "hard.py")
    os.mkfifo(folder / "pipe.py")
    with (folder / "huge.py").open("wb") as file:
        file.truncate(10 << 30)
    (folder / "deep").mkdir()
    (folder / "deep" / "loop").symlink_to("..")
    (folder / os.fsdecode(b"\xff\xfe\x1b[31m.py")).write_bytes(b"\xff" * 1000)
    for number in range(100):
        (folder / f"empty{number}.py").write_text("")
    assert workspaces.renamed(ALICE, A1) is None
    workspaces.ensure(ALICE, release)
    assert (folder / "A1.py").read_text() == PLAIN
    assert outside.read_text() == work(PLAIN)


def test_a_name_that_is_no_text_can_be_shown(workspaces: Workspaces, releases: Releases) -> None:
    folder, release = begun(workspaces, releases)
    odd = os.fsdecode(b"caf\xe9\x1b.py")
    (folder / "A1.py").rename(folder / odd)
    found = workspaces.renamed(ALICE, A1)
    assert found == odd
    assert printable(found).encode("utf-8") == "caf��.py".encode()
    workspaces.ensure(ALICE, release)
    assert texts(folder) == ["A1.py"]


def test_a_trap_in_the_notebooks_place_is_not_looked_behind(
    workspaces: Workspaces, releases: Releases
) -> None:
    folder, _ = begun(workspaces, releases)
    (folder / "A1.py").rename(folder / "mine.py")
    (folder / "A1.py").symlink_to("mine.py")
    assert workspaces.renamed(ALICE, A1) is None
    assert not workspaces.has_copy(ALICE, A1)


def test_nothing_is_copied_where_the_notebook_is_moved_in_this_moment(
    workspaces: Workspaces, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, release = begun(workspaces, releases)
    (folder / "A1.py").rename(folder / "mine.py")
    # What a search found before the student's code moved it again.
    monkeypatch.setattr(workspaces._renamed, "find", lambda user, item: "before.py")
    with pytest.raises(Conflict, match="being renamed"):
        workspaces.ensure(ALICE, release)
    assert texts(folder) == ["mine.py"]
    assert not (folder / "A1.py").exists()

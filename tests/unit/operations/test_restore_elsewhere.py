"""A restore to other places: one that fails in between, what in the course still names the old
places, and what counts again.
"""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from shlex import quote

import pytest

from mograder.core.errors import Busy
from mograder.core.files.disk import Disk, Place
from mograder.core.settings import load_settings
from mograder.operations.backup import back_up
from mograder.operations.restore import restore
from tests.support.command_line import cli
from tests.support.progress import quiet

KEYS = ("hub.notebooks_dir", "hub.release_dir", "gradebook.path", "state")


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A course whose notebooks are elsewhere by a setting, its state and releases by links."""
    course = tmp_path / "course"
    course.mkdir()
    (course / "mograder.toml").write_text(
        f"[hub]\nnotebooks_dir = '{tmp_path}/notebooks'\n[gradebook]\npath = '../marks.db'\n"
    )
    for name, link in (("state", ".mograder"), ("release", "hub-release")):
        (tmp_path / name).mkdir()
        (course / link).symlink_to(f"../{name}" if name == "release" else tmp_path / name)
    (tmp_path / "notebooks/alice/A1").mkdir(parents=True)
    with sqlite3.connect(tmp_path / "marks.db") as marks:
        marks.execute("CREATE TABLE t (c)")
    marks.close()
    back_up(load_settings(course, environ={}), tmp_path / "backup", quiet)
    return course


class FullOnce(Disk):
    """Has no room for alice's work at first."""

    def __init__(self) -> None:
        self._full = True

    def place(self, source: Place, target: Place) -> None:
        if self._full and Path(target.name).name == "alice":
            self._full = False
            raise OSError(errno.ENOSPC, "full")
        super().place(source, target)


def test_a_restore_that_fails_between_two_moves_can_be_repeated(
    course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It left a part of the course, said that nothing was changed, and was refused then."""
    new = tmp_path / "new"
    places = {key: new / key for key in KEYS}
    monkeypatch.setattr("mograder.operations.restore.DISK", FullOnce())
    with pytest.raises(Busy):
        restore(tmp_path / "backup", new / "course", places, quiet)
    assert [path for path in new.rglob("*") if not path.is_dir()] == []
    restore(tmp_path / "backup", new / "course", places, quiet)
    assert (new / "hub.notebooks_dir/alice/A1").is_dir()
    assert (new / "course/mograder.toml").exists()


def test_settings_and_links_that_name_the_old_places_are_told(course: Path, tmp_path: Path) -> None:
    """A hub with them would work on the live course's notebooks, or begin empty ones."""
    new = tmp_path / "new"
    places = {key: new / key for key in KEYS}
    restored = restore(tmp_path / "backup", new / "course", places, quiet)
    toml = new / "course/mograder.toml"
    assert set(restored.left_to_do()) == {
        f'Write into {toml}: [hub] notebooks_dir = "{new}/hub.notebooks_dir"',
        f'Write into {toml}: [gradebook] path = "{new}/gradebook.path"',
        (
            f"The link {new}/course/.mograder leads to {tmp_path}/state; change it: "
            f"ln -sfn {quote(f'{new}/state')} {quote(f'{new}/course/.mograder')}"
        ),
        (
            f"The link {new}/course/hub-release leads to {new}/release; change it: "
            f"ln -sfn {quote(f'{new}/hub.release_dir')} {quote(f'{new}/course/hub-release')}"
        ),
    }


def test_a_relative_link_that_leads_to_the_new_place_is_left(course: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    places = {key: new / key for key in KEYS} | {"hub.release_dir": new / "release"}
    restored = restore(tmp_path / "backup", new / "course", places, quiet)
    assert len(restored.left_to_do()) == 3
    assert "release" not in "\n".join(restored.left_to_do())


def test_nothing_is_left_to_do_where_all_is_in_its_old_place(course: Path, tmp_path: Path) -> None:
    before = tmp_path / "before"
    before.mkdir()
    for name in ("course", "state", "release", "notebooks", "marks.db"):
        (tmp_path / name).rename(before / name)
    assert restore(tmp_path / "backup", None, {}, quiet).left_to_do() == []


def test_the_command_tells_it_and_what_counts_again(
    course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs, nodes and platforms are rows of the database: what was revoked since is good."""
    new = tmp_path / "new"
    monkeypatch.setenv("HOME", str(new))
    # A shell leaves the tilde after a key with a dot.
    words = [f"--place={key}=~/{key}" for key in ("hub.notebooks_dir", "hub.release_dir")]
    words += [f"--place={key}={new}/{key}" for key in ("gradebook.path", "state")]
    said = cli("hub restore", str(tmp_path / "backup"), str(new / "course"), *words).out
    assert f'[hub] notebooks_dir = "{new}/hub.notebooks_dir"' in said
    assert "revoked since the backup was made count again" in said
    assert "So do one-time links that were used since" in said

"""The scheduled backup, and findings of `hub check` about the newest (D2 of the deployment)."""

from __future__ import annotations

import errno
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from mograder.core.errors import Conflict, InvalidInput
from mograder.core.settings import LoadedSettings, load_settings
from mograder.operations import kept_backups
from mograder.operations.kept_backups import (
    Kept,
    back_up_scheduled,
    backup_lines,
    list_backups,
    names_begin,
)
from mograder.operations.report import Level
from tests.support.command_line import cli
from tests.support.progress import quiet


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups"


@pytest.fixture
def loaded(tmp_path: Path, place: Path) -> LoadedSettings:
    return a_course(tmp_path / "course", place)


def a_course(course: Path, place: Path, hub: str = "") -> LoadedSettings:
    (course / "hub-notebooks/alice/A1").mkdir(parents=True)
    (course / "hub-notebooks/alice/A1/A1.py").write_text("work")
    settings = f"[backup]\ndirectory = '{place}'\nkeep = 2\n[hub]\n{hub}\n"
    (course / "mograder.toml").write_text(settings)
    return load_settings(course, environ={})


def kept_of(loaded: LoadedSettings) -> list[Kept]:
    return list_backups(Path(loaded.settings.backup.directory), names_begin(loaded))


def said(loaded: LoadedSettings, now: datetime | None = None) -> list[tuple[Level, str]]:
    return [(line.level, line.text) for line in backup_lines(loaded, now)]


def earlier(loaded: LoadedSettings, name: str, size: int, *, days: int) -> Path:
    place = Path(loaded.settings.backup.directory)
    path = place / f"{names_begin(loaded)}-202601{name}T020000Z.tar.gz"
    path.write_bytes(b"x" * size)
    then = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    os.utime(path, (then, then))
    return path


def test_the_job_writes_reads_back_and_removes_the_oldest_but_none_of_an_administrators_own(
    loaded: LoadedSettings, place: Path
) -> None:
    own = place / "hub-before-the-upgrade.tar.gz"
    own.touch()
    os.utime(own, (0, 0))
    old = [earlier(loaded, f"0{day}", 100, days=day) for day in (1, 2, 3)]
    done = back_up_scheduled(loaded, quiet)
    assert (done.removed, done.missing) == ((old[1], old[2]), 0)
    assert [each.path for each in kept_of(loaded)] == [done.path, old[0]]
    assert own.exists()
    assert done.path.stat().st_mode & 0o777 == 0o600, "only its owner may read it"
    ((level, text),) = said(loaded)
    assert level is Level.OK
    assert text.endswith(", read back without a fault")


def test_courses_with_one_directory_keep_their_own_backups_and_are_checked_for_these(
    loaded: LoadedSettings, place: Path, tmp_path: Path
) -> None:
    addressed = 'public_url = "https://stats.example.org"'
    others = [
        a_course(tmp_path / "next/course", place),
        a_course(tmp_path / "статистика", place, addressed),
        a_course(tmp_path / "алгебра", place, addressed),
        a_course(tmp_path / "нормы", place, f'{addressed}\nbase_url = "/live"'),
    ]
    former = place / "hub-20260101T020000Z.tar.gz"
    former.touch()
    first = back_up_scheduled(loaded, quiet).path
    for other in others:
        assert [each for each, _ in said(other)] == [Level.PROBLEM]
        old = [earlier(other, f"0{day}", 1, days=day) for day in (1, 2)]
        assert back_up_scheduled(other, quiet).removed == (old[1],)
    assert first.exists()
    assert former.exists(), "of an earlier version, whose names did not tell the course"
    assert [each.path for each in kept_of(loaded)] == [first]
    assert [each for each, _ in said(loaded)] == [Level.OK]
    assert first.name.startswith("hub-course-")
    assert "hub-stats.example.org-" in kept_of(others[1])[0].path.name


def test_one_address_in_one_place_is_one_course(tmp_path: Path, place: Path) -> None:
    """Two machines may be the hub of a course, one after the other; and paths may be equal."""
    addresses = [f'public_url = "https://{each}.example.org"' for each in ("a", "a", "b")]
    begins = []
    for hub in addresses:
        course = a_course(tmp_path / "course", place, hub)
        begins.append(names_begin(course))
        shutil.rmtree(course.course_dir)
    assert begins[0] == begins[1] != begins[2]


def test_a_backup_never_replaces_another(loaded: LoadedSettings, place: Path) -> None:
    now, begin = datetime.now(UTC), names_begin(loaded)
    for seconds in range(120):
        at = now + timedelta(seconds=seconds)
        (place / f"{begin}-{at:%Y%m%dT%H%M%SZ}.tar.gz").touch()
    with pytest.raises(Conflict, match="already"):
        back_up_scheduled(loaded, quiet)
    (made,) = (each for each in kept_of(loaded) if each.size)
    assert not made.complete


def test_the_new_one_stays_although_others_were_written_while_the_clock_was_ahead(
    loaded: LoadedSettings,
) -> None:
    for day in ("01", "02"):
        earlier(loaded, day, 100, days=-400)
    done = back_up_scheduled(loaded, quiet)
    assert done.removed == ()
    assert done.path.exists()


def test_an_empty_an_old_a_missing_and_a_damaged_one_are_problems(
    loaded: LoadedSettings, place: Path
) -> None:
    ((level, text),) = said(loaded)
    assert (level, text) == (Level.PROBLEM, f"backups: {place} has no backup of this course")
    (line,) = backup_lines(loaded)
    assert line.hint.startswith("mograder hub backup --scheduled; "), "also without the deployment"
    done = back_up_scheduled(loaded, quiet)
    ((level, text),) = said(loaded, datetime.now(UTC) + timedelta(hours=27))
    assert level is Level.PROBLEM
    assert "is 27 hours old ([backup] max_age_hours is 26)" in text
    ((level, text),) = said(loaded, datetime.now(UTC) - timedelta(hours=2))
    assert level is Level.PROBLEM, "it would be the newest one for ever"
    assert text.endswith(" UTC")
    data = done.path.read_bytes()
    done.path.write_bytes(data[: len(data) // 2])
    ((level, text),) = said(loaded)
    assert level is Level.PROBLEM
    assert "it ends too early" in text or "is no backup" in text
    done.path.write_bytes(b"")
    ((level, text),) = said(loaded)
    assert (level, text) == (Level.PROBLEM, f"backups: the newest, {done.path}, is empty")
    done.path.unlink()
    place.rmdir()
    ((level, text),) = said(loaded)
    assert level is Level.PROBLEM
    assert "cannot be listed (No such file or directory)" in text


def test_without_a_directory_it_is_only_a_note_and_the_job_refuses(tmp_path: Path) -> None:
    ((level, _),) = said(load_settings(tmp_path, environ={}))
    assert level is Level.NOTE
    printed = cli("hub backup --scheduled -C", str(tmp_path), status=2)
    assert "[backup] directory is not set" in printed.err


def unreadable(course: Path) -> Path:
    """A database that cannot be read."""
    (course / "gradebook.db").write_bytes(b"no database" * 1000)
    return course / "gradebook.db"


def next_night(loaded: LoadedSettings, night: int) -> None:
    """Let a day pass over every backup; the newest has its time in its name, to the second."""
    newest, begin = kept_of(loaded)[0].path, names_begin(loaded)
    place = newest.parent
    newest.rename(place / newest.name.replace(f"{begin}-20", f"{begin}-{night:02}"))
    for path in place.iterdir():
        then = path.stat().st_mtime - 86400
        os.utime(path, (then, then))


def test_n1_incomplete_ones_follow_each_other_and_the_newest_complete_one_stays(
    loaded: LoadedSettings,
) -> None:
    back_up_scheduled(loaded, quiet)
    unreadable(loaded.course_dir)
    for night in range(5):
        next_night(loaded, night)
        done = back_up_scheduled(loaded, quiet)
        assert done.missing == 1
        kept = kept_of(loaded)
        assert [each.complete for each in kept] == [False] * min(night + 1, 2) + [True]
        assert kept[0].path == done.path
        ((level, text),) = said(loaded)
        assert level is Level.PROBLEM, "as a large one, which is not read back"
        assert "without 1: course/gradebook.db: " in text
    unreadable(loaded.course_dir).unlink()
    for night in (5, 6):
        next_night(loaded, night)
        assert back_up_scheduled(loaded, quiet).missing == 0
    assert [each.complete for each in kept_of(loaded)] == [True, True]


def test_one_that_could_not_be_read_back_never_takes_the_place_of_a_good_one(
    loaded: LoadedSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, begin = back_up_scheduled(loaded, quiet).path, names_begin(loaded)
    next_night(loaded, 0)

    def fail(archive: Path, report: object) -> NoReturn:
        raise InvalidInput(f"{archive} is damaged.")

    with monkeypatch.context() as patched:
        patched.setattr(kept_backups, "verify", fail)
        with pytest.raises(InvalidInput, match="is damaged"):
            back_up_scheduled(loaded, quiet)
    monkeypatch.setattr(kept_backups, "_READ_BACK", 0)
    ((level, text),) = said(loaded)
    assert level is Level.PROBLEM
    assert text.endswith("lacks something, or could not be read back")
    unreadable(loaded.course_dir)
    for night in (1, 2):
        next_night(loaded, night)
        back_up_scheduled(loaded, quiet)
    assert [each.complete for each in kept_of(loaded)] == [False, False, True]
    assert kept_of(loaded)[-1].path.name == good.name.replace(f"{begin}-20", f"{begin}-00")


def test_n1_a_students_doing_in_the_own_workspace_is_told_and_no_fault(
    loaded: LoadedSettings,
) -> None:
    """Else one student could let the alarm sound every night, and keep old backups for ever."""
    home = loaded.course_dir / "hub-notebooks/alice/A1"
    with (home / "hole").open("wb") as hole:
        hole.truncate(20 << 20)
    deep = home
    for _ in range(70):
        deep = deep / "d"
        deep.mkdir()
    err = cli("hub backup --scheduled -C", str(loaded.course_dir)).err
    assert "Left out: course/hub-notebooks/alice/A1/hole: a large file that is nearly empty" in err
    assert "nested too deeply" in err
    assert "2 left out were made by students; this is not an error" in err
    assert "Error" not in err
    assert [each.complete for each in kept_of(loaded)] == [True]
    ((level, text),) = said(loaded)
    assert (level, "without 2: " in text) == (Level.NOTE, True)


@pytest.mark.parametrize("name", ["hole", "hub-notebooks/hole", "source/A1/hole"])
def test_n1_a_hole_anywhere_else_is_a_fault(loaded: LoadedSettings, name: str) -> None:
    (loaded.course_dir / name).parent.mkdir(parents=True, exist_ok=True)
    with (loaded.course_dir / name).open("wb") as hole:
        hole.truncate(20 << 20)
    done = back_up_scheduled(loaded, quiet)
    assert done.missing == 1


@pytest.mark.parametrize(("failure", "faults"), [(errno.EACCES, 0), (errno.EIO, 1)])
def test_n1_a_disk_that_fails_is_no_students_doing(
    loaded: LoadedSettings, monkeypatch: pytest.MonkeyPatch, failure: int, faults: int
) -> None:
    def unreadable(*_: object) -> NoReturn:
        raise OSError(failure, os.strerror(failure))

    monkeypatch.setattr("mograder.operations.backup._Writer._read", unreadable)
    (loaded.course_dir / "mograder.toml").unlink()
    assert back_up_scheduled(loaded, quiet).missing == faults


def test_n4_leavings_of_killed_runs_are_removed_after_a_day(
    loaded: LoadedSettings, place: Path
) -> None:
    fresh, stale = place / ".hub-2.tar.gz.partial", place / ".hub-1.tar.gz.a1.partial"
    for path in (fresh, stale):
        path.write_bytes(b"x")
    then = (datetime.now(UTC) - timedelta(hours=25)).timestamp()
    os.utime(stale, (then, then))
    back_up_scheduled(loaded, quiet)
    assert (fresh.exists(), stale.exists()) == (True, False)

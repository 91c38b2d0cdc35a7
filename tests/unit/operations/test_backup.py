"""Backup and restore: a used course is written to one file and restored unchanged."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import random
import re
import socket
import sqlite3
import stat
import tarfile
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from typing_extensions import Buffer

from mograder.core.errors import Busy, Conflict, InvalidInput
from mograder.core.settings import LoadedSettings, load_settings
from mograder.operations import backup
from mograder.operations.archive import HEADER, MANIFEST, verify
from mograder.operations.backup import Made, back_up, write_backup
from mograder.operations.restore import restore
from mograder.store.database import sqlite_files
from mograder.store.database.database import open_engine, sqlite_url
from mograder.store.database.upgrades import upgrade
from mograder.store.hub.hub_state import HubState
from mograder.store.versions.versions import Origin, Versions
from tests.support.command_line import cli
from tests.support.progress import quiet

NOTEBOOK = "import marimo\napp = marimo.App()\n"
NOW = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)
VERSIONS = [b"x = %d\n" % number * 20 for number in range(4)]


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A course that was worked in: state, releases, students' work, what they handed in."""
    course = tmp_path / "Übung 100%41"
    files = {
        "mograder.toml": "title = 'Spring'\n",
        "allowed_users.txt": "alice\nbob\n",
        "hub-release/A1/A1.py": NOTEBOOK,
        "hub-release/A1/files.json": "{}",
        "hub-notebooks/alice/A1/A1.py": NOTEBOOK + "# alice\n",
        "hub-notebooks/alice/A1/A1.bak.1.py": NOTEBOOK,
        "submitted/A1/alice_20260310T200800.py": NOTEBOOK + "# handed in\n",
        ".mograder/environments/abc/env/huge": "x" * 1000,
        ".mograder/supervisor.log": "noise",
        "source/A1/.venv/lib/x.py": "",
    }
    for name, text in files.items():
        path = course / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (course / "submitted/A1/alice.py").symlink_to("alice_20260310T200800.py")
    (course / "submitted/A1/alice_20260310T200800.py").chmod(0o600)
    with sqlite3.connect(course / "gradebook.db") as marks:
        marks.execute("CREATE TABLE marks (student TEXT, mark REAL)")
        marks.execute("INSERT INTO marks VALUES ('alice', 7.5)")
    marks.close()
    engine = open_engine(sqlite_url(course / ".mograder" / "hub.db"))
    upgrade(engine)
    HubState(engine).record(datetime.now(UTC), "alice", "sign in", "hub", "test", "ok")
    HubState(engine).slot_of("alice")
    for number, version in enumerate(VERSIONS):
        at = NOW + timedelta(seconds=number)
        Versions(engine).record("alice", "A1", version, Origin.EDITOR, at, release="r")
    engine.dispose()
    return course


def loaded(course: Path) -> LoadedSettings:
    return load_settings(course, environ={})


def contents(top: Path) -> dict[str, bytes | str]:
    """Every file by name, links by where they lead; without what is not worth keeping."""
    found: dict[str, bytes | str] = {}
    for path in sorted(top.rglob("*")):
        name = path.relative_to(top).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file() and not name.endswith(("-wal", "-shm", ".db")):
            found[name] = path.read_bytes()
    return found


def rebuilt(tmp_path: Path, made_of: Path, name: str = "again") -> Path:
    restore(made_of, tmp_path / name, {}, quiet)
    return tmp_path / name


def test_a_used_course_comes_back_as_it_was(course: Path, tmp_path: Path) -> None:
    made = back_up(loaded(course), tmp_path / "backup.tar.gz", quiet)
    again = rebuilt(tmp_path, tmp_path / "backup.tar.gz")
    before = contents(course)
    left = {name for name in before if name.startswith((".mograder/env", ".mograder/superv"))}
    left.add("source/A1/.venv/lib/x.py")
    assert contents(again) == {name: each for name, each in before.items() if name not in left}
    assert made.left_out == ()
    handed_in = again / "submitted/A1/alice_20260310T200800.py"
    assert handed_in.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(again / "gradebook.db") as marks:
        assert marks.execute("SELECT * FROM marks").fetchall() == [("alice", 7.5)]
    marks.close()
    engine = open_engine(sqlite_url(again / ".mograder" / "hub.db"))
    state = HubState(engine)
    assert [row.action for row in state.recent_audit(5)] == ["sign in"]
    assert state.slot_of("alice") == 1, "nobody gets another's number"
    kept = Versions(engine)
    assert [each.number for each in kept.all("alice", "A1")] == list(range(4, 0, -1))
    assert [kept.text("alice", "A1", number + 1) for number in range(4)] == VERSIONS
    assert kept.release_of("alice", "A1") == "r"
    assert kept.record("alice", "A1", b"new\n", Origin.EDITOR, NOW).number == 5
    engine.dispose()


def test_a_database_that_is_written_to_is_copied_as_of_one_moment(
    course: Path, tmp_path: Path
) -> None:
    """A transaction under way is not in it, and does not keep the backup from being made."""
    writer = sqlite3.connect(course / ".mograder/hub.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE users SET epoch = 99")
    back_up(loaded(course), tmp_path / "backup", quiet)
    writer.execute("ROLLBACK")
    writer.close()
    again = rebuilt(tmp_path, tmp_path / "backup")
    engine = open_engine(sqlite_url(again / ".mograder" / "hub.db"))
    assert HubState(engine).epoch("alice") == 0
    engine.dispose()


def test_a_database_that_another_program_keeps_locked_is_not_waited_for_without_end(
    course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_files, "BUSY_MS", 100)
    file = course / ".mograder/hub.db"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Busy, match=r"hub\.db is locked by another program"):
            back_up(loaded(course), tmp_path / "backup", quiet)
    assert list(tmp_path.iterdir()) == [course]


def test_a_notebook_that_is_saved_all_the_time_is_never_half(course: Path, tmp_path: Path) -> None:
    notebook = course / "hub-notebooks/alice/A1/A1.py"
    texts = [letter * 300_000 for letter in "ab"]
    stop = threading.Event()

    def save() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            temporary = notebook.with_name("A1.py.tmp")
            temporary.write_text(texts[number % 2])
            temporary.replace(notebook)

    saving = threading.Thread(target=save)
    saving.start()
    try:
        for number in range(5):
            back_up(loaded(course), tmp_path / f"backup{number}", quiet)
    finally:
        stop.set()
        saving.join()
    for number in range(5):
        again = rebuilt(tmp_path, tmp_path / f"backup{number}", f"again{number}")
        assert (again / "hub-notebooks/alice/A1/A1.py").read_text() in texts


def test_what_students_make_of_their_files_harms_nobody(course: Path, tmp_path: Path) -> None:
    """security.md, "The workspace is theirs"."""
    home = course / "hub-notebooks/alice/A1"
    (tmp_path / "secret").write_text("of the host")
    (home / "stolen").symlink_to(tmp_path / "secret")
    (home / "everything").symlink_to("/")
    (home / "loop").symlink_to("loop")
    os.mkfifo(home / "pipe")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(home):
        listener.bind("socket")  # the whole path may be longer than a socket's may
    with (home / "sparse\x1b[2J\nError: forged").open("wb") as sparse:
        sparse.truncate(10 << 30)
    deep = home
    for _ in range(200):
        deep = deep / "d"
        deep.mkdir()
    strange = home / os.fsdecode(b"\xff\n name")
    strange.write_text("kept")
    os.utime(strange, (2**63 - 1, 2**63 - 1))  # a disk in memory, or of btrfs, takes it
    made = back_up(loaded(course), tmp_path / "backup", quiet)
    assert made.size < 100_000
    assert len(made.left_out) == 2, "the hole, and what lies too deep"
    assert all(line.isprintable() for line in made.left_out)
    again = rebuilt(tmp_path, tmp_path / "backup") / "hub-notebooks/alice/A1"
    assert (again / "stolen").readlink() == tmp_path / "secret"
    assert not (again / "pipe").exists()
    assert not (again / "socket").exists()
    assert (again / strange.name).read_text() == "kept"
    assert b"of the host" not in gzip.decompress((tmp_path / "backup").read_bytes())


@pytest.fixture(autouse=True, scope="module")
def imported() -> None:
    """An ordinary user may not read what the command imports."""
    cli("hub backup --help")


def test_d2_a_directory_that_cannot_be_read_is_named_and_the_rest_is_in(
    ordinary_user: Path,
) -> None:
    course = ordinary_user / "course"
    for name in ("alice/A1/closed", "alice/A1/open", "bob/A1"):
        (course / "hub-notebooks" / name).mkdir(parents=True)
        (course / "hub-notebooks" / name / "in").write_text("work")
    (course / "hub-notebooks/alice/A1/closed").chmod(0)
    (course / "hub-notebooks/bob").chmod(0o300)  # may be entered, not listed
    (course / "hub-notebooks/file").write_text("x")
    (course / "hub-notebooks/file").chmod(0)
    backup = ordinary_user / "hub-1.tar.gz"
    try:
        cli("hub backup", str(backup), "-C", str(course), status=6)
        made = back_up(loaded(course), ordinary_user / "again", quiet)
    finally:
        for path in ("alice/A1/closed", "bob"):
            (course / "hub-notebooks" / path).chmod(0o700)
    assert set(made.left_out) == {
        "course/hub-notebooks/alice/A1/closed: Permission denied",
        "course/hub-notebooks/bob: Permission denied",
        "course/hub-notebooks/file: Permission denied",
    }
    verified = verify(backup, quiet)
    assert verified.left_out == made.left_out
    with tarfile.open(backup) as tar:
        assert "course/hub-notebooks/alice/A1/open/in" in tar.getnames()


def test_d2_a_full_backup_ends_with_0_and_is_read_back(course: Path, tmp_path: Path) -> None:
    cli("hub backup", str(tmp_path / "b"), "-C", str(course))
    said = cli("hub backup --verify", str(tmp_path / "b")).out
    assert re.search(r"Whole: \d+ files with \d+ bytes, 2 databases without damage", said)


@pytest.mark.parametrize(("whole", "said"), [(0, " or is no database."), (-4096, ": ")])
def test_d2_a_destroyed_database_is_in_it_as_it_stands_and_is_told(
    course: Path, tmp_path: Path, whole: int, said: str
) -> None:
    """Also one that opens, since only its last page is damaged."""
    file = course / ".mograder/hub.db"
    content = file.read_bytes()
    data = content[:whole].ljust(len(content), b"\xff")
    file.write_bytes(data)
    made = back_up(loaded(course), tmp_path / "backup", quiet)
    (told,) = made.left_out
    assert told.startswith(f"course/.mograder/hub.db: The database hub.db is damaged{said}")
    again = rebuilt(tmp_path, tmp_path / "backup")
    assert (again / ".mograder/hub.db.damaged").read_bytes() == data
    assert (again / "hub-notebooks/alice/A1/A1.py").is_file()


def test_a_database_on_a_read_only_disk_is_copied_with_its_log(
    course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that had errors, or a snapshot: SQLite opens no database there."""
    real = sqlite_files.copy_sqlite

    def refusing(path: Path, target: Path) -> None:
        if path.is_relative_to(course):
            raise InvalidInput(f"The database {path.name} cannot be opened for writing.")
        real(path, target)

    monkeypatch.setattr(backup, "copy_sqlite", refusing)
    monkeypatch.setattr(sqlite_files, "may_write_beside", lambda _: False)
    engine = open_engine(sqlite_url(course / ".mograder" / "hub.db"))
    HubState(engine).bump_epoch("bob")  # is in the log
    made = back_up(loaded(course), tmp_path / "backup", quiet)
    engine.dispose()
    assert made.left_out == ()
    again = open_engine(sqlite_url(rebuilt(tmp_path, tmp_path / "backup") / ".mograder/hub.db"))
    assert HubState(again).epoch("bob") == 1
    again.dispose()


class _FullDisk(io.BytesIO):
    """Takes so much and no more."""

    def write(self, data: Buffer, /) -> int:
        if self.tell() > 2000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_a_backup_that_cannot_be_written_is_no_file_that_was_left_out(course: Path) -> None:
    (course / "hub-notebooks/alice/A1/data").write_bytes(random.Random(1).randbytes(500_000))
    with pytest.raises(OSError, match="No space"):
        write_backup(loaded(course), _FullDisk(), quiet)


def test_the_disk_that_is_full_is_named(
    course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the hub's, which a backup does not write to."""
    data = random.Random(1).randbytes(500_000)
    (course / "hub-notebooks/alice/A1/data").write_bytes(data)
    real = backup.write_backup
    monkeypatch.setattr(backup, "write_backup", lambda it, _, say: real(it, _FullDisk(), say))
    with pytest.raises(Busy, match=re.escape(f"the disk of {tmp_path} or ")):
        back_up(loaded(course), tmp_path / "backup", quiet)
    assert [path.name for path in tmp_path.iterdir()] == [course.name]


def test_the_disk_that_is_full_is_named_when_a_backup_is_looked_at(
    course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the course's, to which nothing was written yet."""
    back_up(loaded(course), tmp_path / "backup", quiet)

    def full(prefix: str) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device", prefix)

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    with pytest.raises(Busy, match=re.escape(f"the disk of {tempfile.gettempdir()} is full")):
        restore(tmp_path / "backup", tmp_path / "again", {}, quiet)
    assert not (tmp_path / "again").exists()


def test_b21_work_on_a_volume_of_its_own_is_in_it_and_goes_back_there(
    course: Path, tmp_path: Path
) -> None:
    """B21: notebooks_dir outside the course; another place may be chosen."""
    volume = tmp_path / "volume"
    (course / "hub-notebooks").rename(volume)
    (course / "mograder.toml").write_text(f"[hub]\nnotebooks_dir = '{volume}'\n")
    back_up(loaded(course), tmp_path / "backup", quiet)
    restore(
        tmp_path / "backup", tmp_path / "again", {"hub.notebooks_dir": tmp_path / "other"}, quiet
    )
    assert contents(tmp_path / "other") == contents(volume)
    (volume / "alice").rename(tmp_path / "alice-before")
    (volume / "lost+found").mkdir()
    with pytest.raises(InvalidInput, match="--place hub"):
        restore(tmp_path / "backup", tmp_path / "third", {}, quiet)
    assert not (tmp_path / "third").exists()
    course.rename(tmp_path / "course-before")
    restore(tmp_path / "backup", None, {}, quiet)
    assert (volume / "alice/A1/A1.py").read_text() == NOTEBOOK + "# alice\n"


VOLUME = "hub.notebooks_dir"


def link_to_a_volume(course: Path) -> None:
    """Move students' work out of the course, and leave a link."""
    work = course / "hub-notebooks"
    work.symlink_to(work.rename(course.parent / "volume"))


def test_b21_a_link_to_a_volume_is_followed_once_where_the_settings_name_it(
    course: Path, tmp_path: Path
) -> None:
    """B21."""
    link_to_a_volume(course)
    back_up(loaded(course), tmp_path / "backup", quiet)
    restore(tmp_path / "backup", tmp_path / "again", {VOLUME: tmp_path / "other"}, quiet)
    assert (tmp_path / "other/alice/A1/A1.py").is_file()


@pytest.mark.parametrize("linked", [True, False])
def test_a_place_of_the_hubs_that_is_not_mounted_is_told(
    course: Path, tmp_path: Path, *, linked: bool
) -> None:
    """Else the backup of a hub without its volume would be a complete one, without any work."""
    link_to_a_volume(course)
    if not linked:
        (course / "hub-notebooks").unlink()
        (course / "mograder.toml").write_text(f"[hub]\nnotebooks_dir = '{tmp_path}/volume'\n")
    (tmp_path / "volume").rename(tmp_path / "not-mounted")
    made = back_up(loaded(course), tmp_path / "backup", quiet)
    assert made.left_out == (f"hub.notebooks_dir: there is no {tmp_path}/volume",)
    assert made.by_students == 0


def test_a_place_of_a_teachers_own_machine_is_not_missed(course: Path, tmp_path: Path) -> None:
    (course / "mograder.toml").write_text("[dirs]\nsource = '/home/of/a/teacher/source'\n")
    assert back_up(loaded(course), tmp_path / "backup", quiet).left_out == ()


def test_what_a_volume_has_of_its_own_is_no_part_of_it(ordinary_user: Path) -> None:
    """Only root can read it, so that each backup would lack it."""
    course = ordinary_user / "course"
    volumes = [course, course / "hub-notebooks", course / "submitted"]
    (course / "hub-notebooks/alice/A1").mkdir(parents=True)
    for place in volumes:
        (place / "lost+found").mkdir(parents=True)
        (place / "lost+found").chmod(0)
    made = back_up(loaded(course), ordinary_user / "backup", quiet)
    assert made.left_out == ()
    with tarfile.open(ordinary_user / "backup") as tar:
        assert not [name for name in tar.getnames() if name.endswith("lost+found")]
    for place in volumes:
        (place / "lost+found").chmod(0o700)


def test_a_directory_that_its_owner_has_protected_comes_back_protected(ordinary_user: Path) -> None:
    course = ordinary_user / "course"
    for name in ("source/A1/A1.py", "submitted/A1/alice.py"):
        (course / name).parent.mkdir(parents=True)
        (course / name).write_text("work")
    (course / "source").chmod(0o555)
    file = ordinary_user / "backup.tar.gz"
    back_up(load_settings(course, environ={}), file, quiet)
    restore(file, ordinary_user / "again", {}, quiet)
    again = ordinary_user / "again"
    assert sorted(each.name for each in again.iterdir()) == ["source", "submitted"]
    assert (again / "source/A1/A1.py").read_text() == "work"
    assert stat.S_IMODE((again / "source").stat().st_mode) == 0o555
    for each in (course, again):  # or the fixture cannot remove them
        (each / "source").chmod(0o755)


def test_a_state_directory_on_another_disk_is_in_it(course: Path, tmp_path: Path) -> None:
    """It holds what no setting names: sources, receipts, the secret that signs results."""
    state = course / ".mograder"
    (state / "grading-secret").write_text("x")
    state.symlink_to(state.rename(tmp_path / "disk"))
    back_up(loaded(course), tmp_path / "backup", quiet)
    restore(tmp_path / "backup", tmp_path / "again", {"state": tmp_path / "state"}, quiet)
    assert (tmp_path / "state/grading-secret").read_text() == "x"
    assert (tmp_path / "state/hub.db").is_file()
    assert not (tmp_path / "state/environments").exists()


def test_a_restore_opens_no_database_that_a_link_leads_to(course: Path, tmp_path: Path) -> None:
    """Which may be the running hub's, or any file where the backup was forged."""
    state = course / ".mograder"
    state.symlink_to(state.rename(tmp_path / "disk"))
    newer(tmp_path / "disk/hub.db")
    back_up(loaded(course), tmp_path / "backup", quiet)
    (tmp_path / "disk/hub.db").write_text("no database")
    (tmp_path / "disk/hub.db").chmod(0o644)
    with pytest.raises(Conflict, match="newer mograder"):
        restore(tmp_path / "backup", tmp_path / "again", {"state": tmp_path / "state"}, quiet)
    assert (tmp_path / "disk/hub.db").stat().st_mode & 0o777 == 0o644


def test_nothing_is_ever_overwritten(course: Path, tmp_path: Path) -> None:
    back_up(loaded(course), tmp_path / "backup", quiet)
    before = (tmp_path / "backup").read_bytes()
    with pytest.raises(Conflict, match="already"):
        back_up(loaded(course), tmp_path / "backup", quiet)
    assert (tmp_path / "backup").read_bytes() == before
    work = contents(course)
    with pytest.raises(Conflict, match=re.escape(f"something at {course}/.mograder, which")):
        restore(tmp_path / "backup", None, {}, quiet)
    assert contents(course) == work


def test_of_two_backups_to_one_file_the_first_that_is_whole_stays(
    course: Path, tmp_path: Path
) -> None:
    target, killed = tmp_path / "backup [1]", tmp_path / ".backup [1].0123abcd.partial"
    killed.touch()

    def write_another(message: str) -> None:
        if message.startswith("Reading"):
            back_up(loaded(course), target, quiet)

    with pytest.raises(Conflict, match="already"):
        back_up(loaded(course), target, write_another)
    verify(target, quiet)
    assert sorted(tmp_path.iterdir()) == sorted([course, target])


def test_a_file_that_appears_while_a_backup_is_unpacked_is_not_replaced(
    course: Path, tmp_path: Path
) -> None:
    back_up(loaded(course), tmp_path / "backup", quiet)
    target = tmp_path / "again" / "mograder.toml"

    def meddle(message: str) -> None:
        if message.startswith("Unpacking"):
            target.write_text("# somebody else's\n")

    with pytest.raises(Conflict, match=f"{re.escape(str(target))} by now, so nothing was"):
        restore(tmp_path / "backup", tmp_path / "again", {}, meddle)
    assert target.read_text() == "# somebody else's\n"
    assert list(target.parent.iterdir()) == [target]


def test_b21_a_place_that_is_in_the_way_of_another_keeps_all_from_being_restored(
    course: Path, tmp_path: Path
) -> None:
    link_to_a_volume(course)
    back_up(loaded(course), tmp_path / "backup", quiet)
    again = tmp_path / "again"
    with pytest.raises(Conflict, match="hub-notebooks by now, so nothing was restored"):
        restore(tmp_path / "backup", again, {VOLUME: again / "hub-notebooks"}, quiet)
    assert [path for path in again.rglob("*") if path.is_file()] == []


def test_a_restore_that_cannot_begin_leaves_nothing_behind(course: Path, tmp_path: Path) -> None:
    link_to_a_volume(course)
    back_up(loaded(course), tmp_path / "backup", quiet)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        restore(tmp_path / "backup", tmp_path / "again", {VOLUME: tmp_path / "file/x"}, quiet)
    restore(tmp_path / "backup", tmp_path / "again", {VOLUME: tmp_path / "x"}, quiet)


@pytest.mark.parametrize("place", ["submitted", "../volume"])
def test_a_backup_inside_the_course_is_refused(course: Path, place: str) -> None:
    link_to_a_volume(course)
    with pytest.raises(InvalidInput, match="lost with it"):
        back_up(loaded(course), course / place / "backup", quiet)


def packed(
    data: bytes,
    change: Callable[[str, bytes], bytes | None] = lambda _, content: content,
    *more: tuple[tarfile.TarInfo, bytes],
) -> bytes:
    """A backup whose members are changed by their names, or left out (None), and with more."""
    target = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as source,
        tarfile.open(fileobj=target, mode="w:gz", format=tarfile.PAX_FORMAT) as tar,
    ):
        for member in source:
            stream = source.extractfile(member) if member.isreg() else None
            content = change(member.name, stream.read() if stream else b"")
            if content is not None:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        for member, content in more:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return target.getvalue()


def _cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def _changed(data: bytes) -> bytes:
    return packed(data, lambda _, content: content.replace(b"# handed in", b"# handed on"))


def _without_a_list(data: bytes) -> bytes:
    return packed(data, lambda name, content: None if name == MANIFEST else content)


def _with_a_wrong_end(data: bytes) -> bytes:
    return data[:-6] + b"\0\0" + data[-4:]


def _with_a_damaged_database(data: bytes) -> bytes:
    """Each file fits its checksum, and the pages of the database do not fit each other."""
    sums: dict[str, str] = {}

    def damage(name: str, content: bytes) -> bytes:
        if name.endswith("hub.db"):
            content = content[:8192] + b"\xff" * 8192 + content[16384:]
            sums[name] = hashlib.sha256(content).hexdigest()
        if name == MANIFEST:
            listed = json.loads(content)
            listed["files"].update(sums)
            content = json.dumps(listed).encode()
        return content

    return packed(data, damage)


@pytest.mark.parametrize(
    "harm", [_cut, _changed, _without_a_list, _with_a_wrong_end, _with_a_damaged_database]
)
def test_d2_reading_back_finds_what_is_damaged_and_nothing_of_it_is_put_in_place(
    course: Path, tmp_path: Path, harm: Callable[[bytes], bytes]
) -> None:
    back_up(loaded(course), tmp_path / "backup", quiet)
    (tmp_path / "harmed").write_bytes(harm((tmp_path / "backup").read_bytes()))
    cli("hub backup --verify", str(tmp_path / "harmed"), status=2)
    with pytest.raises(InvalidInput, match=r"damaged"):
        rebuilt(tmp_path, tmp_path / "harmed")
    assert not (tmp_path / "again").exists()


def forge(course: Path, tmp_path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    """A backup of forged members in the course's directory, at which all else is right."""

    def headed(name: str, content: bytes) -> bytes | None:
        return (
            json.dumps({**json.loads(content), "databases": []}).encode()
            if name == HEADER
            else None
        )

    back_up(loaded(course), tmp_path / "backup", quiet)
    top = tarfile.TarInfo("course")
    top.type = tarfile.DIRTYPE
    sums = {
        member.name: hashlib.sha256(content).hexdigest()
        for member, content in members
        if member.isreg()
    }
    listing = (tarfile.TarInfo(MANIFEST), json.dumps({"files": sums}).encode())
    data = (tmp_path / "backup").read_bytes()
    (tmp_path / "forged").write_bytes(packed(data, headed, (top, b""), *members, listing))
    return tmp_path / "forged"


def evil(name: str) -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), b"evil"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["../evil"], "holds the name"),
        (["/evil"], "holds the name"),
        (["course/../../evil"], "holds the name"),
        (["elsewhere"], "belongs to nothing"),
        (["course/none/evil"], "belongs to nothing"),
        (["course/evil", "course/evil"], "twice"),
    ],
)
def test_a_forged_backup_writes_nowhere_else(
    course: Path, tmp_path: Path, names: list[str], said: str
) -> None:
    forged = forge(course, tmp_path, *map(evil, names))
    with pytest.raises(InvalidInput, match=rf"damaged: .*{said}"):
        restore(forged, tmp_path / "again", {}, quiet)
    assert not list(tmp_path.rglob("evil"))


def with_header(course: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A backup with a changed header and all its members."""

    def changed(name: str, content: bytes) -> bytes:
        if name == HEADER:
            header = json.loads(content)
            change(header)
            return json.dumps(header).encode()
        return content

    back_up(loaded(course), tmp_path / "backup", quiet)
    (tmp_path / "forged").write_bytes(packed((tmp_path / "backup").read_bytes(), changed))
    return tmp_path / "forged"


@pytest.mark.parametrize(
    "root",
    [
        {"name": "outside-1", "key": ""},
        {"name": "outside-1", "key": "cron.d"},
        {"name": "outside-1", "key": "gradebook.path", "kind": "file"},
        {"name": "..", "key": "dirs.source"},
        {"name": "course", "key": ""},
    ],
)
def test_a_changed_header_writes_nowhere_that_was_not_said(
    course: Path, tmp_path: Path, root: dict[str, str]
) -> None:
    added = {"path": str(tmp_path / "elsewhere"), "kind": "directory", **root}
    forged = with_header(course, tmp_path, lambda header: header["roots"].append(added))
    before = set(tmp_path.iterdir())
    with pytest.raises(InvalidInput, match=r"damaged|--place gradebook"):
        restore(forged, tmp_path / "again", {}, quiet)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("journal", ["-wal", "-journal"])
def test_a_database_is_not_restored_beside_the_journal_of_another(
    course: Path, tmp_path: Path, journal: str
) -> None:
    """SQLite writes what a killed hub left there into the restored database."""
    book = tmp_path / "elsewhere.db"
    with sqlite3.connect(book) as connection:
        connection.execute("CREATE TABLE t (c)")
    connection.close()
    (course / "mograder.toml").write_text(f"[gradebook]\npath = '{book}'\n")
    back_up(loaded(course), tmp_path / "backup", quiet)
    place, left = tmp_path / "g.db", tmp_path / f"g.db{journal}"
    left.touch()
    with pytest.raises(Conflict, match=f"something at {re.escape(str(left))}"):
        restore(tmp_path / "backup", tmp_path / "again", {"gradebook.path": place}, quiet)
    left.unlink()
    restore(tmp_path / "backup", tmp_path / "again", {"gradebook.path": place}, quiet)
    assert place.is_file()


def test_an_archive_of_another_format_is_refused_in_a_clear_sentence(
    course: Path, tmp_path: Path
) -> None:
    older = {"format": 1, "version": "1.0"}
    forged = with_header(course, tmp_path, lambda header: header.update(older))
    for read in (lambda: verify(forged, quiet), lambda: rebuilt(tmp_path, forged)):
        with pytest.raises(InvalidInput, match=r"another mograder \(1.0\)") as refusal:
            read()
        assert "Restore it with that version" in refusal.value.hint
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_forged_member_is_a_file_a_directory_or_a_link(
    course: Path, tmp_path: Path, kind: bytes
) -> None:
    odd = tarfile.TarInfo("course/odd")
    odd.type, odd.linkname = kind, "/etc/passwd"
    forged = forge(course, tmp_path, (odd, b""))
    with pytest.raises(InvalidInput, match="neither a file"):
        restore(forged, tmp_path / "again", {}, quiet)


def test_a_header_is_bounded(course: Path, tmp_path: Path) -> None:
    forged = with_header(course, tmp_path, lambda header: header.update(version="x" * 2**21))
    with pytest.raises(InvalidInput, match="damaged"):
        restore(forged, tmp_path / "again", {}, quiet)


@pytest.mark.parametrize("inverse", [False, True])
def test_a_link_with_a_file_below_it_is_damage(course: Path, tmp_path: Path, inverse: bool) -> None:
    link, file = tarfile.TarInfo("course/way"), evil("course/way/evil")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
    both = (file, (link, b"")) if inverse else ((link, b""), file)
    with pytest.raises(InvalidInput, match="belongs to nothing"):
        restore(forge(course, tmp_path, *both), tmp_path / "again", {}, quiet)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("data", [b"", b"no archive at all", gzip.compress(b"no tar", mtime=0)])
def test_what_is_no_backup_is_said_to_be_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(InvalidInput, match="no backup"):
        restore(tmp_path / "file", tmp_path / "again", {}, quiet)
    with pytest.raises(InvalidInput, match="There is no file"):
        restore(tmp_path / "none", tmp_path / "again", {}, quiet)


def newer(database: Path) -> None:
    """Let a newer mograder have written it."""
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()


def test_a_database_of_a_newer_mograder_is_not_put_back(course: Path, tmp_path: Path) -> None:
    newer(course / ".mograder/hub.db")
    back_up(loaded(course), tmp_path / "backup", quiet)
    with pytest.raises(Conflict, match="newer mograder"):
        restore(tmp_path / "backup", tmp_path / "again", {}, quiet)
    assert list((tmp_path / "again").iterdir()) == []


def test_a_backup_can_be_streamed_to_another_machine(course: Path, tmp_path: Path) -> None:
    stream = io.BytesIO()
    made = write_backup(loaded(course), stream, quiet)
    assert isinstance(made, Made)
    (tmp_path / "backup").write_bytes(stream.getvalue())
    assert made.size == len(stream.getvalue())
    with tarfile.open(tmp_path / "backup") as tar:
        assert tar.getnames()[0] == HEADER
    rebuilt(tmp_path, tmp_path / "backup")


def test_a_database_server_is_said_to_be_outside(course: Path, tmp_path: Path) -> None:
    (course / "mograder.toml").write_text("[database]\nurl = 'postgresql://u:p@db/hub'\n")
    assert back_up(loaded(course), tmp_path / "backup", quiet).external_database
    restored = restore(tmp_path / "backup", tmp_path / "again", {}, quiet)
    assert restored.whole.external_database

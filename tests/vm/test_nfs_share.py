"""Files on an NFS 4.2 share with two clients, as docs/explanation/files-on-a-share.md tells.

The two mounts of this process are those of two machines (``tests.vm.nfs_share``); every file is the
user's whom hub and nodes run as, since the server does not accept root.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.auth.credentials import Role
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.files import file_lock
from mograder.core.files.disk import DISK, closing_fd, look_for
from mograder.core.item_dates import Visibility
from mograder.core.names import ItemName, Username
from mograder.operations.report import Level
from mograder.operations.share_checks import refuse_squashed_root, share_findings
from mograder.store.assignment_server.grades import Grades, parse_entries
from mograder.store.copies.workspaces import Workspaces
from mograder.store.course.allowlist import Allowlist
from mograder.store.database.database import open_engine
from mograder.store.filesystem.files import remove_tree
from mograder.store.filesystem.untrusted_dir import UntrustedDir
from mograder.store.releases.release_times import VisibilityRules
from mograder.store.releases.releases import Release, Releases
from mograder.store.submissions.submissions import Submissions
from tests.support.course import REPOSITORY
from tests.support.notebooks import notebook
from tests.support.releases import publish
from tests.support.supervisors import PATIENCE, short_directory
from tests.vm.nfs_share import EXPORT, LEASE_SECONDS, UID, Client, acting_as, serve

pytestmark = pytest.mark.full

A1 = ItemName.parse("A1")
ALICE, BOB = Username.parse("alice"), Username.parse("bob")
NOW = datetime(2026, 3, 10, 20, 8, tzinfo=UTC)
NOTEBOOK = notebook(
    "1",
    end="",
)
SOON = 5.0
"""Seconds that are nothing in the slow machine, and less than any cache of NFS's."""


@dataclass(frozen=True)
class Share:
    """The share as two machines see it, the second also with the recommended mount option."""

    here: Path
    there: Path
    positive: Path
    first: Client


@pytest.fixture(scope="module")
def mounted() -> Share:
    first, second = Client(1), Client(2)
    for client in (first, second):
        client.start()
    serve(first, second)
    os.chown(EXPORT, UID, UID)
    return Share(
        first.mount("plain"),
        second.mount("plain"),
        second.mount("positive", "lookupcache=positive"),
        first,
    )


@pytest.fixture
def share(mounted: Share, request: pytest.FixtureRequest) -> Iterator[Share]:
    """A directory of this test's own; the test acts as the files' owner."""
    name = f"test-{abs(hash(request.node.name))}"
    with acting_as(UID):
        (mounted.here / name).mkdir()
        places = (mounted.here / name, mounted.there / name, mounted.positive / name)
        for place in places:
            os.listdir(place)  # noqa: PTH208 - not for the names
        yield Share(*places, mounted.first)


def published(releases: Releases, text: str = NOTEBOOK) -> Release:
    return publish(releases, {"A1.py": text.encode(), "data.csv": b"1"})


def replace_file(path: Path, text: str) -> None:
    path.with_name(".new").write_text(text)
    path.with_name(".new").replace(path)


def test_the_kernel_shows_its_stale_names_without_us(share: Share) -> None:
    """The premise of the others: else they would pass on any disk."""
    assert DISK.is_shared(share.here)
    for place, late in ((share.there, True), (share.positive, False)):
        assert not (place / "late").exists()
        (share.here / "late").write_text("1")
        assert (place / "late").exists() is not late
        (share.here / "late").unlink()
    for place in (share.there, share.positive):
        (share.here / "g").write_text("1")
        assert (place / "g").read_text() == "1"
        with (share.here / "g").open():
            replace_file(share.here / "g", "2")
            assert (place / "g").read_text() == "1"
    (share.here / "f").write_text("1")
    with (
        closing_fd(os.open(share.here / "f", os.O_RDONLY)) as file,
        pytest.raises(OSError, match="Bad"),
    ):
        file_lock.acquire(file)


def test_a_copy_made_elsewhere_is_found_at_once_and_its_saves(share: Share) -> None:
    release = published(Releases(share.here / "release"))
    here, there = (Workspaces(place / "work") for place in (share.here, share.there))
    (share.here / "work").mkdir()
    assert not there.has_copy(ALICE, A1)
    here.ensure(ALICE, release)
    started = time.monotonic()
    assert there.has_copy(ALICE, A1)
    for number in range(3):
        here.upload(ALICE, A1, f"{number}".encode(), NOW)
        assert there.read(ALICE, A1, "A1.py", 100).data == f"{number}".encode()
    assert len(there.archives(ALICE, A1)) == 3
    assert time.monotonic() - started < SOON * PATIENCE


def test_a_release_published_elsewhere_replaces_the_one_seen_here(share: Share) -> None:
    here, there = (Releases(place / "release") for place in (share.here, share.there))
    assert there.get(A1) is None
    published(here)
    first = there.get(A1)
    assert first is not None
    assert (first.directory / "data.csv").read_text() == "1"
    published(here, f"{NOTEBOOK}# second\n")
    assert there.readable(A1, "A1.py").read_text().endswith("# second\n")
    second = there.get(A1)
    assert second is not None
    assert second.version != first.version
    (listed,) = there.all()
    assert listed.version == second.version


def test_a_directory_that_was_replaced_elsewhere_is_the_new_one(share: Share) -> None:
    """As a release is that a session on a node opens: the old one stays for an hour."""
    place = share.there / "A1"
    for number in range(3):
        (share.here / "new").mkdir()
        (share.here / "new/A1.py").write_text(f"{number}")
        if number:
            assert (place / "A1.py").read_text() == f"{number - 1}"
            (share.here / "A1").rename(share.here / f"old{number}")
        (share.here / "new").rename(share.here / "A1")
        look_for(place)
        assert (place / "A1.py").read_text() == f"{number}"


def test_rules_of_two_hubs_are_merged_and_hide_at_the_other(share: Share) -> None:
    (share.here / "release").mkdir()
    here, there = (
        VisibilityRules(place / "release/.visibility.json") for place in (share.here, share.there)
    )
    assert not there.of("A1").hidden
    here.change({"A1": Visibility(hidden=True)})
    there.change({"A2": Visibility(hidden=True)})
    here.change({"A3": Visibility(hidden=True)})
    assert sorted(there.change({})) == ["A1", "A2", "A3"]


def test_a_replaced_file_is_not_read_that_somebody_still_has_open(share: Share) -> None:
    """An editor on another machine, a backup by hard links: the server still has the old file."""
    path, elsewhere = share.here / "A1.py", UntrustedDir(share.there)
    users = Allowlist(share.there / "allowed_users.txt")
    with contextlib.ExitStack() as held:
        for number in range(5):
            replace_file(path, f"{number}")
            replace_file(share.here / "allowed_users.txt", f"user{number}\n")
            assert elsewhere.read("A1.py", 10) == f"{number}".encode()
            deadline = time.monotonic() + SOON * PATIENCE
            while not users.allows(f"user{number}", Role.STUDENT):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            held.enter_context(path.open())
            held.enter_context((share.here / "allowed_users.txt").open())


def test_grades_of_two_hubs_at_once_are_not_lost(share: Share) -> None:
    """Each waits for the other's lock, and then finds what the other wrote under it."""
    hubs = [Grades(place / "A1") for place in (share.here, share.there)]
    (share.here / "A1").mkdir()

    def upload(hub: int) -> None:
        for number in range(10):
            entries = parse_entries(f'[{{"userid": "{hub}-{number}", "mark": 1}}]'.encode())
            hubs[hub].merge(entries)
            os.link(share.here / "A1/grades.json", share.here / f"backup{hub}-{number}")

    with ThreadPoolExecutor() as together:
        list(together.map(upload, range(2)))
    # Written here, too: what the other machine wrote last may not be seen by a plain open.
    hubs[0].merge(parse_entries(b'[{"userid": "last", "mark": 1}]'))
    assert len(json.loads((share.here / "A1/grades.json").read_text())) == 21


def test_submissions_of_two_hubs_are_numbered_once(share: Share) -> None:
    here, there = (
        Submissions(place / "submitted", records=place / "records")
        for place in (share.here, share.there)
    )
    for number, submissions in enumerate((here, there, there, here, there), start=1):
        kept = submissions.add(ALICE, A1, f"{number}".encode(), NOW)
        assert kept.submission.sequence == number
    counting = here.counting(ALICE, A1)
    assert counting is not None
    assert counting.sequence == 5
    assert (share.here / "submitted/A1/alice.py").read_text() == "5"


def test_a_lock_excludes_the_other_machine_and_a_directory_by_its_file(share: Share) -> None:
    locks = [file_lock.open_lock(place / "lock") for place in (share.here, share.there)]
    assert file_lock.acquire(locks[0])
    assert not file_lock.acquire(locks[1])
    file_lock.release(locks[0])
    assert file_lock.acquire(locks[1], seconds=SOON)
    for lock in locks:
        os.close(lock)


def test_a_tree_with_a_file_that_is_open_is_removed_when_it_closes(share: Share) -> None:
    tree = share.here / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a/f").write_text("1")
    (tree / "g").write_text("1")
    with (tree / "a/f").open() as held:
        remove_tree(tree)
        left = [path.name for path in tree.rglob("*") if path.is_file()]
        assert [name.startswith(".nfs") for name in left] == [True]
        assert held.read() == "1"
    remove_tree(tree)
    assert not tree.exists()


def test_files_of_a_student_are_refused_as_on_a_local_disk(share: Share) -> None:
    (share.here / "alice").mkdir()
    (share.here / "alice/link").symlink_to("/etc/passwd")
    os.link(share.here / "alice/link", share.here / "alice/second", follow_symlinks=False)
    (share.here / "alice/file").write_text("1")
    os.link(share.here / "alice/file", share.here / "alice/other")
    os.mkfifo(share.here / "alice/pipe")
    below = UntrustedDir(share.there)
    for name in ("link", "file", "pipe", "second"):
        with pytest.raises(InvalidInput):
            below.read(f"alice/{name}", 10)
    with pytest.raises(NotFound):
        below.read("alice/missing", 10)


def test_a_database_is_written_by_both_machines(share: Share) -> None:
    for number, place in enumerate((share.here, share.there, share.here)):
        path = place / "gradebook.db"
        engine = open_engine(f"sqlite:///{path}", private=False)
        with contextlib.closing(sqlite3.connect(path, timeout=30 * PATIENCE)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
            connection.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)")
            connection.execute("INSERT INTO t VALUES (?)", (number,))
            connection.commit()
        engine.dispose()
    with contextlib.closing(sqlite3.connect(share.there / "gradebook.db")) as connection:
        found = connection.execute("SELECT n FROM t ORDER BY n").fetchall()
    assert found == [(0,), (1,), (2,)]


def test_the_findings_name_the_option_that_lacks(share: Share) -> None:
    plain, positive = share_findings(share.there), share_findings(share.positive)
    assert {line.check for line in plain if line.level is not Level.OK} == {"share-names"}
    assert {line.check for line in positive if line.level is not Level.OK} == set()
    assert "nfs4 4.2" in plain[0].text


def test_root_is_refused_where_the_server_takes_it_for_a_stranger(mounted: Share) -> None:
    assert {line.check for line in share_findings(mounted.here) if line.level is Level.PROBLEM} == {
        "share-root"
    }
    with pytest.raises(InvalidInput, match="root_squash"):
        refuse_squashed_root(mounted.here)


@dataclass(frozen=True)
class Saver:
    """marimo's saving of one notebook (``tests.vm.marimo_saver``)."""

    process: subprocess.Popen[str]

    def expect(self, word: str) -> None:
        """Wait for a line of its output."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{word}\n"

    def save(self, code: str) -> None:
        """Save a notebook with this code, until marimo says that it is saved."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{code}\n")
        self.process.stdin.flush()
        self.expect("saved")


@pytest.fixture
def saver(share: Share) -> Iterator[Saver]:
    """Saves ``A1.py`` of the share as its user, on the first machine."""
    (share.here / "A1.py").write_text(NOTEBOOK)
    program = REPOSITORY / "tests/vm/marimo_saver.py"
    inside = REPOSITORY / "src/mograder/sandbox/inside"
    with short_directory() as home:
        process = subprocess.Popen(
            [sys.executable, str(program), str(inside), str(share.here / "A1.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.defpath, "HOME": str(home)},
            cwd="/",
            text=True,
        )
        with process:
            saver = Saver(process)
            saver.expect("ready")
            yield saver
        assert process.returncode == 0


def test_a_save_is_on_the_share_when_marimo_says_so(share: Share, saver: Saver) -> None:
    """Also when its machine loses its power in that moment."""
    elsewhere = UntrustedDir(share.there)
    for number in range(20):
        saver.save(f"6 * {number}")
        assert f"    6 * {number}\n".encode() in elsewhere.read("A1.py", 1000)
    saver.save("7 * 8")
    with share.first.without_power():
        assert b"7 * 8" in elsewhere.read("A1.py", 1000)
    assert [path.name for path in share.there.iterdir()] == ["A1.py"]


def test_a_file_that_a_dead_machine_has_read_can_be_replaced_after_its_lease(
    share: Share,
) -> None:
    """The server asks the dead one to give its delegation back; nfsd's default is 90 seconds."""
    (share.here / "read").write_text("1")
    assert (share.there / "read").read_text() == "1"
    assert (share.here / "read").read_text() == "1"
    with (share.here / "read").open() as held:
        held.read()
        with share.first.without_power():
            started = time.monotonic()
            (share.there / "new").write_text("2")
            (share.there / "new").replace(share.there / "read")
            waited = time.monotonic() - started
            assert (share.there / "read").read_text() == "2"
    print(f"replaced after {waited:.1f} s; the lease is {LEASE_SECONDS} s")
    assert waited < 4 * LEASE_SECONDS

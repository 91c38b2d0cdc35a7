"""The allowlist decides on access from the moment it is saved (B36 to B44)."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mograder.auth.credentials import Role
from mograder.core.errors import InvalidInput
from mograder.core.files.disk import Disk, Place
from mograder.core.names import Username
from mograder.store.course.allowlist import Allowlist
from tests.support.identity import Members

STUDENT, INSTRUCTOR = Role.STUDENT, Role.INSTRUCTOR


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "allowed_users.txt"


@pytest.fixture
def roster(path: Path) -> Allowlist:
    """A roster that was made before there was any list."""
    return Allowlist(path)


def test_without_a_list_everybody_may_come_in_b40(roster: Allowlist) -> None:
    """B27: the default."""
    assert roster.allows("alice", STUDENT)


def test_only_listed_users_may_come_in_b36_b38(roster: Allowlist, path: Path) -> None:
    path.write_text("# a comment\n\n  alice \r\nBob\ncleo\t# tutorial 3\ndan#EXT#@example\n #\n")
    assert roster.listed() == ("Bob", "alice", "cleo", "dan#EXT#@example")
    assert roster.allows("alice", STUDENT)
    assert roster.allows("Bob", STUDENT)
    assert roster.allows("cleo", STUDENT)
    assert not roster.allows("dan", STUDENT)
    assert not roster.allows("bob", STUDENT)
    assert not roster.allows("# a comment", STUDENT)
    assert not roster.allows("", STUDENT)


def test_a_list_that_was_replaced_by_one_of_the_same_size_and_time_counts(
    roster: Allowlist, path: Path
) -> None:
    path.write_text("alice\n")
    os.utime(path, ns=(0, 0))
    assert roster.allows("alice", STUDENT)
    other = path.with_suffix(".new")
    other.write_text("carol\n")
    os.utime(other, ns=(0, 0))
    other.replace(path)
    assert not roster.allows("alice", STUDENT)


def test_a_name_that_unicode_turns_into_another_lets_nobody_in(
    roster: Allowlist, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + "Zo\u00eb\n\u212aate\n".encode())
    assert roster.allows("Zo\u00eb", STUDENT)
    assert not roster.allows("Kate", STUDENT)
    assert "allowed_users.txt: '\\u212aate' is not let in" in caplog.text
    with pytest.raises(InvalidInput, match="another way to write 'Kate'"):
        roster.replace(["\u212aate"])


def test_names_that_are_added_do_not_bring_a_list_back_that_another_process_replaced(
    path: Path,
) -> None:
    other = threading.Thread(target=Allowlist(path).replace, args=[["anna", "cleo"]])

    class Meanwhile(Disk):
        def rename(self, source: Place, target: Place) -> None:
            other.start()
            other.join(0.2)
            super().rename(source, target)

    Allowlist(path).replace(["anna", "bob"])
    Allowlist(path, disk=Meanwhile()).add([Username("dan")])
    other.join()
    assert Allowlist(path).listed() == ("anna", "cleo")


@pytest.mark.parametrize("trap", ["directory", "pipe", "dangling", "loop", "binary"])
def test_a_list_that_cannot_be_read_lets_no_student_in(
    roster: Allowlist, path: Path, trap: str
) -> None:
    match trap:
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "dangling":
            path.symlink_to("nowhere")
        case "loop":
            path.symlink_to(path.name)
        case _:
            path.write_bytes(bytes(range(256)))
    assert not roster.allows("alice", STUDENT)
    assert roster.allows("alice", INSTRUCTOR)


def test_markers_enter_without_being_on_the_list(path: Path, roster: Allowlist) -> None:
    path.write_text("alice\n")
    assert roster.allows("marta", Role.MARKER)
    assert not roster.allows("marta", STUDENT)


def test_users_of_another_system_may_enter_besides_the_listed(
    roster: Allowlist, path: Path
) -> None:
    roster.more = Members("dora")
    assert roster.allows("dora", STUDENT)
    assert not roster.allows("alice", STUDENT)
    path.write_text("alice\n")
    assert roster.allows("alice", STUDENT)
    assert roster.allows("dora", STUDENT)
    assert not roster.allows("carol", STUDENT)
    assert roster.allows("carol", INSTRUCTOR)
    assert roster.students() == frozenset({"alice", "dora"})
    path.unlink()
    assert roster.students() == frozenset({"dora"})


def test_another_system_that_does_not_decide_changes_nothing(roster: Allowlist) -> None:
    roster.more = Members("dora", counts=False)
    assert roster.allows("alice", STUDENT)
    assert roster.students() is None


def test_the_version_changes_with_either(roster: Allowlist, path: Path) -> None:
    seen = {roster.version()}
    roster.more = Members("dora")
    seen.add(roster.version())
    path.write_text("alice\n")
    seen.add(roster.version())
    roster.more = Members()
    seen.add(roster.version())
    assert len(seen) == 4

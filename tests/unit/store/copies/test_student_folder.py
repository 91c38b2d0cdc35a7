"""A student's folder: which notebook counts, what is remembered, what survives a crash."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import BaseModel

from mograder.core.errors import Busy, InvalidInput, NotFound
from mograder.core.files.disk import Disk
from mograder.store.copies.student_folder import Notebook, SentNotebook, StudentFolder, Waiting
from mograder.store.copies.workspaces import CopyState

NOW = datetime(2026, 3, 10, 20, 8, tzinfo=UTC)
TEXT = b"import marimo\n"


class Seen(BaseModel):
    """A record of the tests' own."""

    notebook: str = ""
    text: str = ""


@pytest.fixture
def folder(tmp_path: Path) -> StudentFolder:
    return StudentFolder(tmp_path)


def put(folder: StudentFolder, item: str, name: str, data: bytes = TEXT) -> Path:
    """A file in an assignment's directory."""
    path = folder.root / item / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def release(folder: StudentFolder, item: str, name: str, data: bytes = TEXT) -> None:
    put(folder, f"{item}/.mograder/release/{item}", name, data)


def the(folder: StudentFolder, item: str) -> Notebook:
    found = folder.notebook(item)
    assert found is not None
    return found


def test_the_notebook_is_the_one_that_was_handed_out_and_no_earlier_version(
    folder: StudentFolder,
) -> None:
    assert folder.notebook("hw1") is None
    put(folder, "hw1", "helper.py")
    put(folder, "hw1", "homework.bak.20260310T200800.py")
    put(folder, "hw1", "homework.py")
    put(folder, "hw1", ".hidden.py")
    release(folder, "hw1", "homework.py")
    assert the(folder, "hw1").path.name == "homework.py"
    release(folder, "hw1", "helper.py")
    release(folder, "hw1", "homework.py", b"app = marimo.App()\n")
    assert the(folder, "hw1").path.name == "homework.py", "a released module is no notebook"
    put(folder, "hw1", "hw1.py")
    assert the(folder, "hw1").path.name == "hw1.py", "the one named like the assignment"
    put(folder, "hw2", "helper.py")
    put(folder, "hw2", "work.py", b"app = marimo.App()\n")
    assert the(folder, "hw2").path.name == "work.py", "also where none is known to be released"


@pytest.mark.parametrize("name", ["..", ".mograder", "a/b", ""])
def test_no_name_leads_out_of_the_folder(folder: StudentFolder, name: str) -> None:
    with pytest.raises(InvalidInput):
        folder.notebook(name)
    with pytest.raises(InvalidInput):
        folder.waiting(name)


def test_the_state_is_told_in_the_words_of_the_hubs_page(folder: StudentFolder) -> None:
    assert folder.state_of(None) is None
    path = put(folder, "hw1", "hw1.py")
    release(folder, "hw1", "hw1.py")
    assert folder.state_of(the(folder, "hw1")) is CopyState.DOWNLOADED
    path.write_bytes(TEXT + b"x = 1\n")
    assert folder.state_of(the(folder, "hw1")) is CopyState.EDITED
    notebook = the(folder, "hw1")
    folder.keep(notebook, late=False, now=NOW)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    folder.acknowledged(notebook, SentNotebook(file_mtime=notebook.mtime, digest=digest), NOW)
    assert folder.state_of(the(folder, "hw1")) is CopyState.SUBMITTED
    os.utime(path)
    assert folder.state_of(the(folder, "hw1")) is CopyState.SUBMITTED, "the same bytes"
    path.write_bytes(TEXT + b"x = 2\n")
    assert folder.state_of(the(folder, "hw1")) is CopyState.EDITED


def test_a_submission_that_0_3_16_remembered_counts(folder: StudentFolder) -> None:
    """compatibility-0.3.16.md 5: `.mograder/submissions/<nb>.json` is `{file_mtime}`."""
    path = put(folder, "hw1", "homework.py", TEXT + b"x = 1\n")
    place = folder.state / "submissions"
    place.mkdir(parents=True)
    (place / "homework.py.json").write_text(json.dumps({"file_mtime": path.stat().st_mtime}))
    assert folder.state_of(the(folder, "hw1")) is CopyState.SUBMITTED
    os.utime(path, (1, 1))
    assert folder.state_of(the(folder, "hw1")) is CopyState.EDITED


def test_what_is_remembered_lies_where_0_3_16_looks_and_never_mixes_two_notebooks(
    folder: StudentFolder,
) -> None:
    """The file is named by the notebook alone, which two assignments may share.

    See compatibility-0.3.16.md 5.
    """
    for item in ("week1", "week2"):
        put(folder, item, "notebook.py")
        notebook = the(folder, item)
        name = folder.name_of(notebook)
        folder.put_record("check_cache", notebook, Seen(notebook=name, text=item))
    assert (folder.state / "check_cache" / "notebook.py.json").is_file()
    found = [folder.record("check_cache", the(folder, item), Seen) for item in ("week1", "week2")]
    assert [each.text for each in found if each] == ["week1", "week2"]


def test_records_of_before_1_0_count_until_there_is_a_newer_one(folder: StudentFolder) -> None:
    """Their names had no ending, which 0.3.16 did not find."""
    for item in ("week1", "week2"):
        put(folder, item, "notebook.py")
    place = folder.state / "check_cache"
    place.mkdir(parents=True)
    for name, item in (("notebook", "week1"), ("week2--notebook", "week2")):
        seen = Seen(notebook=f"{item}/notebook.py", text=item)
        (place / f"{name}.json").write_text(seen.model_dump_json())
    found = [folder.record("check_cache", the(folder, item), Seen) for item in ("week1", "week2")]
    assert [each.text for each in found if each] == ["week1", "week2"]
    newer = Seen(notebook="week1/notebook.py", text="newer")
    folder.put_record("check_cache", the(folder, "week1"), newer)
    assert folder.record("check_cache", the(folder, "week1"), Seen) == newer


def test_a_damaged_record_counts_as_none(folder: StudentFolder) -> None:
    put(folder, "hw1", "hw1.py")
    place = folder.state / "submissions"
    place.mkdir(parents=True)
    (place / "hw1.py.json").write_text("{")
    assert folder.sent(the(folder, "hw1")) is None


def test_what_waits_outlives_a_restart_and_a_newer_one_sets_it_aside(
    folder: StudentFolder,
) -> None:
    path = put(folder, "hw1", "hw1.py", b"first")
    folder.keep(the(folder, "hw1"), late=False, now=NOW)
    path.write_bytes(b"second")
    again = StudentFolder(folder.root)
    waiting = again.waiting("hw1")
    assert waiting is not None
    assert again.waiting_file("hw1", waiting).read_bytes() == b"first"
    waiting = again.keep(the(again, "hw1"), late=True, now=NOW)
    assert again.waiting_file("hw1", waiting).read_bytes() == b"second"
    aside = folder.state / "set-aside" / "hw1_20260310T200800.py"
    assert aside.read_bytes() == b"first"


def kept_twice(folder: StudentFolder) -> tuple[Waiting, Waiting]:
    """Return the records of a notebook that waited, and of a newer one that waits now."""
    path = put(folder, "hw1", "hw1.py", b"first")
    before = folder.keep(the(folder, "hw1"), late=False, now=NOW)
    path.write_bytes(b"second")
    return before, folder.keep(the(folder, "hw1"), late=False, now=NOW)


def test_what_waited_before_waits_again_when_the_newer_one_is_taken_back(
    folder: StudentFolder,
) -> None:
    before, newer = kept_twice(folder)
    folder.take_back("hw1", newer, before)
    assert folder.waiting("hw1") == before
    assert folder.waiting_file("hw1", before).read_bytes() == b"first"


def test_the_newer_one_goes_on_to_wait_if_the_one_before_was_removed(folder: StudentFolder) -> None:
    before, newer = kept_twice(folder)
    (folder.state / "set-aside" / newer.aside).unlink()
    folder.take_back("hw1", newer, before)
    assert folder.waiting("hw1") == newer
    assert folder.waiting_file("hw1", newer).read_bytes() == b"second"


def test_a_full_disk_leaves_no_moment_at_which_nothing_waits(
    folder: StudentFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise Busy("The disk is full.")

    before, newer = kept_twice(folder)
    monkeypatch.setattr(folder, "put_waiting", full)
    with pytest.raises(Busy):
        folder.take_back("hw1", newer, before)
    assert folder.waiting("hw1") is not None


@pytest.mark.parametrize("calls", range(6))
def test_a_newer_one_that_cannot_be_kept_leaves_the_one_before_waiting(
    folder: StudentFolder, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """It lay in set-aside only, where no page looks, and nothing told that it was not sent."""
    path = put(folder, "hw1", "hw1.py", b"first")
    folder.keep(the(folder, "hw1"), late=False, now=NOW)
    path.write_bytes(b"second")
    left = iter(range(calls))

    def limited(call: Callable[..., None]) -> Callable[..., None]:
        def use(*given: object) -> None:
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            call(*given)

        return use

    with monkeypatch.context() as disk:
        for name in ("write", "rename"):
            disk.setattr(Disk, name, limited(getattr(Disk, name)))
        with pytest.raises(Busy):
            folder.keep(the(folder, "hw1"), late=False, now=NOW)
    waiting = folder.waiting("hw1")
    assert waiting is not None
    waits = folder.waiting_file("hw1", waiting).read_bytes()
    assert waits == (b"first" if calls < 4 else b"second")
    assert calls < 2 or b"first" in {
        each.read_bytes() for each in (folder.state / "set-aside").iterdir()
    }
    again = folder.keep(the(folder, "hw1"), late=False, now=NOW)
    assert folder.waiting("hw1") == again
    assert folder.waiting_file("hw1", again).read_bytes() == b"second"


def test_what_waits_is_set_aside_though_its_record_is_of_another_text(
    folder: StudentFolder,
) -> None:
    """A kill between the two writes leaves them so."""
    path = put(folder, "hw1", "hw1.py", b"first")
    before = folder.keep(the(folder, "hw1"), late=False, now=NOW)
    folder.waiting_file("hw1", before).write_bytes(b"second")
    newer = folder.keep(the(folder, "hw1"), late=False, now=NOW)
    assert (folder.state / "set-aside" / newer.aside).read_bytes() == b"second"
    assert folder.waiting_file("hw1", newer).read_bytes() == path.read_bytes() == b"first"


def test_a_notebook_with_a_local_name_waits_by_that(folder: StudentFolder) -> None:
    put(folder, "hw1", "au%78.py", b"mine")
    waiting = folder.keep(the(folder, "hw1"), late=False, now=NOW)
    assert folder.waiting_file("hw1", waiting).read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["%2E%2E%2Fx.py", "a%2Fb.py", "50% done.py"])
def test_a_notebook_whose_name_no_server_takes_does_not_wait(
    folder: StudentFolder, name: str
) -> None:
    put(folder, "hw1", name)
    with pytest.raises(InvalidInput):
        folder.keep(the(folder, "hw1"), late=False, now=NOW)


def test_what_was_acknowledged_waits_no_more_and_its_bytes_are_kept(folder: StudentFolder) -> None:
    put(folder, "hw1", "hw1.py", b"mine")
    notebook = the(folder, "hw1")
    for number in range(2):
        folder.keep(notebook, late=False, now=NOW)
        sent = SentNotebook(file_mtime=notebook.mtime, notebook=folder.name_of(notebook))
        folder.acknowledged(notebook, sent, NOW)
        assert folder.waiting("hw1") is None
        assert folder.sent(notebook) == sent
        names = sorted(path.name for path in (folder.state / "submitted").iterdir())
        assert len(names) == number + 1, "two in one second are two files"
    assert (folder.state / "submitted" / names[0]).read_bytes() == b"mine"


def test_feedback_is_replaced_and_its_names_stay_inside(folder: StudentFolder) -> None:
    folder.put_feedback("hw1", (("old.html", b"old"),))
    folder.put_feedback("hw1", (("../../evil.html", b"a"), ("notes.txt", b"b")))
    found = folder.feedback("hw1")
    assert [path.name for path in found] == ["feedback.html", "notes.txt"]
    assert all(path.is_relative_to(folder.state / "feedback" / "hw1") for path in found)


def test_feedback_that_is_the_same_is_not_replaced(folder: StudentFolder) -> None:
    documents = (("one.html", b"1"), ("two.html", b"2"))
    folder.put_feedback("hw1", documents)
    before = [path.stat().st_ino for path in folder.feedback("hw1")]
    folder.put_feedback("hw1", documents)
    assert [path.stat().st_ino for path in folder.feedback("hw1")] == before
    folder.put_feedback("hw1", documents[:1])
    assert [path.name for path in folder.feedback("hw1")] == ["one.html"]


def test_a_document_that_a_fetch_has_replaced_meanwhile_is_told(folder: StudentFolder) -> None:
    folder.put_feedback("hw1", (("old.html", b"old"),))
    (old,) = folder.feedback("hw1")
    assert folder.document(old) == b"old"
    folder.put_feedback("hw1", (("new.html", b"new"),))
    with pytest.raises(NotFound, match="fetched anew"):
        folder.document(old)


def test_a_notebook_that_cannot_be_read_is_not_said_to_be_gone(folder: StudentFolder) -> None:
    path = put(folder, "hw1", "hw1.py")
    notebook = the(folder, "hw1")
    path.unlink()
    with pytest.raises(NotFound, match="is gone"):
        folder.read(notebook)
    path.mkdir()  # cannot be read as a file, by root neither
    with pytest.raises(InvalidInput, match=r"hw1\.py cannot be read: Is a directory"):
        folder.read(notebook)
    assert folder.state_of(notebook) is CopyState.EDITED

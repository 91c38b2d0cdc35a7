"""The dates of a course for every door, read again when the gradebook changes."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from mograder.core.errors import Busy, Conflict
from mograder.core.item_dates import ItemDates, OwnDates
from mograder.core.settings import load_settings
from mograder.grading.course_late import CourseDates
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.late_work import (
    Extension,
    LateFacts,
    LateWork,
    Membership,
    StoredPolicy,
)
from mograder.store.releases.release_times import VisibilityRules
from tests.support.fake_disks import ShareDisk
from tests.support.graded_courses import DUE, SETTINGS, put

DAY = timedelta(days=1)


@pytest.fixture
def dates(tmp_path: Path) -> CourseDates:
    (tmp_path / "mograder.toml").write_text(SETTINGS.replace("true\n", "true\nlate_days = 2\n"))
    return CourseDates(load_settings(tmp_path, environ={}))


def test_extensions_count_as_soon_as_they_are_recorded(dates: CourseDates, tmp_path: Path) -> None:
    assert dates.own("A1", "alice").due == DUE
    with Gradebook(tmp_path / "gradebook.db") as book:
        LateWork(book).record([Membership("Lab", "alice")], by="ina", at=DUE)
        assert not dates.own("A1", "alice").extended
        until = DUE + 3 * DAY
        LateWork(book).record([Extension("A1", group="Lab", until=until)], by="ina", at=DUE)
        own = dates.own("A1", "alice")
        assert (own.due, own.extended) == (until, True)
        assert dates.usual("A1").due == dates.own("A1", "bob").due == DUE
        change = (
            LateWork(book).facts().with_dates("A1", {"due": DUE + DAY, "closes": DUE + 2 * DAY})
        )
        LateWork(book).record([change], by="ina", at=DUE)
        assert dates.usual("A1").due == DUE + DAY
        assert dates.own("A1", "alice").closes == until, "not before the extension ends"
        back = LateWork(book).facts().with_dates("A1", {"due": None, "closes": None})
        LateWork(book).record([back], by="ina", at=DUE)
    assert (dates.usual("A1").due, dates.usual("A1").closes) == (DUE, None)


def test_dates_follow_the_manifest_of_the_assignment_server(tmp_path: Path) -> None:
    dates = CourseDates(load_settings(tmp_path, environ={}))
    manifest = tmp_path / "assignments.json"
    for due in (DUE, DUE + DAY, None):
        entry = {"name": "A1"} if due is None else {"name": "A1", "due": due.isoformat()}
        manifest.with_suffix(".new").write_text(json.dumps([entry]))
        manifest.with_suffix(".new").replace(manifest)
        assert dates.usual("A1").due == dates.own("A1", "alice").due == due
    manifest.unlink()
    assert dates.usual("A1").due is None


def test_what_is_late_costs_what_the_policy_says_after_the_late_days_of_other_work(
    dates: CourseDates, tmp_path: Path
) -> None:
    late = DUE + 2 * DAY + timedelta(hours=1)
    assert dates.if_received("A1", "alice", late).percent == 5, "two of three days are free"
    earlier = SETTINGS.replace("A1", "A0").replace("Assignment 1", "Assignment 0")
    with (tmp_path / "mograder.toml").open("a") as file:
        file.write(earlier[earlier.index("[[") :])
    again = CourseDates(load_settings(tmp_path, environ={}))
    put(tmp_path, "alice", 2 * DAY, assignment="A0")
    assert again.if_received("A1", "alice", late).percent == 15
    assert again.if_received("A1", "bob", late).percent == 5


def test_a_gradebook_that_cannot_be_read_leaves_what_was_known(
    dates: CourseDates, tmp_path: Path
) -> None:
    with Gradebook(tmp_path / "gradebook.db") as book:
        extension = Extension("A1", "alice", until=DUE + DAY)
        LateWork(book).record([extension], by="ina", at=DUE)
    assert dates.own("A1", "alice").due == DUE + DAY
    (tmp_path / "gradebook.db").write_bytes(b"no database")
    assert dates.own("A1", "alice").due == DUE + DAY


@pytest.mark.parametrize(
    ("late", "words"),
    [
        (timedelta(), ""),
        (timedelta(seconds=3), "1 minute late"),
        (timedelta(minutes=12), "12 minutes late"),
        (timedelta(hours=2), "2 hours late"),
        (timedelta(hours=47), "47 hours late"),
        (timedelta(days=2), "2 days late"),
    ],
)
def test_lateness_is_told_in_one_unit(late: timedelta, words: str) -> None:
    assert OwnDates(DUE).lateness(DUE + late) == words


def test_only_a_due_date_ends_that_of_a_run_of_feedback() -> None:
    facts = LateFacts(policies={"A1": StoredPolicy(due=DUE)})
    assert facts.with_dates("A1", {"closes": DUE + DAY}).policy.due == DUE
    for due in (None, DUE + DAY):
        policy = facts.with_dates("A1", {"due": due}).policy
        assert (policy.due, policy.set_due) == (None, due)


def test_openings_of_the_settings_count_where_the_gradebook_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "mograder.toml").write_text("[items.Exam]\nopens = 2026-11-24T09:00Z\n")
    (tmp_path / "gradebook.db").write_bytes(b"no database" * 1000)
    dates = CourseDates(load_settings(tmp_path, environ={}))
    assert list(dates.openings()) == ["Exam"]
    assert dates.usual("Exam").due is None


def test_no_opening_is_known_while_what_a_platform_told_could_never_be_read(tmp_path: Path) -> None:
    """An exam that the platform opens later would be shown."""
    book, opens = tmp_path / "gradebook.db", DUE - DAY
    with Gradebook(book) as written:
        facts = LateWork(written).facts().with_told("Exam", ItemDates(opens))
        LateWork(written).record([facts], by="ina", at=DUE)
    kept = book.read_bytes()
    book.write_bytes(b"no database" * 1000)
    dates = CourseDates(load_settings(tmp_path, environ={}))
    dates.platform_tells = True
    rules = VisibilityRules(tmp_path / "rules", opens=dates.openings)
    with pytest.raises(Conflict, match="not known when items open"):
        rules.all()
    assert rules.of("Exam").refusal(DUE) is not None
    assert not rules.of("Exam").visible(DUE)
    book.write_bytes(kept)
    assert rules.of("Exam").visible_from == opens
    assert rules.of("A1").visible(opens - DAY)
    book.unlink()
    assert rules.of("Exam").visible_from == opens, "what was read last"


def test_an_extension_that_another_machine_gives_on_a_share_counts_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment, disk, due = [100.0], ShareDisk(), DUE
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    dates = CourseDates(load_settings(tmp_path, environ={}), disk=disk)
    assert dates.usual("A1").due is None

    def give() -> None:
        with Gradebook(tmp_path / "gradebook.db") as book:
            change = LateFacts().with_dates("A1", {"due": due})
            LateWork(book).record([change], by="prof", at=due)

    disk.elsewhere(give)
    assert dates.usual("A1").due is None
    moment[0] += 1
    assert dates.usual("A1").due == due
    assert "gradebook.db" not in disk.asked


class LockedBook:
    """A gradebook that another program locks."""

    def __init__(self) -> None:
        self.tries = 0
        self.tried, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def open(self) -> Gradebook:
        self.tries += 1
        self.tried.set()
        assert self.go_on.wait(60)
        raise Busy("Another program locks the gradebook.")


def test_a_gradebook_that_cannot_be_read_is_tried_again_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of a student's pages asks for some forty dates, and 300 students look at them."""
    moment, book, path = [100.0], LockedBook(), tmp_path / "gradebook.db"
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    path.write_bytes(b"as it is")
    dates = CourseDates(load_settings(tmp_path, environ={}), book.open)
    for _ in range(40):
        assert dates.usual("A1").due is None
    assert book.tries == 1
    moment[0] += 10
    for _ in range(40):
        dates.openings()
    assert book.tries == 2
    path.write_bytes(b"as another program left it")
    dates.openings()
    assert book.tries == 3


def test_no_thread_waits_while_a_gradebook_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment, book = [100.0], LockedBook()
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    (tmp_path / "gradebook.db").write_bytes(b"as it is")
    dates = CourseDates(load_settings(tmp_path, environ={}), book.open)
    dates.openings()
    moment[0] += 10
    book.tried.clear()
    book.go_on.clear()
    other = threading.Thread(target=dates.openings)
    other.start()
    assert book.tried.wait(60)
    assert dates.usual("A1").due is None
    assert other.is_alive()
    book.go_on.set()
    other.join(60)
    assert book.tries == 2

"""``mograder extension``: later due dates, exemptions, groups and rules, and marks that follow."""

from __future__ import annotations

import csv
import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from mograder.cli.extension import opened
from mograder.core.clock import SystemClock
from mograder.core.errors import Conflict
from mograder.core.names import ItemName, Username
from mograder.exchange.submission_times import submissions_in
from mograder.grading.late_changes import policy_change
from mograder.grading.late_work import moment
from mograder.grading.release.feedback import CourseFeedback
from mograder.grading.release.releasing import release
from mograder.grading.submissions.grading_result import grading_key
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.late_work import LateWork
from mograder.store.submissions.history import RECEIPTS, History
from mograder.store.submissions.submissions import Submissions, Terms
from tests.support.command_line import cli
from tests.support.gradebooks import put_recorded
from tests.support.graded_courses import DUE, SETTINGS, grades, loaded, put

LONG_AGO = DUE + timedelta(hours=1)
LATER = (DUE + timedelta(days=2)).isoformat()


@pytest.fixture(autouse=True)
def course(here: Path) -> Path:
    (here / "mograder.toml").write_text(SETTINGS)
    put(here, "alice", timedelta(hours=15))
    put(here, "bob", timedelta(hours=-1))
    put(here, "cleo", timedelta(days=3))
    return here


def marks() -> dict[str, float | None]:
    """Return what `gradebook show` tells."""
    told = cli("gradebook show A1 --json").json
    return {each["student"]: each["mark"] for each in told["A1"]}


def without_gradebook(course: Path) -> None:
    """Remove the gradebook, and what SQLite keeps beside it."""
    for path in course.glob("gradebook.db*"):
        path.unlink()


def test_an_extension_after_judging_changes_the_mark_everywhere(course: Path) -> None:
    """Without judging again: gradebook, explain, exports, pages, and the columns for 0.3.16."""
    assert marks() == {"alice": 64.1, "bob": 67.5, "cleo": 57.4}
    told = cli("extension add A1 alice cleo --until", LATER, "--reason=ill").out
    assert "A1, alice: 64.1 -> 67.5   Submitted in time: due" in told
    assert "by an extension" in told
    assert "A1, cleo: 57.4 -> 64.1   67.5 − 5 % (1 day late after 5 min grace; due" in told
    assert "2 marks change." in told
    assert f"A1, alice: due {moment(DUE + timedelta(days=2))}; before: {moment(DUE)}" in told
    assert f"Recorded: alice, A1: until {moment(DUE + timedelta(days=2))}." in told
    assert {name: each.final for name, each in grades(course).items()} == marks()
    assert marks() == {"alice": 67.5, "bob": 67.5, "cleo": 64.1}
    printed = cli("gradebook explain A1 cleo")
    assert "Late work: 67.5 − 5 % (1 day late after 5 min grace; due" in printed.out
    rows = list(csv.DictReader(cli("gradebook export A1 --format moodle").lines))
    assert {row["student"]: row["mark"] for row in rows}["cleo"] == "64.1"
    cli("feedback A1")
    page = (course / "feedback/A1/cleo.html").read_text()
    assert "67.5 − 5 %" in page
    assert "ill" not in page.split("<h2", 1)[1].split("</section>")[0], "a reason is for staff"


def test_times_are_told_in_the_zone_of_the_course(course: Path) -> None:
    zone = ZoneInfo("Asia/Kolkata")
    (course / "mograder.toml").write_text(f'timezone = "{zone}"\n{SETTINGS}')
    due, later = (moment(at, zone) for at in (DUE, DUE + timedelta(days=2)))
    assert due.endswith(" IST")
    told = cli("extension add A1 cleo --until", LATER)
    assert f"A1, cleo: due {later}; before: {due}" in told.out
    assert f"5 min grace; due {later} by an extension, received" in told.out
    assert f"Recorded: cleo, A1: until {later}." in told.out
    assert f"A1, cleo: until {later} (by" in cli("extension list").out
    early = f"{DUE + timedelta(hours=5.5):%Y-%m-%dT%H:%M}"
    told = cli("extension add A1 bob --dry-run --until", early)
    assert f"{due} is not after the due date, {due}, which stays." in told.err
    assert f"due {due}, received" in cli("gradebook explain A1 alice").out
    cli("feedback A1")
    page = (course / "feedback/A1/cleo.html").read_text()
    assert f"due {later} by an extension" in page
    assert "UTC" not in page


def test_a_dry_run_tells_and_records_nothing(course: Path) -> None:
    before = (course / "gradebook.db").read_bytes()
    told = cli("extension add A1 cleo --exempt --dry-run").out
    assert "A1, cleo: 57.4 -> 67.5   No deduction: exempt; received" in told
    assert "nothing was recorded" in told
    assert (course / "gradebook.db").read_bytes() == before
    assert "There are no extensions." in cli("extension list").out


def test_what_is_withdrawn_stays_in_the_history() -> None:
    cli("extension add all cleo --exempt --reason", "long illness")
    assert marks()["cleo"] == 67.5
    cli("extension remove all cleo")
    assert marks()["cleo"] == 57.4
    assert "has no extension" in cli("extension remove all cleo", status=2).err
    told = cli("extension list --history --json").json["extensions"]
    assert [each["removed"] for each in told] == [False, True]
    assert told[0]["reason"] == "long illness"


def test_times_of_the_list_are_all_in_one_zone_which_is_named(course: Path) -> None:
    cli("extension add A1 cleo --until", LATER)
    with Gradebook(course / "gradebook.db") as book:
        (given,) = LateWork(book).history()
    until, at = moment(DUE + timedelta(days=2)), moment(datetime.fromisoformat(given.at))
    told = cli("extension list").out
    assert f"A1, cleo: until {until} (by {given.by}, {at})" in told


def test_the_extension_of_a_group_is_for_those_in_it_now() -> None:
    cli("extension group B alice cleo")
    cli("extension add A1 --group B --until", LATER)
    assert marks() == {"alice": 67.5, "bob": 67.5, "cleo": 64.1}
    cli("extension group B alice --remove")
    assert marks() == {"alice": 64.1, "bob": 67.5, "cleo": 64.1}


def test_csv_files_are_read_as_they_are_written(course: Path) -> None:
    cli("extension group B alice")
    cli("extension add A1 --group B --until", LATER)
    cli("extension add all cleo --exempt --reason", "=1+1, ill")
    cli("extension export -o out.csv")
    before = marks()
    without_gradebook(course)
    put(course, "alice", timedelta(hours=15))
    put(course, "cleo", timedelta(days=3))
    cli("extension import out.csv")
    assert marks() == {name: before[name] for name in ("alice", "cleo")}
    saved = (course / "out.csv").read_text("utf-8")
    assert saved == "\ufeff" + cli("extension export").out  # Excel needs the byte order mark


def test_all_in_a_csv_is_the_course_as_on_the_command_line(course: Path) -> None:
    """An assignment whose name contains these letters was taken."""
    (course / "source" / "A5-Small-World").mkdir(parents=True)
    (course / "x.csv").write_text("assignment,student,exempt\nall,cleo,yes\nAll,bob,yes\n")
    cli("extension import x.csv")
    told = cli("extension list --json").json["extensions"]
    assert {each["student"]: each["assignment"] for each in told} == {"cleo": "", "bob": ""}
    (course / "source" / "all").mkdir()
    (course / "x.csv").write_text("assignment,student,exempt\nall,alice,yes\n")
    cli("extension import x.csv")
    told = cli("extension list --json").json["extensions"]
    assert {each["student"]: each["assignment"] for each in told}["alice"] == "all"


def test_an_extension_of_an_assignment_that_is_gone_can_be_imported_and_removed(
    course: Path,
) -> None:
    """The assignment was renamed before anybody handed in."""
    folder = course / "source" / "A9"
    folder.mkdir(parents=True)
    cli("extension add A9 alice --exempt")
    cli("extension policy A9 per_day=1")
    folder.rename(folder.with_name("A9-Project"))
    cli("extension export -o out.csv")
    cli("extension import out.csv")
    assert "A9: as in the settings" in cli("extension policy A9 --default").out
    cli("extension remove A9 alice")
    assert "There are no extensions." in cli("extension list").out


def test_a_csv_with_a_mistake_changes_nothing(course: Path) -> None:
    (course / "x.csv").write_text(
        "assignment,student,until,exempt\nA1,alice,soon,\nA9,bob,,yes\nA1,cleo,,yes\nA1,dan,,\n"
    )
    told = cli("extension import x.csv", status=2).err
    assert "line 2: 'soon' is no time." in told
    assert "line 3: There is no assignment 'A9'" in told
    assert "line 5: An extension has a new due date, or it is an exemption." in told
    assert marks()["cleo"] == 57.4


def test_two_rows_of_a_csv_for_the_same_student_or_group_are_refused(course: Path) -> None:
    (course / "x.csv").write_text(
        "assignment,student,group,until,exempt\n"
        "A1,alice,,2030-01-03,\nA1,bob,,2030-01-03,\nA1,alice,,2030-01-02,\n"
        "A1,,B,2030-01-03,\n,,B,,yes\n,alice,B,,\n,alice,B,,\nA1,,B,,yes\n"
    )
    told = cli("extension import x.csv", status=2).err
    assert "line 4: alice has another row for A1, in line 2." in told
    assert "line 9: the group B has another row for A1, in line 5." in told
    assert told.count("has another row") == 2, "a group is entered once or twice alike"
    assert "There are no extensions." in cli("extension list").out


@pytest.mark.parametrize("options", [[], ["--exempt", "--until", LATER]])
def test_an_extension_is_a_time_or_an_exemption(course: Path, options: list[str]) -> None:
    told = cli("extension add A1 alice", *options, status=2).err
    assert "Give one of --until and --exempt." in told


def test_an_extension_to_a_day_counts_until_its_end(course: Path) -> None:
    (course / "x.csv").write_text("assignment,student,until\nA1,bob,2030-01-02\n")
    cli("extension add A1 alice --until 2030-01-02")
    cli("extension import x.csv")
    told = cli("extension list --json").json["extensions"]
    assert [each["until"] for each in told] == ["2030-01-02T23:59:59+00:00"] * 2, told


def test_times_without_an_offset_are_in_the_zone_of_the_course(course: Path) -> None:
    (course / "mograder.toml").write_text(f'timezone = "Asia/Kolkata"\n{SETTINGS}')
    (course / "x.csv").write_text("assignment,student,until\nA1,bob,2030-01-02T18:00\n")
    cli("extension add A1 alice --until 2030-01-02T18:00")
    cli("extension import x.csv")
    with Gradebook(course / "gradebook.db") as book:
        given = {each.student: each.until for each in LateWork(book).history()}
    assert given == dict.fromkeys(("alice", "bob"), datetime(2030, 1, 2, 12, 30, tzinfo=UTC))


def test_a_stored_rule_counts_before_the_settings(course: Path) -> None:
    settings = SETTINGS + "[items.A1.penalties]\nper_day = 10\n"
    (course / "mograder.toml").write_text(settings)
    assert marks()["cleo"] == 47.2
    cli("extension policy all per_day=1 late_days=1")
    assert marks() == {"alice": 67.5, "bob": 67.5, "cleo": 54.0}
    assert "A1, cleo: 54 -> 47.2" in cli("extension policy A1 per_day=20 max=30 --dry-run").out
    told = cli("extension policy A1").out
    assert "per_day = 10  ([items.A1.penalties])" in told
    assert "max = 100  (default)" in told
    cli("extension policy all --default")
    assert marks()["cleo"] == 47.2
    stored = cli("extension policy A1 enabled=false per_day=20").out
    assert "Recorded: A1: enabled = false, per_day = 20.\n" in stored, "as it is typed"
    assert "not both" in cli("extension policy A1 per_day=20 --default", status=2).err
    assert "or `all` for the course" in cli("extension policy per_day=20", status=2).err
    cli("extension policy A1 late_days=1", status=2)
    cli("extension policy A1 per_week=1", status=2)
    cli("extension policy A1 per_day=-1", status=2)
    told = cli("extension policy A1 per_day=inf", status=2).err
    assert "per_day must be a number, not 'inf'." in told
    for key in ("per_day", "max"):
        told = cli(f"extension policy A1 {key}=100.5", status=2).err
        assert f"{key} is per cent of the mark, so at most 100." in told
    cli("extension policy A1 per_day=100 max=100 --dry-run")


def test_a_rule_that_another_program_stores_meanwhile_is_not_lost(course: Path) -> None:
    with opened(loaded(course), writes=True) as extensions:
        cli("extension policy A1 grace_minutes=30")
        with pytest.raises(Conflict, match="changed meanwhile"):
            extensions.apply([policy_change(extensions.facts, "A1", {"max": "50"})], dry_run=False)
    assert "grace_minutes = 30  (stored for the assignment)" in cli("extension policy A1").out


def test_a_mistyped_student_or_group_is_told_and_an_early_time_too() -> None:
    early = (DUE - timedelta(days=2)).isoformat()
    told = cli("extension add A1 alcie --until", early).err
    assert "The gradebook does not know alcie yet" in told
    assert "is not after the due date" in told
    cli("extension group Lab alice bob")
    told = cli("extension add A1 --group Lap --until", LATER, "--dry-run").err
    assert "The gradebook does not know the group Lap yet" in told
    assert not cli("extension add A1 --group Lab --until", LATER).err
    assert not cli("extension remove A1 --group Lab").err
    cli("extension add A1 alice", status=2)
    cli("extension add A1 --until", LATER, status=2)


def test_late_work_that_an_extension_makes_in_time_is_told_and_can_be_picked(course: Path) -> None:
    """Late work does not replace work in time; ``extension pick`` makes it the one that counts."""
    kept, terms = (
        Submissions(course / "submitted", records=course / ".mograder" / RECEIPTS),
        Terms(due=DUE),
    )
    alice, a1 = Username.parse("alice"), ItemName.parse("A1")
    kept.add(alice, a1, b"in time", DUE - timedelta(hours=1), terms)
    kept.add(alice, a1, b"late", DUE + timedelta(hours=1), terms)
    kept.add(alice, a1, b"too late", DUE + timedelta(days=3), terms)
    kept.add(Username.parse("bob"), a1, b"late", DUE + timedelta(hours=1), terms)
    told = cli("extension add A1 alice bob --until", LATER, "--dry-run").err
    assert "does not count yet beside an earlier one: alice (submission 2). `mograder" in told
    assert not cli("extension add A1 bob --until", LATER).err
    cli("extension add A1 alice --until", LATER)
    assert "alice, A1: submission 2 counts, received" in cli("extension pick A1 alice 2").out
    files = submissions_in(course / "submitted/A1", a1, loaded(course))
    assert [each.path.read_bytes() for each in files] == [b"late", b"late"]
    assert [each.receipt for each in files] == [2, 1]
    assert not cli("extension remove A1 alice").err
    assert not cli("extension add A1 alice --until", LATER).err
    assert "no such submission" in cli("extension pick A1 alice 9", status=3).err


def test_an_extension_is_given_where_the_submissions_cannot_be_read(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradebook may be a team's, and the server's records its user's alone."""

    def refuse(_: History, *, now: bool) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), ".mograder/receipts")

    monkeypatch.setattr(History, "refresh", refuse)
    told = cli("extension add A1 alice --until", LATER)
    assert "A1: the submissions cannot be read" in told.err
    assert marks()["alice"] == 67.5


def test_a_deduction_of_0_3_16_stays_until_something_is_known(course: Path) -> None:
    without_gradebook(course)
    (course / "mograder.toml").write_text("")
    put_recorded(course / "gradebook.db")
    assert marks()["alice"] == 60
    cli("extension add A1 alice --exempt")
    assert marks()["alice"] == 60, "deductions are not switched on, so 0.3.16's stays"
    (course / "mograder.toml").write_text("[penalties]\nenabled = true\n")
    cli("extension add A1 alice --exempt")
    assert marks()["alice"] == 67
    assert grades(course)["alice"].final == 67
    cli("extension remove A1 alice")
    assert marks()["alice"] == 60
    assert (grades(course)["alice"].penalty_pct, grades(course)["alice"].final) == (10, 60)


def test_an_extension_tells_whose_marks_wait_for_it_and_whose_are_seen(course: Path) -> None:
    """A1 has hidden tests; its due date passed long ago, and the extension has not ended."""
    until = SystemClock().now().replace(microsecond=0) + timedelta(days=2)
    with Gradebook(course / "gradebook.db") as book:
        feedback = CourseFeedback(loaded(course), book, "A1", grading_key(loaded(course)), LONG_AGO)
        release(feedback, ["alice"], at=None, by="prof")
    told = cli("extension add A1 bob --until", until.isoformat(), "--dry-run").out
    tell = f"A1: marks that tell results of hidden tests are told after {moment(until)}"
    assert f"{tell}; before: at once." in told
    assert "Seen already, and so not hidden again: the marks of alice." in told
    assert "Released, and told then" not in told
    (course / "mograder.toml").write_text("")
    printed = cli("extension add A1 bob --until", until.isoformat())
    assert "A1 has no due date, and so nothing is late there." in printed.err

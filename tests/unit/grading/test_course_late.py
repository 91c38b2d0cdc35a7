"""Marks with deductions depend on the stored records alone, not on their order."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mograder.core.errors import InvalidInput
from mograder.core.sections.settings_model import CourseRule
from mograder.core.settings import load_settings
from mograder.grading.course_late import CourseDates, CourseLate, export_if_set
from mograder.grading.late_work import late_sentence
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import GradingRun, MarkEntry
from mograder.store.gradebook.late_work import (
    Change,
    Extension,
    LateFacts,
    LateWork,
    Membership,
    PolicyChange,
    StoredPolicy,
)
from mograder.store.gradebook.mark_counting import mark_after
from tests.support.gradebooks import AT, Meanwhile, row_of
from tests.support.graded_courses import DUE, SETTINGS, graded_run, put

NAMES, STUDENTS, GROUPS = ("A1", "A2"), ("alice", "bob"), ("B",)
ON = "[penalties]\nenabled = true\n"
HOURS = st.integers(-30, 200)

_names, _students = st.sampled_from(NAMES), st.sampled_from(STUDENTS)


@dataclass(frozen=True)
class Due:
    assignment: str
    hours: int | None


@dataclass(frozen=True)
class File:
    text: str


@dataclass(frozen=True)
class Submission:
    assignment: str
    student: str
    hours: int | None
    work: str
    receipt: int | None


@dataclass(frozen=True)
class Mark:
    assignment: str
    student: str
    points: float


Step = Change | Due | File | Submission | Mark

_untils = st.integers(-50, 150).map(lambda hours: DUE + timedelta(hours=hours))
_whose = st.one_of(_students.map(lambda s: (s, "")), st.sampled_from(GROUPS).map(lambda g: ("", g)))
_rules = st.builds(
    CourseRule,
    enabled=st.sampled_from([None, True, False]),
    grace_minutes=st.sampled_from([None, 0, 90]),
    per_day=st.sampled_from([None, 0, 7.5, 40]),
    max=st.sampled_from([None, 20]),
    cut_off_days=st.sampled_from([None, 3]),
    late_days=st.sampled_from([None, 2]),
    late_days_each=st.sampled_from([None, 1]),
    hard_limit=st.sampled_from([None, (DUE + timedelta(hours=100)).isoformat()]),
)
_submissions = st.builds(
    Submission,
    _names,
    _students,
    st.one_of(st.none(), HOURS),
    st.sampled_from(["first", "second"]),
    st.one_of(st.none(), st.just(5)),
)
STEPS: st.SearchStrategy[Step] = st.one_of(
    _submissions,
    _submissions,
    st.builds(Due, _names, st.one_of(st.none(), HOURS)),
    st.sampled_from(["", "[penalties]\nenabled = true\n", "[penalties]\nlate_days = 1\n"]).map(
        File
    ),
    st.builds(
        lambda name, whose, until, gone: Extension(
            name, whose[0], whose[1], until=until, removed=gone
        ),
        _names,
        _whose,
        _untils,
        st.booleans(),
    ),
    st.builds(
        lambda name, whose, gone: Extension(name, whose[0], whose[1], exempt=True, removed=gone),
        st.sampled_from([*NAMES, ""]),
        _whose,
        st.booleans(),
    ),
    st.builds(Membership, st.sampled_from(GROUPS), _students, st.booleans()),
    st.builds(
        lambda name, rule, off: PolicyChange(name, StoredPolicy(rule, None, off)),
        st.sampled_from([*NAMES, ""]),
        st.one_of(st.none(), _rules),
        st.booleans(),
    ),
    st.builds(Mark, _names, _students, st.sampled_from([0.0, 33.3, 60.0])),
)


@dataclass
class Course:
    """A course on the disk, and what was done to it last."""

    path: Path
    due: dict[str, int | None] = field(default_factory=dict)
    text: str = ON
    submissions: dict[tuple[str, str], Submission] = field(default_factory=dict)
    marks: dict[tuple[str, str], Mark] = field(default_factory=dict)
    facts: LateFacts = field(default_factory=LateFacts)

    def write_settings(self) -> None:
        times = {name: DUE + timedelta(hours=hours) for name, hours in self.due.items() if hours}
        tables = (
            f'[[assignments]]\nname = "{name}"\nduedate = {int(due.timestamp())}\n'
            for name, due in times.items()
        )
        (self.path / "mograder.toml").write_text(self.text + "".join(tables))

    def take(self, book: Gradebook, step: Step) -> None:
        match step:
            case Due():
                self.due[step.assignment] = step.hours
                self.write_settings()
            case File():
                self.text = step.text
                self.write_settings()
            case Submission():
                self.submissions[step.assignment, step.student] = step
                book.record_run(self._run(step))
            case Mark() if (step.assignment, step.student) not in self.submissions:
                pass
            case Mark():
                self.marks[step.assignment, step.student] = step
                given = {"Analysis": MarkEntry(step.points)}
                book.record_marks(step.assignment, step.student, given, marker="mia", at=AT)
            case _:
                self.facts = self.facts.after([step])
                LateWork(book).record([step], by="ina", at=AT)

    def _run(self, step: Submission) -> GradingRun:
        received: datetime | None = None
        if step.hours is not None:
            received = DUE + timedelta(hours=step.hours)
        return graded_run(
            self.path,
            step.student,
            received=received,
            assignment=step.assignment,
            work=step.work,
            receipt=step.receipt,
        )

    def late(self) -> CourseLate:
        return CourseLate(load_settings(self.path, environ={}))


def told(course: Course, book: Gradebook) -> Mapping[tuple[str, str], object]:
    """Return marks, deductions and sentences; those of all assignments together are the same."""
    found = {}
    together = course.late().course(book)
    for name in NAMES:
        short = {each.grade.student: each.grade for each in together.get(name, ())}
        for each in course.late().counted(book, name):
            grade, held = each.grade, short[each.grade.student]
            assert (held.penalty_pct, held.final) == (grade.penalty_pct, grade.final)
            sentence = late_sentence(grade, each.deduction, None)
            found[name, grade.student] = (grade.total, grade.penalty_pct, grade.final, sentence)
    return found


@pytest.fixture(scope="module")
def empty() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "gradebook.db"
        Gradebook(path).close()
        yield path


@settings(
    max_examples=max(10, settings().max_examples // 4),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
@given(steps=st.lists(st.tuples(STEPS, st.booleans()), min_size=4, max_size=16))
def test_any_order_of_changes_gives_what_is_computed_from_nothing(
    empty: Path, steps: list[tuple[Step, bool]]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        course = Course(Path(directory))
        course.write_settings()
        grown = _grown(course, empty, steps)
        assert _from_nothing(course, empty) == grown


def _grown(
    course: Course, empty: Path, steps: list[tuple[Step, bool]]
) -> Mapping[tuple[str, str], object]:
    shutil.copy(empty, course.path / "gradebook.db")
    with Gradebook(course.path / "gradebook.db") as book:
        for step, reads in steps:
            course.take(book, step)
            if reads:
                told(course, book)
        return told(course, book)


def _from_nothing(course: Course, empty: Path) -> Mapping[tuple[str, str], object]:
    """Return what follows from the last submissions and marks, and from what is in force."""
    shutil.copy(empty, course.path / "fresh.db")
    facts = course.facts
    changes: list[Change] = [
        *facts.extensions.values(),
        *(Membership(*each) for each in facts.members),
        *(PolicyChange(*each) for each in facts.policies.items()),
    ]
    again: list[Step] = [*course.submissions.values(), *course.marks.values()]
    with Gradebook(course.path / "fresh.db") as book:
        LateWork(book).record(changes, by="ina", at=AT)
        for step in again:
            course.take(book, step)
        return told(course, book)


def test_late_days_that_are_shared_meanwhile_count_for_all_assignments_or_not_at_all(
    tmp_path: Path,
) -> None:
    due = f'[[assignments]]\nname = "{{0}}"\nduedate = {int(DUE.timestamp())}\n'
    (tmp_path / "mograder.toml").write_text(ON + due.format("A1") + due.format("A2"))
    for name in NAMES:
        put(tmp_path, "alice", timedelta(hours=15), assignment=name)
    late = CourseLate(load_settings(tmp_path, environ={}))
    shared = PolicyChange("", StoredPolicy(CourseRule(late_days=1)))
    change = Extension("A2", "bob", exempt=True)
    with Meanwhile(tmp_path / "gradebook.db") as book:
        for look in (
            lambda: late.grades(book, "A2"),
            lambda: [each.before.grade for each in late.preview(book, [change]).grades],
        ):
            book.after_look = lambda: LateWork(book).record([shared], by="ina", at=AT)
            seen = [each.final for each in (*look(), *look()) if each.assignment == "A2"]
            assert seen == [64.1, 64.1]  # the day is that of A1
            LateWork(book).record([PolicyChange("", StoredPolicy())], by="ina", at=AT)


def test_an_export_has_the_deduction_of_the_mark_beside_it(tmp_path: Path) -> None:
    due = f'[[assignments]]\nname = "A1"\nduedate = {int(DUE.timestamp())}\n'
    (tmp_path / "mograder.toml").write_text(f"{ON}{due}[gradebook]\nexport_0316 = true\n")
    put(tmp_path, "alice", timedelta(hours=15))
    path, marks = tmp_path / "gradebook.db", {"Q1": MarkEntry(1)}
    with Meanwhile(path) as book:
        book.after_look = lambda: book.record_marks("A1", "alice", marks, marker="mia", at=AT)
        export_if_set(load_settings(tmp_path, environ={}), book, AT)
    row = row_of(path)
    assert row["penalised_mark"] == mark_after(row["total_mark"], 5)


def test_the_server_of_the_course_gives_extensions_too(tmp_path: Path) -> None:
    (tmp_path / "mograder.toml").write_text("[penalties]\nenabled = true\n")
    later = (DUE + timedelta(days=1)).isoformat()
    (tmp_path / "assignments.json").write_text(
        f'[{{"name": "A1", "due": "{DUE.isoformat()}", "extensions": {{"alice": "{later}"}}}}]'
    )
    for student in ("alice", "bob"):
        put(tmp_path, student, timedelta(hours=15))
    late = CourseLate(load_settings(tmp_path, environ={}))
    with Gradebook(tmp_path / "gradebook.db") as book:
        found = {each.student: each.final for each in late.grades(book, "A1")}
        assert found == {"alice": 67.5, "bob": 64.1}


def test_no_mark_goes_without_its_deduction_since_the_servers_dates_are_spoilt(
    tmp_path: Path,
) -> None:
    (tmp_path / "mograder.toml").write_text("[penalties]\nenabled = true\n")
    (tmp_path / "assignments.json").write_text(f'[{{"name": "A1", "due": "{DUE.isoformat()}" ')
    put(tmp_path, "alice", timedelta(hours=15))
    loaded = load_settings(tmp_path, environ={})
    with (
        Gradebook(tmp_path / "gradebook.db") as book,
        pytest.raises(InvalidInput, match=r"assignments\.json cannot be used"),
    ):
        CourseLate(loaded).grades(book, "A1")
    assert CourseDates(loaded).usual("A1").due is None, "pages of dates go on"


def test_where_a_time_came_from_is_told(tmp_path: Path) -> None:
    (tmp_path / "mograder.toml").write_text(SETTINGS)
    received = DUE + timedelta(hours=15)
    fetched = tmp_path / "submitted/A1/.fetch_metadata.json"
    fetched.parent.mkdir(parents=True)
    fetched.write_text(f'{{"bob": {received.timestamp()}, "cleo": {received.timestamp()}}}')
    with Gradebook(tmp_path / "gradebook.db") as book:
        book.record_run(graded_run(tmp_path, "alice", received=received, receipt=12))
        book.record_run(graded_run(tmp_path, "bob", received=received))
        book.record_run(graded_run(tmp_path, "cleo"))
        book.record_run(graded_run(tmp_path, "dan", received=received))
        for transport, by in (("moodle", "by Moodle"), ("https", "by the assignment server")):
            (tmp_path / "mograder.toml").write_text(f'transport = "{transport}"\n{SETTINGS}')
            late = CourseLate(load_settings(tmp_path, environ={}))
            counted = late.counted(book, "A1")
            said = [late_sentence(each.grade, each.deduction, None) for each in counted]
            assert [each.rpartition(" by ")[2] for each in said] == [
                "receipt 12)",
                f"{by[3:]})",
                f"{by[3:]})",
                "the record of its submission)",
            ]


def test_the_time_of_earlier_work_is_not_that_of_new_work(tmp_path: Path) -> None:
    (tmp_path / "mograder.toml").write_text(SETTINGS)
    put(tmp_path, "alice", timedelta(hours=15))
    late = CourseLate(load_settings(tmp_path, environ={}))
    with Gradebook(tmp_path / "gradebook.db") as book:
        assert [each.final for each in late.grades(book, "A1")] == [64.1]
        book.record_run(graded_run(tmp_path, "alice", work="second"))
        assert [each.final for each in late.grades(book, "A1")] == [67.5]


def test_a_rule_counts_key_by_key_the_assignments_before_the_courses_and_stored_ones_first(
    tmp_path: Path,
) -> None:
    text = "[penalties]\ngrace_minutes = 1\nper_day = 2\nmax = 3\ncut_off_days = 4\n"
    text += "[items.A1.penalties]\nmax = 30\ncut_off_days = 40\n"
    (tmp_path / "mograder.toml").write_text(text)
    facts = LateFacts()
    for name, rule in (("", CourseRule(per_day=20, max=21)), ("A1", CourseRule(cut_off_days=50))):
        facts = facts.after([facts.with_rule(name, rule)])
    late = CourseLate(load_settings(tmp_path, environ={}))
    found = late.rule("A1", facts)
    assert (found.grace_minutes, found.per_day, found.max, found.cut_off_days) == (1, 20, 30, 50)
    assert [late.origin_of(key, "A1", facts) for key in ("grace_minutes", "per_day", "max")] == [
        "[penalties]",
        "stored for the course",
        "[items.A1.penalties]",
    ]

"""The plans of fetching and sending, made before any change."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path, PurePosixPath

import pytest

from mograder.clients.course_server import RemoteFile
from mograder.clients.file_upload import Upload
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.grading import sent_state
from mograder.clients.moodle.grading_files import FILE, Submitted, parse_worksheet, read_submissions
from mograder.clients.moodle.records import (
    Accepts,
    Assignment,
    FeedbackTypes,
    Mark,
    Person,
    Submission,
    SubmissionState,
    WorkflowState,
)
from mograder.core.errors import Conflict, InvalidInput, MograderError, RemoteFailed
from mograder.core.names import Username
from mograder.core.tasks import Progress
from mograder.exchange.collecting import CollectedFolder, CollectOutcome
from mograder.exchange.grade_files import GradeLine, from_gradebook
from mograder.exchange.moodle import collect as collect_module
from mograder.exchange.moodle import submitted_work
from mograder.exchange.moodle.collect import collect, plan_collection
from mograder.exchange.moodle.export import export
from mograder.exchange.moodle.grade_upload import (
    UploadOptions,
    draft,
    feedback_files,
    gather,
)
from mograder.exchange.moodle.identities import (
    Participants,
    name_people,
    parse_mapping,
    people_of,
)
from mograder.exchange.moodle.protection import Remembered
from mograder.exchange.moodle.submitted_work import (
    LATE,
    Target,
    Work,
    choose_notebook,
    plan_zip,
    put_work,
    unpack_zip,
)
from mograder.store.gradebook.gradebook import Identity
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.submissions.submitted_files import METADATA

AT = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
A1 = Assignment(1, 3, 2, "A1", accepts=Accepts(files=True))
PEOPLE = (
    Person(4, "Alice", email="alice@example.edu", group=1),
    Person(5, "Bob", email="bob@example.edu", group=1),
    Person(6, "Carol", email="carol@example.edu"),
)
PARTICIPANTS = Participants(PEOPLE, {4: Username("alice"), 5: Username("bob")})
NOBODY = Participants((), {})
STATE = SubmissionState


def file(name: str) -> RemoteFile:
    return RemoteFile(name, f"https://m/{name}", 3)


def handed_in(user: int, *names: str, state: STATE = STATE.SUBMITTED, group: int = 0) -> Submission:
    files = tuple(file(name) for name in names)
    return Submission(user or 99, user, 0, state, AT, group, files)


def plan(tmp_path: Path, *rows: Submission, assignment: Assignment = A1) -> dict[str, Work]:
    works = plan_collection(assignment, rows, PARTICIPANTS, Target(tmp_path, ("A1.py",)))
    return {work.name: work for work in works}


def test_only_what_was_handed_in_is_fetched_and_the_rest_says_why(tmp_path: Path) -> None:
    """README, Users: rows may be new, reopened, drafts, or the teacher's own."""
    teacher = handed_in(3, "A1.py")
    works = plan(
        tmp_path,
        teacher,
        handed_in(4, "A1.py", state=STATE.DRAFT),
        handed_in(5, "A1.py", state=STATE.REOPENED),
    )
    assert {name: (work.fate, work.why) for name, work in works.items()} == {
        "alice": (CollectOutcome.SKIPPED, "a draft, not handed in yet"),
        "bob": (CollectOutcome.SKIPPED, "nothing handed in"),
        "carol@example.edu": (CollectOutcome.SKIPPED, "nothing handed in"),
    }


def test_a_teams_work_is_every_members_and_names_its_mates(tmp_path: Path) -> None:
    """README, Submission: a team's files are in the row with userid 0; 312 tells the groups."""
    people = tuple(replace(each, team="Red" if each.group else "") for each in PEOPLE)
    participants = Participants(people, PARTICIPANTS.usernames)
    rows = (handed_in(0, "A1.py", group=1), handed_in(4, group=0), handed_in(5, group=0))
    works = plan_collection(replace(A1, team=True), rows, participants, Target(tmp_path))
    assert {work.name: (work.notebook, work.team, work.mates) for work in works} == {
        "alice": (file("A1.py"), "Red", ("bob",)),
        "bob": (file("A1.py"), "Red", ("alice",)),
        "carol@example.edu": (None, "", ()),
    }
    assert works[2].fate is CollectOutcome.SKIPPED


def test_two_files_never_share_a_place(tmp_path: Path) -> None:
    work = plan(tmp_path, handed_in(4, "A1.py", ".x", "_.x", "__.x", "_.X"))["alice"]
    places = [path for _, path in work.places()]
    assert places[0] == "alice.py"
    assert len({path.casefold() for path in places}) == 5
    assert [name for name, _ in work.renamed()] == ["_.X", ".x"]


def test_what_is_here_with_the_same_time_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "alice.py").write_text("x")
    (tmp_path / METADATA).write_text(json.dumps({"alice": AT.timestamp(), "bob": AT.timestamp()}))
    works = plan(tmp_path, handed_in(4, "A1.py"), handed_in(5, "A1.py"))
    assert works["alice"].fate is CollectOutcome.UNCHANGED
    assert works["bob"].fate is CollectOutcome.FETCHED, "its file has gone"
    (tmp_path / METADATA).write_text("not json")
    assert plan(tmp_path, handed_in(4, "A1.py"))["alice"].fate is CollectOutcome.FETCHED


@pytest.mark.parametrize(
    ("names", "notebook"),
    [
        (["A1.py", "helper.py"], "A1.py"),
        (["mine.py", "data.csv"], "mine.py"),
        (["a.py", "b.py"], None),
        (["A1.zip"], None),  # it may hold one
        (["MINE.PY"], "MINE.PY"),
        (["w.py", "..py"], "w.py"),
        (["w.py", "sub/._w.py"], "w.py"),
        ([".hidden.py"], None),
    ],
)
def test_the_notebook_is_the_released_name_or_the_only_one(
    names: list[str], notebook: str | None
) -> None:
    found = choose_notebook([file(name) for name in names], ["A1.py"])
    assert (found.name if found else None) == notebook


def test_work_without_a_notebook_is_fetched_for_a_person_to_look_at(tmp_path: Path) -> None:
    work = plan(tmp_path, handed_in(4, "a.py", "b.py"))["alice"]
    assert (work.fate, work.notebook, len(work.others)) == (CollectOutcome.FETCHED, None, 2)
    assert "alice.files/" in work.why
    assert plan(tmp_path, handed_in(4))["alice"].why == "handed in without a file"


def test_two_students_of_one_name_here_are_not_mixed_up(tmp_path: Path) -> None:
    twins = (Person(7, "Kim A", email="kim@x.edu"), Person(8, "Kim B", email="kim@x.edu"))
    participants = Participants(twins, {})
    rows = [handed_in(7, "A1.py"), handed_in(8, "A1.py")]
    works = plan_collection(A1, rows, participants, Target(tmp_path))
    assert [work.fate for work in works] == [CollectOutcome.SKIPPED, CollectOutcome.SKIPPED]
    assert "--map" in works[0].why


def test_an_assignment_that_takes_no_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="takes no files"):
        plan(tmp_path, assignment=replace(A1, accepts=Accepts(online_text=True)))


def test_feedback_is_found_by_file_and_by_folder(tmp_path: Path) -> None:
    """compatibility-0.3.16.md 9: feedback/<a>/<student>.html."""
    for name in ("alice.html", "bob.pdf", ".hidden.html", "notes.csv"):
        (tmp_path / name).write_text("x")
    (tmp_path / "alice").mkdir()
    (tmp_path / "alice" / "extra.csv").write_text("x")
    (tmp_path / "empty").mkdir()
    found = feedback_files(tmp_path)
    names = {student: sorted(each.name for each in files) for student, files in found.items()}
    assert names == {"alice": ["alice.html", "extra.csv"], "bob": ["bob.pdf"]}
    assert feedback_files(tmp_path / "nowhere") == {}


def test_grades_find_their_people_and_strangers_are_named(tmp_path: Path) -> None:
    lines = [
        GradeLine(2, "alice", Decimal(5), "fine"),
        GradeLine(3, "carol@example.edu", None, None),
        GradeLine(4, "zoe", Decimal(1), ""),
    ]
    page = Upload("carol.html", tmp_path / "carol.html")
    found = gather(lines, {"carol@example.edu": (page,), "ghost": (page,)}, PARTICIPANTS)
    assert found.marks == {4: Mark(4, Decimal(5), "fine"), 6: Mark(6, None, None, (page,))}
    assert found.unmatched == ("zoe", "ghost")
    bare = gather(lines, {"carol@example.edu": (page,)}, PARTICIPANTS, grades_only=True)
    assert bare.marks == {4: Mark(4, Decimal(5))}


def test_an_empty_cell_leaves_the_comment_and_erases_it_only_if_asked() -> None:
    """Upload-feedback used to erase it without a word."""
    lines = [
        GradeLine(2, "alice", Decimal(5), " "),
        GradeLine(3, "bob", None, ""),
        GradeLine(4, "carol@example.edu", Decimal(6), None),
    ]
    found = gather(lines, {}, PARTICIPANTS)
    assert found.marks == {4: Mark(4, Decimal(5)), 6: Mark(6, Decimal(6))}
    assert found.uncommented == {4}, "who has a mark and no comment"
    assert gather(lines, {}, PARTICIPANTS, grades_only=True).uncommented == set()
    assert gather(lines, {}, PARTICIPANTS, clear_comments=True).marks == {
        4: Mark(4, Decimal(5), ""),
        5: Mark(5, None, ""),
        6: Mark(6, Decimal(6), None),
    }


def test_a_worksheet_loses_our_line_about_a_deduction_that_is_gone() -> None:
    sheet = parse_worksheet(
        b"Identifier,Full name,Username,Grade,Last modified (grade),Feedback comments\n"
        b'Participant 1,A,ann,76.00,-,"Late penalty: -5%. Raw mark: 80.   "\n'
        b'Participant 2,B,bo,76.00,-,"Late penalty: -5%. Raw mark: 80.   Sorry!   "\n'
        b'Participant 3,C,cy,76.00,-,"Late penalty: -5%. Raw mark: 80.   "\n'
    )
    people = people_of(sheet, (), {}, match_column="Username", name_column="Full name")
    lines = [
        GradeLine(1, "ann", Decimal(80), ""),
        GradeLine(2, "bo", Decimal(80), ""),
        GradeLine(3, "cy", None, ""),
    ]
    made = export(sheet, lines, {}, people, AT)
    assert made.filled.erased == {1: "Late penalty: -5%. Raw mark: 80.   "}
    assert (made.filled.changed, made.filled.unchanged) == ((1, 2), (3,))


def test_a_comment_is_text_unless_it_is_marked_as_html() -> None:
    """Text in angle brackets was taken for HTML and lost."""
    lines = [
        GradeLine(2, "alice", None, "if a<b and c>d: x"),
        GradeLine(3, "bob", None, "<p>x</p>", is_html=True),
    ]
    found = gather(lines, {}, PARTICIPANTS).marks
    assert found[4].comment == "if a&lt;b and c&gt;d: x"
    assert found[5].comment == "<p>x</p>"


def test_one_person_under_two_names_is_refused(tmp_path: Path) -> None:
    lines = [
        GradeLine(2, "alice", Decimal(5), ""),
        GradeLine(3, "4", Decimal(6), "", is_user_id=True),
    ]
    with pytest.raises(InvalidInput, match=r"Alice has two lines of grades \(4\)"):
        gather(lines, {}, PARTICIPANTS)
    names = ("alice", "alice@example.edu")
    pages = {name: (Upload(f"{name}.html", tmp_path / name),) for name in names}
    with pytest.raises(InvalidInput, match=r"Alice has feedback under two names \(alice@"):
        gather([], pages, PARTICIPANTS)


@pytest.mark.parametrize("left", ["5", "Bob"])
def test_the_mark_of_somebody_who_left_goes_to_nobody_else(tmp_path: Path, left: str) -> None:
    """Bob got another student's mark and page, whose username is Bob's number on Moodle."""
    (mine,) = from_gradebook([StudentGrade("A1", left, final=9)])
    pages = {left: (Upload(f"{left}.html", tmp_path / left),)}
    participants = Participants(PEOPLE, {5: Username("b1")})
    found = gather([mine], pages, participants)
    assert (found.marks, found.unmatched) == ({}, (left,))
    typed = replace(mine, from_here=False, is_user_id=True)
    assert gather([typed], {}, participants).marks == {5: Mark(5, Decimal(9), None)}


@pytest.mark.parametrize(("percent", "reduced"), [(None, False), (0, False), (10, True)])
def test_a_line_of_the_gradebook_tells_of_its_deduction(
    percent: float | None, reduced: bool
) -> None:
    (line,) = from_gradebook([StudentGrade("A1", "alice", final=9, penalty_pct=percent)])
    assert line.is_reduced is reduced


@pytest.mark.parametrize(
    ("held", "asked", "exact", "sent"),
    [
        ("notmarked", "readyforrelease", False, "readyforrelease"),
        ("", "readyforrelease", False, "readyforrelease"),
        ("released", "readyforrelease", False, "released"),
        ("released", "readyforrelease", True, "readyforrelease"),
        ("readyforrelease", "released", False, "released"),
        ("nonsense", "inmarking", False, "inmarking"),
    ],
)
def test_a_released_grade_stays_released_unless_it_was_asked_for(
    held: str, asked: str, exact: bool, sent: str
) -> None:
    """README, Grades: a workflow state that is sent may take a release back."""
    mark = Mark(4, workflow=WorkflowState(asked))
    assert sent_state(mark, held, may_go_back=exact) == sent


@pytest.mark.parametrize(
    ("on", "refused"),
    [
        (FeedbackTypes(), "“Feedback comments” and “Feedback files” are off"),
        (FeedbackTypes(comments=True), "drops what you would send: “Feedback files” are"),
        (FeedbackTypes(files=True), "drops what you would send: “Feedback comments” are"),
    ],
)
def test_feedback_that_the_assignment_would_drop_is_refused_before_moodle_is_asked(
    tmp_path: Path, on: FeedbackTypes, refused: str
) -> None:
    """Recording 304: feedback types that are off drop comments and files without a word."""
    page = tmp_path / "alice.html"
    page.write_text("x")
    lines = [GradeLine(2, "alice", Decimal(5), "fine")]
    found = gather(lines, {"alice": (Upload("alice.html", page),)}, PARTICIPANTS)
    assignment, options = replace(A1, feedback=on), UploadOptions(WorkflowState.RELEASED)
    # Nothing listens there: a request would fail in another way.
    with (
        MoodleClient("http://127.0.0.1:9", "0" * 32) as client,
        pytest.raises(Conflict, match=refused) as problem,
    ):
        draft(client, assignment, PARTICIPANTS, found, Remembered({}, {}), options)
    assert "--grades-only" in problem.value.hint


class Downloads(MoodleClient):
    """A Moodle whose downloads arrive, or all fail."""

    works = True

    def download_all(
        self,
        files: Sequence[tuple[RemoteFile, Path]],
        progress: Progress = print,
        *,
        workers: int = 4,
    ) -> Mapping[Path, MograderError]:
        if not self.works:
            raise RemoteFailed("The connection broke.")
        for _, path in files:
            path.write_bytes(b"# newer")
        return {}


def test_an_interrupted_run_keeps_the_times_of_what_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grading takes the time of a submission from there, and keeps it with the result."""
    (tmp_path / METADATA).write_text('{"alice": 5, "bob": 6, "carol@example.edu": 7}')
    works = tuple(plan(tmp_path, *(handed_in(user, "A1.py") for user in (4, 5, 6))).values())

    def put(work: Work, contents: Iterable[bytes], folder: CollectedFolder) -> Work:
        if work.name == "bob":
            raise KeyboardInterrupt
        return put_work(work, contents, folder)

    monkeypatch.setattr(collect_module, "put_work", put)
    with Downloads("http://127.0.0.1:9", "0" * 32) as moodle, pytest.raises(KeyboardInterrupt):
        collect(moodle, works, Target(tmp_path), print, AT)
    assert (tmp_path / "alice.py").read_bytes() == b"# newer"
    times = {"alice": AT.timestamp(), "carol@example.edu": 7}
    assert json.loads((tmp_path / METADATA).read_text()) == times, "bob's file may be any"


def test_a_notebook_never_has_the_time_of_the_one_that_it_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a killed fetch, late work was graded as handed in on time."""

    put = CollectedFolder.put
    seen: list[set[str]] = []

    def look(self: CollectedFolder, name: str, content: bytes) -> None:
        put(self, name, content)
        seen.extend({*json.loads((tmp_path / each).read_text())} for each in (METADATA, LATE))
        raise Conflict("It cannot be read back.")

    for name in ("alice", "carol"):
        (tmp_path / f"{name}.py").write_text("# earlier")
    for name in (METADATA, LATE):
        (tmp_path / name).write_text(json.dumps({"alice": 5, "carol": 5}))
    works = tuple(plan(tmp_path, handed_in(4, "A1.py")).values())
    monkeypatch.setattr(CollectedFolder, "put", look)
    with Downloads("http://127.0.0.1:9", "0" * 32) as moodle:
        (failed,) = (
            work
            for work in collect(moodle, works, Target(tmp_path), print, AT)
            if work.fate is CollectOutcome.FAILED
        )
    assert failed.name == "alice"
    assert (tmp_path / "alice.py").read_bytes() == b"# newer"
    assert seen == [{"carol"}, {"carol"}], "a run that is killed leaves this"
    assert json.loads((tmp_path / METADATA).read_text()) == {"carol": 5}


def test_revealed_work_keeps_its_time_where_the_rest_cannot_be_fetched(tmp_path: Path) -> None:
    (tmp_path / METADATA).write_text(json.dumps({"Participant-1": AT.timestamp()}))
    (tmp_path / "Participant-1.py").write_text("# alice's")
    people = (replace(PEOPLE[0], formerly=1), PEOPLE[1])
    participants = Participants(people, PARTICIPANTS.usernames)
    rows = (handed_in(4, "A1.py"), handed_in(5, "A1.py"))
    works = plan_collection(A1, rows, participants, Target(tmp_path, ("A1.py",)))
    moodle = Downloads("http://127.0.0.1:9", "0" * 32)
    moodle.works = False
    with moodle, pytest.raises(RemoteFailed):
        collect(moodle, works, Target(tmp_path), print, AT)
    assert (tmp_path / "alice.py").read_text() == "# alice's"
    assert json.loads((tmp_path / METADATA).read_text()) == {"alice": AT.timestamp()}


@pytest.mark.parametrize("former", ["alice@example.edu", "moodle-4", "user_4"])
def test_work_gets_its_students_username_once_that_is_known(tmp_path: Path, former: str) -> None:
    """It was fetched a second time, so that a student had two marks and none could be sent."""
    for name in (METADATA, LATE):
        (tmp_path / name).write_text(json.dumps({former: int(AT.timestamp())}))
    (tmp_path / f"{former}.py").write_text("# alice's")
    works = plan(tmp_path, handed_in(4, "A1.py"))
    assert (works["alice"].fate, works["alice"].before) == (CollectOutcome.UNCHANGED, former)
    with Downloads("http://127.0.0.1:9", "0" * 32) as moodle:
        collect(moodle, tuple(works.values()), Target(tmp_path), print, AT)
    assert [path.name for path in tmp_path.glob("*.py")] == ["alice.py"]
    assert json.loads((tmp_path / METADATA).read_text()) == {"alice": AT.timestamp()}
    assert json.loads((tmp_path / LATE).read_text()) == {}


@pytest.mark.parametrize("other", [{}, {5: Username("bob")}])
def test_work_under_an_address_of_two_people_is_neither_ones(
    tmp_path: Path, other: Mapping[int, Username]
) -> None:
    (tmp_path / "alice@example.edu.py").write_text("# whose?")
    people = (PEOPLE[0], replace(PEOPLE[1], email="alice@example.edu"))
    participants = Participants(people, {4: Username("alice"), **other})
    works = plan_collection(A1, [handed_in(4, "A1.py")], participants, Target(tmp_path))
    assert {work.before for work in works} == {""}


def test_two_people_of_one_name_in_a_worksheet_keep_their_own_work(tmp_path: Path) -> None:
    """A site may show full names only, and the gradebook may know one of the two."""
    sheet = parse_worksheet(
        b"Identifier,Full name,Grade,Last modified (grade)\n"
        b"Participant 1,Anna Meier,,-\nParticipant 2,Anna Meier,,-\nParticipant 3,Bo,,-\n"
    )
    known = {"anna": "Anna Meier", "bo": "Bo"}
    people = people_of(sheet, (), known, match_column="Username", name_column="Full name")
    names = ("Anna Meier", "Anna Meier", "Bo")
    sent = [
        Submitted(number, name, FILE, PurePosixPath("A1.py"), b"x")
        for number, name in enumerate(names, 1)
    ]
    works = plan_zip(sent, people, Target(tmp_path))
    assert [work.name for work in works] == ["bo", "Participant-1", "Participant-2"]
    assert [work.why for work in works] == ["", *["two people in the worksheet may be anna"] * 2]


def test_the_names_of_a_large_course_are_not_all_compared_with_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zip of 1,500 students took 46 seconds, since each name was split for each folder."""
    split: list[str] = []

    def words(name: str) -> frozenset[str]:
        split.append(name)
        return frozenset(name.split())

    monkeypatch.setattr(submitted_work, "_words", words)
    people = tuple(Person(-n, f"Anna Meier-{n}", participant=n) for n in range(1, 51))
    sent = [
        Submitted(each.participant, each.full_name, FILE, PurePosixPath("A1.py"), b"x")
        for each in people
    ]
    works = plan_zip(sent, Participants(people, {}), Target(tmp_path))
    assert [work.full_name for work in works] == sorted(each.full_name for each in people)
    assert len(split) == 2 * len(people)


def test_an_earlier_notebook_is_not_graded_for_work_in_which_none_stands_out(
    tmp_path: Path,
) -> None:
    """It stayed as the student's submission, with the time of the new one."""
    target = Target(tmp_path, ("A1.py",))

    def fetch(*names: str) -> None:
        sent = [Submitted(7, "Anna", FILE, PurePosixPath(name), b"x") for name in names]
        unpack_zip(sent, plan_zip(sent, NOBODY, target), target, AT)

    fetch("A1.py")
    assert (tmp_path / "Participant-7.py").is_file()
    fetch("part1.py", "part2.py")
    assert not (tmp_path / "Participant-7.py").exists()
    assert sorted(path.name for path in (tmp_path / "Participant-7.files").iterdir()) == [
        "part1.py",
        "part2.py",
    ]
    (kept,) = (tmp_path / ".replaced").glob("*/Participant-7.py")
    assert kept.read_bytes() == b"x"


@pytest.mark.parametrize(
    ("members", "taken"),
    [
        (("A1/A1.py", "A1/data.csv", "__MACOSX/._A1.py"), b"A1/A1.py"),
        (("a.py", "b.py"), None),
        (("data.csv",), None),
        (("../A1.py",), None),
        ((), None),
    ],
)
def test_the_only_notebook_in_a_zip_is_taken_out_of_it(
    tmp_path: Path, members: Sequence[str], taken: bytes | None
) -> None:
    """Students hand in again what they were given, as 0.3.16 took it; other zips are no work."""
    target, name = Target(tmp_path, ("A1.py",)), "Participant-7"
    content = packed(*members) if members else b"no zip"
    sent = (Submitted(7, "Anna", FILE, PurePosixPath("A1.ZIP"), content),)
    (tmp_path / f"{name}.py").write_text("# earlier")
    (work,) = unpack_zip(sent, plan_zip(sent, NOBODY, target), target, AT)
    place = tmp_path / f"{name}.py"
    assert (place.read_bytes() if place.exists() else None) == taken
    assert work.has_notebook == (taken is not None)
    assert (tmp_path / f"{name}.files" / "A1.ZIP").read_bytes() == content
    (kept,) = (tmp_path / ".replaced").glob(f"*/{name}.py")
    assert kept.read_text() == "# earlier"
    (tmp_path / METADATA).write_text(json.dumps({name: 5}))
    unpack_zip(sent, plan_zip(sent, NOBODY, target), target, AT)
    assert json.loads((tmp_path / METADATA).read_text()) == {name: 5}, "nothing has changed"


@pytest.mark.parametrize(
    ("names", "archive"),
    [
        (["A1.zip"], "A1.zip"),
        (["A1.zip", "notes.pdf", "._A1.zip"], "A1.zip"),
        (["A1.zip", "more.zip"], None),
        (["A1.zip", "mine.py"], None),
        (["A1.zip", "a.py", "b.py"], None),
    ],
)
def test_a_zip_is_opened_only_where_nothing_else_may_hold_the_notebook(
    tmp_path: Path, names: list[str], archive: str | None
) -> None:
    found = plan(tmp_path, handed_in(4, *names))["alice"].archive
    assert (found.name if found else None) == archive


def test_work_in_a_zip_that_is_here_is_not_told_as_work_without_a_notebook(tmp_path: Path) -> None:
    (tmp_path / "alice.files").mkdir()
    (tmp_path / METADATA).write_text(json.dumps({"alice": AT.timestamp()}))
    rows = (handed_in(4, "A1.zip"),)
    assert "alice.files/" in plan(tmp_path, *rows)["alice"].why
    (tmp_path / "alice.py").write_text("# out of the zip")
    work = plan(tmp_path, *rows)["alice"]
    assert (work.fate, work.why) == (CollectOutcome.UNCHANGED, "")


def test_a_zip_with_newer_work_does_not_keep_the_earlier_time(tmp_path: Path) -> None:
    """Work handed in again too late counted as handed in at the time of the earlier fetch."""
    target = Target(tmp_path, ("A1.py",))
    sent = zipped(*(f"Anna_{number}_assignsubmission_file/A1.py" for number in (7, 8, 9)))
    works = plan_zip(sent, NOBODY, target)
    for number in (7, 8):
        (tmp_path / f"Participant-{number}.py").write_bytes(sent[number - 7].content)
    (tmp_path / "Participant-8.py").write_text("# earlier")
    times = {f"Participant-{number}": 5 for number in (6, 7, 8, 9)}
    for name in (METADATA, LATE):
        (tmp_path / name).write_text(json.dumps(times))
    unpack_zip(sent, works, target, AT)
    for name in (METADATA, LATE):
        assert json.loads((tmp_path / name).read_text()) == {"Participant-6": 5, "Participant-7": 5}
    assert (tmp_path / "Participant-8.py").read_bytes() == sent[1].content


def packed(*names: str) -> bytes:
    """Return a zip whose files have their names for content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return buffer.getvalue()


def zipped(*names: str) -> tuple[Submitted, ...]:
    """Return the submissions in a zip of Moodle with these names."""
    return read_submissions(packed(*names))


def test_a_teams_work_in_a_zip_is_not_taken_for_a_persons(tmp_path: Path) -> None:
    """Folders of an assignment for teams have the numbers of the teams, which others have, too."""
    sheet = parse_worksheet(
        b"Identifier,Full name,Username,Grade,Last modified (grade)\n"
        b"Participant 7,Anna O'Meier,anna,,-\nParticipant 8,Bo Ek,bo,,-\n"
    )
    people = people_of(sheet, (), {}, match_column="Username", name_column="Full name")
    sent = zipped(
        "Team Red_8_assignsubmission_file/A1.py",
        "Default group_assignsubmission_file/A1.py",
        "Anna OMeier_7_assignsubmission_file/A1.py",
    )
    works = plan_zip(sent, people, Target(tmp_path))
    assert [work.name for work in works] == ["anna", "Participant-0", "Participant-8"]
    assert [work.why for work in works] == [
        "",
        "“Default group” is nobody in the worksheet: a team?",
        "“Team Red” is nobody in the worksheet: a team?",
    ]


def test_a_teams_work_in_a_zip_is_each_members(tmp_path: Path) -> None:
    """A worksheet of an assignment for teams names the team of each person."""
    sheet = parse_worksheet(
        b"Identifier,Full name,Username,Group,Grade,Last modified (grade)\n"
        b"Participant 7,Anna Meier,anna,Red_Team,,-\nParticipant 8,Bo Ek,bo,Red_Team,,-\n"
        b"Participant 9,Cy Dahl,cy,Default group,,-\n"
    )
    people = people_of(sheet, (), {}, match_column="Username", name_column="Full name")
    sent = zipped(
        "Red Team_9_assignsubmission_file/A1.py", "Default group_assignsubmission_file/A1.py"
    )
    target = Target(tmp_path)
    old = plan_zip(zipped("Red Team-Bo Ek_8_assignsubmission_file/A1.py"), people, target)
    assert [work.name for work in old] == ["bo"], "as in older versions"
    unpack_zip(sent, plan_zip(sent, people, target), target, AT)
    read = {path.name: path.read_text("utf-8")[:3] for path in tmp_path.glob("*.py")}
    assert read == {"anna.py": "Red", "bo.py": "Red", "cy.py": "Def"}
    files = {"anna": (Upload("anna.html", tmp_path / "anna.py"),)}
    made = export(sheet, [], files, people, AT)
    assert (made.archive, made.left_out) == (b"", 1), "Moodle would take 7 for a team's number"


def test_a_mark_for_an_address_that_two_people_have_is_refused() -> None:
    """A site may let people share an address; the mark went to the first of them."""
    both = Participants((Person(8, "Dan", email="d@x.edu"), Person(9, "Dora", email="d@x.edu")), {})
    with pytest.raises(InvalidInput, match="may mean Dan"):
        gather([GradeLine(1, "d@x.edu", Decimal(5), None)], {}, both)


NAMESAKES = (
    Person(42, "Max Müller", email="max2@uni.de", idnumber="2"),
    Person(43, "Bob Smith", email="bob@uni.de"),
)


def named_by_file(*lines: str, people: Sequence[Person] = NAMESAKES) -> dict[int, str]:
    data = "\n".join(("username,email,id number,full name", *lines))
    return dict(name_people(people, mapping=parse_mapping(data.encode(), "m.csv")))


@pytest.mark.parametrize("order", [1, -1])
def test_a_namesake_who_is_not_in_the_course_gives_nobody_a_username(order: int) -> None:
    """A university's list named one Max Müller by the line of the other."""
    lines = ["max1,max1@uni.de,,Max Müller", "max2,max2@uni.de,,Max Müller"]
    assert named_by_file(*lines[::order]) == {42: "max2"}
    assert named_by_file("max1,max1@uni.de,,Max Müller") == {}
    assert named_by_file("max1,,1,Max Müller") == {}
    assert named_by_file(*["max1,,,Max Müller", lines[1]][::order]) == {42: "max2"}


def test_a_line_finds_its_person_by_the_id_number_after_a_change_of_email() -> None:
    assert named_by_file("max2,old@uni.de,2,M. Müller") == {42: "max2"}
    assert named_by_file("bob,,7,Bob Smith") == {43: "bob"}, "Moodle shows no ID number of Bob"


def test_two_lines_of_a_mapping_file_for_one_person_are_refused() -> None:
    hidden = (Person(42, "Max Müller"),)
    lines = ("max1,max1@uni.de,,Max Müller", "max2,max2@uni.de,,Max Müller")
    with pytest.raises(InvalidInput, match=r"Lines 2 and 3 .* max1 and max2") as refused:
        named_by_file(*lines, people=hidden)
    assert "user_id" in refused.value.hint
    assert named_by_file(lines[0], lines[0], people=hidden) == {42: "max1"}


def test_a_worksheets_row_of_a_namesake_is_not_the_person_whose_email_differs() -> None:
    """The mark of a student who had left went into the row of another Max Müller."""
    sheet = parse_worksheet(
        "Identifier,Full name,Email address,Grade,Last modified (grade)\n"
        "Participant 9,Max Müller,max2@uni.de,,-\n"
        "Participant 10,Bob Smith,bob@uni.de,,-\n".encode()
    )
    columns = {"match_column": "Username", "name_column": "Full name"}
    max1 = Identity(41, "max1", "Max Müller", "max1@uni.de")
    names = {"max1": "Max Müller", "bob": "Bob Smith"}
    people = people_of(sheet, [max1], names, **columns)
    assert people.usernames == {-10: "bob"}
    lines = [GradeLine(1, who, Decimal(93), "", from_here=True) for who in ("max1", "bob")]
    made = export(sheet, lines, {}, people, AT)
    assert (made.filled.changed, made.unmatched) == ((10,), ("max1",))
    max2 = Identity(42, "max2", "Max Müller")
    assert people_of(sheet, [max1, max2], names, **columns).usernames == {-9: "max2", -10: "bob"}

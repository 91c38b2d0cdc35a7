"""A student's actions over Moodle, through the port of all course servers (README: Submission)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl

import httpx
import pytest

from mograder.clients.course_server import RemoteAssignment, RemoteFile, Transport, WorkState
from mograder.clients.file_upload import Upload
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.records import (
    Accepts,
    Assignment,
    Status,
    Submission,
    SubmissionState,
)
from mograder.clients.moodle.texts import as_text, comment_html
from mograder.clients.moodle.transport import (
    MoodleTransport,
    demand_acceptable,
    demand_kept,
    tell_what_goes,
    why_not,
)
from mograder.core.errors import Conflict, InvalidInput, NotFound, TooLarge
from tests.contract.moodle.conftest import SignIn, Sized
from tests.support.clock import ManualClock
from tests.support.moodle.recordings import SITE
from tests.support.moodle.replay import Replay, token_of
from tests.support.progress import quiet

RECORDED_AT = datetime(2026, 11, 20, 6, 40, tzinfo=UTC)
AFTER_THE_DUE_DATE = datetime(2026, 12, 20, tzinfo=UTC)

Enter = Callable[[str], MoodleTransport]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(RECORDED_AT)


@pytest.fixture
def enter(sign_in: SignIn, clock: ManualClock) -> Iterator[Enter]:
    with ExitStack() as stack:

        def transport(person: str) -> MoodleTransport:
            made = MoodleTransport(sign_in(person), 2, clock=clock)
            stack.callback(made.close)
            return made

        yield transport


def listed(transport: Transport, number: int) -> RemoteAssignment:
    return next(each for each in transport.list_assignments() if each.number == number)


def asked(moodle: Replay) -> list[str]:
    return [request.fields.get("wsfunction", request.path) for request in moodle.requests]


def test_a_student_lists_assignments_with_files_and_dates(enter: Enter) -> None:
    found = enter("alice").list_assignments()
    assert [each.number for each in found] == [1, 2, 3, 4, 5, 7]
    a1 = found[0]
    assert (a1.key, a1.name) == ("1", "A1. Introduction")
    assert a1.due == datetime(2026, 12, 18, 23, 59, tzinfo=UTC)
    assert [file.name for file in a1.files] == ["A1-Introduction.py"]


STANDINGS = [
    pytest.param(
        99,
        "alice",
        1,
        {"state": WorkState.NEW, "can_submit": True, "why_not": "", "graded": False},
        id="before the first save",
    ),
    pytest.param(
        207,
        "alice",
        5,
        {"can_submit": True, "extended_to": datetime(2026, 12, 23, 4, 26, 40, tzinfo=UTC)},
        id="closed, and extended for her",
    ),
    pytest.param(
        126,
        "alice",
        7,
        {
            "state": WorkState.SUBMITTED,
            "submitted_at": datetime(2026, 11, 20, 6, 31, 44, tzinfo=UTC),
            "late": True,
            "can_submit": True,
        },
        id="past the due date, without a cut-off",
    ),
    pytest.param(
        165,
        "carol",
        1,
        {"graded": False, "grade": None, "feedback": "only feedback"},
        id="a comment without a grade",
    ),
    pytest.param(
        182,
        "alice",
        2,
        {"graded": False, "grade": None, "feedback_available": False},
        id="a mark that is not released, which Moodle calls graded",
    ),
    pytest.param(
        187, "alice", 2, {"graded": True, "grade": "91.00 / 100.00"}, id="a mark that is released"
    ),
    pytest.param(
        210,
        "bob",
        1,
        {
            "state": WorkState.NEW,
            "can_submit": True,
            "graded_attempt": 1,
            "grade": "40.00 / 100.00",
            "feedback": "try again",
            "feedback_available": True,
        },
        id="a new attempt, with the mark of the one before",
    ),
    pytest.param(
        99,
        "teach1",
        1,
        {
            "can_submit": False,
            "why_not": "Your account does not take part in it as a student.",
        },
        id="a teacher",
    ),
    pytest.param(
        309, "bob", 10, {"state": WorkState.SUBMITTED}, id="another one of the team has handed in"
    ),
]


@pytest.mark.parametrize(("after", "person", "number", "expected"), STANDINGS)
def test_a_student_is_told_how_the_work_stands(
    after: int,
    person: str,
    number: int,
    expected: dict[str, object],
    enter: Enter,
    moodle: Replay,
) -> None:
    """076, 081, 127, 166, 183, 188, 208, 211, 310."""
    moodle.begin(after)
    transport = enter(person)
    found = listed(transport, number)
    standing = transport.work_status(found)
    assert {name: getattr(standing, name) for name in expected} == expected
    assert standing.feedback_available or transport.feedback(found) == ()


def test_with_drafts_on_the_statement_is_shown_and_the_work_handed_in(
    enter: Enter, sized: Sized, moodle: Replay
) -> None:
    """117 to 121."""
    moodle.begin(116)
    transport = enter("alice")
    told: list[str] = []
    name = "A2 Optimisation – étude.py"
    handed = transport.submit(listed(transport, 2), sized(name, 20), told.append)
    assert handed.filename == name
    assert told[-1].startswith("By handing in you confirm: This submission is my own work")
    assert sum("you confirm" in each for each in told) == 1
    assert transport.work_status(listed(transport, 2)).state is WorkState.SUBMITTED


def test_a_draft_can_be_saved_alone(enter: Enter, sized: Sized, moodle: Replay) -> None:
    """118: --no-finalize."""
    moodle.begin(116)
    transport = enter("alice")
    a2 = listed(transport, 2)
    transport.save_draft(a2, sized("A2 Optimisation – étude.py", 20), quiet)
    standing = transport.work_status(a2)
    assert (standing.state, standing.submitted_at) == (WorkState.DRAFT, None)
    assert "mod_assign_submit_for_grading" not in asked(moodle)


def test_work_that_is_handed_in_cannot_be_changed_and_the_reason_is_the_true_one(
    enter: Enter, sized: Sized, moodle: Replay
) -> None:
    """123: Moodle calls this "the due date has passed"."""
    moodle.begin(121)
    transport = enter("alice")
    a2 = listed(transport, 2)
    standing = transport.work_status(a2)
    assert not standing.can_submit
    assert "handed in already" in standing.why_not
    with pytest.raises(Conflict, match="handed in already"):
        transport.submit(a2, sized("again.py", 20), quiet)
    assert "/webservice/upload.php" not in asked(moodle)


def test_a_clock_here_that_is_behind_closes_nothing_that_moodle_lets_one_edit() -> None:
    """316: before the opening, Moodle itself says that one cannot edit."""
    opens = datetime(2026, 12, 1, 9, tzinfo=UTC)
    assignment = Assignment(1, 1, 1, "A1", opens=opens, accepts=Accepts(files=True))
    early = opens - timedelta(minutes=30)
    assert why_not(assignment, Status(can_edit=True, takes_part=True), early) == ""
    assert "It opens on" in why_not(assignment, Status(takes_part=True), early)


@pytest.mark.parametrize(
    ("after", "person", "number", "why"),
    [
        (99, "alice", 5, "It closed on 02 October 2026 at 00:00 UTC."),
        (201, "bob", 1, "Your teacher has locked it."),
        (315, "alice", 11, "It opens on 01 January 2030"),
        (308, "alice", 9, "It takes text only"),
    ],
)
def test_what_moodle_would_refuse_is_refused_before_with_its_reason(
    after: int, person: str, number: int, why: str, enter: Enter, sized: Sized, moodle: Replay
) -> None:
    """078, 202, 316: all that Moodle says is that one cannot edit. 306: a file for a text."""
    moodle.begin(after)
    transport = enter(person)
    found = listed(transport, number)
    standing = transport.work_status(found)
    assert not standing.can_submit
    assert why in standing.why_not
    with pytest.raises(Conflict, match="cannot be handed in now"):
        transport.submit(found, sized("x.py", 5), quiet)
    assert "/webservice/upload.php" not in asked(moodle)


def test_work_on_time_is_not_replaced_by_late_work_without_agreement(
    enter: Enter, sized: Sized, moodle: Replay, clock: ManualClock
) -> None:
    """104: Moodle lets it be replaced at any time."""
    moodle.begin(103)
    clock.advance((AFTER_THE_DUE_DATE - clock.now()).total_seconds())
    transport = enter("alice")
    with pytest.raises(Conflict, match="was on time"):
        transport.submit(listed(transport, 1), sized("A1-Introduction.py", 20), quiet)
    assert "/webservice/upload.php" not in asked(moodle)


def test_the_deadlines_last_second_is_on_time(
    enter: Enter, sized: Sized, moodle: Replay, clock: ManualClock
) -> None:
    moodle.begin(103)
    transport = enter("alice")
    found = listed(transport, 1)
    assert found.due is not None
    clock.advance((found.due - clock.now()).total_seconds() + 0.5)

    def stop(told: str) -> None:
        raise InterruptedError(told)

    with pytest.raises(InterruptedError, match="This replaces"):
        transport.submit(found, sized("A1-Introduction.py", 20), stop)


def test_it_is_said_what_saving_replaces(sign_in: SignIn, moodle: Replay) -> None:
    """103, 104: saving replaces the whole set of files."""
    moodle.begin(103)
    client = sign_in("alice")
    work = client.submission_status(1).work
    told: list[str] = []
    tell_what_goes(client.assignments(2)[0], work, Path("A1-Introduction.py"), told.append)
    assert told == ["This replaces what was handed in: helper.py"]


def test_a_team_is_told_that_it_is_for_all(sign_in: SignIn, moodle: Replay) -> None:
    moodle.begin(316)
    client = sign_in("alice")
    team = next(each for each in client.assignments(2) if each.team)
    told: list[str] = []
    tell_what_goes(team, None, Path("team.py"), told.append)
    assert told == ["This is handed in for your whole team."]


@pytest.mark.parametrize(
    ("number", "name", "size", "told"),
    [
        (1, "big.py", 21 << 20, r"has 21 MB; .* takes 20 MB at most"),
        (2, "notes.txt", 4, r"takes \.py, \.zip only"),
    ],
)
def test_a_file_that_is_not_accepted_is_refused_before_it_is_sent(
    number: int, name: str, size: int, told: str, enter: Enter, sized: Sized, moodle: Replay
) -> None:
    """112, 113: Moodle drops a large one and answers ``[]``. 114, 115: it takes another type."""
    transport = enter("alice")
    with pytest.raises(InvalidInput, match=told):
        transport.submit(listed(transport, number), sized(name, size), quiet)
    assert "/webservice/upload.php" not in asked(moodle)


@pytest.mark.parametrize(
    ("size", "limit", "told"),
    [
        (10241, 10240, "has 10241 bytes; A20 takes 10240 bytes at most"),
        (20480, 10240, "has 20 KB; A20 takes 10 KB at most"),
        (600, 512, "has 600 bytes; A20 takes 512 bytes at most"),
        (3 << 20, 2560 << 10, "has 3 MB; A20 takes 2.5 MB at most"),
    ],
)
def test_sizes_are_told_so_that_they_differ(size: int, limit: int, told: str, sized: Sized) -> None:
    """It said "big.py has 0.0 MB; A20. Small takes 0 MB."."""
    small = Assignment(20, 22, 2, "A20", accepts=Accepts(files=True, max_bytes=limit))
    with pytest.raises(TooLarge, match=told):
        demand_acceptable(small, sized("big.py", size))


@pytest.mark.parametrize(
    ("after", "sizes", "told"),
    [
        (111, {"big.py": 21 << 20, "small.py": 1}, r"did not keep big\.py.*small\.py"),
        (109, {f"f{n}.py": 13 for n in (4, 0, 1, 2, 3)}, r"did not keep f4\.py"),
    ],
)
def test_a_file_that_moodle_dropped_is_missed(
    after: int, sizes: dict[str, int], told: str, sign_in: SignIn, sized: Sized, moodle: Replay
) -> None:
    """112, 113: ``[]`` is the answer to saving; 110, 111: five sent, three kept."""
    moodle.begin(after)
    settings = sign_in("alice").assignments(2)[0]
    bob, (name, *_) = sign_in("bob"), sizes
    files = [Upload(each, sized(each, sizes[each])) for each in sorted(sizes)]
    bob.save_submission(1, draft=bob.upload(files).item)
    with pytest.raises(Conflict, match=told):
        demand_kept(settings, bob.submission_status(1), name, sizes[name])


def test_another_file_of_the_same_name_is_missed(sign_in: SignIn, moodle: Replay) -> None:
    settings = sign_in("alice").assignments(2)[0]
    row = Submission(1, 4, 0, SubmissionState.SUBMITTED, files=(RemoteFile("a.py", "", 7),))
    with pytest.raises(Conflict):
        demand_kept(settings, Status(submission=row), "a.py", 8)


@dataclass
class OneAssignment:
    """A Moodle with one assignment for files and online text, which no recording has.

    ``settings`` are more of the assignment's, ``editor`` is the text as Moodle stores it, and
    ``saved`` the form by which work was saved.
    """

    settings: dict[str, object] = field(default_factory=dict)
    editor: dict[str, object] = field(default_factory=lambda: {"text": "", "format": 0})
    saved: dict[str, str] = field(default_factory=dict)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/webservice/upload.php":
            return httpx.Response(200, json=[{"filename": "a.py", "itemid": 9, "filesize": 3}])
        fields = dict(parse_qsl(request.content.decode(), keep_blank_values=True))
        match fields["wsfunction"]:
            case "mod_assign_get_assignments":
                return httpx.Response(200, json=self._assignments())
            case "mod_assign_save_submission":
                self.saved = fields
                return httpx.Response(200, json=[])
        return httpx.Response(200, json=self._status(raw=fields.get("moodlewssettingraw") == "1"))

    def _assignments(self) -> object:
        configs = [
            {"plugin": plugin, "subtype": "assignsubmission", "name": "enabled", "value": "1"}
            for plugin in ("file", "onlinetext")
        ]
        only = {"id": 1, "cmid": 3, "course": 2, "name": "A1", "configs": configs}
        return {"courses": [{"id": 2, "assignments": [only | self.settings]}]}

    def _status(self, *, raw: bool) -> object:
        files = [{"filename": "a.py", "filesize": 3}] if self.saved else []
        editor = self.editor if raw else self.editor | {"text": "as a page shows it"}
        plugins = [
            {"type": "file", "fileareas": [{"area": "submission_files", "files": files}]},
            {"type": "onlinetext", "editorfields": [editor]},
        ]
        work = {"id": 1, "status": "draft" if self.saved else "new", "plugins": plugins}
        return {"lastattempt": {"submission": work, "canedit": True}}

    def transport(self) -> MoodleTransport:
        answers = httpx.MockTransport(self)
        client = MoodleClient(SITE, token_of("bob"), transport=answers, pause=lambda _: None)
        return MoodleTransport(client, 2, clock=ManualClock(RECORDED_AT))


@pytest.mark.parametrize(
    ("held", "sent"),
    [
        (
            {"text": '<img src="@@PLUGINFILE@@/x.png"> &amp; é', "format": 4},
            ('<img src="@@PLUGINFILE@@/x.png"> &amp; é', "4"),
        ),
        ({"text": "", "format": 0}, ("", "1")),
    ],
)
def test_a_text_beside_the_file_stays_as_it_is(
    held: dict[str, object], sent: tuple[str, str], sized: Sized
) -> None:
    """Moodle's database refuses the submission without a text, as in 329 without a comment."""
    moodle = OneAssignment(editor=held)
    transport = moodle.transport()
    transport.submit(listed(transport, 1), sized("a.py", 3), quiet)
    transport.close()
    editor = "plugindata[onlinetext_editor]"
    assert (moodle.saved[f"{editor}[text]"], moodle.saved[f"{editor}[format]"]) == sent
    assert moodle.saved[f"{editor}[itemid]"] == "0"
    assert moodle.saved["plugindata[files_filemanager]"] == "9"


@pytest.mark.parametrize(
    ("drafts", "final", "told"), [(0, True, True), (0, False, True), (1, False, False)]
)
def test_the_statement_is_shown_whenever_saving_hands_in(
    drafts: int, final: bool, told: bool, sized: Sized
) -> None:
    settings: dict[str, object] = {
        "submissiondrafts": drafts,
        "requiresubmissionstatement": 1,
        "submissionstatement": "It is mine.",
    }
    moodle = OneAssignment(settings)
    transport = moodle.transport()
    hand_in = transport.submit if final else transport.save_draft
    lines: list[str] = []
    hand_in(listed(transport, 1), sized("a.py", 3), lines.append)
    transport.close()
    assert ("By handing in you confirm: It is mine." in lines) is told


def test_a_teams_file_is_kept_in_the_teams_row(sign_in: SignIn, moodle: Replay) -> None:
    """310: the person's own row is submitted, too, and has no file."""
    moodle.begin(309)
    bob = sign_in("bob")
    (settings,) = (each for each in bob.assignments(2) if each.id == 10)
    assert demand_kept(settings, bob.submission_status(10), "team.py", 4).name == "team.py"


def test_an_assignment_that_was_hidden_meanwhile_is_not_found(enter: Enter) -> None:
    with pytest.raises(NotFound, match="not in this course"):
        enter("alice").work_status(RemoteAssignment("6", "A6. Hidden draft"))


def test_a_key_from_an_earlier_list_is_enough(enter: Enter) -> None:
    assert enter("alice").work_status(RemoteAssignment("1", "A1")).can_submit


def test_a_file_that_is_gone_is_said(enter: Enter, tmp_path: Path) -> None:
    transport = enter("alice")
    with pytest.raises(InvalidInput, match="cannot be read"):
        transport.submit(listed(transport, 1), tmp_path / "gone.py", quiet)


_INDENTED = "def f():\n    if x:\n        y\n    end  here"
"""``comment_html`` keeps the indentation, and the student's view lost it."""


@pytest.mark.parametrize(
    ("comment", "text"),
    [
        ("<p>Bien joué — <b>87.5</b> &amp; more</p>", "Bien joué — 87.5 & more"),
        ("<p>one</p><p>two</p>", "one\ntwo"),
        ("a &lt; b<br />c", "a < b\nc"),
        ("one<p>two</p>three", "one\ntwo\nthree"),
        (comment_html("def f():\n    if x:\n        y\n\n\tend  here"), _INDENTED),
        ("<p>\n  one\n  two   three</p><p>&nbsp;</p><p>\n four</p>", "one\ntwo three\n\nfour"),
        ("", ""),
    ],
)
def test_a_comment_is_shown_as_text_with_its_lines(comment: str, text: str) -> None:
    assert as_text(comment) == text

"""What Moodle tells us, in our own words: the types that leave this room.

Names are plain text here: Moodle sends them escaped for HTML, in places twice. Times are aware,
None where Moodle says 0. Whoever keys on people keys on ``user_id``: an ordinary teacher sees no
usernames.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from mograder.clients.course_server import RemoteFile
from mograder.clients.upload import Upload


@dataclass(frozen=True, slots=True)
class Site:
    """The site and who is signed in. ``max_upload`` in bytes, None where untold."""

    name: str
    url: str
    user_id: int
    username: str
    full_name: str
    functions: frozenset[str]
    can_download: bool
    can_upload: bool
    max_upload: int | None = None
    release: str = ""


@dataclass(frozen=True, slots=True)
class Course:
    """A course that somebody is enrolled in."""

    id: int
    short_name: str
    full_name: str


@dataclass(frozen=True, slots=True)
class CourseModule:
    """An activity as the course page shows it; ``url`` opens it in a browser.

    ``instance`` is the assignment's id where ``kind`` is ``assign``.
    """

    cmid: int
    kind: str
    name: str
    instance: int
    section: str
    url: str
    visible: bool
    files: tuple[RemoteFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepts:
    """What students may hand in; ``file_types`` is empty where anything goes."""

    files: bool = False
    online_text: bool = False
    max_files: int = 0
    max_bytes: int = 0
    file_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeedbackTypes:
    """What teachers may give back; what is off is dropped by Moodle without a word."""

    comments: bool = False
    files: bool = False
    worksheet: bool = False
    """On only where no rubric or marking guide is active: Moodle hides it then."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """An assignment and those of its settings that change what a client must do.

    ``maximum`` is None where there is no number of points to give: ungraded, or a scale, and then
    ``scale`` is the scale's id, else 0. ``drafts``: saving does not hand in. ``attempts`` is None
    for any number.
    """

    id: int
    cmid: int
    course_id: int
    name: str
    opens: datetime | None = None
    due: datetime | None = None
    cutoff: datetime | None = None
    maximum: Decimal | None = None
    scale: int = 0
    drafts: bool = False
    statement: str = ""
    """What must be accepted to hand in; empty where nothing must."""
    team: bool = False
    blind: bool = False
    revealed: bool = False
    """It was marked anonymously, and the identities have been revealed."""
    workflow: bool = False
    reopens: str = "none"
    attempts: int | None = None
    accepts: Accepts = Accepts()
    feedback: FeedbackTypes = FeedbackTypes()
    attachments: tuple[RemoteFile, ...] = ()


class GradingMethod(StrEnum):
    """How Moodle wants an assignment graded; UNKNOWN where it does not tell this account."""

    SIMPLE = "simple"
    RUBRIC = "rubric"
    GUIDE = "guide"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in a course; what this account may not see is empty."""

    user_id: int
    full_name: str
    email: str = ""
    username: str = ""
    id_number: str = ""
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Participant:
    """Somebody who is to hand in one assignment.

    Under blind marking the name is "Participant N" and all else is empty.
    """

    person: Person
    submitted: bool = False
    needs_grading: bool = False
    status: str = ""
    group_id: int = 0
    group_name: str = ""
    extended: bool = False
    """The person has an extension of the deadline; :meth:`.MoodleClient.extensions` tells it."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group of people in a course."""

    id: int
    name: str


class SubmissionState(StrEnum):
    """How far a submission is; Moodle makes NEW and REOPENED rows that hold no work."""

    NEW = "new"
    DRAFT = "draft"
    REOPENED = "reopened"
    SUBMITTED = "submitted"


@dataclass(frozen=True, slots=True)
class Submission:
    """One attempt of one person, or of a team: then ``user_id`` is 0 and ``group_id`` is not.

    ``grading_status`` is the marking workflow state where the assignment has one, otherwise
    ``graded`` or ``notgraded``. ``text`` is online text as HTML.
    """

    id: int
    user_id: int
    attempt: int
    state: SubmissionState
    modified: datetime | None = None
    group_id: int = 0
    files: tuple[RemoteFile, ...] = ()
    text: str = ""
    grading_status: str = ""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a student is shown: ``shown`` is the grade as Moodle displays it, as plain text."""

    grade: Decimal | None = None
    shown: str = ""
    graded_at: datetime | None = None
    comment: str = ""
    files: tuple[RemoteFile, ...] = ()
    comment_format: int = 1
    """Moodle's number for the format of the comment: 1 is HTML."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """The grade and feedback of an attempt before the latest one; ``attempt`` counts from 0."""

    attempt: int
    feedback: Feedback


@dataclass(frozen=True, slots=True)
class Status:
    """Where one person's work stands.

    ``submission`` is None before the first save; ``team`` holds a team's files. ``graded`` may be
    true while ``feedback`` is None: the marking workflow has not released it. ``takes_part`` is
    False for an account that cannot submit here, such as a teacher's. ``earlier`` is the newest
    attempt before the latest one that has a grade or feedback.
    """

    submission: Submission | None = None
    team: Submission | None = None
    enabled: bool = True
    locked: bool = False
    graded: bool = False
    can_edit: bool = False
    can_submit: bool = False
    extended_to: datetime | None = None
    grading_status: str = ""
    feedback: Feedback | None = None
    takes_part: bool = True
    earlier: Earlier | None = None

    @property
    def work(self) -> Submission | None:
        """The row that holds the files: the team's, where there is one."""
        return self.team or self.submission


@dataclass(frozen=True, slots=True)
class Grade:
    """A grade as Moodle keeps it, of the latest attempt; None where it holds no number."""

    user_id: int
    attempt: int
    grade: Decimal | None
    grader: int = 0
    modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """What Moodle holds for one person before a mark is sent.

    ``attempt`` is the number of the latest attempt, counted from 0; ``grade`` is its grade, None
    where Moodle has no row for it; ``state`` the workflow state. ``feedback`` is None where it was
    not read (``is_read`` False), or where the marking workflow hides it from this account.
    """

    attempt: int = 0
    grade: Grade | None = None
    state: str = ""
    feedback: Feedback | None = None
    is_read: bool = False


class WorkflowState(StrEnum):
    """The states of Moodle's marking workflow; it would take any other word and hide the grade."""

    NOT_MARKED = "notmarked"
    IN_MARKING = "inmarking"
    READY_FOR_REVIEW = "readyforreview"
    IN_REVIEW = "inreview"
    READY_FOR_RELEASE = "readyforrelease"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class RubricChoice:
    """The level chosen for one criterion of a rubric."""

    criterion: int
    level: int
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """What to save for one person.

    ``grade`` None keeps what Moodle holds. ``comment`` is HTML and replaces the one before; empty
    erases it, None keeps it. Without ``files`` earlier files stay. ``workflow`` None keeps the
    state. ``choices`` are for a rubric, where ``grade`` counts nothing.
    """

    user_id: int
    grade: Decimal | None = None
    comment: str | None = None
    files: tuple[Upload, ...] = ()
    workflow: WorkflowState | None = None
    choices: tuple[RubricChoice, ...] = ()


@dataclass(frozen=True, slots=True)
class PublicConfig:
    """What a site tells before anybody signs in: whether and how one may get a token."""

    url: str
    name: str
    web_services: bool
    mobile: bool
    maintenance: bool
    browser_login: bool
    """Passwords are typed in a browser only (single sign-on)."""
    launch_url: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """Files that wait on Moodle to be saved somewhere: ``item`` is the number of their area.

    ``names`` are Moodle's, in the order of the upload: it takes out what it does not like.
    """

    item: int
    names: tuple[str, ...]

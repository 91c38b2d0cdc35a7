"""Our own types for Moodle's data: the public types of this package.

Names are plain text here: Moodle sends them escaped for HTML, in places twice. Times have a time
zone, and are None for Moodle's 0. Use ``user_id`` as the key of people: an ordinary teacher sees no
usernames.

Records that Moodle's JSON has in nearly the same form are validated by pydantic, with Moodle's name
of a field as its alias; ``models.py`` makes all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from mograder.clients.course_server import RemoteFile
from mograder.clients.file_upload import Upload
from mograder.clients.moodle.fields import Count, Moment, Plain, Points, Stripped, Text


def _names(key: str) -> BeforeValidator:
    """Return a validator that replaces each object of a list by its text under a key."""

    def names(found: object) -> object:
        if not isinstance(found, list):
            return found
        return [each.get(key) or "" if isinstance(each, dict) else each for each in found]

    return BeforeValidator(names)


def _without_slash(url: str) -> str:
    return url.rstrip("/")


@dataclass(frozen=True, slots=True)
class Site:
    """The site and the signed-in user (core_webservice_get_site_info)."""

    __pydantic_config__ = ConfigDict(hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_without_slash), Field(validation_alias="siteurl")]
    user_id: Annotated[int, Field(validation_alias="userid")]
    name: Annotated[Plain, Field(validation_alias="sitename")] = ""
    username: Text = ""
    full_name: Annotated[Plain, Field(validation_alias="fullname")] = ""
    functions: Annotated[frozenset[str], _names("name")] = frozenset()


@dataclass(frozen=True, slots=True)
class Course:
    """A course that the user is enrolled in (core_enrol_get_users_courses)."""

    id: int
    full_name: Annotated[Plain, Field(validation_alias="fullname")] = ""


@dataclass(frozen=True, slots=True)
class CourseModule:
    """An activity of a course (core_course_get_contents).

    ``instance`` is the assignment's id where ``kind`` is ``assign``.
    """

    cmid: Annotated[int, Field(validation_alias="id")]
    kind: Annotated[str, Field(validation_alias="modname")]
    name: Plain
    instance: int = 0
    visible: bool = True


@dataclass(frozen=True, slots=True)
class Accepts:
    """The accepted kinds of submissions; ``file_types`` is empty if all types are allowed."""

    files: bool = False
    online_text: bool = False
    max_bytes: int = 0
    file_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeedbackTypes:
    """The active feedback types; Moodle silently drops feedback of the others."""

    comments: bool = False
    files: bool = False
    worksheet: bool = False
    """True only if no rubric or marking guide is active: Moodle hides it then."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """An assignment and those of its settings that change what a client must do.

    ``maximum`` is None if there are no points: ungraded, or a scale, and then ``scale`` is the
    scale's id, else 0. ``drafts``: saving does not submit.
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
    """The statement to accept when submitting; empty if there is none."""
    team: bool = False
    revealed: bool = False
    """It was marked anonymously, and the identities have been revealed."""
    workflow: bool = False
    reopens: str = "none"
    accepts: Accepts = Accepts()
    feedback: FeedbackTypes = FeedbackTypes()
    attachments: tuple[RemoteFile, ...] = ()


class GradingMethod(StrEnum):
    """The grading method; UNKNOWN if Moodle does not give it to this account."""

    SIMPLE = "simple"
    RUBRIC = "rubric"
    GUIDE = "guide"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Person:
    """A person in a course, or in a grading worksheet; empty means "not shown" to this account.

    The participants of an assignment (mod_assign_list_participants) have more: ``group`` and
    ``team`` are the number and the name of the team; ``extended``: the deadline is extended, see
    :meth:`.client.MoodleClient.extensions`. Under blind marking the name is "Participant N" and all
    else is empty; ``participant`` is that number then, else 0, and ``formerly`` is it if the
    identities have been revealed.
    """

    user_id: Annotated[int, Field(validation_alias="id")]
    full_name: Annotated[Plain, Field(validation_alias="fullname")] = ""
    username: Text = ""
    email: Stripped = ""
    idnumber: Stripped = ""
    roles: Annotated[frozenset[str], _names("shortname")] = frozenset()
    group: Annotated[Count, Field(validation_alias="groupid")] = 0
    team: Annotated[Plain, Field(validation_alias="groupname")] = ""
    extended: Annotated[bool, Field(validation_alias="grantedextension")] = False
    participant: int = 0
    formerly: int = 0

    @property
    def shown(self) -> str:
        """The person's name in messages."""
        return self.full_name or self.email or f"user {self.user_id}"


@dataclass(frozen=True, slots=True)
class Group:
    """A group of people in a course."""

    id: int
    name: Plain = ""


class SubmissionState(StrEnum):
    """The state of a submission; Moodle creates NEW and REOPENED rows without work."""

    NEW = "new"
    DRAFT = "draft"
    REOPENED = "reopened"
    SUBMITTED = "submitted"


@dataclass(frozen=True, slots=True)
class Submission:
    """One attempt of one person, or of a team: then ``user_id`` is 0 and ``group_id`` is not.

    ``grading_status`` is the marking workflow state if the assignment has one, otherwise ``graded``
    or ``notgraded``.
    """

    id: int
    user_id: int
    attempt: int
    state: SubmissionState
    modified: datetime | None = None
    group_id: int = 0
    files: tuple[RemoteFile, ...] = ()
    grading_status: str = ""


@dataclass(frozen=True, slots=True)
class Feedback:
    """Feedback as shown to a student; ``shown`` is the displayed grade, as plain text."""

    grade: Decimal | None = None
    shown: str = ""
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
    """The state of one person's work.

    ``submission`` is None before the first save; ``team`` has a team's files. ``graded`` may be
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
    extended_to: datetime | None = None
    feedback: Feedback | None = None
    takes_part: bool = True
    earlier: Earlier | None = None

    @property
    def work(self) -> Submission | None:
        """The row with the files: the team's, if there is one."""
        return self.team or self.submission


@dataclass(frozen=True, slots=True)
class Grade:
    """A grade as Moodle stores it, of the latest attempt; None if it holds no number."""

    user_id: Annotated[int, Field(validation_alias="userid")]
    attempt: Annotated[int, Field(validation_alias="attemptnumber")] = 0
    grade: Points = None
    grader: int = 0
    modified: Annotated[Moment, Field(validation_alias="timemodified")] = None


@dataclass(frozen=True, slots=True)
class Held:
    """Moodle's data for one person before a mark is sent.

    ``attempt`` is the number of the latest attempt, counted from 0; ``grade`` is its grade, None if
    Moodle has no row for it; ``state`` the workflow state. ``feedback`` is None if it was not read
    (``is_read`` False), or if the marking workflow hides it from this account.
    """

    attempt: int = 0
    grade: Grade | None = None
    state: str = ""
    feedback: Feedback | None = None
    is_read: bool = False


class WorkflowState(StrEnum):
    """The states of Moodle's marking workflow; with any other word, it would hide the grade."""

    NOT_MARKED = "notmarked"
    IN_MARKING = "inmarking"
    READY_FOR_REVIEW = "readyforreview"
    IN_REVIEW = "inreview"
    READY_FOR_RELEASE = "readyforrelease"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Mark:
    """The mark to save for one person.

    ``grade`` None keeps Moodle's grade. ``comment`` is HTML and replaces the one before; empty
    erases it, None keeps it. Without ``files`` earlier files stay. ``workflow`` None keeps the
    state.
    """

    user_id: int
    grade: Decimal | None = None
    comment: str | None = None
    files: tuple[Upload, ...] = ()
    workflow: WorkflowState | None = None


def _needs_browser(login: object) -> object:
    """Return whether Moodle's number of a type of login is one that needs a browser."""
    return login > 1 if isinstance(login, int) else login


@dataclass(frozen=True, slots=True)
class PublicConfig:
    """A site's public configuration: whether and how a user can get a token."""

    url: Annotated[str, AfterValidator(_without_slash), Field(validation_alias="wwwroot")]
    name: Annotated[Plain, Field(validation_alias="sitename")] = ""
    web_services: Annotated[bool, Field(validation_alias="enablewebservices")] = False
    maintenance: Annotated[bool, Field(validation_alias="maintenanceenabled")] = False
    browser_login: Annotated[
        bool, BeforeValidator(_needs_browser), Field(validation_alias="typeoflogin")
    ] = False
    """Passwords are typed in a browser only (single sign-on)."""
    launch_url: Annotated[Text, Field(validation_alias="launchurl")] = ""
    message: Annotated[Plain, Field(validation_alias="maintenancemessage")] = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """Uploaded files that are not saved anywhere yet: ``item`` is the number of their draft area.

    ``names`` are Moodle's, in the order of the upload: it removes characters that it does not
    allow.
    """

    item: int
    names: tuple[str, ...]

"""Our own types for Moodle's data: the public types of this package.

Names are plain text here: Moodle sends them escaped for HTML, in places twice. Times have a time
zone, and are None for Moodle's 0. Use ``user_id`` as the key of people: an ordinary teacher sees no
usernames.

Records of Moodle's JSON are validated by pydantic, with Moodle's name of a field, or the path to
it, as its alias. Unknown fields are ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, AliasPath, BeforeValidator, Field

from mograder.clients.file_upload import Upload
from mograder.clients.moodle.fields import (
    Count,
    File,
    Loose,
    Moment,
    OnlineText,
    Plain,
    PluginComment,
    PluginFiles,
    PluginFormat,
    PluginText,
    Points,
    Stripped,
    Text,
    made_of,
    number,
)


def _key(*path: str) -> Any:
    """Return the alias of a field: its name in Moodle's JSON, or the path to it."""
    return Field(validation_alias=AliasPath(*path))


def _names(key: str) -> BeforeValidator:
    """Return a validator that replaces each object of a list by its text under a key."""

    def names(found: object) -> object:
        if not isinstance(found, list):
            return found
        return [each.get(key) or "" if isinstance(each, dict) else each for each in found]

    return BeforeValidator(names)


@dataclass(frozen=True, slots=True)
class Site:
    """The site and the signed-in user (core_webservice_get_site_info)."""

    url: Annotated[str, AfterValidator(lambda url: url.rstrip("/")), _key("siteurl")]
    user_id: Annotated[int, _key("userid")]
    name: Annotated[Plain, _key("sitename")] = ""
    username: Text = ""
    full_name: Annotated[Plain, _key("fullname")] = ""
    functions: Annotated[frozenset[str], _names("name")] = frozenset()


@dataclass(frozen=True, slots=True)
class Course:
    """A course that the user is enrolled in (core_enrol_get_users_courses)."""

    id: int
    full_name: Annotated[Plain, _key("fullname")] = ""


_FOR_ALL = frozenset({"completion", "date", "grade"})
"""Restrictions that hold until people have done something, or for a time: Moodle lists them."""


@dataclass(frozen=True, slots=True)
class CourseModule:
    """An activity of a course (core_course_get_contents).

    ``instance`` is the assignment's id where ``kind`` is ``assign``.
    """

    cmid: Annotated[int, _key("id")]
    kind: Annotated[str, _key("modname")]
    name: Plain
    instance: int = 0
    visible: bool = True
    availability: str | None = None
    """The restrictions of access as JSON, for those who may edit; None without any."""

    @property
    def is_for_some(self) -> bool:
        """Whether a restriction takes people out of the participants, as one to a group does."""
        kinds = set(re.findall(r'"type"\s*:\s*"(\w+)"', self.availability or ""))
        return bool(kinds - _FOR_ALL)


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


class _Config(Loose):
    plugin: str
    subtype: str
    name: str
    value: Text = ""


def _value(configs: list[_Config], *wanted: str) -> str:
    return next((c.value for c in configs if (c.subtype, c.plugin, c.name) == wanted), "")


def _is_on(configs: list[_Config], subtype: str, plugin: str) -> bool:
    return _value(configs, subtype, plugin, "enabled") == "1"


def _accepts(configs: list[_Config]) -> Accepts:
    limit = _value(configs, "assignsubmission", "file", "maxsubmissionsizebytes")
    types = _value(configs, "assignsubmission", "file", "filetypeslist")
    return Accepts(
        files=_is_on(configs, "assignsubmission", "file"),
        online_text=_is_on(configs, "assignsubmission", "onlinetext"),
        max_bytes=int(limit) if limit.isdecimal() else 0,
        file_types=tuple(kind.lower() for kind in re.split(r"[\s,;]+", types) if kind),
    )


def _feedback_types(configs: list[_Config]) -> FeedbackTypes:
    return FeedbackTypes(
        comments=_is_on(configs, "assignfeedback", "comments"),
        files=_is_on(configs, "assignfeedback", "file"),
        worksheet=_is_on(configs, "assignfeedback", "offline"),
    )


@dataclass(frozen=True, slots=True)
class Assignment:
    """An assignment and those of its settings that change what a client must do.

    ``maximum`` is None if there are no points: ungraded, or a scale, and then ``scale`` is the
    scale's id, else 0. ``drafts``: saving does not submit. ``attachments`` are missing before it
    opens. ``deducts``: Moodle lowers the grades of late work itself ("Grade penalties", since
    Moodle 5). Settings of plugins that are off count as absent (mod_assign_get_assignments).
    """

    id: int
    cmid: int
    course_id: Annotated[int, _key("course")]
    name: Plain
    opens: Annotated[Moment, _key("allowsubmissionsfromdate")] = None
    due: Annotated[Moment, _key("duedate")] = None
    cutoff: Annotated[Moment, _key("cutoffdate")] = None
    maximum: Annotated[
        Decimal | None,
        made_of(float, lambda grade: number(grade) if grade > 0 else None),
        _key("grade"),
    ] = None
    scale: Annotated[
        int, made_of(float, lambda grade: -int(grade) if grade < 0 else 0), _key("grade")
    ] = 0
    drafts: Annotated[bool, _key("submissiondrafts")] = False
    team: Annotated[bool, _key("teamsubmission")] = False
    workflow: Annotated[bool, _key("markingworkflow")] = False
    deducts: Annotated[bool, made_of(int, bool), _key("gradepenalty")] = False
    reopens: Annotated[Text, _key("attemptreopenmethod")] = "none"
    accepts: Annotated[Accepts, made_of(list[_Config], _accepts), _key("configs")] = Accepts()
    feedback: Annotated[FeedbackTypes, made_of(list[_Config], _feedback_types), _key("configs")] = (
        FeedbackTypes()
    )
    attachments: Annotated[tuple[File, ...], _key("introattachments")] = ()
    has_statement: Annotated[bool, _key("requiresubmissionstatement")] = False
    own_statement: Annotated[Plain, _key("submissionstatement")] = ""
    blind: Annotated[bool, _key("blindmarking")] = False
    identified: Annotated[bool, _key("revealidentities")] = False

    @property
    def statement(self) -> str:
        """The text that a student accepts when submitting, "" if the assignment has none."""
        own = self.own_statement or "This submission is my own work."
        return own if self.has_statement else ""

    @property
    def revealed(self) -> bool:
        return self.blind and self.identified


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

    user_id: Annotated[int, _key("id")]
    full_name: Annotated[Plain, _key("fullname")] = ""
    username: Text = ""
    email: Stripped = ""
    idnumber: Stripped = ""
    roles: Annotated[frozenset[str], _names("shortname")] = frozenset()
    group: Annotated[Count, _key("groupid")] = 0
    team: Annotated[Plain, _key("groupname")] = ""
    extended: Annotated[bool, _key("grantedextension")] = False
    participant: int = 0
    formerly: int = 0

    @property
    def shown(self) -> str:
        return self.full_name or self.email or f"user {self.user_id}"


@dataclass(frozen=True, slots=True)
class Group:
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
    user_id: Annotated[int, Field(default=0, validation_alias="userid")]
    attempt: Annotated[int, Field(default=0, validation_alias="attemptnumber")]
    state: Annotated[SubmissionState, _key("status")]
    modified: Annotated[Moment, _key("timemodified")] = None
    group_id: Annotated[Count, _key("groupid")] = 0
    files: Annotated[PluginFiles, _key("plugins")] = ()
    grading_status: Annotated[Text, _key("gradingstatus")] = ""
    text: Annotated[PluginText, _key("plugins")] = OnlineText()  # noqa: RUF009 - frozen


_SHOWN = AliasChoices("gradefordisplay", AliasPath("grade", "gradefordisplay"))
_PLUGINS = AliasChoices("plugins", "feedbackplugins")
"""The second names are those of an attempt before the latest one."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """Feedback as shown to a student; ``shown`` is the displayed grade, as plain text."""

    grade: Annotated[Points, _key("grade", "grade")] = None
    shown: Annotated[Plain, Field(validation_alias=_SHOWN)] = ""
    comment: Annotated[PluginComment, Field(validation_alias=_PLUGINS)] = ""
    files: Annotated[PluginFiles, Field(validation_alias=_PLUGINS)] = ()
    comment_format: Annotated[PluginFormat, Field(validation_alias=_PLUGINS)] = 1
    """Moodle's number for the format of the comment: 1 is HTML."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """The grade and feedback of an attempt before the latest one; ``attempt`` counts from 0."""

    attempt: Annotated[int, _key("attemptnumber")]
    feedback: Feedback


_FEEDBACK_BESIDE = BeforeValidator(
    lambda attempt: {**attempt, "feedback": attempt} if isinstance(attempt, dict) else attempt
)
"""Moodle puts the feedback of an attempt beside its number."""


def _newest(attempts: list[Earlier]) -> Earlier | None:
    given = (
        each
        for each in attempts
        if each.feedback.grade is not None or each.feedback.comment or each.feedback.files
    )
    return max(given, key=lambda earlier: earlier.attempt, default=None)


def _is_there(value: object) -> object:
    return bool(value) if isinstance(value, dict | list | None) else value


@dataclass(frozen=True, slots=True)
class Status:
    """The state of one person's work (mod_assign_get_submission_status).

    ``submission`` is None before the first save; ``team`` has a team's files. ``graded`` may be
    true while ``feedback`` is None: the marking workflow has not released it. ``takes_part`` is
    False for an account that cannot submit here, such as a teacher's, and ``enabled`` says nothing
    then. ``earlier`` is the newest attempt before the latest one that has a grade or feedback.
    """

    submission: Annotated[Submission | None, _key("lastattempt", "submission")] = None
    team: Annotated[Submission | None, _key("lastattempt", "teamsubmission")] = None
    enabled: Annotated[bool, _key("lastattempt", "submissionsenabled")] = True
    locked: Annotated[bool, _key("lastattempt", "locked")] = False
    graded: Annotated[bool, _key("lastattempt", "graded")] = False
    can_edit: Annotated[bool, _key("lastattempt", "canedit")] = False
    extended_to: Annotated[Moment, _key("lastattempt", "extensionduedate")] = None
    feedback: Annotated[
        Feedback | None, BeforeValidator(lambda value: None if value == [] else value)
    ] = None
    """PHP writes an empty list for none."""
    takes_part: Annotated[bool, BeforeValidator(_is_there), _key("lastattempt")] = False
    earlier: Annotated[
        Earlier | None,
        made_of(list[Annotated[Earlier, _FEEDBACK_BESIDE]], _newest),
        _key("previousattempts"),
    ] = None

    @property
    def work(self) -> Submission | None:
        """The row with the files: the team's, if there is one."""
        return self.team or self.submission


@dataclass(frozen=True, slots=True)
class Grade:
    """A grade as Moodle stores it, of the latest attempt; None if it holds no number."""

    user_id: Annotated[int, _key("userid")]
    attempt: Annotated[int, _key("attemptnumber")] = 0
    grade: Points = None
    grader: int = 0
    modified: Annotated[Moment, _key("timemodified")] = None


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


@dataclass(frozen=True, slots=True)
class PublicConfig:
    url: Annotated[str, AfterValidator(lambda url: url.rstrip("/")), _key("wwwroot")]
    name: Annotated[Plain, _key("sitename")] = ""
    web_services: Annotated[bool, _key("enablewebservices")] = False
    maintenance: Annotated[bool, _key("maintenanceenabled")] = False
    browser_login: Annotated[
        bool,
        BeforeValidator(lambda login: login > 1 if isinstance(login, int) else login),
        _key("typeoflogin"),
    ] = False
    """Passwords are typed in a browser only (single sign-on)."""
    has_providers: Annotated[bool, BeforeValidator(_is_there), _key("identityproviders")] = False
    """People may sign in with an account elsewhere, such as by OAuth 2."""
    launch_url: Annotated[Text, _key("launchurl")] = ""
    message: Annotated[Plain, _key("maintenancemessage")] = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """Uploaded files that are not saved anywhere yet: ``item`` is the number of their draft area.

    ``names`` are Moodle's, in the order of the upload: it removes characters that it does not
    allow.
    """

    item: int
    names: tuple[str, ...]

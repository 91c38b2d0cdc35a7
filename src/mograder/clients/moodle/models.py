"""Moodle's JSON where its form differs from our records, validated and converted.

Moodle adds fields with every version, so unknown fields are ignored; a missing field that we need
is an error. Only the modules of this package use these.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mograder.clients.course_server import RemoteFile
from mograder.clients.moodle.fields import Moment, Text, moment, number
from mograder.clients.moodle.html_text import plain
from mograder.clients.moodle.records import (
    Accepts,
    Assignment,
    CourseModule,
    Earlier,
    Feedback,
    FeedbackTypes,
    Grade,
    Group,
    PublicConfig,
    Status,
    Submission,
    SubmissionState,
)


def _list_as_nothing(value: object) -> object:
    """Return an empty object for PHP's empty list."""
    return None if value == [] else value


class Loose(BaseModel):
    """The base of all models: unknown fields are ignored, and no value is repeated in an error."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class Refused(Loose):
    """A refusal: REST has ``exception`` and ``message``, the other endpoints ``error``."""

    errorcode: Text = ""
    exception: Text = ""
    message: Text = ""
    error: object = None
    debuginfo: Text = ""


class Warned(Loose):
    """A warning in an answer that otherwise succeeded; ``warningcode`` distinguishes them."""

    item: Text = ""
    itemid: int | None = None
    warningcode: str = ""
    message: Text = ""


class FileModel(Loose):
    """A file in any list of Moodle's."""

    filename: str
    filepath: Text = "/"
    filesize: int | None = None
    fileurl: Text = ""
    type: str = "file"

    def record(self) -> RemoteFile:
        """Return the record; the name of a file in a folder includes the folder."""
        return RemoteFile(
            f"{self.filepath}{self.filename}".lstrip("/"), self.fileurl, self.filesize
        )


class _Config(Loose):
    plugin: str
    subtype: str
    name: str
    value: Text = ""


class AssignmentModel(Loose):
    """One of mod_assign_get_assignments; ``introattachments`` is missing before it opens."""

    id: int
    cmid: int
    course: int
    name: str
    submissiondrafts: bool = False
    duedate: int = 0
    allowsubmissionsfromdate: int = 0
    cutoffdate: int = 0
    grade: float = 0
    teamsubmission: bool = False
    blindmarking: bool = False
    revealidentities: bool = False
    attemptreopenmethod: Text = "none"
    markingworkflow: bool = False
    requiresubmissionstatement: bool = False
    submissionstatement: Text = ""
    configs: list[_Config] = Field(default_factory=list)
    introattachments: list[FileModel] = Field(default_factory=list)

    def record(self) -> Assignment:
        """Return the record; settings of plugins that are off count as absent."""
        statement = plain(self.submissionstatement) or "This submission is my own work."
        return Assignment(
            id=self.id,
            cmid=self.cmid,
            course_id=self.course,
            name=plain(self.name),
            opens=moment(self.allowsubmissionsfromdate),
            due=moment(self.duedate),
            cutoff=moment(self.cutoffdate),
            maximum=number(self.grade) if self.grade > 0 else None,
            scale=-int(self.grade) if self.grade < 0 else 0,
            drafts=self.submissiondrafts,
            statement=statement if self.requiresubmissionstatement else "",
            team=self.teamsubmission,
            revealed=self.blindmarking and self.revealidentities,
            workflow=self.markingworkflow,
            reopens=self.attemptreopenmethod,
            accepts=self._accepts(),
            feedback=self._feedback(),
            attachments=tuple(file.record() for file in self.introattachments),
        )

    def _accepts(self) -> Accepts:
        types = self._value("assignsubmission", "file", "filetypeslist")
        return Accepts(
            files=self._on("assignsubmission", "file"),
            online_text=self._on("assignsubmission", "onlinetext"),
            max_bytes=_whole(self._value("assignsubmission", "file", "maxsubmissionsizebytes")),
            file_types=tuple(kind.lower() for kind in re.split(r"[\s,;]+", types) if kind),
        )

    def _feedback(self) -> FeedbackTypes:
        return FeedbackTypes(
            comments=self._on("assignfeedback", "comments"),
            files=self._on("assignfeedback", "file"),
            worksheet=self._on("assignfeedback", "offline"),
        )

    def _on(self, subtype: str, plugin: str) -> bool:
        return self._value(subtype, plugin, "enabled") == "1"

    def _value(self, subtype: str, plugin: str, name: str) -> str:
        wanted = (subtype, plugin, name)
        return next((c.value for c in self.configs if (c.subtype, c.plugin, c.name) == wanted), "")


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() else 0


class _CourseAssignments(Loose):
    id: int
    assignments: list[AssignmentModel] = Field(default_factory=list)


class AssignmentsModel(Loose):
    """mod_assign_get_assignments."""

    courses: list[_CourseAssignments] = Field(default_factory=list)
    warnings: list[Warned] = Field(default_factory=list)


class SectionModel(Loose):
    """One section of core_course_get_contents."""

    modules: list[CourseModule] = Field(default_factory=list)


class _Area(Loose):
    area: Text = ""
    method: Text = ""


class _CourseModuleDetails(Loose):
    scale: Text = ""
    advancedgrading: list[_Area] | None = None


class CourseModuleModel(Loose):
    """core_course_get_course_module; ``advancedgrading`` is for teachers only."""

    cm: _CourseModuleDetails

    def scale_items(self) -> tuple[str, ...]:
        """Return the names of the items of the scale, the lowest first; empty if not given."""
        return tuple(plain(item) for item in self.cm.scale.split(",")) if self.cm.scale else ()

    def method(self) -> str | None:
        """Return the active grading method, empty for simple; None if not given to this role."""
        areas = [a.method for a in self.cm.advancedgrading or () if a.area == "submissions"]
        return areas[0] if areas else None


class GroupsModel(Loose):
    """core_group_get_activity_allowed_groups."""

    groups: list[Group] = Field(default_factory=list)


class TokenModel(Loose):
    """login/token.php."""

    token: str = Field(min_length=1, max_length=512)


class PublicConfigModel(Loose):
    """The one item of tool_mobile_get_public_config's answer; no data if the site refuses."""

    error: bool = False
    data: PublicConfig | None = None


class _FileArea(Loose):
    area: Text = ""
    files: list[FileModel] = Field(default_factory=list)


class _Editor(Loose):
    text: Text = ""
    format: int = 1


class _Plugin(Loose):
    type: str
    fileareas: list[_FileArea] = Field(default_factory=list)
    editorfields: list[_Editor] = Field(default_factory=list)

    def files(self) -> tuple[RemoteFile, ...]:
        return tuple(file.record() for area in self.fileareas for file in area.files)

    def text(self) -> str:
        return "\n".join(editor.text for editor in self.editorfields)


class SubmissionModel(Loose):
    """A row of work, a person's or a team's."""

    id: int
    userid: int = 0
    attemptnumber: int = 0
    timemodified: int | None = None
    status: SubmissionState
    groupid: int | None = None
    plugins: list[_Plugin] = Field(default_factory=list)
    gradingstatus: Text = ""

    def record(self) -> Submission:
        """Return the record; files are a plugin in Moodle's JSON."""
        files = [plugin.files() for plugin in self.plugins if plugin.type == "file"]
        return Submission(
            id=self.id,
            user_id=self.userid,
            attempt=self.attemptnumber,
            state=self.status,
            modified=moment(self.timemodified),
            group_id=self.groupid or 0,
            files=files[0] if files else (),
            grading_status=self.gradingstatus,
        )


class _Attempt(Loose):
    submission: SubmissionModel | None = None
    teamsubmission: SubmissionModel | None = None
    submissionsenabled: bool = True
    locked: bool = False
    graded: bool = False
    canedit: bool = False
    extensionduedate: int | None = None


class _GradeInFeedback(Loose):
    grade: Text = ""
    gradefordisplay: Text = ""


def _feedback(grade: _GradeInFeedback | None, shown: str, plugins: list[_Plugin]) -> Feedback:
    comments = [plugin for plugin in plugins if plugin.type == "comments"]
    files = [plugin.files() for plugin in plugins if plugin.type == "file"]
    formats = [editor.format for plugin in comments for editor in plugin.editorfields]
    return Feedback(
        grade=number(grade.grade) if grade else None,
        shown=plain(shown),
        comment=comments[0].text() if comments else "",
        files=files[0] if files else (),
        comment_format=formats[0] if formats else 1,
    )


class _FeedbackModel(Loose):
    grade: _GradeInFeedback | None = None
    gradefordisplay: Text = ""
    plugins: list[_Plugin] = Field(default_factory=list)

    def record(self) -> Feedback:
        return _feedback(self.grade, self.gradefordisplay, self.plugins)


class _PreviousAttempt(Loose):
    attemptnumber: int
    grade: Annotated[_GradeInFeedback | None, BeforeValidator(_list_as_nothing)] = None
    feedbackplugins: list[_Plugin] = Field(default_factory=list)

    def record(self) -> Earlier:
        shown = self.grade.gradefordisplay if self.grade else ""
        return Earlier(self.attemptnumber, _feedback(self.grade, shown, self.feedbackplugins))


class StatusModel(Loose):
    """mod_assign_get_submission_status; without ``lastattempt`` the user cannot submit."""

    lastattempt: Annotated[_Attempt | None, BeforeValidator(_list_as_nothing)] = None
    feedback: Annotated[_FeedbackModel | None, BeforeValidator(_list_as_nothing)] = None
    previousattempts: list[_PreviousAttempt] = Field(default_factory=list)

    def record(self) -> Status:
        """Return the state of a user's work; without an attempt nothing is possible."""
        last = self.lastattempt or _Attempt(submissionsenabled=False)
        return Status(
            submission=last.submission.record() if last.submission else None,
            team=last.teamsubmission.record() if last.teamsubmission else None,
            enabled=last.submissionsenabled,
            locked=last.locked,
            graded=last.graded,
            can_edit=last.canedit,
            extended_to=moment(last.extensionduedate),
            feedback=self.feedback.record() if self.feedback else None,
            takes_part=self.lastattempt is not None,
            earlier=self._earlier(),
        )

    def _earlier(self) -> Earlier | None:
        found = sorted(
            (attempt.record() for attempt in self.previousattempts),
            key=lambda earlier: -earlier.attempt,
        )
        given = (
            each
            for each in found
            if each.feedback.grade is not None or each.feedback.comment or each.feedback.files
        )
        return next(given, None)


class _ReportItem(Loose):
    itemmodule: Text = ""
    iteminstance: int | None = None
    grademax: float | None = None


class _ReportUser(Loose):
    gradeitems: list[_ReportItem] = Field(default_factory=list)


class ReportModel(Loose):
    """gradereport_user_get_grade_items: one item for each graded activity."""

    usergrades: list[_ReportUser] = Field(default_factory=list)

    def largest(self, assignment_id: int) -> int:
        """Return the largest grade of an assignment: for a scale, the number of its items."""
        found = (
            item.grademax or 0
            for user in self.usergrades
            for item in user.gradeitems
            if (item.itemmodule, item.iteminstance) == ("assign", assignment_id)
        )
        return int(next(found, 0))


class FlagModel(Loose):
    """Moodle's flags for one person on one assignment, beside the work."""

    userid: int
    workflowstate: Text = ""
    extensionduedate: Moment = None


class _Mapping(Loose):
    id: int
    userid: int


class _OfAssignment(Loose):
    """What one function returns of one assignment; the lists of the others are missing."""

    submissions: list[SubmissionModel] = Field(default_factory=list)
    grades: list[Grade] = Field(default_factory=list)
    userflags: list[FlagModel] = Field(default_factory=list)
    mappings: list[_Mapping] = Field(default_factory=list)


class ByAssignmentModel(Loose):
    """mod_assign_get_submissions, _grades, _user_flags and _user_mappings."""

    assignments: list[_OfAssignment] = Field(default_factory=list)
    warnings: list[Warned] = Field(default_factory=list)


class UploadedModel(Loose):
    """One item of upload.php's list: with ``errortype`` its upload failed."""

    filename: Text = ""
    itemid: int | None = None
    filesize: int | None = None
    errortype: Text = ""
    error: Text = ""

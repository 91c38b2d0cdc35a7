"""Moodle's JSON of submissions and grades, validated once; see ``models.py``.

Only ``client.py`` uses these.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from mograder.clients.course_server import RemoteFile
from mograder.clients.moodle.html_text import plain
from mograder.clients.moodle.models import (
    FileModel,
    Loose,
    Text,
    Warned,
    list_as_nothing,
    moment,
    number,
)
from mograder.clients.moodle.records import (
    Earlier,
    Feedback,
    Grade,
    Status,
    Submission,
    SubmissionState,
)


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
        """Return the record; files and online text are plugins in Moodle's JSON."""
        files = [plugin.files() for plugin in self.plugins if plugin.type == "file"]
        texts = [plugin.text() for plugin in self.plugins if plugin.type == "onlinetext"]
        return Submission(
            id=self.id,
            user_id=self.userid,
            attempt=self.attemptnumber,
            state=self.status,
            modified=moment(self.timemodified),
            group_id=self.groupid or 0,
            files=files[0] if files else (),
            text=texts[0] if texts else "",
            grading_status=self.gradingstatus,
        )


class _AssignmentSubmissions(Loose):
    assignmentid: int
    submissions: list[SubmissionModel] = Field(default_factory=list)


class SubmissionsModel(Loose):
    """mod_assign_get_submissions."""

    assignments: list[_AssignmentSubmissions] = Field(default_factory=list)
    warnings: list[Warned] = Field(default_factory=list)


class GradeModel(Loose):
    """One of mod_assign_get_grades; grades are texts."""

    userid: int
    attemptnumber: int = 0
    timemodified: int | None = None
    grader: int = 0
    grade: Text = ""

    def record(self) -> Grade:
        """Return the record; the grade is None if Moodle holds no number."""
        value = number(self.grade)
        return Grade(self.userid, self.attemptnumber, value, self.grader, moment(self.timemodified))


class _AssignmentGrades(Loose):
    assignmentid: int
    grades: list[GradeModel] = Field(default_factory=list)


class GradesModel(Loose):
    """mod_assign_get_grades."""

    assignments: list[_AssignmentGrades] = Field(default_factory=list)
    warnings: list[Warned] = Field(default_factory=list)


class _Attempt(Loose):
    submission: SubmissionModel | None = None
    teamsubmission: SubmissionModel | None = None
    submissionsenabled: bool = True
    locked: bool = False
    graded: bool = False
    canedit: bool = False
    cansubmit: bool = False
    extensionduedate: int | None = None
    gradingstatus: Text = ""


class _GradeInFeedback(Loose):
    grade: Text = ""
    gradefordisplay: Text = ""


def _feedback(
    grade: _GradeInFeedback | None, shown: str, graded: int | None, plugins: list[_Plugin]
) -> Feedback:
    comments = [plugin for plugin in plugins if plugin.type == "comments"]
    files = [plugin.files() for plugin in plugins if plugin.type == "file"]
    formats = [editor.format for plugin in comments for editor in plugin.editorfields]
    return Feedback(
        grade=number(grade.grade) if grade else None,
        shown=plain(shown),
        graded_at=moment(graded),
        comment=comments[0].text() if comments else "",
        files=files[0] if files else (),
        comment_format=formats[0] if formats else 1,
    )


class _FeedbackModel(Loose):
    grade: _GradeInFeedback | None = None
    gradefordisplay: Text = ""
    gradeddate: int | None = None
    plugins: list[_Plugin] = Field(default_factory=list)

    def record(self) -> Feedback:
        return _feedback(self.grade, self.gradefordisplay, self.gradeddate, self.plugins)


class _PreviousAttempt(Loose):
    attemptnumber: int
    grade: Annotated[_GradeInFeedback | None, BeforeValidator(list_as_nothing)] = None
    feedbackplugins: list[_Plugin] = Field(default_factory=list)

    def record(self) -> Earlier:
        shown = self.grade.gradefordisplay if self.grade else ""
        return Earlier(self.attemptnumber, _feedback(self.grade, shown, None, self.feedbackplugins))


class StatusModel(Loose):
    """mod_assign_get_submission_status; without ``lastattempt`` the user cannot submit."""

    lastattempt: Annotated[_Attempt | None, BeforeValidator(list_as_nothing)] = None
    feedback: Annotated[_FeedbackModel | None, BeforeValidator(list_as_nothing)] = None
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
            can_submit=last.cansubmit,
            extended_to=moment(last.extensionduedate),
            grading_status=last.gradingstatus,
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
    extensionduedate: int | None = None


class _AssignmentFlags(Loose):
    assignmentid: int
    userflags: list[FlagModel] = Field(default_factory=list)


class FlagsModel(Loose):
    """mod_assign_get_user_flags."""

    assignments: list[_AssignmentFlags] = Field(default_factory=list)
    warnings: list[Warned] = Field(default_factory=list)


class _Mapping(Loose):
    id: int
    userid: int


class _AssignmentMappings(Loose):
    assignmentid: int
    mappings: list[_Mapping] = Field(default_factory=list)


class MappingsModel(Loose):
    """mod_assign_get_user_mappings."""

    assignments: list[_AssignmentMappings] = Field(default_factory=list)


class UploadedModel(Loose):
    """One item of upload.php's list: with ``errortype`` its upload failed."""

    filename: Text = ""
    itemid: int | None = None
    filesize: int | None = None
    errortype: Text = ""
    error: Text = ""

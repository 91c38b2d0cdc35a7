"""Moodle's JSON around our records.

Moodle adds fields with every version, so unknown fields are ignored; a missing field that we need
is an error. Only the modules of this package use these.
"""

from __future__ import annotations

from pydantic import Field

from mograder.clients.moodle.fields import Loose, Moment, Text
from mograder.clients.moodle.records import (
    Assignment,
    CourseModule,
    Grade,
    Group,
    PublicConfig,
    Submission,
)
from mograder.clients.moodle.texts import plain


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


class _CourseAssignments(Loose):
    id: int
    assignments: tuple[Assignment, ...] = ()


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

    def method(self) -> str:
        """Return the active grading method: "" for simple, "unknown" if not given to this role."""
        areas = (a.method for a in self.cm.advancedgrading or () if a.area == "submissions")
        return next(areas, "unknown")


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

    submissions: list[Submission] = Field(default_factory=list)
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

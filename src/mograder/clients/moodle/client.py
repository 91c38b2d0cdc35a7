"""A client of a Moodle site as one person: one method for each web-service function in use.

To change something, use ``grading.py`` (marks) or ``transport.py`` (submissions), which read back
the result; the methods here send one request each and raise
:class:`~mograder.core.errors.MograderError` with a remedy, like all of this package.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from mograder.clients.moodle.fields import OnlineText
from mograder.clients.moodle.files import FileTransfers
from mograder.clients.moodle.http import Pause, Value, Wire, as_error, check_token
from mograder.clients.moodle.models import (
    AssignmentsModel,
    ByAssignmentModel,
    CourseModuleModel,
    FlagModel,
    GroupsModel,
    ReportModel,
    SectionModel,
    Warned,
)
from mograder.clients.moodle.records import (
    Assignment,
    Course,
    CourseModule,
    Earlier,
    Feedback,
    Grade,
    GradingMethod,
    Group,
    Mark,
    Person,
    Site,
    Status,
    Submission,
)
from mograder.clients.moodle.texts import plain
from mograder.core.context_managers import Closing
from mograder.core.errors import Forbidden, InvalidInput, NotFound, RemoteFailed

T = TypeVar("T")

_HTML = 1
"""Moodle's number of the HTML format, in which all comments are sent."""


class MoodleClient(FileTransfers, Closing):
    """A connection to one Moodle as the owner of a token; use it as a context manager."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        transport: httpx.BaseTransport | None = None,
        pause: Pause = time.sleep,
    ) -> None:
        """Check address and token before anything is sent; the caller has to warn about http."""
        check_token(token)
        super().__init__(Wire(url, transport=transport, pause=pause), token)
        self._ask = Functions(self._wire, token)
        self._site: Site | None = None

    @property
    def url(self) -> str:
        return self._wire.url

    def close(self) -> None:
        self._wire.close()

    # The site and the course.

    def site(self) -> Site:
        """Return the site and the signed-in user; requested once and cached."""
        if self._site is None:
            self._site = self._ask.read(Site, "core_webservice_get_site_info")
            self._ask.offered = self._site.functions
        return self._site

    def courses(self) -> tuple[Course, ...]:
        function = "core_enrol_get_users_courses"
        return self._ask.read(tuple[Course, ...], function, userid=self.site().user_id)

    def assignments(self, course_id: int) -> tuple[Assignment, ...]:
        """Return a course's assignments; for an unknown course Moodle only returns a warning."""
        wanted = {"courseids[0]": course_id}
        found = self._ask.read(AssignmentsModel, "mod_assign_get_assignments", **wanted)
        courses = [course for course in found.courses if course.id == course_id]
        if not courses:
            demand_course(found.warnings, course_id)
            raise NotFound(
                f"You have no course number {course_id} on {self.url}.",
                hint="Check the number: it is the id= in the course page's address. --course-id, "
                "or [moodle] course_id in mograder.toml. Your enrolment may also be suspended.",
            )
        return courses[0].assignments

    def contents(self, course_id: int) -> tuple[CourseModule, ...]:
        """Return a course's activities in the order of its page."""
        function = "core_course_get_contents"
        found = self._ask.read(list[SectionModel], function, courseid=course_id)
        return tuple(module for section in found for module in section.modules)

    def grading_method(self, assignment: Assignment) -> GradingMethod:
        """Return the grading method of an assignment.

        Moodle offers the grading worksheet only if no rubric or guide is active, so most
        assignments need no request. UNKNOWN if the service or the role does not give it.
        """
        if assignment.feedback.worksheet:
            return GradingMethod.SIMPLE
        module = self._module(assignment)
        if module is None:
            return GradingMethod.UNKNOWN
        known = {each.value: each for each in GradingMethod} | {"": GradingMethod.SIMPLE}
        return known.get(module.method(), GradingMethod.UNKNOWN)

    def scale_items(self, assignment: Assignment) -> tuple[str, ...]:
        """Return the names of the items of an assignment's scale, the lowest first.

        Empty unless this account may edit the assignment.
        """
        module = self._module(assignment)
        return () if module is None else module.scale_items()

    def scale_size(self, assignment: Assignment, user_id: int) -> int:
        """Return how many items an assignment's scale has, 0 if Moodle does not give it.

        It is read from Moodle's grade report on any one participant of the course.
        """
        report = self._optional(
            ReportModel,
            "gradereport_user_get_grade_items",
            courseid=assignment.course_id,
            userid=user_id,
        )
        return 0 if report is None else report.largest(assignment.id)

    def _module(self, assignment: Assignment) -> CourseModuleModel | None:
        function = "core_course_get_course_module"
        return self._optional(CourseModuleModel, function, cmid=assignment.cmid)

    def _optional(self, shape: type[T], function: str, **fields: Value) -> T | None:
        if function not in self.site().functions:
            return None
        try:
            return self._ask.read(shape, function, **fields)
        except (Forbidden, InvalidInput, NotFound):
            return None

    # People.

    def participants(self, assignment_id: int, group: int = 0) -> tuple[Person, ...]:
        """Return the participants: no teachers, no suspended accounts.

        With separate groups, Moodle returns an empty list for ``group`` 0 to a teacher who may not
        see all groups; call it for each of :meth:`allowed_groups` then.
        """
        return self._ask.read(
            tuple[Person, ...],
            "mod_assign_list_participants",
            assignid=assignment_id,
            groupid=group,
            filter="",
        )

    def allowed_groups(self, cmid: int) -> tuple[Group, ...]:
        function = "core_group_get_activity_allowed_groups"
        return tuple(self._ask.read(GroupsModel, function, cmid=cmid).groups)

    def enrolled(self, course_id: int) -> tuple[Person, ...]:
        """Return the people in a course: teachers and suspended users too."""
        function = "core_enrol_get_enrolled_users"
        return self._ask.read(tuple[Person, ...], function, courseid=course_id)

    def blind_identities(self, assignment_id: int) -> Mapping[int, int]:
        """Return user ids by the number N of "Participant N"."""
        found = self._by_assignment("mod_assign_get_user_mappings", assignment_id)
        return {m.id: m.userid for each in found.assignments for m in each.mappings}

    # Submissions.

    def submissions(self, assignment_id: int) -> tuple[Submission, ...]:
        """Return the latest attempts, including rows without work and the teacher's own."""
        found = self._readable("mod_assign_get_submissions", assignment_id)
        return tuple(row for each in found.assignments for row in each.submissions)

    def submission_status(self, assignment_id: int) -> Status:
        """Return the state of our own work."""
        function = "mod_assign_get_submission_status"
        return self._ask.read(Status, function, assignid=assignment_id)

    def held_feedback(self, assignment_id: int, user_id: int) -> Feedback | None:
        """Return the comment and files of a person's latest grade as stored in Moodle.

        The text is the one in Moodle's database (``moodlewssettingraw``), so that it can be sent
        back unchanged. Call it only for people who have a grade: Moodle creates an empty submission
        for others. None: there is nothing, or the marking workflow hides it.
        """
        return self._stored(assignid=assignment_id, userid=user_id).feedback

    def earlier_attempt(self, assignment_id: int, user_id: int) -> Earlier | None:
        """Return a person's newest attempt before the latest one that has a grade or feedback."""
        return self._stored(assignid=assignment_id, userid=user_id).earlier

    def held_text(self, assignment_id: int) -> OnlineText:
        """Return the text of our own work as stored in Moodle, so that it can be sent back."""
        work = self._stored(assignid=assignment_id).work
        return work.text if work else OnlineText()

    def _stored(self, **fields: Value) -> Status:
        """Return the state of a person's work with texts as they are in Moodle's database."""
        return self._ask.read(
            Status,
            "mod_assign_get_submission_status",
            **fields,
            moodlewssettingraw=True,
            moodlewssettingfileurl=False,
        )

    def save_submission(
        self, assignment_id: int, draft: int, text: OnlineText | None = None
    ) -> None:
        """Save our work; the files of ``draft`` replace all previous ones.

        Moodle drops files that are too large or too many and still reports success: read it back.
        ``text`` replaces the text in Moodle. Give it if the assignment takes online text too, as
        Moodle's database refuses a submission without one then, and only then.
        """
        fields: dict[str, Value] = {"plugindata[files_filemanager]": draft}
        if text is not None:
            editor = "plugindata[onlinetext_editor]"
            fields[f"{editor}[text]"] = text.text
            fields[f"{editor}[format]"] = text.format
            fields[f"{editor}[itemid]"] = 0  # no draft area: files in the text stay as they are
        self._ask.warned("mod_assign_save_submission", assignmentid=assignment_id, **fields)

    def submit_for_grading(self, assignment_id: int) -> None:
        """Accept the statement, and submit a draft; Moodle refuses if saving submits already."""
        function = "mod_assign_submit_for_grading"
        self._ask.warned(function, assignmentid=assignment_id, acceptsubmissionstatement=True)

    # Grades.

    def grades(self, assignment_id: int) -> tuple[Grade, ...]:
        found = self._readable("mod_assign_get_grades", assignment_id)
        return tuple(grade for each in found.assignments for grade in each.grades)

    def save_grade(
        self,
        assignment_id: int,
        mark: Mark,
        *,
        grade: Decimal,
        state: str,
        draft: int | None,
        comment_format: int = _HTML,
    ) -> None:
        """Save one grade of the latest attempt, unchecked: use :mod:`.grading`.

        The comment is always sent, None as an empty one: Moodle's database refuses a grade without
        a comment if there was one before.
        """
        fields: dict[str, Value] = {
            "assignmentid": assignment_id,
            "userid": mark.user_id,
            "grade": grade,
            "attemptnumber": -1,
            "addattempt": 0,
            "workflowstate": state,
            "applytoall": False,
            "plugindata[assignfeedbackcomments_editor][text]": mark.comment or "",
            "plugindata[assignfeedbackcomments_editor][format]": comment_format,
        }
        if draft is not None:
            fields["plugindata[files_filemanager]"] = draft
        self._ask.change("mod_assign_save_grade", **fields)

    def workflow_states(self, assignment_id: int) -> Mapping[int, str]:
        """Return the states of the marking workflow by user id."""
        flags = self._flags(assignment_id)
        return {flag.userid: flag.workflowstate for flag in flags if flag.workflowstate}

    def extensions(self, assignment_id: int) -> Mapping[int, datetime]:
        flags = self._flags(assignment_id)
        return {flag.userid: flag.extensionduedate for flag in flags if flag.extensionduedate}

    def _flags(self, assignment_id: int) -> Iterator[FlagModel]:
        found = self._readable("mod_assign_get_user_flags", assignment_id)
        return (flag for each in found.assignments for flag in each.userflags)

    def _by_assignment(self, function: str, assignment_id: int) -> ByAssignmentModel:
        return self._ask.read(ByAssignmentModel, function, **{"assignmentids[0]": assignment_id})

    def _readable(self, function: str, assignment_id: int) -> ByAssignmentModel:
        """Return the answer; Forbidden where Moodle returns an empty list and a warning."""
        found = self._by_assignment(function, assignment_id)
        for warning in found.warnings:
            if warning.warningcode == "1":
                raise as_error("nopermission", warning.message, function)
        return found


class Functions:
    """The web-service functions for the owner of a token; ``offered`` is empty until known.

    Every call raises :class:`~mograder.core.errors.MograderError` if Moodle refuses, cannot be
    reached, or answers in another form.
    """

    def __init__(self, wire: Wire, token: str) -> None:
        self.offered: frozenset[str] = frozenset()
        self._wire = wire
        self._token = token

    def read(self, shape: type[T], function: str, **fields: Value) -> T:
        """Return the answer to a read-only call, retried if the network fails."""
        return _shaped(shape, function, self._call(function, fields, safe=True))

    def change(self, function: str, **fields: Value) -> None:
        """Call a function that changes something, once; its answer does not show the result."""
        self._call(function, fields, safe=False)

    def warned(self, function: str, **fields: Value) -> None:
        answer = self._call(function, fields, safe=False)
        warnings = _shaped(list[Warned], function, answer or [])
        if warnings:
            raise as_error(warnings[0].warningcode, warnings[0].item, function)

    def _call(self, function: str, fields: Mapping[str, Value], *, safe: bool) -> object:
        try:
            return self._wire.call(function, self._token, fields, safe=safe)
        except Forbidden as error:
            if not self.offered or function in self.offered:
                raise
            raise Forbidden(
                f"The web service of this token has no function {function}.",
                hint="Ask the Moodle administrator to add it to the service; our documentation "
                "lists the functions and why.",
            ) from error


def demand_course(warnings: Sequence[Warned], course_id: int) -> None:
    """Raise Forbidden, with Moodle's words, for a refused course, as for an incomplete profile."""
    told = (each for each in warnings if each.warningcode == "1" and each.itemid == course_id)
    # Some versions of Moodle append the stack trace of their exception.
    reasons = [plain(each.message.partition("#0 ")[0]).rstrip(". ") for each in told]
    reason = next(filter(None, reasons), "")
    if reason:
        raise Forbidden(
            f"Moodle does not let you into course number {course_id}: {reason}.",
            hint="If it says that your account is not fully set up, sign in to Moodle with your "
            "browser and complete your profile. Otherwise ask the teacher of the course.",
        )


def _shaped(shape: type[T], function: str, answer: object) -> T:
    try:
        return TypeAdapter(shape).validate_python(answer)
    except ValidationError as error:
        where = ".".join(str(step) for step in error.errors()[0]["loc"])
        # Without pydantic's error, which repeats the value: a name or a grade.
        raise RemoteFailed(
            f"Moodle's answer to {function} has another form than we know (at {where!r}).",
            hint="This Moodle may be newer or older than the ones we know (4.1 to 5.1); "
            "a proxy may also have changed the answer.",
        ) from None

"""Moodle's JSON, validated once and converted to our records.

Moodle adds fields with every version, so unknown fields are ignored; a missing field that we need
is an error. Only ``client.py`` and ``login.py`` use these.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mograder.clients.course_server import RemoteFile
from mograder.clients.moodle.html_text import plain
from mograder.clients.moodle.records import (
    Accepts,
    Assignment,
    Course,
    CourseModule,
    FeedbackTypes,
    Group,
    Participant,
    Person,
    PublicConfig,
    Site,
)


def moment(seconds: int | None) -> datetime | None:
    """Return an aware time; None for Moodle's 0 and for times out of range."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (OverflowError, ValueError, OSError):
        return None


def number(text: str | float | None) -> Decimal | None:
    """Return a grade as Moodle stores it; None for its "-1.00000"."""
    if text is None or text == "":
        return None
    try:
        value = Decimal(str(text))
    except InvalidOperation:
        return None
    return None if not value.is_finite() or value < 0 else short(value)


def short(value: Decimal) -> Decimal:
    """Return a number without needless zeros: 87.5, and 100 rather than 1E+2."""
    whole = value.to_integral_value()
    return whole if value == whole else value.normalize()


def _none_as_empty(value: object) -> object:
    return "" if value is None else value


def list_as_nothing(value: object) -> object:
    """Return an empty object for PHP's empty list."""
    return None if value == [] else value


Text = Annotated[str, BeforeValidator(_none_as_empty)]
"""A text that may also be null in Moodle's JSON."""


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


class _Function(Loose):
    name: str


class SiteModel(Loose):
    """core_webservice_get_site_info."""

    sitename: Text = ""
    siteurl: str
    userid: int
    username: Text = ""
    fullname: Text = ""
    functions: list[_Function] = Field(default_factory=list)
    downloadfiles: bool = False
    uploadfiles: bool = False
    usermaxuploadfilesize: int | None = None
    release: Text = ""

    def record(self) -> Site:
        """Return the record; a size limit of -1 or 0 means no limit."""
        limit = self.usermaxuploadfilesize or 0
        return Site(
            name=plain(self.sitename),
            url=self.siteurl.rstrip("/"),
            user_id=self.userid,
            username=self.username,
            full_name=plain(self.fullname),
            functions=frozenset(function.name for function in self.functions),
            can_download=self.downloadfiles,
            can_upload=self.uploadfiles,
            max_upload=limit if limit > 0 else None,
            release=self.release,
        )


class CourseModel(Loose):
    """One of core_enrol_get_users_courses."""

    id: int
    shortname: Text = ""
    fullname: Text = ""

    def record(self) -> Course:
        """Return the record, with names as text."""
        return Course(self.id, plain(self.shortname), plain(self.fullname))


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
    maxattempts: int = -1
    markingworkflow: bool = False
    requiresubmissionstatement: bool = False
    submissionstatement: Text = ""
    configs: list[_Config] = Field(default_factory=list)
    introattachments: list[FileModel] = Field(default_factory=list)
    introfiles: list[FileModel] = Field(default_factory=list)

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
            blind=self.blindmarking and not self.revealidentities,
            revealed=self.blindmarking and self.revealidentities,
            workflow=self.markingworkflow,
            reopens=self.attemptreopenmethod,
            attempts=self.maxattempts if self.maxattempts > 0 else None,
            accepts=self._accepts(),
            feedback=self._feedback(),
            attachments=tuple(file.record() for file in self.introattachments),
        )

    def _accepts(self) -> Accepts:
        types = self._value("assignsubmission", "file", "filetypeslist")
        return Accepts(
            files=self._on("assignsubmission", "file"),
            online_text=self._on("assignsubmission", "onlinetext"),
            max_files=_whole(self._value("assignsubmission", "file", "maxfilesubmissions")),
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


class _Module(Loose):
    id: int
    modname: str
    name: str
    instance: int = 0
    url: Text = ""
    visible: bool = True
    contents: list[FileModel] = Field(default_factory=list)


class SectionModel(Loose):
    """One section of core_course_get_contents."""

    name: Text = ""
    modules: list[_Module] = Field(default_factory=list)

    def records(self) -> tuple[CourseModule, ...]:
        """Return the activities; ``contents`` are files, except for links and folder entries."""
        return tuple(
            CourseModule(
                cmid=module.id,
                kind=module.modname,
                name=plain(module.name),
                instance=module.instance,
                section=plain(self.name),
                url=module.url,
                visible=module.visible,
                files=tuple(file.record() for file in module.contents if file.type == "file"),
            )
            for module in self.modules
        )


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


class _Role(Loose):
    shortname: Text = ""


class PersonModel(Loose):
    """A person in any list; Moodle decides which fields the account may see."""

    id: int
    fullname: Text = ""
    email: Text = ""
    username: Text = ""
    idnumber: Text = ""
    roles: list[_Role] = Field(default_factory=list)

    def person(self) -> Person:
        """Return the record; fields that this account may not see are empty."""
        return Person(
            user_id=self.id,
            full_name=plain(self.fullname),
            email=self.email.strip(),
            username=self.username,
            id_number=self.idnumber.strip(),
            roles=frozenset(role.shortname for role in self.roles),
        )


class ParticipantModel(PersonModel):
    """One of mod_assign_list_participants."""

    submitted: bool = False
    requiregrading: bool = False
    submissionstatus: Text = ""
    groupid: int | None = None
    groupname: Text = ""
    grantedextension: bool = False

    def record(self) -> Participant:
        """Return the record; under blind marking Moodle gives nothing but "Participant N"."""
        return Participant(
            person=self.person(),
            submitted=self.submitted,
            needs_grading=self.requiregrading,
            status=self.submissionstatus,
            group_id=self.groupid or 0,
            group_name=plain(self.groupname),
            extended=self.grantedextension,
        )


class _GroupModel(Loose):
    id: int
    name: Text = ""


class GroupsModel(Loose):
    """core_group_get_activity_allowed_groups."""

    groups: list[_GroupModel] = Field(default_factory=list)

    def records(self) -> tuple[Group, ...]:
        """Return the groups of an activity that this account may see."""
        return tuple(Group(each.id, plain(each.name)) for each in self.groups)


class TokenModel(Loose):
    """login/token.php."""

    token: str = Field(min_length=1, max_length=512)


class _ConfigData(Loose):
    wwwroot: str
    sitename: Text = ""
    enablewebservices: bool = False
    enablemobilewebservice: bool = False
    maintenanceenabled: bool = False
    maintenancemessage: Text = ""
    typeoflogin: int = 1
    launchurl: Text = ""


class PublicConfigModel(Loose):
    """The one item of tool_mobile_get_public_config's answer."""

    error: bool = False
    data: _ConfigData | None = None

    def record(self) -> PublicConfig | None:
        """Return the record, None if the site refuses. Login types above 1 need a browser."""
        if self.error or self.data is None:
            return None
        data = self.data
        return PublicConfig(
            url=data.wwwroot.rstrip("/"),
            name=plain(data.sitename),
            web_services=data.enablewebservices,
            mobile=data.enablemobilewebservice,
            maintenance=data.maintenanceenabled,
            browser_login=data.typeoflogin > 1,
            launch_url=data.launchurl,
            message=plain(data.maintenancemessage),
        )

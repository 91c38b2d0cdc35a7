"""The object with the parts of the hub: its services, and the features that open on it.

The services are created in one place, as one frozen object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from fastapi import Request

from mograder.auth.credentials import Role
from mograder.auth.identity import Authenticator, AuthPolicy, Identity
from mograder.core.clock import Clock
from mograder.core.names import ItemName
from mograder.core.settings import LoadedSettings
from mograder.grading.course_late import CourseDates
from mograder.grading.submissions.grading_jobs import GradingJobs
from mograder.grading.validate import Validations
from mograder.sandbox.environments.builder import Environments
from mograder.sessions.connections import Connections, LocalConnections
from mograder.sessions.copy_recorder import CopyRecorder
from mograder.sessions.launch_spec import Allowances
from mograder.sessions.manager import SessionManager
from mograder.sessions.student_copies import Copies
from mograder.store.copies.workspaces import Workspaces
from mograder.store.course.allowlist import Allowlist
from mograder.store.course.sources import Sources
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.hub.hub_state import CachedRevocations, HubState
from mograder.store.releases.release_times import VisibilityRules
from mograder.store.releases.releases import Releases
from mograder.store.submissions.submissions import Submissions
from mograder.web.background import Work
from mograder.web.hub.core.audit import AuditTrail
from mograder.web.hub.core.capabilities import Capabilities
from mograder.web.hub.core.checks import ItemChecks, ValidationResults
from mograder.web.hub.core.counts import Count, Counted, CourseNumbers
from mograder.web.hub.core.help_desk import HelpDesk
from mograder.web.hub.core.items import Items
from mograder.web.hub.core.metrics import Metrics
from mograder.web.hub.core.notifier import Notifier
from mograder.web.hub.core.parts import Parts, identity_of, use
from mograder.web.marking.context import MarkingApp, Reports
from mograder.web.pages import Pages, Viewer
from mograder.web.route import Route

if TYPE_CHECKING:  # imported only by hubs with platforms, and by those with nodes
    from mograder.exchange.lti_roster import CourseMembers
    from mograder.web.hub.core.node_door import HubNodes


async def _attended() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class HubGrading:
    """The parts of grading that handlers use.

    ``grades`` returns the marks of an item; it reads the gradebook, and may raise the gradebook's
    errors. ``key`` is that of the signatures of results.
    """

    jobs: GradingJobs
    sources: Sources
    grades: Callable[[str], Sequence[StudentGrade]]
    key: bytes


@dataclass(frozen=True, slots=True)
class Services:
    """The services that handlers use.

    ``sandboxed`` is false where sessions run without bubblewrap.
    """

    loaded: LoadedSettings
    clock: Clock
    secret: str
    authenticator: Authenticator
    policy: AuthPolicy
    roster: Allowlist
    releases: Releases
    workspaces: Workspaces
    recorder: CopyRecorder
    state: HubState
    revocations: CachedRevocations
    environments: Environments
    pool: SessionManager
    capabilities: Capabilities
    allowances: Allowances
    validations: Validations
    grading: HubGrading
    sandboxed: bool
    dev: bool
    oidc_secret: str = field(default="", repr=False)
    """The client's secret from the environment, "" to read it from the file in the settings."""
    mail_password: str = field(default="", repr=False)
    """The mail server's, from the environment, "" to read it from the file in the settings."""
    attended: Callable[[], Awaitable[bool]] = _attended
    """Returns whether the supervisor, which starts sessions, answers."""
    reports: Reports = field(default_factory=Reports)
    connections: Connections = field(default_factory=LocalConnections)
    """Connects to the servers of sessions."""
    at_work: Callable[[], bool] | None = None
    """Returns whether this is certainly the hub at work, no I/O; None where no other can be."""
    nodes: HubNodes | None = None
    """The nodes, where there are some."""

    def admits(self, user: str, proven: Role = Role.STUDENT) -> bool:
        """Return whether a person may use the hub, by their own role; reads the list."""
        return self.roster.allows(user, self.policy.role_of(user, proven))


@dataclass(frozen=True, slots=True)
class PlatformFacts:
    """Facts about learning platforms for other features' pages; the state of a hub that has some.

    ``courses`` returns the courses whose members are known, ``scores`` what is known of an item's
    marks there, for the item's template. Both block.
    """

    courses: Callable[[], Sequence[CourseMembers]]
    scores: Callable[[ItemName], object]


@dataclass(frozen=True, slots=True)
class HubApp(Parts):
    """The parts that nearly all features need, and the state of each feature while it runs.

    ``desk`` has the open requests for help, ``checks`` the checks and titles of items.
    ``gradebook`` is the path of the gradebook, which may not exist yet.
    """

    services: Services
    items: Items
    pages: Pages
    work: Work
    audit: AuditTrail
    visibility: VisibilityRules
    metrics: Metrics
    copies: Copies
    submissions: Submissions
    results: ValidationResults
    notifier: Notifier
    copy_counts: Counted[Count]
    numbers: CourseNumbers
    marking: MarkingApp
    desk: HelpDesk
    checks: ItemChecks
    gradebook: Path
    on_marks: list[Callable[[], None]] = field(default_factory=list)
    """Called when marks may have changed."""
    without_login: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """Entered to read files for a request without a login, since it has no person's turn."""
    program: ClassVar[str] = "hub"

    def marks_changed(self) -> None:
        """Tell the features that want to know."""
        for told in self.on_marks:
            told()

    @property
    def dates(self) -> CourseDates:
        return self.marking.dates

    def book(self) -> Gradebook | None:
        """Return the gradebook, None while the course has none; blocks."""
        return self.marking.book() if self.gradebook.is_file() else None

    @property
    def title(self) -> str:
        """The course's title, for the header of every page."""
        return self.services.loaded.settings.title or "Course notebooks"

    def page_values(self, request: Request) -> dict[str, object]:
        """Return the values for every page: the person who is signed in, and items' titles."""
        who = identity_of(request)
        machines = self.services.loaded.settings.nodes.enabled
        viewer = None if who is None else _viewer(who, machines=machines)
        waiting = 0
        if viewer is not None and viewer.marks:
            waiting = sum(not each.helper for each in self.desk.requests())
        numbers = self.numbers.last if viewer is not None and viewer.instructor else None
        titles = self.checks.title
        return {"viewer": viewer, "waiting": waiting, "numbers": numbers, "item_title": titles}


def _viewer(who: Identity, *, machines: bool) -> Viewer:
    return Viewer(
        who.username,
        instructor=who.role is Role.INSTRUCTOR,
        marks=who.role is not Role.STUDENT,
        can_sign_out=bool(who.login_id),
        by_front=who.front,
        machines=machines,
    )


CurrentApp = Annotated[HubApp, use(HubApp)]
"""A handler's parameter: the hub's object."""

Run = Callable[[], AbstractAsyncContextManager[None]]
"""Returns what works while the hub serves: loops, and what is closed at its end."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature. ``open`` makes its state for the handlers (``hub.add``), and returns its work.

    Both may be missing. It raises InvalidInput for settings that cannot work.
    """

    routes: tuple[Route, ...] = ()
    open: Callable[[HubApp], Run | None] | None = None

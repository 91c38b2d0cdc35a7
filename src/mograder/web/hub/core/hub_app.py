"""The object with the parts of the hub: its services, and the features that open on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

from fastapi import Request

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity
from mograder.core.item_dates import course_zone
from mograder.core.names import ItemName
from mograder.grading.course_late import CourseDates
from mograder.hub.checks import ValidationResults
from mograder.hub.counts import Count, Counted, CourseNumbers
from mograder.hub.help_desk import HelpDesk
from mograder.hub.items import ItemChecks, Items, person
from mograder.hub.notifier import Notifier
from mograder.hub.services import Services
from mograder.sessions.session import CopyOf
from mograder.sessions.student_copies import Copies
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.releases.release_times import VisibilityRules
from mograder.store.submissions.submissions import Submissions
from mograder.web.background import Work
from mograder.web.hub.core.access import Parts, identity_of, use
from mograder.web.hub.core.audit import AuditTrail
from mograder.web.hub.core.metrics import Metrics
from mograder.web.marking.context import MarkingApp
from mograder.web.pages import Pages, Viewer
from mograder.web.route import Route

if TYPE_CHECKING:  # imported only by hubs with platforms
    from mograder.exchange.lti_roster import CourseMembers


@dataclass(frozen=True, slots=True)
class PlatformFacts:
    """Facts about learning platforms for other features' pages; both block."""

    courses: Callable[[], Sequence[CourseMembers]]
    scores: Callable[[ItemName], object]


@dataclass(frozen=True, slots=True)
class HubApp(Parts):
    """The parts that nearly all features need, and the state of each feature while it runs.

    ``desk`` has the open requests for help, ``checks`` the checks and titles of items.
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
    on_marks: list[Callable[[], None]] = field(default_factory=list)
    without_login: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """Entered to read files for a request without a login, since it has no person's turn."""
    program: ClassVar[str] = "hub"

    @property
    def dates(self) -> CourseDates:
        return self.marking.dates

    def book(self) -> Gradebook | None:
        """Return the gradebook, None while the course has none; blocks."""
        return self.marking.book() if self.dates.gradebook.is_file() else None

    @property
    def title(self) -> str:
        return self.services.loaded.settings.title or "Course notebooks"

    def page_values(self, request: Request) -> dict[str, object]:
        who = identity_of(request)
        viewer = who and Viewer(
            who.username,
            instructor=who.role is Role.INSTRUCTOR,
            marks=who.role is not Role.STUDENT,
            can_sign_out=bool(who.login_id),
            by_front=who.front,
            machines=self.services.loaded.settings.nodes.enabled,
        )
        asking = self.desk.requests() if viewer and viewer.marks else ()
        return {
            "viewer": viewer,
            "waiting": sum(not each.helper for each in asking),
            "numbers": self.numbers.last if viewer and viewer.instructor else None,
            "item_title": partial(self._title, who),
            "zone": course_zone(self.services.loaded.settings),
        }

    def _title(self, who: Identity | None, name: str) -> str:
        title, item = self.checks.title(name), ItemName.valid(name)
        hidden = title and who and item and not self.items.may_know(who, CopyOf(person(who), item))
        return "" if hidden else title


CurrentApp = Annotated[HubApp, use(HubApp)]

Run = Callable[[], AbstractAsyncContextManager[None]]
"""Returns what works while the hub serves: loops, and what is closed at its end."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: ``open`` makes its state (``hub.add``) and returns its work, if any."""

    routes: tuple[Route, ...] = ()
    open: Callable[[HubApp], Run | None] | None = None

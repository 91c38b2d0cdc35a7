"""A course without a hub: an assignment server, and a student's own dashboard on their machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from playwright.async_api import Page, expect

from mograder.clients.assignment_server.client import GradeRow, HttpsTransport
from mograder.clients.course_server import RemoteAssignment
from tests.support.browser import Person
from tests.support.course import log_place, work_place
from tests.support.course_server import CourseServer
from tests.support.hub import MOGRADER, outside, run_mograder, write_settings
from tests.support.notebooks import notebook
from tests.support.other_system import OtherSystem
from tests.support.process import OpenedByLink, free_port
from tests.support.shared_hub import HEADER, SharedCaches

CODE = "open-sesame-2026"
"""The enrollment code of the test's course."""

PI, COFFEE = "A1-Measuring-Pi", "A2-Cooling-Coffee"
RELEASED = HEADER + notebook(
    "from mograder.runtime import check",
    "estimate = 0",
    'check("Q1: the estimate", [(3 < estimate < 4, "It lies between 3 and 4.")])',
)
FEEDBACK = """<!doctype html><title>Feedback</title><p>Well estimated, alice.</p>
<p id="script">no script has run</p>
<script>document.querySelector("#script").textContent = "a script has run";
try { parent.document.title = "stolen" } catch { document.title = "closed in" }</script>"""


class ServeProcess(CourseServer):
    """``mograder serve`` with a code to register, at one address however often it is started."""

    def __init__(self, root: Path, log: Path) -> None:
        super().__init__(root, log, ("-p", str(free_port()), "--enrollment-code", CODE))

    def instructor(self) -> HttpsTransport:
        """The course's teacher, signed in."""
        return HttpsTransport(self.url, self.token("prof"))

    def grade(self, item: str, user: str, work: Path) -> None:
        """Upload a grade with words, and a page of feedback, as a teacher does."""
        page = work / f"{user}.html"
        page.write_text(FEEDBACK)
        row = GradeRow({"username": user, "grade": "9.5", "feedback": "Well estimated."})
        assignment = RemoteAssignment(item, item)
        with self.instructor() as teacher:
            teacher.upload_grades(assignment, [row])
            teacher.upload_feedback(assignment, [page], lambda _: None)


class StudentProcess(OpenedByLink):
    """``mograder student`` on a folder; use it as a context manager."""

    def __init__(
        self, folder: Path, home: Path, log: Path, *options: str, system: OtherSystem | None = None
    ) -> None:
        """``system`` is the one to pretend, None for this machine's."""
        super().__init__("mograder student", log)
        self.folder = folder
        self._home = home
        self._options = options
        self._system = system

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._home.mkdir(exist_ok=True)
        command = [str(MOGRADER), "student", str(self.folder), "--headless", *self._options]
        environment = {**outside(), "HOME": str(self._home)}
        if self._system is not None:
            command[:1] = [sys.executable, "-m", "mograder"]
            environment = replace(self._system, home=self._home).environ()
        self.launch([*command, "-p", str(self.port)], environment, self.folder)
        self.wait_until(self.healthy, 60)


@dataclass(frozen=True, slots=True)
class DashboardSetup:
    """A served course, and the directories that its students' dashboards share."""

    server: ServeProcess
    place: Path
    logs: Path
    settings: Mapping[str, object]

    def build(self) -> None:
        """Have the environment of the assignments built, so that no test waits for it."""
        folder = self.place / "first"
        folder.mkdir()
        write_settings(folder, self.settings)
        (folder / "first.py").write_text(RELEASED)
        run_mograder("validate", "-C", str(folder), "first.py", cwd=folder)

    @contextmanager
    def dashboard(
        self, name: str, *options: str, system: OtherSystem | None = None
    ) -> Iterator[StudentProcess]:
        """A dashboard in a folder and a home of its own."""
        folder = self.place / name
        folder.mkdir(exist_ok=True)
        own = {"title": "Numerical Experiments", "transport": "https", **self.settings}
        write_settings(folder, {**own, "https.url": self.server.url})
        log = self.logs / f"student-{name}.log"
        log.unlink(missing_ok=True)
        home = self.place / f"home-{name}"
        with StudentProcess(folder, home, log, *options, system=system) as running:
            yield running


@contextmanager
def served_course(name: str, shared: SharedCaches) -> Iterator[DashboardSetup]:
    """A course on an assignment server of its own process, for all tests of a module."""
    logs = log_place()
    with ExitStack() as stack:
        place = stack.enter_context(work_place())
        root = place / "served"
        for item in (PI, COFFEE):
            files = root / item / "files"
            files.mkdir(parents=True)
            (files / f"{item}.py").write_text(RELEASED)
            (files / "data.csv").write_text("x,y\n1,2\n")
        log = logs / f"{name}-serve.log"
        log.unlink(missing_ok=True)
        server = stack.enter_context(ServeProcess(root, log))
        yield DashboardSetup(server, place, logs, shared.settings())


async def register(person: Person, dashboard: StudentProcess, user: str) -> Page:
    """Open the link and join the course with its code."""
    return await fill_in(await person.open(dashboard.link), user)


async def fill_in(page: Page, user: str) -> Page:
    """Fill in the form on the page."""
    await page.get_by_label("User name").fill(user)
    await page.get_by_label("Enrollment code").fill(CODE)
    await page.get_by_role("button", name="Register").click()
    await expect(page.get_by_role("heading", name="Your assignments")).to_be_visible()
    await expect(page.get_by_role("heading", name=PI)).to_be_visible()
    return page

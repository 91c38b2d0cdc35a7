"""The services of the assignment server's handlers, created in one place."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread

from mograder.core.clock import Clock, SystemClock
from mograder.core.errors import InvalidInput
from mograder.core.files.disk import DISK, Disk
from mograder.core.log import get_logger, register_secret
from mograder.core.names import ItemName, Username
from mograder.core.portable_names import problems
from mograder.core.sections.settings_model import Settings
from mograder.core.settings import LoadedSettings, default_settings
from mograder.grading.course_late import CourseDates
from mograder.store.assignment_server.assignments import MANIFEST_FILE, Catalogue
from mograder.store.assignment_server.browser_pages import BrowserPages
from mograder.store.assignment_server.drafts import Drafts
from mograder.store.assignment_server.grades import GRADES_FILE, Grades
from mograder.store.assignment_server.name_registry import PEOPLE_FILE, NameRegistry, parse_username
from mograder.store.assignment_server.secret import SECRET_FILE, ensure_secret
from mograder.store.client_wheel import ClientWheels
from mograder.store.course.allowlist import Allowlist, numbered_names
from mograder.store.releases.release_times import VisibilityRules
from mograder.store.submissions.history import RECEIPTS
from mograder.store.submissions.submissions import Submissions, older_directory
from mograder.web.pages import Pages, load_pages
from mograder.web.request_body import Uploads
from mograder.web.server.files import Digests
from mograder.web.server.limits import RegistrationLimits

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

RECORDS = Path(".mograder") / RECEIPTS
_WRITERS = 32
"""They wait for fsync; the more of them wait, the more writes one flush to disk covers."""

_READERS = 16

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The options of ``mograder serve`` (B135-B145).

    ``web`` adds the pages for the browser alone. Of ``loaded``, the settings of the course, only
    the title, the server's address, the directories, and what concerns dates are used.
    """

    root: Path
    release_dir: Path | None = None
    submissions_dir: Path | None = None
    enrollment_code: str = ""
    roster: Path | None = None
    no_auth: bool = False
    web: bool = False
    loaded: LoadedSettings | None = None

    @property
    def settings(self) -> Settings:
        return self.loaded.settings if self.loaded else Settings()


@dataclass(frozen=True, slots=True)
class Services:
    """The services that the handlers use; ``writers`` and ``readers`` bound their threads.

    A submission waits for the disk, a download does not, so each has its own threads. ``grades``
    returns those of an assignment, ``<root>/<assignment>/grades.json``, of which one that was read
    is kept.
    """

    options: ServerOptions
    secret: str = field(repr=False)
    catalogue: Catalogue
    dates: CourseDates
    visibility: VisibilityRules
    submissions: Submissions
    grades: Callable[[ItemName], Grades]
    people: NameRegistry
    roster: Allowlist | None
    registration_limits: RegistrationLimits
    clock: Clock
    disk: Disk
    digests: Digests
    uploads: Uploads
    writers: CapacityLimiter
    readers: CapacityLimiter
    drafts: Drafts
    browser_pages: BrowserPages
    client_wheels: ClientWheels
    pages: Pages
    without_login: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """Entered to read files for a request without a login, which may come from anybody."""

    def feedback_directory(self, name: ItemName) -> Path:
        """Return the directory of an assignment's feedback; reads the disk."""
        return _older(self.options.root, name, "feedback") / "feedback"

    async def read(self, do: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        return await to_thread.run_sync(do, *arguments, limiter=self.readers)

    async def write(self, do: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        return await to_thread.run_sync(do, *arguments, limiter=self.writers)


def open_services(
    options: ServerOptions, *, clock: Clock | None = None, disk: Disk = DISK
) -> Services:
    """Open a course's directory for serving; errors in its files show at the start."""
    root = options.root
    if not root.is_dir():
        raise InvalidInput(f"There is no directory {root}.", hint="Name the course's directory.")
    if options.roster is not None and not options.roster.is_file():
        raise InvalidInput(f"There is no roster {options.roster}.")
    secret = ensure_secret(root / SECRET_FILE, disk=disk)
    register_secret(secret)
    register_secret(options.enrollment_code)
    loaded, clock = options.loaded or default_settings(root), clock or SystemClock()
    submitted = options.submissions_dir or loaded.path(loaded.settings.dirs.submitted)
    beside = loaded.path(loaded.settings.dirs.release)
    # Submissions next to files/ and grades.json, as in 0.3.16, if that place was chosen.
    mixed = submitted.resolve() == root.resolve()
    # Read 0.3.16's place too, unless releases are there or an option names another directory.
    flat_in_root = (options.release_dir or beside).resolve() == root.resolve()
    older = None if options.submissions_dir or mixed or flat_in_root else root
    catalogue = Catalogue(root, options.release_dir, beside, hidden=(submitted,))
    _warn_of(catalogue, submitted)
    rules = loaded.path(loaded.settings.hub.release_dir) / ".visibility.json"
    dates = CourseDates(loaded, catalogue=catalogue)
    return Services(
        options=options,
        secret=secret,
        catalogue=catalogue,
        dates=dates,
        visibility=VisibilityRules(rules, opens=dates.openings),
        submissions=Submissions(
            submitted, records=root / RECORDS, older=older, mixed=mixed, disk=disk
        ),
        grades=cache(lambda name: Grades(_older(root, name, GRADES_FILE), disk=disk)),
        people=NameRegistry(root / PEOPLE_FILE, disk=disk),
        roster=None if options.roster is None else Allowlist(options.roster),
        registration_limits=RegistrationLimits(clock),
        clock=clock,
        disk=disk,
        digests=Digests(),
        uploads=Uploads(),
        writers=CapacityLimiter(_WRITERS),
        readers=CapacityLimiter(_READERS),
        drafts=Drafts(root, disk=disk),
        browser_pages=BrowserPages(root),
        client_wheels=ClientWheels(root),
        pages=load_pages(),
    )


def _older(root: Path, name: ItemName, entry: str) -> Path:
    """Return the directory of an assignment that has this entry."""
    return older_directory(root, name, lambda at: (at / entry).exists())


def _warn_of(catalogue: Catalogue, submitted: Path) -> None:
    """Log what keeps students from handing in, and the names that not every system can store."""
    nearest = next(each for each in (submitted, *submitted.parents) if each.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        _log.warning("%s cannot be written by this user: no submission can be taken", nearest)
    assignments = catalogue.all(log=False)  # the start fails, and tells why
    if not assignments:
        _log.warning(
            "no assignments: every directory with files/ in it is one, or name a release "
            "directory by --release-dir"
        )
    with suppress(OSError):
        for sentence in catalogue.unnamable():
            _log.warning("%s Rename it: it is not handed out.", sentence)
    for sentence in catalogue.unserved():
        _log.warning("%s: %s", MANIFEST_FILE, sentence)
    told = list(problems(each.name for each in assignments))
    for each in assignments:
        told += [f"{each.name}: {sentence}" for sentence in problems(each.files)]
    for sentence in told:
        _log.warning("%s Rename it: students' computers run Windows and macOS, too.", sentence)


def read_names(text: str) -> tuple[Username, ...]:
    """Return the user names in a file of ours, one a line; raises InvalidInput naming the line."""
    names = []
    for number, name in numbered_names(text):
        try:
            names.append(parse_username(name))
        except InvalidInput as error:
            raise InvalidInput(f"Line {number}: {error.message}") from error
    return tuple(names)

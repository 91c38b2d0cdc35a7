"""The services of a hub, created in one place (:mod:`.startup`) as one frozen object."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from mograder.auth.credentials import Role
from mograder.auth.identity import Authenticator, AuthPolicy
from mograder.core.clock import Clock
from mograder.core.settings import LoadedSettings
from mograder.grading.submissions.grading_jobs import GradingJobs
from mograder.grading.validate import Validations
from mograder.hub.capabilities import Capabilities
from mograder.hub.hosting import HubNodes
from mograder.sandbox.environments.builder import Environments
from mograder.sessions.connections import Connections
from mograder.sessions.copy_recorder import CopyRecorder
from mograder.sessions.launch_spec import Allowances
from mograder.sessions.manager import SessionManager
from mograder.store.copies.workspaces import Workspaces
from mograder.store.course.allowlist import Allowlist
from mograder.store.course.sources import Sources
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.hub.hub_state import CachedRevocations, HubState
from mograder.store.releases.releases import Releases


@dataclass(frozen=True, slots=True)
class HubGrading:
    """The parts of grading: ``grades`` reads the marks of an item, ``key`` verifies results."""

    jobs: GradingJobs
    sources: Sources
    grades: Callable[[str], Sequence[StudentGrade]]
    key: bytes


@dataclass(frozen=True, slots=True)
class Services:
    """The services that handlers use; ``sandboxed`` is false without bubblewrap."""

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
    attended: Callable[[], Awaitable[bool]]
    """Returns whether the supervisor, which starts sessions, answers."""
    connections: Connections
    oidc_secret: str = field(default="", repr=False)
    """The client's secret from the environment, "" to read it from the file in the settings."""
    mail_password: str = field(default="", repr=False)
    """The mail server's, from the environment, "" to read it from the file in the settings."""
    at_work: Callable[[], bool] | None = None
    """Returns whether this is certainly the hub at work, no I/O; None where no other can be."""
    nodes: HubNodes | None = None

    def admits(self, user: str, proven: Role = Role.STUDENT) -> bool:
        """Return whether a person may use the hub, by their own role; reads the list."""
        return self.roster.allows(user, self.policy.role_of(user, proven))

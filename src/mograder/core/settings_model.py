"""The sections and keys of ``mograder.toml``, their types, defaults and bounds.

Only shapes live here; ``core.settings`` reads the file, the environment and the options into
them. Section by section as compat.md 6 lists them, plus our own ``[hub]``, ``[security]``,
``[limits]`` and ``[database]``. A key's docstring is its documentation.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
)

from mograder.core.errors import InvalidInput
from mograder.core.names import Username

OUR_SECTIONS: Final = frozenset({"hub", "security", "limits", "database"})
"""Sections where a mistake is refused; elsewhere it is a warning, since old files must open."""

SECRET_KEYS: Final = frozenset({"https.token", "database.url"})
"""Keys whose value is never printed as it is."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PATH_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")
_HOST = re.compile(r"\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def normalise_base_url(text: str) -> str:
    """Return a path prefix as ``/live/hub``, or ``""`` for the root.

    Raises: ValueError for anything else than plain path segments.
    """
    path = text.strip().rstrip("/")
    if not path:
        return ""
    segments = path.removeprefix("/").split("/")
    if any(not _PATH_SEGMENT.fullmatch(each) or each in {".", ".."} for each in segments):
        raise ValueError("must be a path prefix such as /live/hub, without scheme, query or '..'")
    return "/" + "/".join(segments)


def normalise_public_url(text: str) -> str:
    """Return the origin that browsers use, as they write it in ``Origin``, or ``""``.

    Raises: ValueError when it is more or less than scheme, host and port.
    """
    if not text.strip():
        return ""
    expected = "must be scheme and host only, such as https://hub.example.net"
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise ValueError(expected) from error
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    extra = parts.path.rstrip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in _DEFAULT_PORTS or extra or not _HOST.fullmatch(host):
        raise ValueError(expected)
    shown = "" if port in {None, _DEFAULT_PORTS[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{host}{shown}"


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _user(text: str) -> str:
    try:
        return Username.parse(text)
    except InvalidInput as error:
        raise ValueError(f"must list usernames: {error.message}") from error


def _peer(text: str) -> str:
    if text == "unix":
        return text
    try:
        return str(ipaddress.ip_network(text)) if "/" in text else str(ipaddress.ip_address(text))
    except ValueError as error:
        raise ValueError(
            "must list addresses, networks such as 10.0.0.0/8, or 'unix'"
            f" ({text!r}: {str(error).removeprefix(repr(text)).strip()})"
        ) from error


def _header(text: str) -> str:
    if text and not _HEADER_NAME.fullmatch(text):
        raise ValueError("must be the name of an HTTP header, or empty to trust none")
    return text


def _database_url(text: str) -> str:
    if text and "://" not in text:
        raise ValueError("must be a URL such as postgresql://user:password@host/name, or empty")
    return text


def _present(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Present = Annotated[str, AfterValidator(_present)]


class Section(BaseModel):
    """What all sections share: unknown keys are noticed, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class AssignmentFile(Section):
    """One file of an assignment, as Moodle names it."""

    name: str = ""
    url: str = ""


class Assignment(Section):
    """One ``[[assignments]]`` table, as ``mograder moodle sync`` writes it."""

    name: str = ""
    id: int = 0
    cmid: int = 0
    duedate: int = 0
    """Unix time; 0 means no deadline."""
    dir: str = ""
    files: Annotated[tuple[AssignmentFile, ...], BeforeValidator(_listed)] = ()


class MoodleSettings(Section):
    """``[moodle]``: where the course lives in Moodle and how its exported lists are read."""

    url: str = ""
    course_id: int = 0
    csv: str = ""
    match_column: str = "Username"
    name_column: str = "Full name"


class HttpsSettings(Section):
    """``[https]``: the assignment server of ``mograder serve``."""

    url: str = ""
    token: SecretStr = SecretStr("")


class DefaultsSettings(Section):
    """``[defaults]``: what the authoring and grading commands do unless told otherwise."""

    jobs: int = 4
    timeout: int = 300
    no_edit: bool = False
    no_actions: bool = False
    headless_edit: bool = False


class RlimitsSettings(Section):
    """``[rlimits]``: limits of one notebook run in grading; 0 is off."""

    cpu: int = 600
    """Seconds."""
    nproc: int = 512
    nofile: int = 256
    as_: int = Field(default=1_073_741_824, alias="as")
    """Bytes of address space."""


class DirsSettings(Section):
    """``[dirs]``: the course's directories."""

    source: str = "source"
    release: str = "release"
    submitted: str = "submitted"
    autograded: str = "autograded"
    feedback: str = "feedback"
    import_: str = Field(default="import", alias="import")


class GradebookSettings(Section):
    """``[gradebook]``: the marks' database."""

    path: str = "gradebook.db"


class SyncSettings(Section):
    """``[sync]``: the remote machine of 0.3.16's course synchronisation."""

    remote: str = ""
    remote_course_dir: str = ""
    remote_venv_dir: str = ""


class PenaltiesSettings(Section):
    """``[penalties]``: what a late submission costs, in per cent."""

    enabled: bool = False
    grace_minutes: float = 5
    per_day: float = 5.0
    max: float = 100.0


class HubSettings(Section):
    """``[hub]``: the shared server (B106-B111 and our own keys)."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """0 takes a free port."""
    host: Present = "0.0.0.0"  # noqa: S104  # B75
    notebooks_dir: Present = "hub-notebooks"
    release_dir: Present = "hub-release"
    session_ttl: Positive = 3600
    """Seconds without traffic after which a session is stopped."""
    trusted_header: Annotated[str, AfterValidator(_header)] = "X-Remote-User"
    """The header in which a trusted proxy names the user."""
    uv_cache_dir: str = ""
    """Empty: ~/.cache/uv."""
    instructors: Annotated[
        tuple[Annotated[str, AfterValidator(_user)], ...], BeforeValidator(_listed)
    ] = ()
    """Users who are instructors however they sign in."""
    trusted_proxies: Annotated[
        tuple[Annotated[str, AfterValidator(_peer)], ...] | None, BeforeValidator(_listed)
    ] = None
    """Who may name a user in the header: addresses, networks, or "unix" for the hub's own Unix
    socket. Unset: loopback while sessions are sandboxed, nobody otherwise."""
    session_isolation: Literal["sandbox", "same-origin"] = "sandbox"
    """Where a session's page runs in the browser; "same-origin" is for debugging."""
    base_url: Annotated[str, AfterValidator(normalise_base_url)] = ""
    """The path prefix under which browsers find the hub, such as "/live/hub"."""
    public_url: Annotated[str, AfterValidator(normalise_public_url)] = ""
    """Scheme and host that browsers use, where the proxy in front does not tell."""
    environments_dir: Present = ".mograder/environments"
    runtime_dir: str = ""
    """A short path for sockets; empty: chosen automatically."""
    supervisor_socket: str = ""
    """The socket of a supervisor that runs already; empty: the hub starts its own."""


class SecuritySettings(Section):
    """``[security]``: the sandbox and the scanner."""

    use_bubblewrap: bool | None = None
    """Unset or true: sessions run in bubblewrap or not at all. False: no sandbox."""
    safety_scan: Literal["refuse", "warn", "off"] = "refuse"
    sandbox_uid_base: Annotated[int, Field(ge=1000, le=4_000_000_000)] = 600_000
    """The first uid of students' sandboxes when the supervisor runs as root."""


class LimitsSettings(Section):
    """``[limits]``: bounds of one session, of all of them together, and of one upload.

    Those of one session may be set per item besides (`ItemLimits`).
    """

    memory_mb: Positive = 2048
    """Memory of one session. One that needs more is ended."""
    memory_soft_mb: Count = 0
    """Where cgroup v2 is delegated: memory above which a session is slowed down, nearly to a halt.
    0: just below memory_mb."""
    processes: Positive = 256
    """Processes and threads of one session. One that starts more is ended."""
    cpu_weight: Annotated[int, Field(ge=1, le=10_000)] = 100
    """A session's share of busy processors, compared with the others'."""
    open_files: Positive = 1024
    file_size_mb: Positive = 1024
    """One file that a session writes."""
    tmp_mb: Positive = 512
    """A session's private /tmp, its home outside the workspace, and its shared memory, each."""
    workspace_mb: Positive = 1024
    """All files of one workspace together. A session that writes more is ended."""
    disk_reserve_mb: Count = 1024
    """Disk space that students' files leave free: below it the session that writes most is
    ended."""
    total_memory_mb: Count = 0
    """Memory of all sessions together. More starts wait in line. 0: what the machine has, less a
    tenth."""
    starts_at_once: Count = 0
    """Sessions that start at the same time; the others wait in line. 0: two per processor."""
    line_length: Positive = 1000
    """Starts that may wait in line; one more is refused."""
    warm_environments: Count = 0
    """Environments of which a process is kept that sessions are forked from; 0: none, and every
    session starts cold."""
    warm_memory_mb: Positive = 1024
    """Memory of those processes together; the ones used longest ago are ended."""
    upload_mb: Positive = 100
    """A whole publish or upload body."""
    upload_files: Positive = 200
    request_mb: Positive = 256
    """One request through the session proxy."""
    start_timeout: Positive = 120
    """Seconds until a session must answer."""
    build_timeout: Positive = 900
    """Seconds for building an environment."""


class ItemLimits(Section):
    """The bounds of one session of one item; what is not set is as in ``[limits]``."""

    memory_mb: Positive | None = None
    memory_soft_mb: Count | None = None
    processes: Positive | None = None
    cpu_weight: Annotated[int, Field(ge=1, le=10_000)] | None = None
    open_files: Positive | None = None
    file_size_mb: Positive | None = None
    tmp_mb: Positive | None = None
    workspace_mb: Positive | None = None


class ItemSettings(Section):
    """``[items.NAME]``: what the administrator decides about one item.

    It beats the ``[tool.mograder]`` table of the item's own header.
    """

    allow: Annotated[tuple[str, ...], BeforeValidator(_listed)] | None = None
    """Parts of marimo's page that are on; unset: as the header says."""
    limits: ItemLimits = ItemLimits()


class DatabaseSettings(Section):
    """``[database]``: the hub's own state."""

    url: Annotated[str, AfterValidator(_database_url)] = Field(default="", repr=False)
    """Empty: the SQLite file ``.mograder/hub.db`` in the course."""


class Settings(Section):
    """The whole tree, frozen; every section is there, filled with its defaults."""

    title: str | None = None
    transport: Literal["moodle", "https"] = "moodle"
    config_url: str = ""
    assignments: Annotated[tuple[Assignment, ...], BeforeValidator(_listed)] = ()
    edit_links: Mapping[str, str] = Field(default_factory=dict)
    """Name of a link to an online editor = its URL, with {content_lz} {dir} {filename}."""
    moodle: MoodleSettings = MoodleSettings()
    https: HttpsSettings = HttpsSettings()
    defaults: DefaultsSettings = DefaultsSettings()
    rlimits: RlimitsSettings = RlimitsSettings()
    dirs: DirsSettings = DirsSettings()
    gradebook: GradebookSettings = GradebookSettings()
    sync: SyncSettings = SyncSettings()
    penalties: PenaltiesSettings = PenaltiesSettings()
    hub: HubSettings = HubSettings()
    security: SecuritySettings = SecuritySettings()
    limits: LimitsSettings = LimitsSettings()
    items: Mapping[str, ItemSettings] = Field(default_factory=dict)
    database: DatabaseSettings = DatabaseSettings()

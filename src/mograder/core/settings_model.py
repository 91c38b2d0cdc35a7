"""The sections and keys of ``mograder.toml``, their types, defaults and bounds.

Only shapes live here; ``core.settings`` reads the file, the environment and the options into
them. Section by section as compat.md 6 lists them, plus our own ``[hub]``, ``[security]``,
``[safety]``, ``[limits]``, ``[database]`` and ``[backup]``. A key's docstring is its documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
)

from mograder.core.reserve import DiskReserve
from mograder.core.settings_values import (
    builtin,
    database_url,
    feature,
    group,
    header,
    listed,
    module,
    normalise_base_url,
    normalise_public_url,
    peer,
    present,
    user,
)

OUR_SECTIONS: Final = frozenset(
    {"hub", "security", "safety", "limits", "items", "database", "backup"}
)
"""Sections where a mistake is refused; elsewhere it is a warning, since old files must open."""

SECRET_KEYS: Final = frozenset({"https.token", "database.url"})
"""Keys whose value is never printed as it is."""

NO_EFFECT: Final = "accepted for 0.3.16, no effect yet"
"""Marks a key, in its annotation, that course files of 0.3.16 have and that nothing reads."""

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Megabytes = Annotated[int, Field(ge=1, le=16_777_216)]
"""Up to 16 TiB: a slip of the keyboard must not become a number that the kernel cannot take."""
Present = Annotated[str, AfterValidator(present)]
Modules = Annotated[tuple[Annotated[str, AfterValidator(module)], ...], BeforeValidator(listed)]
Builtins = Annotated[tuple[Annotated[str, AfterValidator(builtin)], ...], BeforeValidator(listed)]


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
    files: Annotated[tuple[AssignmentFile, ...], BeforeValidator(listed)] = ()


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
    no_edit: Annotated[bool, NO_EFFECT] = False
    no_actions: Annotated[bool, NO_EFFECT] = False
    headless_edit: Annotated[bool, NO_EFFECT] = False


class RlimitsSettings(Section):
    """``[rlimits]``: limits of 0.3.16 for a notebook run in grading; 0 is off."""

    cpu: Annotated[int, NO_EFFECT] = 600
    """Seconds."""
    nproc: Annotated[int, NO_EFFECT] = 512
    nofile: Annotated[int, NO_EFFECT] = 256
    as_: Annotated[int, NO_EFFECT] = Field(default=1_073_741_824, alias="as")
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

    remote: Annotated[str, NO_EFFECT] = ""
    remote_course_dir: Annotated[str, NO_EFFECT] = ""
    remote_venv_dir: Annotated[str, NO_EFFECT] = ""


class PenaltiesSettings(Section):
    """``[penalties]``: what a late submission costs, in per cent."""

    enabled: Annotated[bool, NO_EFFECT] = False
    grace_minutes: Annotated[float, NO_EFFECT] = 5
    per_day: Annotated[float, NO_EFFECT] = 5.0
    max: Annotated[float, NO_EFFECT] = 100.0


class HubSettings(Section):
    """``[hub]``: the shared server (B106-B111 and our own keys)."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """0 takes a free port."""
    host: Present = "0.0.0.0"  # noqa: S104  # B75
    notebooks_dir: Present = "hub-notebooks"
    release_dir: Present = "hub-release"
    session_ttl: Positive = 3600
    """Seconds without traffic after which a session is stopped."""
    trusted_header: Annotated[str, AfterValidator(header)] = "X-Remote-User"
    """The header in which a trusted proxy names the user."""
    uv_cache_dir: str = ""
    """Empty: ~/.cache/uv."""
    instructors: Annotated[
        tuple[Annotated[str, AfterValidator(user)], ...], BeforeValidator(listed)
    ] = ()
    """Users who are instructors however they sign in."""
    trusted_proxies: Annotated[
        tuple[Annotated[str, AfterValidator(peer)], ...] | None, BeforeValidator(listed)
    ] = None
    """Who may name a user in the header: addresses, networks, or "unix" for the hub's own Unix
    socket. Unset: loopback while sessions are sandboxed, nobody otherwise."""
    session_isolation: Literal["sandbox", "same-origin"] = "sandbox"
    """Where a session's page runs in the browser; "same-origin" is for debugging."""
    base_url: Annotated[str, AfterValidator(normalise_base_url)] = ""
    """The path prefix under which browsers find the hub, such as "/live/hub"."""
    public_url: Annotated[str, AfterValidator(normalise_public_url)] = ""
    """Scheme and host that browsers use, where the proxy in front does not tell."""
    collect: bool = False
    """Whether the dashboard offers Submit, which hands in on the hub, into [dirs] submitted."""
    environments_dir: Present = ".mograder/environments"
    """The packages of this hub's notebooks. Not to be shared with another course's hub: this one
    removes what it does not need itself."""
    unused_environments_mb: Count = 4096
    """Disk space of environments that nothing needs. Above it the hub removes those that were used
    longest ago; `mograder hub prune` removes all of them."""
    runtime_dir: str = ""
    """A short path for sockets; empty: chosen automatically."""
    supervisor_socket: str = ""
    """The socket of a supervisor that runs already; empty: the hub starts its own."""
    session_url: str = ""
    """An origin of its own for each viewer of each session: "https://{session}.example.net", on a
    domain that nothing else uses. Empty: session pages run in an opaque origin of the hub's."""
    front_group: Annotated[str, AfterValidator(group)] = ""
    """The Unix group of a web server that carries session traffic by itself (the fast path): it may
    connect to the sessions' sockets. Empty: all traffic goes by the hub."""


class SecuritySettings(Section):
    """``[security]``: the sandbox and the scanner."""

    use_bubblewrap: bool | None = None
    """Unset or true: sessions run in bubblewrap or not at all. False: no sandbox."""
    safety_scan: Literal["refuse", "warn", "off"] = "refuse"
    """What becomes of a student's notebook in which the scan of [safety] finds something."""
    sandbox_uid_base: Annotated[int, Field(ge=1000, le=2_000_000_000)] = 600_000
    """The first uid of students' sandboxes when the supervisor runs as root; bubblewrap takes none
    from 2147483648 on."""


class SafetySettings(Section):
    """``[safety]``: what a scan of students' notebooks denies, beside what it always does.

    What is both denied and allowed here is denied.
    """

    deny_imports: Modules = ()
    """Further modules that students should not import."""
    allow_imports: Modules = ()
    """Modules that they may import after all, such as pathlib."""
    deny_calls: Builtins = ()
    """Further builtins that they should not call."""
    allow_calls: Builtins = ()
    """Builtins that they may call after all, such as open."""


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
    ended. On a small file system disk_reserve_percent of it counts, if that is less."""
    disk_reserve_percent: Annotated[int, Field(ge=0, le=100)] = 5
    """The largest part of a file system that the reserve takes, in per cent."""
    total_memory_mb: Count = 0
    """Memory of all sessions together. More starts wait in line. 0: what the machine has, less a
    tenth."""
    starts_at_once: Count = 0
    """Sessions that start at the same time; the others wait in line. 0: two per processor."""
    line_length: Positive = 1000
    """Starts that may wait in line; one more is refused."""
    warm_environments: Count = 8
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

    @property
    def disk_reserve(self) -> DiskReserve:
        """The free space that students' files leave on a disk."""
        return DiskReserve(self.disk_reserve_mb, self.disk_reserve_percent)


class ItemLimits(Section):
    """The bounds of one session of one item; what is not set is as in ``[limits]``.

    A notebook's header may set them too, in ``[tool.mograder.limits]``.
    """

    memory_mb: Megabytes | None = None
    """Memory of one session of this item."""
    memory_soft_mb: Annotated[int, Field(ge=0, le=16_777_216)] | None = None
    """Memory above which it is slowed down. Unset where memory_mb is set, or 0: three quarters
    of that."""
    processes: Annotated[int, Field(ge=1, le=4_194_304)] | None = None
    """Its processes and threads."""
    cpu_weight: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Its share of busy processors."""
    open_files: Annotated[int, Field(ge=1, le=1_048_576)] | None = None
    """Its open files."""
    file_size_mb: Megabytes | None = None
    """One file that it writes."""
    tmp_mb: Megabytes | None = None
    """Its private /tmp, its home and its shared memory, each."""
    workspace_mb: Megabytes | None = None
    """All files of one workspace together."""


class ItemSettings(Section):
    """``[items.NAME]``: what the administrator decides about one item.

    It beats the ``[tool.mograder]`` table of the item's own header, key by key.
    """

    allow: (
        Annotated[tuple[Annotated[str, AfterValidator(feature)], ...], BeforeValidator(listed)]
        | None
    ) = None
    """The parts of marimo's page that are on, and no others: ai, execute, lsp, packages, secrets,
    terminal. Unset: as the header says."""
    limits: ItemLimits = ItemLimits()


class DatabaseSettings(Section):
    """``[database]``: the hub's own state."""

    url: Annotated[str, AfterValidator(database_url)] = Field(default="", repr=False)
    """Empty: the SQLite file ``.mograder/hub.db`` in the course."""


class BackupSettings(Section):
    """``[backup]``: where the scheduled backups go, and what `hub check` expects of them."""

    directory: str = ""
    """The directory of the backups; it must exist. Empty: no scheduled backups and no check."""
    keep: Positive = 14
    """Backups that are kept, and the newest complete one; others are removed after a sound one."""
    max_age_hours: Positive = 26
    """An older newest backup is a problem."""
    least_percent: Annotated[int, Field(ge=0, le=100)] = 50
    """Per cent of the largest earlier backup; a smaller newest backup is a problem."""


class Settings(Section):
    """The whole tree, frozen; every section is there, filled with its defaults."""

    title: str | None = None
    transport: Literal["moodle", "https"] = "moodle"
    config_url: Annotated[str, NO_EFFECT] = ""
    assignments: Annotated[tuple[Assignment, ...], BeforeValidator(listed)] = ()
    edit_links: Annotated[Mapping[str, str], NO_EFFECT] = Field(default_factory=dict)
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
    safety: SafetySettings = SafetySettings()
    limits: LimitsSettings = LimitsSettings()
    items: Mapping[str, ItemSettings] = Field(default_factory=dict)
    """By the item's name."""
    database: DatabaseSettings = DatabaseSettings()
    backup: BackupSettings = BackupSettings()

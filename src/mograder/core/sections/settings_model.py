"""The sections and keys of ``mograder.toml``, their types, defaults and bounds.

This module only defines types; ``core.settings`` loads the values. The sections are those of
compatibility-0.3.16.md 6 (:data:`OLD_SECTIONS`), plus our own. A key's docstring is its
documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
)

from mograder.core.files.disk import DiskReserve
from mograder.core.names import nfc
from mograder.core.sections.settings_values import (
    Present,
    Section,
    builtin,
    database_url,
    feature,
    header,
    issuer_address,
    listed,
    module,
    moment,
    normalise_base_url,
    normalise_public_url,
    peer,
    unix_seconds,
    user,
    written_time,
    zone,
)

OLD_SECTIONS: Final = frozenset(
    {"moodle", "https", "defaults", "rlimits", "dirs", "gradebook", "sync", "penalties"}
)
"""Sections of 0.3.16, which also take a number as text; the others need a value's own type."""

SECRET_KEYS: Final = frozenset({"https.token", "database.url"})
"""Keys whose value is masked in all output."""

NO_EFFECT: Final = "accepted for 0.3.16, no effect yet"
"""The annotation of a key that course files of 0.3.16 have and that mograder does not read."""

HiddenTests = Literal["points", "label", "message", "full"]
HiddenTestsAfter = Literal["deadline", "release", "never"]
_MOST: Final = 1_000_000_000
"""So that a typing error stays in the range of Python's times."""
Positive = Annotated[int, Field(ge=1, le=_MOST)]
Count = Annotated[int, Field(ge=0, le=_MOST)]
Days = Annotated[int, Field(ge=0, le=100_000)]
Megabytes = Annotated[int, Field(ge=1, le=16_777_216)]
"""MiB, at most 16 TiB, so that a typing error stays in the range that the kernel accepts."""
Modules = Annotated[tuple[Annotated[str, AfterValidator(module)], ...], BeforeValidator(listed)]
Users = Annotated[tuple[Annotated[str, AfterValidator(user)], ...], BeforeValidator(listed)]
Builtins = Annotated[tuple[Annotated[str, AfterValidator(builtin)], ...], BeforeValidator(listed)]
LtiScores = Literal["off", "released"]
LtiRoster = Literal["off", "show", "allow"]
LtiTeachers = Literal["named", "all"]
MailSecurity = Literal["starttls", "tls", "none"]
MailEvent = Literal["handed-in", "released", "decided", "updated", "due", "digest"]


class AssignmentFile(Section):
    """One file of an assignment, as Moodle names it; keys of others stand beside ours."""

    model_config = ConfigDict(extra="ignore")

    name: str = ""
    url: str = ""


class Assignment(Section):
    """One ``[[assignments]]`` table, as ``mograder moodle sync`` writes it, and others' keys."""

    model_config = ConfigDict(extra="ignore")

    name: str = ""
    id: int = 0
    cmid: int = 0
    duedate: Annotated[int, BeforeValidator(unix_seconds)] = 0
    """Unix time; 0 means no deadline. `due` in `[items."NAME"]` counts before it."""
    cutoffdate: Annotated[int, BeforeValidator(unix_seconds)] = 0
    """The same for `closes`."""
    allowsubmissionsfromdate: Annotated[int, BeforeValidator(unix_seconds)] = 0
    """The same for `opens`."""
    dir: str = ""
    files: Annotated[tuple[AssignmentFile, ...], BeforeValidator(listed)] = ()

    @property
    def item(self) -> str:
        """The name of its item: that of its directory, its own without one."""
        return self.dir.rstrip("/").rpartition("/")[2] or self.name


class MoodleSettings(Section):
    """``[moodle]``: the course on Moodle, and the columns of its exported lists."""

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
    """``[defaults]``: the defaults of the authoring and grading commands."""

    jobs: Positive = 4
    """Notebooks that the hub validates, or `mograder autograde` grades, at the same time."""
    timeout: Annotated[Positive, AfterValidator(lambda seconds: min(seconds, 3600))] = 300
    """Seconds that one notebook may run, at most 3600. Its checks have as long again when it is
    graded: one check a fifth of that, or 60 s where that is more, and one call of an answer a
    thirtieth, or 10 s."""
    no_edit: Annotated[bool, NO_EFFECT] = False
    no_actions: Annotated[bool, NO_EFFECT] = False
    headless_edit: Annotated[bool, NO_EFFECT] = False


class RlimitsSettings(Section):
    """``[rlimits]``: stricter limits than ``[limits]`` for notebooks that are graded; 0 is off."""

    cpu: Annotated[int, NO_EFFECT] = 600
    """Seconds of processor time; `timeout` in [defaults] limits the time."""
    nproc: int | None = None
    """Processes and threads. Unset: as in [limits]."""
    nofile: int | None = None
    """Open files. Unset: as in [limits]."""
    as_: int | None = Field(default=None, alias="as")
    """Bytes of memory. Unset: as in [limits]."""


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

    export_0316: bool = False
    """Marks are written into the tables of mograder 0.3.16 in this file as well: after each command
    and each grading job of a hub that changes them, and when a hub or the grader stops."""


class SyncSettings(Section):
    """``[sync]``: the remote machine of 0.3.16's course synchronisation."""

    remote: Annotated[str, NO_EFFECT] = ""
    remote_course_dir: Annotated[str, NO_EFFECT] = ""
    remote_venv_dir: Annotated[str, NO_EFFECT] = ""


class PenaltiesSettings(Section):
    """``[penalties]``: the deductions for late submissions.

    Keys of ``[items.NAME.penalties]``, and those that instructors store with
    `mograder extension policy`, count before these.
    """

    enabled: bool = False
    grace_minutes: float = 5
    """Minutes after the due date for which nothing is deducted; days begin after them."""
    per_day: float = 5.0
    """Per cent of the mark for each day that has begun. A day ends at the same time by the clocks
    of the course's `timezone`; without one it has 24 hours."""
    max: float = 100.0
    """The largest deduction, in per cent of the mark."""
    cut_off_days: Count = 0
    """Days after which a submission counts 0 marks. 0: none."""
    hard_limit: Annotated[str, BeforeValidator(moment)] = ""
    """A time after which a submission counts 0 marks, however late it is; an extension beyond it
    moves it for its students. Such as "2027-02-28T18:00+01:00" (without an offset: UTC; a day
    alone: to its end)."""
    late_days: Count = 0
    """Days without deduction that each student has for all assignments together; they are used in
    the order of due dates, and only where they lower a deduction."""
    late_days_each: Count | None = None
    """The most of them that may be used for one assignment. Unset: all."""


_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class LateRule(Section):
    """``[items.NAME.penalties]``: keys for one item; unset ones are as in ``[penalties]``."""

    enabled: bool | None = None
    """Whether late submissions have deductions."""
    grace_minutes: _Amount | None = None
    """Minutes after the due date for which nothing is deducted."""
    per_day: _Amount | None = None
    """Per cent of the mark for each day that has begun."""
    max: _Amount | None = None
    """The largest deduction, in per cent of the mark."""
    cut_off_days: Count | None = None
    """Days after which a submission counts 0 marks. 0: none."""
    hard_limit: Annotated[str, BeforeValidator(moment)] | None = None
    """A time after which a submission counts 0 marks. Empty: none."""
    late_days_each: Count | None = None
    """The most late days that may be used for this item."""


class CourseRule(LateRule):
    """Keys that are stored in the gradebook for the course, or for an assignment.

    ``late_days`` is for the course only.
    """

    late_days: Count | None = None
    """Days without deduction that each student has for all assignments together."""


class GradingSettings(Section):
    """``[grading]``: what students are shown of the results of hidden tests."""

    hidden_tests: HiddenTests = "points"
    """"points": the marks of all hidden tests of a question; "label": each check with its label;
    "message": also the messages of what failed; "full": also values and calls."""
    hidden_tests_after: HiddenTestsAfter = "deadline"
    """"deadline": pages made before the last due date leave hidden tests out, and the marks that
    would tell their results; "release": every page tells; "never": only the marks of questions."""


class MarkingSettings(Section):
    """``[marking]``: the marking of answers by people, on the hub and in `mograder grader`."""

    markers: Users = ()
    """Users who mark: they see only the assignments that an instructor has opened for marking."""
    requests_days: Days = 14
    """Days after the release of a mark in which students may ask to look at it again. 0: never."""
    requests_to: Literal["marker", "other", "instructors"] = "marker"
    """The person a request goes to. "marker": the one who gave the mark; "other": another marker of
    the assignment; "instructors": any instructor, as always for marks by grading."""
    names: Literal["hidden", "shown", "never"] = "hidden"
    """Whether pages of marking show the students' names: "hidden" until the person asks for them,
    "shown", or "never" to markers; then only instructors can ask for them."""


class HubSettings(Section):
    """``[hub]``: the shared server (B106-B111 and our own keys)."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """0: any free port."""
    host: Present = "0.0.0.0"  # noqa: S104  # B75
    notebooks_dir: Present = "hub-notebooks"
    release_dir: Present = "hub-release"
    session_ttl: Positive = 3600
    """Seconds without a request or a WebSocket message after which a session is stopped; four times
    as many while a page is open or the kernel computes."""
    trusted_header: Annotated[str, AfterValidator(header)] = "X-Remote-User"
    """The header in which a trusted proxy names the user."""
    uv_cache_dir: str = ""
    """Empty: ~/.cache/uv; for root .mograder/uv-cache in the course."""
    instructors: Users = ()
    """Users who are instructors, regardless of how they sign in."""
    trusted_proxies: Annotated[
        tuple[Annotated[str, AfterValidator(peer)], ...] | None, BeforeValidator(listed)
    ] = None
    """Peers that may name a user in the header: addresses or networks. Unset: loopback if sessions
    are sandboxed, no peer otherwise."""
    base_url: Annotated[str, AfterValidator(normalise_base_url)] = ""
    """The path prefix under which browsers find the hub, such as "/live/hub"."""
    public_url: Annotated[str, AfterValidator(normalise_public_url)] = ""
    """Scheme and host that browsers use. The hub then answers under no other name, but for
    addresses and names that nobody can register. Empty: those that the proxy in front passes on."""
    collect: bool = False
    """Whether students have a button Hand in, which puts submissions into [dirs] submitted."""
    environments_dir: Present = ".mograder/environments"
    """The directory for the packages of this hub's notebooks, on a disk of its machine. Hubs on
    several machines must not share it: each builds its own, also while it waits, and removes those
    that it does not need."""
    unused_environments_mb: Count = 4096
    """Disk space for environments that no item needs, in MiB. Above it the hub removes the least
    recently used ones; `mograder hub prune` removes all of them."""
    warm_minutes: Count = 10
    """Minutes before an item opens, or before a time of `mograder hub warm --at`, from which it is
    kept warm: its packages installed, a process ready from which sessions are forked. 0: never."""
    runtime_dir: str = ""
    """A short path for sockets; empty: chosen automatically."""
    supervisor_socket: str = ""
    """The socket of a supervisor that runs already; empty: the hub starts its own."""
    session_url: str = ""
    """A separate origin for each viewer of each session: "https://{session}.example.net", on a
    domain that is used for nothing else. Empty: session pages run in an opaque origin of the
    hub's."""

    @property
    def here(self) -> str:
        """Host and port by which the hub's own machine reaches it."""
        local = {"0.0.0.0": "127.0.0.1", "localhost": "127.0.0.1", "::": "::1"}  # noqa: S104
        host = local.get(self.host, self.host)
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


class SecuritySettings(Section):
    """``[security]``: the sandbox and the scanner."""

    use_bubblewrap: bool | None = None
    """Unset or true: sessions run in bubblewrap or not at all. False: no sandbox."""
    safety_scan: Literal["refuse", "warn", "off"] = "refuse"
    """The reaction to a student's notebook with code that the scan of [safety] denies."""
    sandbox_uid_base: Annotated[int, Field(ge=1000, le=2_000_000_000)] = 600_000
    """The first uid of students' sandboxes when the supervisor runs as root; bubblewrap accepts
    uids below 2147483648 only."""


class SafetySettings(Section):
    """``[safety]``: changes to the code that a scan of students' notebooks denies by default.

    A name that is both denied and allowed here is denied.
    """

    deny_imports: Modules = ()
    """Further modules that students should not import."""
    allow_imports: Modules = ()
    """Modules, such as pathlib, that students may import although they are denied by default."""
    deny_calls: Builtins = ()
    """Further builtins that students should not call."""
    allow_calls: Builtins = ()
    """Builtins, such as open, that students may call although they are denied by default."""


class LimitsSettings(Section):
    """``[limits]``: limits of one session, of all of them together, and of one upload.

    Those of one session can also be set per item (`ItemLimits`).
    """

    memory_mb: Positive = 2048
    """Memory of one session. A session that needs more is ended."""
    memory_soft_mb: Count = 0
    """Memory above which a session is slowed down almost to a halt, if cgroup v2 is delegated. 0:
    just below memory_mb."""
    processes: Positive = 256
    """Processes and threads of one session. A session that starts more is ended."""
    cpu_weight: Annotated[int, Field(ge=1, le=10_000)] = 100
    """A session's share of busy processors, relative to other sessions."""
    open_files: Positive = 1024
    file_size_mb: Positive = 1024
    """The largest file that a session may write."""
    tmp_mb: Positive = 512
    """The size of a session's private /tmp, of its home outside the workspace, and of its shared
    memory, each."""
    workspace_mb: Positive = 1024
    """The size of all files of one workspace. A session that writes more is ended."""
    disk_reserve_mb: Count = 1024
    """Disk space that students' files must leave free: below it the session that writes most is
    ended. On a small file system disk_reserve_percent of it applies, if that is less."""
    disk_reserve_percent: Annotated[int, Field(ge=0, le=100)] = 5
    """The largest part of a file system for the reserve, in per cent."""
    total_memory_mb: Count = 0
    """Memory of all sessions together. Further starts wait in a queue. 0: the machine's memory,
    less a tenth."""
    starts_at_once: Count = 0
    """Sessions that start at the same time; others wait in a queue. 0: two per processor."""
    line_length: Positive = 1000
    """Starts that may wait in the queue; further ones are refused."""
    warm_environments: Count = 8
    """Environments with a process from which sessions are forked; 0: every session starts cold."""
    warm_memory_mb: Positive = 1024
    """Memory of those processes together; above it the least recently used ones are ended."""
    upload_mb: Positive = 100
    """The largest body of a publish or upload request."""
    upload_files: Positive = 200
    request_mb: Positive = 256
    """The largest request through the session proxy."""
    start_timeout: Positive = 120
    """Seconds within which a new session must answer."""
    build_timeout: Positive = 900
    """Seconds for building an environment."""

    @property
    def disk_reserve(self) -> DiskReserve:
        """The disk space that students' files must leave free."""
        return DiskReserve(self.disk_reserve_mb, self.disk_reserve_percent)


class ItemLimits(Section):
    """The limits of one session of one item; unset ones are as in ``[limits]``.

    A notebook's header may set them too, in ``[tool.mograder.limits]``.
    """

    memory_mb: Megabytes | None = None
    """Memory of one session of this item."""
    memory_soft_mb: Annotated[int, Field(ge=0, le=16_777_216)] | None = None
    """Memory above which it is slowed down almost to a halt. 0, or unset where memory_mb is set:
    just below that."""
    processes: Annotated[int, Field(ge=1, le=4_194_304)] | None = None
    """Its processes and threads."""
    cpu_weight: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Its share of busy processors, relative to other sessions."""
    open_files: Annotated[int, Field(ge=1, le=1_048_576)] | None = None
    """Its open files."""
    file_size_mb: Megabytes | None = None
    """The largest file that it may write."""
    tmp_mb: Megabytes | None = None
    """The size of its private /tmp, of its home and of its shared memory, each."""
    workspace_mb: Megabytes | None = None
    """The size of all files of one workspace."""


WrittenTime = Annotated[datetime | date | None, BeforeValidator(written_time)]
"""A time as people write it: with or without a zone, or a date alone (``core.item_dates``)."""


class ItemSettings(Section):
    """``[items.NAME]``: the administrator's settings for one item.

    ``allow`` and ``limits`` override those of the ``[tool.mograder]`` table in its own header.
    """

    opens: WrittenTime = None
    """When students see it first, such as 2026-11-24T09:00. A date alone is its first minute."""
    due: WrittenTime = None
    """When it is due, such as 2026-12-01T18:00. A date alone is the end of the day."""
    closes: WrittenTime = None
    """When submissions end. Unset: never, and late ones are as in [penalties]."""
    weight: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = 1.0
    """Its share in the totals of the gradebook, beside the weights of the other items; 0 leaves it
    out."""
    allow: (
        Annotated[tuple[Annotated[str, AfterValidator(feature)], ...], BeforeValidator(listed)]
        | None
    ) = None
    """The only features of marimo's editor that are on: ai, execute, lsp, packages, secrets,
    terminal. Unset: as in the header."""
    limits: ItemLimits = ItemLimits()
    penalties: LateRule = LateRule()
    unprotected: Annotated[tuple[Present, ...], BeforeValidator(listed)] = ()
    """Keys of questions, such as "Q4", whose checks run beside the answers when submissions are
    graded, as with `# mograder: unprotected`: answers can forge those marks, so confirm each."""
    hidden_tests: HiddenTests | None = None
    """Unset: as in [grading]."""
    hidden_tests_after: HiddenTestsAfter | None = None
    """Unset: as in [grading]."""


class DatabaseSettings(Section):
    """``[database]``: the hub's own state."""

    url: Annotated[str, AfterValidator(database_url)] = Field(default="", repr=False)
    """Empty: the SQLite file ``.mograder/hub.db`` in the course."""


class BackupSettings(Section):
    """``[backup]``: the directory of scheduled backups, and the limits that `hub check` applies."""

    directory: str = ""
    """The directory of the backups; it must exist. Empty: no scheduled backups and no check."""
    keep: Positive = 14
    """Newest backups to keep, and always the newest complete one; a successful backup removes the
    others."""
    max_age_hours: Positive = 26
    """`hub check` reports a newest backup that is older than this."""


class OidcSettings(Section):
    """``[oidc]``: signing in by an OpenID Connect provider. It needs `[hub] public_url`."""

    issuer: Annotated[str, AfterValidator(issuer_address)] = ""
    """The provider's address, compared exactly. Empty: no sign-in by a provider."""
    client_id: str = ""
    """The hub's name at the provider."""
    client_secret_file: str = ""
    """The file that holds the client's secret; `MOGRADER_OIDC_SECRET` counts before it. Neither: a
    public client, with PKCE alone."""
    name: str = "single sign-on"
    """The provider's name on the sign-in page: "Sign in with …"."""
    scopes: Annotated[tuple[Present, ...], BeforeValidator(listed)] = ("openid", "profile")
    """The scopes that are asked for, "openid" among them."""
    username_claim: Present = "preferred_username"
    """The claim with the user's name, such as "eduperson_principal_name" or "uid"."""
    strip_domain: str = ""
    """The domain that is cut off names such as "alice@example.edu"; names with any other domain are
    refused. Empty: names stay as they are."""
    require: Mapping[str, str] = Field(default_factory=dict)
    """Claims that a user must have, such as { groups = "numerics" }: the claim is that text, or a
    list that holds it."""
    private_network: bool = False
    """Whether the provider may have a private address."""


def _teachers(value: object) -> object:
    """Take true, which was written before non-editing teachers were known to count, for less."""
    return "named" if isinstance(value, bool) else value


class LtiPlatform(Section):
    """One ``[[lti.platform]]`` table: a learning platform that starts this hub by LTI 1.3."""

    issuer: Annotated[Present, AfterValidator(issuer_address)]
    """The platform's address, compared exactly."""
    client_id: Present
    """The hub's name at the platform."""
    deployments: Annotated[tuple[Present, ...], BeforeValidator(listed)] = ()
    """The deployment ids that are accepted."""
    courses: Annotated[tuple[Present, ...], BeforeValidator(listed)] = ()
    """The ids of the platform's courses that belong to this hub; others are refused."""
    auth_url: str = ""
    """Empty: Moodle's, below the issuer."""
    token_url: str = ""
    """Empty: Moodle's, below the issuer."""
    jwks_url: str = ""
    """Empty: Moodle's, below the issuer."""
    services: Annotated[tuple[Present, ...], BeforeValidator(listed)] = ()
    """The addresses of further servers that the platform has its course pages and services at, if
    they are others than those of `auth_url` and `token_url`, as with Blackboard."""
    username: Literal[
        "ext.user_username", "identities", "lis.person_sourcedid", "custom.username", "email"
    ] = "ext.user_username"
    """The claim with the user's name; "identities" takes it from the accounts that this hub knows
    for the platform's user ids."""
    names: Literal["own", "same"] = "own"
    """"same": a name of the platform is the same person's name on this hub. "own": a name that this
    hub knows from elsewhere is refused."""
    teachers: Annotated[LtiTeachers, BeforeValidator(_teachers)] = "named"
    """"all": whom it calls an instructor of the course is an instructor of this hub, in Moodle its
    non-editing teachers, too. "named": only who is in `[hub] instructors`, as by every sign-in;
    true and false, as in earlier versions, mean the same."""
    assistants: bool = False
    """Whether its teaching assistants of the course are markers of this hub. Moodle never sends
    that role."""
    roster: LtiRoster = "off"
    """"show": the platform's members are shown; "allow": only they may enter, besides staff and
    those in `allowed_users.txt`."""
    scores: LtiScores = "off"
    """"released": released marks are sent to the platform."""
    private_network: bool = False
    """Whether the platform may have a private address."""

    @property
    def key(self) -> tuple[str, str]:
        """The issuer and the client id, which name a platform."""
        return self.issuer, self.client_id


class LtiSettings(Section):
    """``[lti]``: learning platforms. They need `[hub] public_url`."""

    platform: Annotated[tuple[LtiPlatform, ...], BeforeValidator(listed)] = ()
    """The platforms, besides those that `mograder hub lti register` has stored."""


class MailSettings(Section):
    """``[mail]``: letters by e-mail to students and instructors. It needs `[hub] public_url`."""

    host: str = ""
    """The mail server (SMTP). Empty: no letters."""
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: MailSecurity = "starttls"
    """How the connection is encrypted; "none" only without a password, or to this machine."""
    user: str = ""
    """The name for signing in to the server; the password is in `MOGRADER_MAIL_PASSWORD` or in
    `password_file`. Empty: no sign-in."""
    password_file: str = ""
    """The file that holds the password; `MOGRADER_MAIL_PASSWORD` counts before it."""
    sender: str = ""
    """The address that letters come from."""
    events: Annotated[tuple[MailEvent, ...], BeforeValidator(listed)] = ()
    """The events that people get a letter about: "handed-in" (a confirmation), "released" (marks),
    "decided" (a request about a mark), "updated" (an update of a notebook is offered), "due"
    (tomorrow, and not handed in), "digest" (to instructors, each day at `digest_hour`)."""
    domain: str = ""
    """The domain of people whose address is not known: "alice" becomes alice@domain. Empty: only
    those get letters whose name is an address, or whose address Moodle has told."""
    digest_hour: Annotated[int, Field(ge=0, le=23)] = 7
    """The hour of the instructors' digest, in the course's time zone."""


LONGEST_LEASE = 300
"""The most seconds for which ``[nodes] lease_seconds`` may let a node run."""


class NodesSettings(Section):
    """``[nodes]``: nodes, which run sessions, validations and grading on other machines."""

    enabled: bool = False
    """Whether sessions run on nodes, which connect at the hub's own address. False: they run on
    the hub's own machine."""
    lease_seconds: Annotated[int, Field(ge=6, le=LONGEST_LEASE)] = 9
    """Seconds for which a node may run sessions after it was last in touch with a hub. A node that
    is cut off ends its sessions before then, and afterwards they may be started on another one."""
    runs_dir: Present = "hub-runs"
    """The directory of the copies that are validated and graded, which nodes must reach."""


class Settings(Section):
    """All settings, immutable; missing sections have their defaults."""

    title: str | None = None
    timezone: Annotated[str, AfterValidator(zone)] = ""
    """The zone of dates that name none, and of times in sentences about marks, such as
    "Europe/London". Empty: this machine's, and a day for which marks are deducted has 24 hours,
    also where clocks change."""
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
    grading: GradingSettings = GradingSettings()
    marking: MarkingSettings = MarkingSettings()
    database: DatabaseSettings = DatabaseSettings()
    backup: BackupSettings = BackupSettings()
    oidc: OidcSettings = OidcSettings()
    lti: LtiSettings = LtiSettings()
    mail: MailSettings = MailSettings()
    nodes: NodesSettings = NodesSettings()

    def of_item(self, name: str) -> ItemSettings:
        """Return the settings of an item; forms of Unicode do not count in its name."""
        found = (each for known, each in self.items.items() if nfc(known) == nfc(name))
        return next(found, ItemSettings())

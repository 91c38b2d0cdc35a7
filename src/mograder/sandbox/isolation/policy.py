"""The view of a sandbox, as bubblewrap arguments. Pure: this file is the whole policy.

An allow-list of mounts on an empty root, never the host's root (security.md, "The sandbox"):
the system's ``/usr``, a synthetic ``/etc``, the environment and its interpreter, the uv cache
and our programs that run inside, all read-only; the workspace; private ``/tmp``,
``/dev/shm``, ``/proc``, ``/dev``. A path that is not named here does not exist inside. What a
session's program applies by itself is here as well: rlimits, and marimo's first configuration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from mograder.sandbox.protocol import (
    AnswerJudge,
    AnswerWorker,
    Execute,
    Limits,
    Mode,
    NotebookRequest,
    RunCommand,
    StartSession,
)

_FIRST_CONFIGURATION = """\
[runtime]
auto_instantiate = true

[save]
autosave = "after_delay"
autosave_delay = 1000

[completion]
copilot = false

[display]
theme = "system"
"""
_WITHOUT_AI = """
[ai]
enabled = false
allow_provider_config = false
inline_tooltip = false
"""
_DATA_SLACK_MB = 512


def first_configuration(allow: Sequence[str]) -> str:
    """Return marimo's configuration (TOML) for a workspace without one, by features in ``allow``.

    A convenience only: the student may change the file, and the hub refuses disallowed requests
    at the proxy (sessions.md, "What is switched off").
    """
    return _FIRST_CONFIGURATION + ("" if "ai" in allow else _WITHOUT_AI)


def rlimits(limits: Limits) -> dict[str, int]:
    """Return the rlimits of a session by their names in :mod:`resource`; none for a limit of 0.

    RLIMIT_DATA makes a single array that is too large a ``MemoryError`` in its cell instead of
    the end of the session. It counts reserved, not used memory, including thread stacks and
    library buffers, so it is larger than the memory limit.
    """
    wanted = {
        "RLIMIT_NPROC": limits.processes,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_FSIZE": limits.file_size_mb << 20,
        "RLIMIT_DATA": (limits.memory_mb + _DATA_SLACK_MB) << 20 if limits.memory_mb else 0,
    }
    return {"RLIMIT_CORE": 0, **{name: most for name, most in wanted.items() if most}}


HOME = PurePosixPath("/home/student")
WORK = HOME / "work"
"""The workspace inside. Not below ``/tmp``, where marimo never autosaves (sessions.md)."""

ENVIRONMENT = PurePosixPath("/opt/mograder/environment")
BUILD = PurePosixPath("/opt/mograder/build")
UV_CACHE = PurePosixPath("/opt/mograder/uv-cache")
_PACKAGES = "archive-v*"
"""The directories in uv's cache with unpacked packages, all that sessions see of it: in the others
are files that uv locks. A session that held such a lock, for which reading is enough, would keep
builds waiting."""

UV = PurePosixPath("/opt/mograder/uv")
SERVE = PurePosixPath("/opt/mograder/programs/serve.py")
"""Our programs are mounted as one directory: each mount costs a start time and a step to check."""

CELLRUN, WORKER, JUDGE = "cell_runner.py", "answer_worker.py", "answer_judge.py"
"""The programs that run a notebook cell by cell, answer a judge's requests with the values of a
submission, and run an author's checks on these answers; beside ``serve.py``."""

PLAN, CONTRACT, FILES = "plan.json", "contract.json", "files"
"""The entries of a judge's directory; the last is the directory of the files beside the source."""

ENDS = ("report", "control", "requests", "answers")
_JUDGE_ENDS = (*ENDS, "private")
"""The descriptors of worker and judge, by the names of their programs' options."""

REHEARSAL = {"least": 2.0, "trial": 2.0}
"""Seconds for trying an author's checks with junk: for all trials at least, for each at most."""

ZYGOTE = "zygote.py"
"""The program that imports all others, so that it can fork each of them."""

HOLDER = "/usr/bin/cat"
"""The placeholder process of a sandbox until a session joins it. It echoes a byte, which shows
that all mounts are done."""

ASSET_URL = "../_marimo"
"""The URL of marimo's static files, relative to a session's page.

The public prefix is known per request only, so an absolute path is not possible. The page's base
is ``{prefix}/s/<capability>/``, or ``{prefix}/edit/user/<user>/<item>/`` where the hub does not
rewrite it; the hub serves both (``web.hub.proxy.static_assets``). With ``[hub]
session_url`` it is an absolute URL on the hub's own origin instead (``sandbox.safety``), the same
for every session's origin.
"""

_UID = 1000
"""The only uid inside; on the host it is the service user's uid or the student's sub-uid."""

_YARD_TMP_MB = 64
_SESSION_OUTPUT, _BUILD_OUTPUT = 256 << 10, 32 << 20
_SINGLE_THREADED = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "POLARS_MAX_THREADS",
)


@dataclass(frozen=True, slots=True)
class Bind:
    source: Path
    target: PurePosixPath
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Inside:
    """The paths inside a sandbox, or the host's own where there is no sandbox.

    ``judged`` is the directory of a judge, which no other sandbox has.
    """

    home: PurePosixPath
    work: PurePosixPath
    environment: PurePosixPath
    uv: PurePosixPath
    uv_cache: PurePosixPath
    serve: PurePosixPath
    tmp: PurePosixPath
    judged: PurePosixPath


SANDBOXED_SESSION = Inside(
    HOME,
    WORK,
    ENVIRONMENT,
    UV,
    UV_CACHE,
    SERVE,
    PurePosixPath("/tmp"),  # noqa: S108
    PurePosixPath("/opt/mograder/judged"),
)
SANDBOXED_BUILD = replace(SANDBOXED_SESSION, work=BUILD)


@dataclass(frozen=True, slots=True)
class Plan:
    """One process to run: its command, environment, mounts, directory and limits."""

    argv: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    binds: tuple[Bind, ...]
    directory: PurePosixPath
    network: bool
    tmp_mb: int
    output_rate: int = _SESSION_OUTPUT
    """Bytes read per second of its output; beyond that its writes block."""
    descriptors: tuple[str, ...] = ("fd",)
    """The program's options that name the descriptors handed to it, in their order."""


@dataclass(frozen=True, slots=True)
class Host:
    """Host paths of the files that every sandbox gets.

    ``scripts`` is the directory of our programs that run inside.
    ``links`` are the top-level links beside ``/usr`` on a merged system, as (name, link target).
    """

    etc: Path
    build_etc: Path
    uv: Path
    uv_cache: Path
    scripts: Path
    links: tuple[tuple[str, str], ...]
    directories: tuple[Path, ...] = ()
    build_variables: tuple[tuple[str, str], ...] = ()
    build_readable: tuple[Path, ...] = ()
    asset_url: str = ASSET_URL


def session_plan(
    request: StartSession,
    roots: Sequence[Path],
    host: Host,
    inside: Inside,
    fd: int,
    checks: int | None = None,
    *,
    assets: str = "",
) -> Plan:
    """Return the plan of one marimo session that listens on descriptor ``fd``.

    Its checks report to the pipe with the write end ``checks``, unless that is None.
    ``roots`` are the directories of the environment's interpreter, bound at their own paths
    because the environment's links point there. ``assets`` names the set of static files that
    the hub serves for this environment, "" if the session serves its own.
    """
    edit = request.mode is Mode.EDIT
    handed = {"fd": fd} if checks is None else {"fd": fd, "checks": checks}
    told = {**handed, "config": first_configuration(request.allow)}
    flags = ("--skip-update-check",) if edit else ("--include-code",) if request.code else ()
    where = ("--asset-url", f"{request.asset_url or host.asset_url}/{assets}") if assets else ()
    # marimo compares it with the path of a request, which its server has decoded.
    base = unquote(request.base_url)
    arguments = (
        *("-q", request.mode, "--headless", "--no-token", "--no-sandbox", *flags, *where),
        *("--base-url", base, "-p", "1", "--host", "127.0.0.1"),
        request.notebook,
    )
    own = Bind(request.directory, inside.work, writable=edit)
    found = sorted(host.uv_cache.glob(_PACKAGES))
    packages = (Bind(each, inside.uv_cache / each.name) for each in found)
    binds = (*packages, own)
    plan = _notebook_plan(request, roots, host, inside, inside.serve.name, told, binds)
    return replace(plan, argv=(*plan.argv, *arguments), descriptors=tuple(handed))


def execution_plan(
    request: Execute, roots: Sequence[Path], host: Host, inside: Inside, fd: int
) -> Plan:
    """Return the plan of one notebook run: a session's view, and a report to descriptor ``fd``."""
    told = {"fd": fd, "outputs": request.outputs}
    own = Bind(request.directory, inside.work, writable=True)
    plan = _notebook_plan(request, roots, host, inside, CELLRUN, told, (own,))
    return replace(plan, argv=(*plan.argv, request.notebook))


def worker_plan(
    request: AnswerWorker, roots: Sequence[Path], host: Host, inside: Inside, ends: Sequence[int]
) -> Plan:
    """Return the plan of a submission's worker: a notebook run that answers the judge at the end.

    ``ends`` are the descriptors of its report and of its three pipes with the judge.
    """
    told = {
        **dict(zip(ENDS, ends, strict=True)),
        "interface": request.interface,
        "skip": request.skip,
        "outputs": request.outputs,
    }
    own = Bind(request.directory, inside.work, writable=True)
    plan = _notebook_plan(request, roots, host, inside, WORKER, told, (own,))
    return replace(plan, argv=(*plan.argv, request.notebook), descriptors=ENDS)


def _notebook_plan(
    request: NotebookRequest,
    roots: Sequence[Path],
    host: Host,
    inside: Inside,
    name: str,
    told: Mapping[str, object],
    own: Sequence[Bind],
) -> Plan:
    """Return the plan of the program of this name, without its arguments.

    ``told`` are its options, ``own`` the binds that only such a program has.
    """
    caches, limits = str(inside.environment / "caches"), rlimits(request.limits)
    options = json.dumps({**told, "rlimits": limits, "caches": caches})
    return Plan(
        argv=(_python(inside), str(inside.serve.with_name(name)), options, "--"),
        variables=_session_variables(inside, edit=any(bind.writable for bind in own)),
        binds=(*_shared_binds(request.environment, roots, host, inside), *own),
        directory=inside.work,
        network=False,
        tmp_mb=request.limits.tmp_mb,
    )


def judge_plan(
    request: AnswerJudge, roots: Sequence[Path], host: Host, inside: Inside, ends: Sequence[int]
) -> Plan:
    """Return the plan of a submission's judge: no file of the submission, and nothing writable.

    Its working directory has the files beside the source; ``ends`` are as for ``worker_plan``, and
    a pipe with the seed and the answers' texts: a zygote that may fork workers later must not have
    seen them.
    """
    told = {
        **dict(zip(_JUDGE_ENDS, ends, strict=True)),
        "plan": str(inside.judged / PLAN),
        "contract": None if request.records else str(inside.judged / CONTRACT),
        "seconds": asdict(request.seconds),
        "rehearsal": REHEARSAL if request.rehearses else None,
    }
    binds = _judged(request.directory, inside)
    plan = _notebook_plan(request, roots, host, inside, JUDGE, told, binds)
    return replace(plan, descriptors=_JUDGE_ENDS)


def _judged(directory: Path, inside: Inside) -> tuple[Bind, ...]:
    return Bind(directory, inside.judged), Bind(directory / FILES, inside.work)


def _python(inside: Inside) -> str:
    return str(inside.environment / "env/bin/python")


def _shared_binds(
    environment: Path, roots: Sequence[Path], host: Host, inside: Inside
) -> tuple[Bind, ...]:
    return (
        *(Bind(root, PurePosixPath(root)) for root in roots),
        Bind(environment, inside.environment),
        Bind(host.scripts, inside.serve.parent),
    )


def zygote_group_plan(
    environment: Path, roots: Sequence[Path], host: Host, template: Path | None = None
) -> Plan:
    """Return the plan of an environment's zygote: environment, interpreter and our programs.

    No workspace, no network, no uv cache; every path is the same as in a session, since forked
    sessions keep the modules that the zygote imported. ``template`` is the directory of the judges
    that it forks, if it forks nothing else.
    """
    inside = SANDBOXED_SESSION
    judges = () if template is None else _judged(template, inside)
    return Plan(
        argv=(_python(inside), str(inside.serve.with_name(ZYGOTE))),
        # A package that reads variables at import must see the values of a session; and it must
        # start no threads, since only a single-threaded process can fork safely.
        variables=(
            *_session_variables(inside, edit=template is None),
            *((name, "1") for name in _SINGLE_THREADED),
        ),
        binds=(*_shared_binds(environment, roots, host, inside), *judges),
        directory=inside.work if judges else inside.home,
        network=False,
        tmp_mb=_YARD_TMP_MB,
    )


def held(plan: Plan) -> Plan:
    """Return the same plan with the placeholder process (``HOLDER``) as its program."""
    return replace(plan, argv=(HOLDER,))


def unconfined(host: Host, *, work: Path, environment: Path) -> Inside:
    """Return the host's own paths, for a plan that runs without a sandbox.

    HOME is the workspace, the one directory that the process certainly owns.
    """
    return Inside(
        home=PurePosixPath(work),
        work=PurePosixPath(work),
        environment=PurePosixPath(environment),
        uv=PurePosixPath(host.uv),
        uv_cache=PurePosixPath(host.uv_cache),
        serve=PurePosixPath(host.scripts / "serve.py"),
        tmp=PurePosixPath(work / ".tmp"),
        judged=PurePosixPath(work),
    )


def unconfined_judge(host: Host, *, directory: Path, environment: Path) -> Inside:
    """Return the host's own paths for a judge, whose ``directory`` gets no file of the run."""
    inside = unconfined(host, work=directory / FILES, environment=environment)
    return replace(inside, tmp=SANDBOXED_SESSION.tmp, judged=PurePosixPath(directory))


def build_plan(request: RunCommand, host: Host, inside: Inside) -> Plan:
    """Return the plan of one build command: it installs an instructor's packages, with network.

    It sees its own directory, the cache and the interpreters, and no course files.
    """
    return Plan(
        argv=tuple(str(inside.uv) if word == "uv" else word for word in request.argv),
        variables=(
            ("HOME", str(inside.home)),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("LANG", "C.UTF-8"),
            ("UV_CACHE_DIR", str(inside.uv_cache)),
            *host.build_variables,
            *request.variables.items(),
        ),
        binds=(
            *(Bind(path, PurePosixPath(path)) for path in host.build_readable),
            *(Bind(path, PurePosixPath(path)) for path in request.readable),
            Bind(host.uv, inside.uv),
            Bind(host.uv_cache, inside.uv_cache, writable=True),
            Bind(request.directory, inside.work, writable=True),
        ),
        directory=inside.work,
        network=True,
        tmp_mb=4096,
        output_rate=_BUILD_OUTPUT,
    )


def bubblewrap_arguments(
    plan: Plan,
    host: Host,
    *,
    info_fd: int | None,
    seccomp_fd: int,
    zygote_group: bool = False,
    block_fd: int | None = None,
) -> list[str]:
    """Return the arguments of ``bwrap`` for a plan, without the program's own name.

    A ``zygote_group`` already has its user namespace
    (:mod:`~mograder.sandbox.isolation.namespaces`), and sessions' sandboxes make theirs below it.
    The ``*_fd`` are inherited descriptors; the program starts once ``block_fd`` is readable.
    """
    size = str(plan.tmp_mb << 20)
    own_users = ("--unshare-user", "--uid", str(_UID), "--gid", str(_UID), "--disable-userns")
    arguments = [
        *(() if zygote_group else own_users),
        *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        *("--hostname", "notebook", "--new-session", "--die-with-parent", "--cap-drop", "ALL"),
        *(() if info_fd is None else ("--info-fd", str(info_fd))),
        *(() if block_fd is None else ("--block-fd", str(block_fd))),
        *("--seccomp", str(seccomp_fd), "--clearenv"),
        *("--ro-bind", "/usr", "/usr"),
    ]
    if not plan.network:
        arguments.append("--unshare-net")
    for name, target in host.links:
        arguments += ["--symlink", target, name]
    for directory in host.directories:
        arguments += ["--ro-bind", str(directory), str(directory)]
    arguments += ["--ro-bind", str(host.build_etc if plan.network else host.etc), "/etc"]
    arguments += ["--proc", "/proc", "--dev", "/dev", "--size", size, "--tmpfs", "/dev/shm"]  # noqa: S108
    arguments += ["--size", size, "--tmpfs", "/tmp", "--size", size, "--tmpfs", str(HOME)]  # noqa: S108
    for bind in plan.binds:
        kind = "--bind" if bind.writable else "--ro-bind"
        arguments += [kind, str(bind.source), str(bind.target)]
    # bubblewrap bounds the size of /dev by nothing but half of the machine's memory. Some settings
    # below /proc/sys belong to the namespace: the student could change them.
    arguments += ["--remount-ro", "/dev", "--remount-ro", "/proc", "--remount-ro", "/"]
    arguments += ["--chdir", str(plan.directory)]
    for name, value in plan.variables:
        arguments += ["--setenv", name, value]
    return [*arguments, "--", *plan.argv]


def _session_variables(inside: Inside, *, edit: bool) -> tuple[tuple[str, str], ...]:
    """Return a session's whole environment; no secret, and settings go to the workspace (edit)."""
    own = inside.work if edit else inside.home
    path = f"{inside.environment / 'env/bin'}:/usr/local/bin:/usr/bin:/bin"
    return (
        ("HOME", str(inside.home)),
        ("USER", "student"),
        ("PATH", path),
        ("LANG", "C.UTF-8"),
        ("TMPDIR", str(inside.tmp)),
        ("VIRTUAL_ENV", str(inside.environment / "env")),
        ("XDG_CONFIG_HOME", str(own / ".config")),
        ("XDG_DATA_HOME", str(own / ".local/share")),
        ("XDG_STATE_HOME", str(inside.home / ".local/state")),
        ("XDG_CACHE_HOME", str(inside.tmp / "cache")),
        ("UV_CACHE_DIR", str(inside.uv_cache)),
        ("UV_OFFLINE", "1"),
        # pyarrow's allocator reserves a gigabyte at once, which would count as data (`rlimits`).
        ("MIMALLOC_ARENA_EAGER_COMMIT", "0"),
        # Grading twice shall see sets of texts in the same order, also in another process.
        ("PYTHONHASHSEED", "0"),
        ("MARIMO_SKIP_UPDATE_CHECK", "1"),
        ("MARIMO_RESTRICT_SHARING", "true"),  # no buttons that upload the notebook elsewhere
        ("MOGRADER_DASHBOARD", "1"),
    )

"""The visible files of a sandbox, as bubblewrap arguments (security.md, "The sandbox"; B22-B26)."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path, PurePosixPath

import pytest

from mograder.sandbox.isolation.policy import (
    BUILD,
    ENVIRONMENT,
    HOME,
    SANDBOXED_BUILD,
    SANDBOXED_SESSION,
    SERVE,
    UV_CACHE,
    WORK,
    Host,
    Plan,
    bubblewrap_arguments,
    build_plan,
    first_configuration,
    judge_plan,
    rlimits,
    session_plan,
    unconfined,
    unconfined_judge,
    worker_plan,
    zygote_group_plan,
)
from mograder.sandbox.protocol import (
    AnswerJudge,
    AnswerWorker,
    Deadlines,
    Limits,
    Mode,
    RunCommand,
    StartSession,
)

HOST = Host(
    etc=Path("/run/m/etc"),
    build_etc=Path("/run/m/etc-build"),
    uv=Path("/opt/tools/uv"),
    uv_cache=Path("/srv/cache"),
    scripts=Path("/run/m/scripts"),
    links=(("/bin", "usr/bin"), ("/lib64", "usr/lib64")),
    directories=(Path("/libx32"),),
    build_variables=(("HTTPS_PROXY", "http://proxy.test:3128"),),
    build_readable=(Path("/srv/certificates.pem"),),
)
ROOT = Path("/opt/python/3.11")
LIMITS = Limits(processes=200, open_files=300, file_size_mb=2, tmp_mb=64)


def session(mode: str = "edit", notebook: str = "A1.py") -> StartSession:
    return StartSession(
        session_id="abcdefgh",
        mode=Mode(mode),
        directory=Path("/srv/course/hub-notebooks/alice/A1"),
        notebook=notebook,
        environment=Path("/srv/course/environments/k"),
        base_url="/edit/user/alice/A1",
        uid_slot=3,
        limits=LIMITS,
    )


def plan(mode: str = "edit") -> Plan:
    return session_plan(session(mode), (ROOT,), HOST, SANDBOXED_SESSION, fd=9)


def build() -> Plan:
    command = RunCommand(
        argv=("uv", "pip", "compile", "--python", "uv"),
        directory=Path("/srv/course/environments/.building-1"),
        readable=(ROOT,),
        variables={"NO_COLOR": "1"},
        timeout=5,
    )
    return build_plan(command, HOST, SANDBOXED_BUILD)


def arguments(plan: Plan) -> list[str]:
    return bubblewrap_arguments(plan, HOST, info_fd=7, seccomp_fd=8)


def options(plan: Plan) -> list[str]:
    words = arguments(plan)
    return words[: words.index("--")]


def mounts(plan: Plan) -> dict[str, tuple[str, str]]:
    """Return the bind mounts: target → (option, source)."""
    words = options(plan)
    return {
        words[at + 2]: (word, words[at + 1])
        for at, word in enumerate(words)
        if word in ("--bind", "--ro-bind")
    }


def test_a_session_sees_what_is_listed_and_nothing_else(tmp_path: Path) -> None:
    """B24, B26: its workspace alone may be written to; the cache is read-only."""
    for name in ("archive-v0", "sdists-v10", "wheels-v7"):
        (tmp_path / name).mkdir()
    host = replace(HOST, uv_cache=tmp_path)
    made = session_plan(session(), (ROOT,), host, SANDBOXED_SESSION, fd=9)
    assert mounts(made) == {
        "/usr": ("--ro-bind", "/usr"),
        "/libx32": ("--ro-bind", "/libx32"),
        "/etc": ("--ro-bind", "/run/m/etc"),
        str(ROOT): ("--ro-bind", str(ROOT)),
        str(ENVIRONMENT): ("--ro-bind", "/srv/course/environments/k"),
        str(UV_CACHE / "archive-v0"): ("--ro-bind", str(tmp_path / "archive-v0")),
        str(SERVE.parent): ("--ro-bind", "/run/m/scripts"),
        str(WORK): ("--bind", "/srv/course/hub-notebooks/alice/A1"),
    }


def test_a_session_with_a_pipe_for_its_checks_sees_no_more_than_one_without() -> None:
    made = session_plan(session(), (ROOT,), HOST, SANDBOXED_SESSION, 9, 10)
    assert json.loads(made.argv[2])["checks"] == 10
    assert made.descriptors == ("fd", "checks")
    assert replace(made, argv=plan().argv, descriptors=("fd",)) == plan()
    assert "checks" not in json.loads(plan().argv[2])


def test_a_build_sees_its_workshop_and_the_cache_and_nothing_of_the_course() -> None:
    """It runs packages of an instructor's choice."""
    bound = mounts(build())
    assert {target: kind for target, (kind, _) in bound.items() if kind == "--bind"} == {
        str(BUILD): "--bind",
        str(UV_CACHE): "--bind",
    }
    assert bound["/etc"] == ("--ro-bind", "/run/m/etc-build")
    assert bound["/srv/certificates.pem"] == ("--ro-bind", "/srv/certificates.pem")
    sources = {source for _, source in bound.values()}
    assert not any(source.startswith("/srv/course/hub") for source in sources)


@pytest.mark.parametrize("each", [plan("edit"), plan("run"), build()])
def test_the_hosts_root_is_never_bound_and_ours_is_closed_last(each: Plan) -> None:
    """B23: an empty root with a list of mounts, read-only in the end."""
    words = options(each)
    assert "/" not in mounts(each)
    assert ("--ro-bind", "/") not in list(pairwise(words))
    assert ("--bind", "/") not in list(pairwise(words))
    assert ("--remount-ro", "/proc") in list(pairwise(words)), "its settings too"
    assert ("--remount-ro", "/dev") in list(pairwise(words)), "it has no bound but the memory"
    closed = words.index("/", words.index("/proc", words.index("--remount-ro")))
    assert words[closed - 1] == "--remount-ro"
    mounting = {"--bind", "--ro-bind", "--tmpfs", "--proc", "--dev", "--symlink"}
    assert not mounting & set(words[closed:]), "nothing is mounted after that"


@pytest.mark.parametrize("each", [plan("edit"), plan("run"), build()])
def test_every_sandbox_has_namespaces_a_filter_and_no_power(each: Plan) -> None:
    words = options(each)
    for option in (
        "--unshare-user",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--disable-userns",
        "--new-session",
        "--die-with-parent",
        "--clearenv",
    ):
        assert option in words
    pairs = list(pairwise(words))
    for pair in (("--cap-drop", "ALL"), ("--info-fd", "7"), ("--seccomp", "8")):
        assert pair in pairs
    assert words.index("--clearenv") < words.index("--setenv")
    assert ("--uid", "1000") in pairs
    assert ("--gid", "1000") in pairs


def test_only_builds_keep_the_network() -> None:
    """B25."""
    assert "--unshare-net" in options(plan("edit"))
    assert "--unshare-net" in options(plan("run"))
    assert "--unshare-net" not in options(build())


def test_private_places_are_bounded_in_size() -> None:
    words = options(plan())
    bounded = {words[at + 3]: words[at + 1] for at, word in enumerate(words) if word == "--size"}
    assert bounded == dict.fromkeys(("/dev/shm", "/tmp", str(HOME)), str(64 << 20))
    assert words.count("--tmpfs") == 3


def test_mounts_come_before_what_is_mounted_below_them() -> None:
    words = options(plan())
    assert words.index(str(HOME)) < words.index(str(WORK))


def test_a_lecture_has_no_place_to_write_but_its_own_memory() -> None:
    assert mounts(plan("run"))[str(WORK)][0] == "--ro-bind"
    variables = dict(plan("run").variables)
    assert not any(value.startswith(str(WORK)) for value in variables.values())


def test_the_workspace_is_not_below_tmp() -> None:
    """marimo never saves a notebook there by itself (sessions.md)."""
    assert not WORK.is_relative_to("/tmp")
    assert plan().directory == WORK


def test_what_runs_is_the_environments_own_python_on_the_descriptor() -> None:
    argv = plan().argv
    assert argv[0] == str(ENVIRONMENT / "env/bin/python")
    assert argv[1] == str(SERVE)
    given = json.loads(argv[2])
    assert given["fd"] == 9
    assert given["rlimits"] == rlimits(LIMITS)
    assert argv[3] == "--"
    assert argv[-1] == "A1.py"
    assert "edit" in argv
    for flag in ("--headless", "--no-token", "--no-sandbox"):
        assert flag in argv
    assert ("--base-url", "/edit/user/alice/A1") in list(pairwise(argv))


def test_a_lecture_shows_its_code() -> None:
    argv = plan("run").argv
    assert "run" in argv
    assert "--include-code" in argv
    demo = session("run").model_copy(update={"code": False})
    shown = session_plan(demo, (ROOT,), HOST, SANDBOXED_SESSION, fd=9).argv
    assert [each for each in argv if each not in shown] == ["--include-code"]


def test_limits_are_in_the_kernels_units() -> None:
    assert rlimits(LIMITS) == {
        "RLIMIT_NPROC": 200,
        "RLIMIT_NOFILE": 300,
        "RLIMIT_FSIZE": 2 << 20,
        "RLIMIT_CORE": 0,
    }


def test_a_build_runs_our_uv_and_gets_the_administrators_variables() -> None:
    made = build()
    assert made.argv[0] == str(SANDBOXED_BUILD.uv) == made.argv[-1]
    variables = dict(made.variables)
    assert variables["HTTPS_PROXY"] == "http://proxy.test:3128"
    assert variables["NO_COLOR"] == "1"
    assert variables["UV_CACHE_DIR"] == str(UV_CACHE)
    assert "HTTPS_PROXY" not in dict(plan().variables), "a session never sees them"


def test_without_a_sandbox_the_hosts_own_paths_are_meant() -> None:
    request = session()
    inside = unconfined(HOST, work=request.directory, environment=request.environment)
    made = session_plan(request, (ROOT,), HOST, inside, fd=9)
    assert made.argv[0] == "/srv/course/environments/k/env/bin/python"
    assert made.argv[1] == str(HOST.scripts / "serve.py")
    assert made.directory == PurePosixPath(request.directory)
    variables = dict(made.variables)
    assert variables["UV_CACHE_DIR"] == str(HOST.uv_cache)
    assert variables["HOME"] == str(request.directory), "the one place it is sure to own"
    assert variables["TMPDIR"].startswith(str(request.directory))
    assert str(WORK) not in json.dumps(made.argv)


def test_the_first_settings_offer_only_what_works() -> None:
    plain = tomllib.loads(first_configuration(()))
    assert plain["runtime"] == {"auto_instantiate": True}
    assert plain["save"] == {"autosave": "after_delay", "autosave_delay": 1000}
    assert plain["display"] == {"theme": "system"}, "dark where the page around it is dark"
    assert plain["completion"]["copilot"] is False
    assert plain["ai"]["enabled"] is False
    assert "ai" not in tomllib.loads(first_configuration(("ai",)))


@pytest.mark.parametrize("mode", ["edit", "run"])
def test_the_page_loads_its_files_from_the_shared_set(mode: str) -> None:
    """Relative, since the public prefix is known per request only.

    See sessions.md, "The editor's files".
    """
    own = session_plan(session(mode), (), HOST, SANDBOXED_SESSION, fd=9)
    assert "--asset-url" not in own.argv
    name = "0.25.2-0123456789abcdef"
    shared = session_plan(session(mode), (), HOST, SANDBOXED_SESSION, fd=9, assets=name)
    assert ("--asset-url", f"../_marimo/{name}") in pairwise(shared.argv)
    host = replace(HOST, asset_url="https://hub.example.org/s/_marimo")
    absolute = session_plan(session(mode), (), host, SANDBOXED_SESSION, fd=9, assets=name)
    assert ("--asset-url", f"{host.asset_url}/{name}") in pairwise(absolute.argv)
    asked = session(mode).model_copy(update={"asset_url": "https://other.example.org/s/_marimo"})
    of_hub = session_plan(asked, (), host, SANDBOXED_SESSION, fd=9, assets=name)
    assert ("--asset-url", f"{asked.asset_url}/{name}") in pairwise(of_hub.argv)
    assert shared.argv[-1] == "A1.py"


# --- worker and judge of a submission --------------------------------------------------------

COPY, FOLDER = Path("/srv/state/workers/1"), Path("/srv/state/judges/abc")
BUILT = Path("/srv/course/environments/k")
ENDS = (5, 6, 7, 8)


def worker() -> Plan:
    request = AnswerWorker(
        session_id="worker-1",
        directory=COPY,
        notebook="A1.py",
        environment=BUILT,
        uid_slot=1,
        limits=LIMITS,
        interface=("x",),
        skip=(3, "ab"),
    )
    return worker_plan(request, (ROOT,), HOST, SANDBOXED_SESSION, ENDS)


def judge(*, records: bool = False) -> AnswerJudge:
    seconds = Deadlines(notebook=1, call=2, check=3, submission=4)
    return AnswerJudge(
        session_id="judge-12",
        directory=FOLDER,
        notebook="plan.json",
        environment=BUILT,
        uid_slot=2,
        limits=LIMITS,
        seconds=seconds,
        seed="s",
        records=records,
    )


def judging(*, records: bool = False) -> Plan:
    return judge_plan(judge(records=records), (ROOT,), HOST, SANDBOXED_SESSION, (*ENDS, 9))


def test_a_worker_has_its_copy_and_nothing_of_the_course() -> None:
    own = [bind.source for bind in worker().binds if bind.source != HOST.scripts]
    assert own == [ROOT, BUILT, COPY]
    assert [bind.target for bind in worker().binds if bind.writable] == [WORK]
    assert not worker().network
    told = json.loads(worker().argv[2])
    assert (told["answers"], told["interface"], told["skip"]) == (8, ["x"], [3, "ab"])


def test_a_judge_has_no_file_of_the_submission_and_writes_nowhere() -> None:
    own = [bind.source for bind in judging().binds if bind.source != HOST.scripts]
    assert own == [ROOT, BUILT, FOLDER, FOLDER / "files"]
    assert not [bind for bind in judging().binds if bind.writable]
    assert not judging().network
    told = json.loads(judging().argv[2])
    assert told["plan"] == "/opt/mograder/judged/plan.json"
    assert told["contract"] == "/opt/mograder/judged/contract.json"
    assert json.loads(judging(records=True).argv[2])["contract"] is None
    assert told["private"] == 9


def test_only_the_zygote_of_judges_sees_their_directory() -> None:
    plain = zygote_group_plan(BUILT, (ROOT,), HOST)
    of_judges = zygote_group_plan(BUILT, (ROOT,), HOST, FOLDER)
    assert [bind for bind in of_judges.binds if bind not in plain.binds] == [
        bind for bind in judging().binds if FOLDER in (bind.source, *bind.source.parents)
    ]
    assert of_judges.directory == WORK


def test_without_a_sandbox_a_judge_writes_nothing_into_its_directory() -> None:
    inside = unconfined_judge(HOST, directory=FOLDER, environment=BUILT)
    plan = judge_plan(judge(), (ROOT,), HOST, inside, (*ENDS, 9))
    assert plan.directory == PurePosixPath(FOLDER / "files")
    assert dict(plan.variables)["XDG_CACHE_HOME"] == "/tmp/cache"

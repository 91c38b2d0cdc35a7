"""Notebooks that run as on Windows and macOS: the dashboard with its editor, validate, generate."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from mograder.sandbox.inside import serve
from tests.support.hub import write_settings
from tests.support.other_system import OtherSystem
from tests.support.processes import processes_now
from tests.support.shared_hub import SharedCaches
from tests.support.student_dashboard import (
    CODE,
    PI,
    RELEASED,
    DashboardSetup,
    StudentProcess,
    served_course,
)

pytestmark = [pytest.mark.full, pytest.mark.timeout(240)]

_EDITOR = re.compile(r"http://127\.0\.0\.1:(\d+)/\?access_token=[\w-]+")
_NO_SANDBOX = "has no sandbox: notebooks run with your rights, as in the editor."
SYSTEMS = ["windows", "macos"]
ENDLESS = RELEASED.replace(
    "estimate = 0",
    "import subprocess, sys\n"
    "    wait = 'import time; time.sleep(3000)'\n"
    "    subprocess.run([sys.executable, '-c', wait, 'mark'])\n"
    "    estimate = 0",
)


@pytest.fixture(scope="module")
def caches(authors_uv_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> SharedCaches:
    """Environments built without a sandbox: not those of other tests, which sandboxes use."""
    return SharedCaches(authors_uv_cache, tmp_path_factory.mktemp("other-systems"))


@pytest.fixture(scope="module")
def scene(caches: SharedCaches) -> Iterator[DashboardSetup]:
    with served_course("student-other-systems", caches) as scene:
        yield scene


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> OtherSystem:
    return OtherSystem(request.param)


@contextmanager
def browser(dashboard: StudentProcess) -> Iterator[httpx.Client]:
    """A browser without scripts that came by the link."""
    with httpx.Client(
        base_url=dashboard.url, headers={"accept": "text/html"}, trust_env=False, timeout=120
    ) as client:
        client.get(dashboard.link, follow_redirects=True).raise_for_status()
        yield client


def press(client: httpx.Client, path: str, **fields: str) -> httpx.Response:
    """Post a form, and return the page that it leads to."""
    answer = client.post(path, data=fields, follow_redirects=True)
    assert answer.is_success, answer.text
    return answer


def begin(client: httpx.Client, user: str) -> None:
    """Register, and download the first assignment."""
    assert PI in press(client, "/sign-in/register", user=user, code=CODE).text
    assert f"{PI} is yours now." in press(client, f"/fetch/{PI}").text


def opened(client: httpx.Client) -> str:
    """Open the editor of the first assignment; return its address."""
    page = press(client, f"/edit/{PI}").text
    found = _EDITOR.search(page)
    assert found, page
    return found[0]


def ended(found: list[psutil.Process]) -> bool:
    """Return whether all of some processes end soon."""
    _, alive = psutil.wait_procs(found, 15)
    return not alive


def test_a_student_edits_validates_and_stops(scene: DashboardSetup, system: OtherSystem) -> None:
    name = f"edit-{system.name}"
    with scene.dashboard(name, system=system) as dashboard, browser(dashboard) as client:
        assert dashboard.log_text().count(_NO_SANDBOX) == 1
        begin(client, name)
        url = opened(client)
        assert opened(client) == url, "one editor for each notebook"
        with httpx.Client(trust_env=False, follow_redirects=True, timeout=60) as other:
            assert other.get(url).is_success
            bare = url.partition("?")[0]
            assert httpx.get(f"{bare}api/status", trust_env=False, timeout=60).status_code in (
                401,
                403,
            )

        notebook = dashboard.folder / PI / f"{PI}.py"
        assert "It lies between 3 and 4." in press(client, f"/validate/{PI}").text
        notebook.write_text(RELEASED.replace("estimate = 0", "estimate = 3.1"))
        assert "1 of 1 check" in press(client, f"/validate/{PI}").text

        editors = psutil.Process(dashboard.pid).children(recursive=True)
        assert editors
        press(client, f"/stop/{PI}")
        assert ended(editors)
        opened(client)
        editors = psutil.Process(dashboard.pid).children(recursive=True)
        os.kill(dashboard.pid, signal.SIGINT)
        assert dashboard.wait(30) == 0, dashboard.tail()
        assert ended(editors)
        assert dashboard.log_text().count(_NO_SANDBOX) == 1


def test_editors_end_with_a_killed_dashboard(scene: DashboardSetup, system: OtherSystem) -> None:
    name = f"kill-{system.name}"
    with scene.dashboard(name, system=system) as dashboard, browser(dashboard) as client:
        begin(client, name)
        opened(client)
        editors = psutil.Process(dashboard.pid).children(recursive=True)
        dashboard.kill()
        assert ended(editors)


@pytest.fixture
def course(tmp_path: Path, caches: SharedCaches) -> Path:
    """A course with one source, whose environments are shared."""
    write_settings(tmp_path, caches.settings())
    (tmp_path / "home").mkdir()
    return tmp_path


def asked(system: OtherSystem, course: Path, *words: str) -> tuple[int, str, str]:
    """Run a command in the course; return its status and what it printed."""
    done = OtherSystem(system.name, home=course / "home").mograder(
        *words, "-C", str(course), cwd=course, seconds=200
    )
    return done.returncode, done.stdout, done.stderr


def test_validate_says_once_that_nothing_protects(system: OtherSystem, course: Path) -> None:
    for name, estimate in (("right", "3.1"), ("wrong", "5")):
        text = RELEASED.replace("estimate = 0", f"estimate = {estimate}")
        (course / f"{name}.py").write_bytes(text.replace("\n", "\r\n").encode())
    status, told, warned = asked(system, course, "validate", "right.py")
    assert (status, warned.count(_NO_SANDBOX)) == (0, 1), told + warned
    assert "1 of 1 check" in told
    status, told, warned = asked(system, course, "validate", "right.py", "wrong.py")
    assert (status, warned.count(_NO_SANDBOX)) == (1, 1), told + warned
    assert "It lies between 3 and 4." in told


def test_a_submission_is_run_by_express_wish_only(system: OtherSystem, course: Path) -> None:
    place = course / "submitted" / "alice"
    place.mkdir(parents=True)
    (place / "A1.py").write_text(RELEASED)
    status, _, warned = asked(system, course, "validate", "submitted/alice/A1.py")
    assert status == 78
    assert "is a submission" in warned
    assert "--no-sandbox" in warned
    status, told, _ = asked(system, course, "validate", "--no-sandbox", "submitted/alice/A1.py")
    assert status == 1
    assert "0 of 1 check" in told


def test_a_demand_for_a_sandbox_is_kept(system: OtherSystem, course: Path) -> None:
    write_settings(course, {"security.use_bubblewrap": True})
    (course / "A1.py").write_text(RELEASED)
    for words in (("validate", "A1.py"), ("generate", "A1.py")):
        status, told, warned = asked(system, course, *words)
        assert status == 78, told + warned
        assert "use_bubblewrap is true" in warned


def test_a_notebook_that_does_not_end_is_ended_with_its_processes(
    system: OtherSystem, course: Path
) -> None:
    (course / "A1.py").write_text(ENDLESS.replace("'mark'", repr(str(course))))
    status, told, _ = asked(system, course, "validate", "--timeout", "5", "A1.py")
    assert status == 1
    assert "5 s" in told
    running = processes_now("cmdline")
    assert ended([each for each in running if str(course) in (each.info["cmdline"] or [])])


def marked(course: Path) -> list[psutil.Process]:
    """Return the processes that the notebook has started."""
    running = processes_now("cmdline")
    return [each for each in running if str(course) in (each.info["cmdline"] or [])[-1:]]


def test_ctrl_c_ends_a_run_with_its_processes(system: OtherSystem, course: Path) -> None:
    (course / "A1.py").write_text(ENDLESS.replace("'mark'", repr(str(course))))
    home = OtherSystem(system.name, home=course / "home")
    process = home.started("validate", "A1.py", cwd=course)
    while not (started := marked(course)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode not in (0, 1)
    assert ended(started)


def test_generate_runs_source_and_release(system: OtherSystem, course: Path) -> None:
    assert asked(system, course, "new", "--assignment", "A7-Loops")[0] == 0
    status, told, warned = asked(system, course, "generate", "A7-Loops")
    assert status == 0, told + warned
    assert warned.count(_NO_SANDBOX) == 1
    assert "on Linux only" in told
    assert (course / "release" / "A7-Loops" / "A7-Loops.py").is_file()


PROGRAM = """
import sys, types
place, name, *arguments = sys.argv[1:]
sys.path.insert(0, place)
sys.argv[1:] = arguments
path = f"{place}/{name}.py"
with open(path, encoding="utf-8") as file:
    code = compile(file.read(), path, "exec")
module = sys.modules[f"mograder.inside.{name}"] = types.ModuleType(f"mograder.inside.{name}")
module.__file__ = path
exec(code, vars(module))
module.main(arguments)
"""


def program(system: OtherSystem, name: str, *words: str, cwd: Path) -> subprocess.Popen[bytes]:
    """Start one of the programs that run beside a notebook's code, as a module of ours."""
    place = str(Path(serve.__file__).parent)
    return subprocess.Popen(
        [system.python_command, "-c", PROGRAM, place, name, *words],
        cwd=cwd,
        env=system.environ() | {"XDG_CONFIG_HOME": str(cwd), "XDG_CACHE_HOME": str(cwd)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_the_program_that_runs_cells_needs_nothing_else(
    system: OtherSystem, tmp_path: Path
) -> None:
    (tmp_path / "A1.py").write_text(RELEASED)
    report = tmp_path / "report"
    report.touch()
    options = {"report": str(report), "rlimits": {}, "caches": "", "outputs": True}
    words = (json.dumps(options), "--", "A1.py")
    _, told = program(system, "cell_runner", *words, cwd=tmp_path).communicate(timeout=100)
    lines = [json.loads(line) for line in report.read_bytes().split(b"\n") if line]
    assert [line["status"] for line in lines if line["kind"] == "check"] == ["danger"], told
    assert lines[-1] == {"kind": "end"}
    assert b"\r" not in report.read_bytes()


def test_the_program_of_the_editor_needs_nothing_else(system: OtherSystem, tmp_path: Path) -> None:
    (tmp_path / "A1.py").write_text(RELEASED)
    options = {"host": "127.0.0.1", "rlimits": {}, "config": "", "caches": "", "owner": os.getpid()}
    words = ("-q", "edit", "--headless", "--no-sandbox", "--token-password-file", "-", "A1.py")
    process = program(system, "serve", json.dumps(options), "--", *words, cwd=tmp_path)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(b"word\n")
        process.stdin.close()
        port = json.loads(process.stdout.readline())["port"]
        assert httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False, timeout=60).is_success
        assert process.stdout.read(1) == b"", "nothing else comes on its standard output"
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()
        assert process.stderr is not None
        process.stderr.close()

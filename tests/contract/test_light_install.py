"""What students install: few packages, all as wheels on every system, and the commands work.

The environment is a real one, made by uv from the wheel that a course hands out.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import httpx
import pytest

from mograder.auth.credentials import Role, make_token
from tests.support.course_server import CourseServer
from tests.support.fake_hub import running_hub
from tests.support.light_install import (
    SERVER_PACKAGES,
    LightInstall,
    closure_of,
    install_light,
    locked_versions,
    uv,
)
from tests.support.other_system import OtherSystem, System
from tests.support.other_system.marks import SYSTEMS
from tests.support.served_course import CODE, make_course
from tests.support.student_side import closure

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

MOST_PACKAGES = 25
"""Packages besides marimo and those that it needs itself."""

PLATFORMS = (
    "x86_64-pc-windows-msvc",
    "x86_64-apple-darwin",
    "aarch64-apple-darwin",
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
)
PYTHONS = ("3.11", "3.14")
ARM_WINDOWS = "aarch64-pc-windows-msvc"
IMPORTS = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
NEEDS = """
import json
from importlib import metadata
print(json.dumps({each.name.lower().replace("_", "-"): each.requires or []
                  for each in metadata.distributions()}))
"""


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> LightInstall:
    return install_light(tmp_path_factory.mktemp("light"))


def test_it_has_few_packages_besides_marimos_own(light: LightInstall) -> None:
    needed = json.loads(light.run(light.python, "-c", NEEDS).stdout)
    own = set(light.packages()) - closure_of("marimo", needed) - {"mograder-hub"}
    assert 0 < len(own) <= MOST_PACKAGES, sorted(own)


def test_it_has_no_package_of_the_server(light: LightInstall) -> None:
    assert SERVER_PACKAGES.isdisjoint(light.packages())
    whole = {line.partition("==")[0].strip() for line in locked_versions().splitlines()}
    assert whole >= SERVER_PACKAGES


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_all_modules_of_the_students_side_can_be_imported(
    platform: str, light: LightInstall
) -> None:
    """On this machine, so of the other systems' modules those that need none of theirs."""
    modules = sorted(set(closure(platform)) & set(closure("linux")))
    done = light.run(light.python, "-c", IMPORTS, json.dumps(modules))
    assert done.returncode == 0, done.stderr
    assert "starlette" in json.loads(done.stdout)


@pytest.mark.parametrize(
    "command",
    [
        ["hub", "--dev"],
        ["hub", "check"],
        ["grader"],
        ["autograde", "A1"],
        ["gradebook", "show"],
        ["serve"],
        ["moodle", "fetch-submissions", "A1"],
    ],
    ids=" ".join,
)
def test_a_command_of_the_server_says_which_line_installs_the_rest(
    command: list[str], light: LightInstall, tmp_path: Path
) -> None:
    done = light.run(light.mograder, *command, cwd=tmp_path, home=tmp_path)
    assert done.returncode == 78, done.stdout + done.stderr
    line = rf'Install the rest: {light.python} -m uv pip install "mograder-hub\[server\] @ file:///\S+"'
    assert re.search(line, done.stderr), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("extra", ["server", "hub", "postgresql"])
def test_the_line_and_older_ones_install_the_whole_program(
    extra: str, light: LightInstall, tmp_path: Path
) -> None:
    refused = light.run(light.mograder, "gradebook", "show", cwd=tmp_path).stderr
    (requirement,) = re.findall(r'"(mograder-hub\[server\] @ [^"]+)"', refused)
    names = _resolved(requirement.replace("server", extra), "--python", str(light.python))
    assert names >= SERVER_PACKAGES
    assert ("psycopg" in names) == (extra == "postgresql")


def test_the_line_of_the_servers_page_runs(light: LightInstall, tmp_path: Path) -> None:
    """`uvx` with the line for this course; the wheel comes from the server over HTTP."""
    (tmp_path / "constraints.txt").write_text(locked_versions())
    with CourseServer(make_course(tmp_path / "course"), tmp_path / "log") as server:
        page = html.unescape(httpx.get(f"{server.url}/client", timeout=60).text)
        (line,) = set(re.findall(r'uvx --from "([^"]+)" mograder student (\S+?)<', page))
        assert line[1] == f"{server.url}/"
        options = ("--isolated", "--no-build", "--constraints", str(tmp_path / "constraints.txt"))
        told = uv("tool", "run", *options, "--from", line[0], "mograder", "student", "--help")
    assert "DIR_OR_URL" in told


def test_a_hub_is_looked_at_from_afar(light: LightInstall, tmp_path: Path) -> None:
    with running_hub() as hub:
        hub.answers("/health", status="ok")
        arguments = ("hub", "check", "--url", hub.url)
        done = light.run(light.mograder, *arguments, cwd=tmp_path, home=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "does not believe a client's own X-Remote-User" in done.stdout


def test_the_hubs_secret_is_all_that_a_token_needs(light: LightInstall, tmp_path: Path) -> None:
    secret = "0123456789abcdef" * 4
    named = ("env", f"MOGRADER_HUB_SECRET={secret}", light.mograder)
    options = ("--role", "instructor", "teacher")
    done = light.run(*named, "hub", "generate-token", *options, cwd=tmp_path, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == make_token(secret, "teacher", Role.INSTRUCTOR)


def test_an_author_starts_generates_and_validates(light: LightInstall, tmp_path: Path) -> None:
    course = tmp_path / "course"
    for arguments in (
        ("new", course),
        ("new", "--assignment", "A1", "-C", course),
        ("generate", "A1", "-C", course),
        ("validate", "-C", course, course / "source" / "A1" / "A1.py"),
    ):
        done = light.run(light.mograder, *arguments, cwd=tmp_path, home=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (course / "release" / "A1" / "A1.py").is_file()


def test_a_student_registers_fetches_and_submits(light: LightInstall, tmp_path: Path) -> None:
    options = ("--enrollment-code", CODE)
    with CourseServer(make_course(tmp_path / "course"), tmp_path / "log", options) as server:
        work = tmp_path / "work"
        work.mkdir()
        for arguments in (
            ("register", "alice", "--enrollment-code", CODE),
            ("fetch", "hw1"),
            ("submit", "hw1", work / "homework.py"),
        ):
            done = light.run(
                *(light.mograder, "https", *arguments, "--url", server.url),
                cwd=work,
                home=tmp_path,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        assert list((tmp_path / "course" / "submitted" / "hw1").glob("*alice*"))


@SYSTEMS
def test_the_dashboard_starts_as_on_another_system(
    system: System, light: LightInstall, tmp_path: Path
) -> None:
    other = OtherSystem(system, home=tmp_path, python_command=str(light.python))
    for words in ("student --help", "https --help", "config show"):
        other.ran(*words.split(), cwd=tmp_path)
    code = "import mograder.web.student.server, sys; print('fastapi' in sys.modules)"
    assert other.printed(code) == ["False"]
    for words in ("gradebook show", "moodle sync", "https upload-grades A1"):
        done = other.ran(*words.split(), cwd=tmp_path, status=78)
        assert "Install the rest: " in done.stderr
        assert "Traceback" not in done.stderr
    listed = other.mograder("moodle", "--help", cwd=tmp_path).stdout
    assert "fetch-submissions" in listed.partition("With the extra [server] installed:")[2]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_package_is_a_wheel_on_every_system(
    platform: str, python: str, light: LightInstall
) -> None:
    names = _resolved(
        f"mograder-hub @ {light.wheel.as_uri()}",
        *("--python-platform", platform, "--python-version", python),
    )
    assert {"marimo", "pydantic-core", "uv"} <= names
    assert "tzdata" in names, "time zones, of which systems lack all or some"
    assert SERVER_PACKAGES.isdisjoint(names)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_package_for_teachers_is_a_wheel_on_every_system(
    platform: str, light: LightInstall
) -> None:
    names = _resolved(
        f"mograder-hub[server] @ {light.wheel.as_uri()}",
        *("--python-platform", platform, "--python-version", PYTHONS[-1]),
    )
    assert {"sqlalchemy", "alembic", "joserfc"} <= names


def test_on_windows_for_arm_one_package_of_marimo_is_no_wheel(
    light: LightInstall, tmp_path: Path
) -> None:
    """uv takes a Python for x86_64 there by itself, which Windows runs."""
    system = ("--python-platform", ARM_WINDOWS, "--python-version", "3.14")
    requirement = f"mograder-hub @ {light.wheel.as_uri()}"
    with pytest.raises(AssertionError, match="Wheels are required for `loro`"):
        _resolved(requirement, *system)
    (tmp_path / "without.txt").write_text("loro\n")
    names = _resolved(requirement, *system, "--excludes", str(tmp_path / "without.txt"))
    assert {"marimo", "pydantic-core", "uv"} <= names


def _resolved(requirement: str, *options: str) -> set[str]:
    """Return the names of the packages that a requirement needs, all of them wheels."""
    quiet = ("--quiet", "--no-header", "--no-annotate")
    text = uv("pip", "compile", "-", *quiet, "--no-build", *options, stdin=f"{requirement}\n")
    return {line.partition("==")[0] for line in text.splitlines() if "==" in line}

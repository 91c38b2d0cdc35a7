"""A hub that cannot start prints the reason, a remedy, and returns an exit code.

B22, B49, B50, B73-B79; compatibility-0.3.16.md 1; the exit codes of decision 12.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.hub import Answer, HubProcess, run_mograder
from tests.support.identity import SECRET, from_proxy, instructor
from tests.support.process import free_port

pytestmark = pytest.mark.full

SIGNED = {"MOGRADER_HUB_SECRET": SECRET}
FAKE_BWRAP = """\
#!/bin/sh
echo 'bwrap: No permissions to create a new namespace' >&2
exit 1
"""


def hub_fails(course: Path, *options: str, env: dict[str, str] = SIGNED) -> Answer:
    """Run ``mograder hub`` on a course where it cannot start."""
    where = ("-C", str(course), "--host", "127.0.0.1", "--port", str(free_port()))
    return run_mograder("hub", *where, "--headless", *options, env=env, cwd=course)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    course = tmp_path / "empty"
    course.mkdir()
    return course


@pytest.fixture
def no_bwrap(work_directory: Path) -> dict[str, str]:
    """An environment whose PATH has no bubblewrap."""
    place = work_directory / "bin"
    place.mkdir()
    return {**SIGNED, "PATH": str(place)}


@pytest.fixture
def refused_bwrap(work_directory: Path) -> dict[str, str]:
    """An environment with a bubblewrap that the kernel refuses, as Ubuntu's AppArmor does."""
    work_directory.chmod(0o755)  # sandboxes of a hub that is root have another uid
    place = work_directory / "bin"
    place.mkdir()
    fake = place / "bwrap"
    fake.write_text(FAKE_BWRAP)
    fake.chmod(0o755)
    return {**SIGNED, "PATH": f"{place}:{os.environ['PATH']}"}


def test_a_port_in_use_is_told_and_its_owner_is_left_alone(empty: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = hub_fails(empty, "--port", str(port))
        with socket.create_connection(("127.0.0.1", port)):
            pass
    assert answer.status == 5
    assert answer.errors.splitlines()[-2:] == [
        f"Error: Port {port} is in use on 127.0.0.1.",
        "Choose another one with --port.",
    ]


def test_a_second_hub_on_the_same_course_is_refused_and_the_first_goes_on(
    start_hub: Callable[..., HubProcess],
) -> None:
    hub = start_hub()
    pid = hub.pid
    answer = hub_fails(hub.course)
    assert answer.status == 5
    assert answer.errors.splitlines()[-2:] == [
        "Error: Another hub is running on this course.",
        "Stop it first, or serve another course directory with -C.",
    ]
    assert hub.healthy()
    assert psutil.pid_exists(pid)


@pytest.mark.parametrize("settled", [None, True], ids=["unset", "required"])
def test_without_bubblewrap_a_hub_refuses_to_start_and_names_the_remedy(
    empty: Path, no_bwrap: dict[str, str], settled: bool | None
) -> None:
    options: tuple[str, ...] = ()
    if settled:
        (empty / "mograder.toml").write_text("[security]\nuse_bubblewrap = true\n")
        options = ("--dev",)  # what is required is required in development too
    answer = hub_fails(empty, *options, env=no_bwrap)
    assert answer.status == 78
    error, remedy = answer.errors.splitlines()[-2:]
    assert error == (
        "Error: bubblewrap (bwrap) is not installed, and student code runs only in a sandbox."
    )
    assert "apt install bubblewrap" in remedy
    assert "[security] use_bubblewrap = false" in remedy
    assert "Hub for" not in answer.output


def test_a_bubblewrap_that_the_kernel_refuses_is_no_sandbox(
    empty: Path, refused_bwrap: dict[str, str]
) -> None:
    answer = hub_fails(empty, env=refused_bwrap)
    assert answer.status == 78
    error, remedy = answer.errors.splitlines()[-2:]
    assert error.startswith("Error: bubblewrap does not work here")
    assert error.endswith("bwrap: No permissions to create a new namespace")
    assert "AppArmor" in remedy
    assert "user namespaces" in remedy


def test_a_hub_told_to_do_without_a_sandbox_warns_and_trusts_no_header(
    start_hub: Callable[..., HubProcess], no_bwrap: dict[str, str]
) -> None:
    """A kernel on the host could send the header from loopback, so nobody is trusted then."""
    hub = start_hub(settings={"security.use_bubblewrap": False}, env=no_bwrap)
    log = hub.log_text()
    assert "use_bubblewrap is false: student code runs without a sandbox" in log
    assert "Student code runs WITHOUT A SANDBOX." in log
    with hub.client() as client:
        assert client.get("/assignments", headers=from_proxy("alice")).status_code == 403
        assert client.get("/assignments", headers=instructor()).status_code == 200


def test_dev_without_bubblewrap_serves_loopback_only_and_says_so(
    start_hub: Callable[..., HubProcess], refused_bwrap: dict[str, str]
) -> None:
    hub = start_hub(dev=True, host="0.0.0.0", env=refused_bwrap)
    log = hub.log_text()
    assert "--dev: student code runs without a sandbox, on loopback only" in log
    assert "No permissions to create a new namespace" in log
    (link,) = re.findall(r"^Sign in as the instructor, .*: (http://127\S+)$", log, re.MULTILINE)
    assert httpx.get(link, trust_env=False).status_code == 200
    listening = [
        connection.laddr.ip
        for connection in psutil.Process(hub.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]
    assert httpx.get(f"{hub.url}/assignments", trust_env=False).status_code == 200


def test_dev_without_bubblewrap_still_opens_an_editor(
    start_hub: Callable[..., HubProcess], no_bwrap: dict[str, str]
) -> None:
    hub = start_hub(dev=True, env=no_bwrap)
    item = "A1-Measuring-Pi"
    shutil.copytree(hub.course / "release" / item, hub.course / "hub-release" / item)
    with hub.client() as client:
        started = client.post(f"/start-edit-deep/{item}")
        assert started.status_code == 200, started.text
        page = client.get("/" + started.json()["url"])
    assert page.status_code == 200
    assert "marimo" in page.text

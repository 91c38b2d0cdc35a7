"""``mograder student`` as a process: its address, its output, its end."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.command_line import cli
from tests.support.slow_body import refused_body
from tests.support.student_dashboard import StudentProcess

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[StudentProcess]:
    folder = tmp_path / "work"
    folder.mkdir()
    with StudentProcess(folder, tmp_path / "home", tmp_path / "log") as running:
        yield running


@pytest.mark.full
def test_it_listens_on_loopback_only_and_ends_at_ctrl_c(dashboard: StudentProcess) -> None:
    process = psutil.Process(dashboard.pid)
    listening = [c.laddr for c in process.net_connections("inet") if c.status == "LISTEN"]
    assert [(each.ip, each.port) for each in listening] == [("127.0.0.1", dashboard.port)]
    answer = httpx.get(dashboard.link, follow_redirects=False, trust_env=False, timeout=60)
    assert answer.status_code == httpx.codes.SEE_OTHER
    assert "For another browser, once: http://127.0.0.1:" in dashboard.log_text()
    os.kill(dashboard.pid, signal.SIGINT)
    assert dashboard.wait(15) == 0, dashboard.tail()


@pytest.mark.full
def test_a_second_one_on_the_folder_says_where_the_first_runs_until_that_has_ended(
    dashboard: StudentProcess, tmp_path: Path
) -> None:
    """The editors of two would save over each other; a crash leaves nothing that blocks."""
    printed = cli("student --headless", str(dashboard.folder), status=5)
    assert f"runs already: http://127.0.0.1:{dashboard.port} on " in printed.err
    os.kill(dashboard.pid, signal.SIGKILL)
    dashboard.wait(15)
    assert (dashboard.folder / ".mograder" / "dashboard.lock").exists()
    with StudentProcess(dashboard.folder, tmp_path / "home", tmp_path / "log-2") as again:
        assert again.healthy()
    assert not (dashboard.folder / ".mograder" / "dashboard.lock").exists()


@pytest.mark.full
async def test_the_connection_of_a_refused_form_is_closed(dashboard: StudentProcess) -> None:
    """A page of another site posts 10 GB; next to nothing of them is read."""
    refused = await refused_body("127.0.0.1", dashboard.port, "/sync", {"Sec-Fetch-Site": "x"})
    assert 400 <= refused.status < 500
    assert b"\r\nconnection: close" in refused.headers
    assert refused.sent < 8 * 2**20


def test_a_port_in_use_is_told_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = ("student --headless --port", str(port), str(tmp_path / "numeric"))
        assert "numeric is a new folder." in cli(*command, status=5).out
        assert "new folder" not in cli(*command, status=5).out


@pytest.mark.parametrize(
    ("arguments", "status"), [(["--port", "70000"], 2), (["ftp://x", "--headless"], 2)]
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int
) -> None:
    monkeypatch.chdir(tmp_path)
    cli("student", *arguments, status=status)

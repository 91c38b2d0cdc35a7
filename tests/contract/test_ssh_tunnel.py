"""Hubs that only SSH reaches: the tunnel opens, serves one command and is gone.

See compatibility-0.3.16.md 10.

``ssh`` is a stand-in on the PATH that forwards for real (``tests.support.fake_ssh``).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from mograder.core.errors import InvalidInput, RemoteFailed, TimedOut
from mograder.processes import ssh_tunnel as tunnel
from mograder.processes.ssh_tunnel import ssh_tunnel
from tests.support import fake_ssh
from tests.support.command_line import cli
from tests.support.fake_hub import FakeHub, hub

__all__ = ["hub"]

pytestmark = pytest.mark.full


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts the stand-in before everything else; returns where it notes how it was called."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {fake_ssh.__file__} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("FORWARDER_NOTES", str(tmp_path / "notes.json"))
    for name in ("MOGRADER_HUB_URL", "MOGRADER_HUB_SSH", "MOGRADER_HUB_SSH_OPTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MOGRADER_HUB_INSTRUCTOR_TOKEN", "ann:0")
    return tmp_path / "notes.json"


def port_of(hub: FakeHub) -> int:
    port = urlsplit(hub.url).port
    assert port is not None
    return port


def pid_in(notes: Path) -> int:
    pid = json.loads(notes.read_text())["pid"]
    assert isinstance(pid, int)
    return pid


def words_in(notes: Path) -> list[str]:
    return [str(word) for word in json.loads(notes.read_text())["argv"]]


def test_the_hub_answers_at_the_near_end_and_the_tunnel_ends(hub: FakeHub, notes: Path) -> None:
    hub.answers("/health", status="ok")
    with ssh_tunnel("ann@hub", port=port_of(hub)) as url:
        assert url.startswith("http://127.0.0.1:")
        assert url != hub.url
        assert httpx.get(f"{url}/health", trust_env=False, timeout=60).json() == {"status": "ok"}
        assert psutil.pid_exists(pid_in(notes))
    assert not psutil.pid_exists(pid_in(notes))


def test_it_ends_with_a_command_that_fails(hub: FakeHub, notes: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ssh_tunnel("hub", port=port_of(hub)):
        raise KeyboardInterrupt
    assert not psutil.pid_exists(pid_in(notes))


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("denied", r"ann@denied: Permission denied \(publickey\)\."),
        ("silent", "it ended with status 3"),
    ],
)
def test_what_ssh_says_is_told(notes: Path, host: str, words: str) -> None:
    with pytest.raises(RemoteFailed, match=words), ssh_tunnel(host, port=8080):
        pytest.fail("there is no tunnel")
    assert not psutil.pid_exists(pid_in(notes))


def test_one_that_never_opens_is_given_up(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel, "_OPEN_SECONDS", 1.5)
    with pytest.raises(TimedOut, match="did not open"), ssh_tunnel("deaf", port=8080):
        pytest.fail("there is no tunnel")


def test_without_an_ssh_client_the_remedy_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RemoteFailed, match="cannot be started"), ssh_tunnel("hub", port=8080):
        pytest.fail("there is no tunnel")


@pytest.mark.parametrize("host", ["", "-oProxyCommand=id", "a\nb"])
def test_a_host_is_never_an_option(notes: Path, host: str) -> None:
    with pytest.raises(InvalidInput), ssh_tunnel(host, port=8080):
        pytest.fail("there is no tunnel")
    assert not notes.exists()


def test_publish_goes_through_it(
    hub: FakeHub, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--ssh`, `--ssh-port`, MOGRADER_HUB_SSH_OPTIONS."""
    release = tmp_path / "release" / "A1"
    release.mkdir(parents=True)
    (release / "A1.py").write_text("import marimo\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOGRADER_HUB_SSH_OPTIONS", "-i 'my key'")
    hub.streams("/publish/A1", {"event": "done", "files": ["A1.py"], "type": "assignment"})
    options = ["--ssh", "ann@hub", "--ssh-port", str(port_of(hub))]
    cli("hub publish A1 --force", *options)
    assert hub.received[0].headers["authorization"] == "Bearer ann:0"
    words = words_in(notes)
    assert words[-2:] == ["--", "ann@hub"]
    assert words[words.index("-i") + 1] == "my key"
    assert f":localhost:{port_of(hub)}" in words[words.index("-L") + 1]


def test_warm_cache_goes_through_the_host_in_the_environment(
    hub: FakeHub, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MOGRADER_HUB_SSH."""
    monkeypatch.setenv("MOGRADER_HUB_SSH", "hub")
    hub.answers("/warm-cache", status="ok", warmed=["A1"])
    cli("hub warm-cache --ssh-port", str(port_of(hub)))
    assert words_in(notes)[-1] == "hub"


def test_a_url_on_the_command_line_wins_over_a_host_in_the_environment(
    hub: FakeHub, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOGRADER_HUB_SSH", "hub")
    hub.answers("/warm-cache", status="ok", warmed=[])
    cli("hub warm-cache --url", hub.url)
    assert not notes.exists()

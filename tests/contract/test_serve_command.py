"""``mograder serve`` and ``mograder token`` as commands.

B135, B140, B142-B145; compatibility-0.3.16.md 1, 4.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from mograder.clients.front_probe import look_at_front
from mograder.clients.hub import HubClient
from mograder.core.errors import RemoteFailed
from tests.support.command_line import cli
from tests.support.course_server import CourseServer, make_served_course, notebook
from tests.support.hub import run_mograder
from tests.support.process import hang_up
from tests.support.slow_body import refused_body

pytestmark = pytest.mark.full

SECRET = "0123456789abcdef" * 4


def _token(secret: str, user: str) -> str:
    return f"{user}:{hmac.new(secret.encode(), user.encode(), hashlib.sha256).hexdigest()}"


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove this machine's settings from the environment."""
    for name in ("PORT", "MOGRADER_ENROLLMENT_CODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with one assignment."""
    return make_served_course(tmp_path / "course")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_b135_serve_says_what_it_serves_and_stops_when_told(
    root: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """B135: the lines of 0.3.16; SIGTERM ends it with 0, and what is under way is answered.

    So does the end of its terminal (SIGHUP), which broke off a request and ended nothing.
    """
    with hang_up(signal.SIG_DFL), CourseServer(root, tmp_path / "log") as server:
        lines = server.log_text().splitlines()
        assert lines[0] == f"Serving assignments from {root}"
        assert lines[1] == f"  URL: http://127.0.0.1:{server.port}"
        assert lines[2] == "  Authentication: enabled"
        assert lines[3] == "Press Ctrl+C to stop."
        body = notebook("slow")
        head = (
            f"POST /assignments/hw1/submit?user=alice HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {server.token('alice')}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port)) as line:
            line.sendall(head.encode() + body[:1000])
            with server.client("bob") as client:
                assert client.get("/").json() == {"status": "ok"}
            os.kill(server.pid, number)
            line.sendall(body[1000:])
            answer = line.makefile("rb").read()
            server.wait()
        assert b'"status":"ok"' in answer
        assert server.returncode == 0
        assert (root / "submitted" / "hw1" / "alice.py").read_bytes() == body
        assert " POST /assignments/hw1/submit 200 " in server.log_text()
        assert server.token("alice") not in server.log_text()


def test_a_mistake_in_the_settings_stops_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Served by the defaults, an item would be open before its date, and late work on time."""
    toml = root / "mograder.toml"
    toml.write_text('[items.hw1]\nopens = "2026-12-10T09:00"\n[limts]\n')
    printed = cli("serve", str(root), "-p", "0", status=2)
    assert f"{toml}:3: limts is not a setting.\nDid you mean [limits]?" in printed.err
    toml.write_text('[items.hw1]\ndue = "2026-12-10T09:00"\ncloses = "2026-12-09T09:00"\n')
    assert "closes" in cli("serve", str(root), "-p", "0", status=2).err
    toml.write_text("[hub]\nport = 8080\n")
    monkeypatch.setenv("MOGRADER_HUB_PORT", "x")
    assert "MOGRADER_HUB_PORT" in cli("serve", str(root), "-p", "0", status=2).err
    assert not (root / ".mograder-secret").exists()
    cli("serve", str(root / "zz"), status=2)


def test_it_tells_what_it_ignores_in_the_settings(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOGRADER_HUB_PROT", "1")
    printed = cli("serve", str(root), "--no-auth", "--host", "0.0.0.0", status=2)
    assert "Warning: The variable MOGRADER_HUB_PROT is not a setting." in printed.err


@pytest.mark.journey
def test_a_student_fetches_submits_and_keeps_a_receipt_by_the_commands(
    root: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()

    def https(*words: str) -> str:
        done = run_mograder("https", *words, cwd=here)
        assert done.status == 0, done.output + done.errors
        return done.output

    with CourseServer(root, tmp_path / "log") as server:
        https("login", "--token", server.token("alice"), "--url", server.url)
        https("fetch", "hw1", "--url", server.url)
        with (here / "homework.py").open("a") as work:
            work.write("# my answer\n")
        https("submit", "hw1", "homework.py", "--url", server.url)
        assert "submission 1 of alice" in https("receipt", "show", "hw1")
    submitted = root / "submitted" / "hw1" / "alice.py"
    assert submitted.read_text().endswith("# my answer\n")
    assert submitted.read_bytes() == (here / "homework.py").read_bytes()


def test_b140_the_code_comes_by_option_file_or_environment(root: Path, tmp_path: Path) -> None:
    """B140, and none of two at once."""
    file = tmp_path / "enrollment.txt"
    file.write_bytes(b"\xef\xbb\xbfour phrase\r\n")  # as Windows saves it
    for number, (options, env) in enumerate(
        (
            (["--enrollment-code", "our phrase"], {}),
            (["--enrollment-code-file", str(file)], {}),
            ([], {"MOGRADER_ENROLLMENT_CODE": "our phrase"}),
        )
    ):
        with CourseServer(root, tmp_path / f"log{number}", options, env) as server:
            assert "\n  Registration: enabled\n" in server.log_text()
            body = {"user": f"student{number}", "enrollment_code": "our phrase"}
            answer = httpx.post(f"{server.url}/register", json=body, trust_env=False, timeout=60)
            assert answer.json()["token"] == server.token(f"student{number}")
            assert "our phrase" not in server.log_text()
    both = ["serve", str(root), "--enrollment-code", "a", "--enrollment-code-file", str(file)]
    cli(*both, status=2)
    given = {"MOGRADER_ENROLLMENT_CODE": "a"}
    told = run_mograder("serve", str(root), "--enrollment-code-file", str(file), env=given)
    assert (told.status, "not both" in told.errors) == (2, True)
    cli("serve", str(root), "--enrollment-code", " ", status=2)


def test_b144_tokens_for_a_file_of_names(root: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    # as Windows saves it
    names.write_bytes(b"\xef\xbb\xbf# ours\r\nalice # tutorial 3\r\n\r\n  bob  \r\n")
    printed = cli("serve", str(root), "--generate-tokens", str(names))
    secret = (root / ".mograder-secret").read_text().strip()
    assert printed.out == (
        f"alice: {_token(secret, 'alice')}\n"
        f"bob: {_token(secret, 'bob')}\n"
        "\n"
        f"instructor: {_token(secret, '__instructor__')}\n"
    )
    names.write_text("alice\na b\n")
    assert "Line 2" in cli("serve", str(root), "--generate-tokens", str(names), status=2).err


@pytest.mark.parametrize("way", ["cwd", "file", "stdin", "option"])
def test_b142_b143_tokens_from_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """B142, B143: from the working directory, a file, standard input, or the option."""
    options: list[str] = []
    if way == "cwd":
        (tmp_path / ".mograder-secret").write_text(SECRET + "\n")
    if way == "file":
        (tmp_path / "s").write_text(SECRET + "\n")
        options = ["--secret-file", str(tmp_path / "s")]
    if way == "stdin":
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{SECRET}\n".encode())))
        options = ["--secret-stdin"]
    if way == "option":
        options = ["--secret", SECRET]
    monkeypatch.chdir(tmp_path)
    printed = cli("token", *options, "alice", "bob", "carol")
    people = "".join(f"{name}: {_token(SECRET, name)}\n" for name in ("alice", "bob", "carol"))
    instructor = f"\ninstructor: {_token(SECRET, '__instructor__')}\n"
    assert printed.out == people + instructor
    assert ("others can register" in printed.err) is (way != "cwd"), "nothing notes the names"


def test_a_secret_on_standard_input_that_is_no_text_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    utf_16 = io.BytesIO(SECRET.encode("utf-16"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(utf_16, encoding="utf-8"))
    told = cli("token --secret-stdin alice", status=2).err
    assert "The secret on standard input is not UTF-8 text." in told


def test_b142_without_a_secret_or_with_two_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no secret" in cli("token alice", status=2).err
    cli("token --secret", SECRET, "--secret-stdin", "alice", status=2)
    cli("token --secret", SECRET, status=2)
    cli("token --secret", SECRET, "a b", status=2)


def test_a_token_can_be_revoked_and_a_name_given_free(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    names = root.parent / "names.txt"
    names.write_text("alice\n")
    first = cli("serve . --generate-tokens", str(names)).out
    assert cli("token --revoke alice").out == "All tokens of alice are void.\n"
    second = cli("token alice").out
    assert first.splitlines()[0] != second.splitlines()[0]
    assert first.splitlines()[2] == second.splitlines()[2]
    cli("token --revoke __instructor__")
    third = cli("token alice").out
    assert third.splitlines()[0] == second.splitlines()[0]
    assert third.splitlines()[2] != second.splitlines()[2]
    cli("token --reset __instructor__", status=2)
    cli("token --reset --revoke alice", status=2)
    cli("token --reset --secret", SECRET, "alice", status=2)


def test_b145_no_auth_keeps_to_this_machine_unless_forced(root: Path, tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.test"):
        printed = cli("serve", str(root), "--no-auth", "--host", host, "-p", "0", status=2)
        assert "--force" in printed.err
    told = run_mograder("serve", str(root), "--no-auth", env={"PORT": "0"})
    assert (told.status, "--force" in told.errors) == (2, True)
    forced = ["--no-auth", "--force", "--host=0.0.0.0", "--enrollment-code=code"]
    for number, options in enumerate((["--no-auth"], forced)):
        with CourseServer(root, tmp_path / f"log{number}", options) as server:
            assert "\n  Authentication: disabled (--no-auth)\n" in server.log_text()
            registration = "\n  Registration: disabled (--no-auth)\n" in server.log_text()
            assert registration is (options == forced)
            url = f"http://127.0.0.1:{server.port}/assignments"
            assert httpx.get(url, trust_env=False, timeout=60).status_code == 200


def test_b135_the_port_and_the_address_of_a_hosting_platform(root: Path, tmp_path: Path) -> None:
    """compatibility-0.3.16.md 4: $PORT decides both, an option either."""
    with CourseServer(root, tmp_path / "log", env={"PORT": "1"}) as server:
        assert server.url == f"http://0.0.0.0:{server.port}"
    with CourseServer(root, tmp_path / "log2", ["--host", "localhost"], {"PORT": "1"}) as server:
        assert server.url == f"http://localhost:{server.port}"
    told = run_mograder("serve", str(root), env={"PORT": "eighty"})
    assert (told.status, "$PORT" in told.errors) == (2, True)


def test_a_port_in_use_is_told(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        printed = cli("serve", str(root), "-p", port, status=5)
    assert f"Port {port} is in use" in printed.err


@contextmanager
def certified(root: Path, place: Path) -> Iterator[tuple[CourseServer, Path]]:
    """A server with HTTPS, and the certificate that it signed itself."""
    cert, key = place / "cert.pem", place / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    options = ["--tls-cert", str(cert), "--tls-key", str(key), "--host", "localhost"]
    with CourseServer(root, place / "log", options) as server:
        yield server, cert


def test_a_certificate_makes_it_https(root: Path, tmp_path: Path) -> None:
    with certified(root, tmp_path) as (server, cert):
        assert server.url == f"https://localhost:{server.port}"
        trusted = ssl.create_default_context(cafile=str(cert))
        assert httpx.get(server.url, verify=trusted, trust_env=False, timeout=60).json() == {
            "status": "ok"
        }


def test_who_does_not_know_its_authority_is_told_what_to_do(root: Path, tmp_path: Path) -> None:
    with certified(root, tmp_path) as (server, _):
        with pytest.raises(RemoteFailed) as checked:
            look_at_front(server.url)
        with HubClient(server.url, "t") as hub, pytest.raises(RemoteFailed) as asked:
            hub.ask("GET", "/assignments")
    for told in (checked, asked):
        assert "certificate" in str(told.value)
        assert "SSL_CERT_FILE=" in told.value.hint


@pytest.mark.parametrize("spoilt", ["half", "missing", "garbage"])
def test_a_certificate_that_cannot_be_used_is_told(root: Path, tmp_path: Path, spoilt: str) -> None:
    cert = tmp_path / "cert.pem"
    if spoilt == "garbage":
        cert.write_text("no certificate")
    key = [] if spoilt == "half" else ["--tls-key", str(cert)]
    printed = cli("serve", str(root), "-p", "0", "--tls-cert", str(cert), *key, status=2)
    assert "certificate" in printed.err or spoilt == "half"


async def test_the_connection_of_a_refused_submission_is_closed(root: Path, tmp_path: Path) -> None:
    """10 GB are announced; next to nothing of them is read."""
    with CourseServer(root, tmp_path / "log") as server:
        refused = await refused_body(
            "127.0.0.1",
            server.port,
            "/assignments/hw1/submit?user=alice",
            {"Authorization": f"Bearer {server.token('alice')}"},
        )
    assert refused.status == 413
    assert b"\r\nconnection: close" in refused.headers
    assert b"The body may have at most 32 MB." in refused.answer
    assert refused.sent < 8 * 2**20

"""What a supervisor makes and ends before it serves: strays, its log, its settings, an ``/etc``."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mograder.core.errors import SandboxUnavailable
from mograder.sandbox.client.bootstrap import command_config
from mograder.sandbox.supervisor.config import (
    demand_own_interpreter,
    end_strays,
    refresh_resolver,
    write_etc,
)
from tests.support.supervisors import make_config, short_directory

# --- strays: processes with a session's socket open ------------------------------------------


@pytest.fixture
def sockets() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


def listener(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    return listening


def sleeper(*keep: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"], pass_fds=[each.fileno() for each in keep])


@pytest.mark.full
def test_only_what_holds_a_sessions_socket_is_ended(sockets: Path) -> None:
    (sockets / "s").mkdir()
    with listener(sockets / "s" / "a.sock") as ours, listener(sockets / "other.sock") as other:
        stray, bystander, stranger = sleeper(ours), sleeper(), sleeper(other)
        (sockets / "s" / "a.sock").unlink()  # also when its name has gone
    try:
        assert end_strays(sockets / "s") == 1
        assert stray.wait(10) == -9
        assert bystander.poll() is None
        assert stranger.poll() is None
    finally:
        for process in (stray, bystander, stranger):
            process.kill()
            process.wait()


def test_who_asks_is_never_ended(sockets: Path) -> None:
    with listener(sockets / "a.sock"):
        assert end_strays(sockets) == 0


def test_nothing_there_is_nothing_to_do(sockets: Path) -> None:
    assert end_strays(sockets / "nowhere") == 0


def test_a_process_that_cannot_be_examined_is_not_taken_for_a_harmless_one(
    sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_pid: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with listener(sockets / "a.sock"), monkeypatch.context() as patch:
        patch.setattr(os, "pidfd_open", refuse)
        with pytest.raises(OSError, match="Too many"):
            end_strays(sockets)


# --- the log file -----------------------------------------------------------------------------

LOGS = """
import logging, os, sys
from pathlib import Path
from mograder.core.log import configure_logging
from mograder.sandbox.supervisor.config import LogFile
configure_logging(to=LogFile(Path(sys.argv[1])))
log = logging.getLogger("mograder.supervisor")
for number in range(300):
    log.info("%d %s", number, "x" * 10_000)
os.write(2, b"the last words")
"""


@pytest.mark.full
def test_an_older_file_is_kept_and_standard_error_follows_to_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "state" / "supervisor.log"
    subprocess.run([sys.executable, "-c", LOGS, str(path)], check=True)
    older = path.with_name("supervisor.log.1")
    assert sorted(path.parent.iterdir()) == [path, older]
    assert max(path.stat().st_size, older.stat().st_size) <= 1 << 20
    text = path.read_text()
    assert "299 xxx" in text
    assert text.endswith("the last words")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# --- the Python that the hub runs in ----------------------------------------------------------


def test_a_python_that_the_hubs_user_cannot_execute_is_said_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demand_own_interpreter()
    program = tmp_path / "python"
    program.write_text("")
    program.chmod(0o644)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(SandboxUnavailable, match="cannot execute the hub's own Python") as refused:
        demand_own_interpreter()
    assert "Install mograder where that user" in refused.value.hint


@pytest.mark.full
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_python_below_a_private_directory_of_roots_is_noticed(tmp_path: Path) -> None:
    """As one in the home of root is, for a hub that became another user after its start."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "python").symlink_to(sys.executable)
    code = (
        "import os, sys\n"
        "from mograder.sandbox.supervisor.config import demand_own_interpreter as ask\n"
        "os.setresuid(65534, 65534, 65534); ask()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [str(private / "python"), "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "who cannot execute the hub's own Python" in done.stderr


# --- a command's own supervisor beside a running hub's ---------------------------------------


def test_it_has_its_own_files_and_touches_no_cgroup_of_the_hubs(tmp_path: Path) -> None:
    """At its end a supervisor that divides cgroups removes the zygotes' group, and kills in it."""
    hubs = make_config(tmp_path / "hub", tmp_path, owned=False)
    own = command_config(hubs, tmp_path / "own", warm=3)
    assert hubs.divide_cgroups
    assert not own.divide_cgroups
    assert own.socket.parent == own.runtime == tmp_path / "own"
    assert own.log == tmp_path / "own" / "supervisor.log"
    assert (own.owned, own.warm_environments) == (True, 3)
    assert own.uv_cache == hubs.uv_cache


# --- the synthetic /etc: enough to run, nothing that not everybody may read anyway ------------

PRIVATE = "the private key"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A machine's ``/etc`` with secrets in the places where machines have them."""
    etc = tmp_path / "host"
    files = {
        "resolv.conf": ("nameserver 192.0.2.53\n", 0o644),
        "hosts": ("127.0.0.1 localhost\n192.0.2.1 index.test\n", 0o644),
        "shadow": (PRIVATE, 0o640),
        "passwd": ("root:x:0:0:the administrator:/root:/bin/bash\n", 0o644),
        "ssl/openssl.cnf": ("[default]\n", 0o644),
        "ssl/certs/ca.pem": ("a certificate\n", 0o644),
        "ssl/private/key.pem": (PRIVATE, 0o644),
        "ssl/group.pem": (PRIVATE, 0o640),
        "pki/listed/key.pem": (PRIVATE, 0o644),
        "uv/uv.toml": (f"index-url = 'https://user:{PRIVATE}@index.test'\n", 0o600),
        "ld.so.cache": ("a cache\n", 0o644),
        "mime.types": (PRIVATE, 0o600),
    }
    for name, (text, mode) in files.items():
        path = etc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
    (etc / "ssl/private").chmod(0o710)
    (etc / "pki/listed").chmod(0o744)  # to be listed, not to be entered
    (etc / "ssl/certs/link.pem").symlink_to("../private/key.pem")
    os.mkfifo(etc / "ssl/pipe")
    (etc / "ca-certificates").mkdir(mode=0o700)
    (etc / "ca-certificates/key.pem").write_text(PRIVATE)
    return etc


@pytest.mark.parametrize("network", [False, True])
def test_nothing_private_gets_in(host: Path, tmp_path: Path, network: bool) -> None:
    etc = write_etc(tmp_path / "etc", network=network, host=host)
    texts = [path.read_text() for path in etc.rglob("*") if path.is_file()]
    assert PRIVATE not in "".join(texts)
    assert not any("private" in path.parts for path in etc.rglob("*"))


def test_builds_know_how_to_reach_and_trust_the_index(host: Path, tmp_path: Path) -> None:
    etc = write_etc(tmp_path / "etc", network=True, host=host)
    assert (etc / "ssl/certs/ca.pem").read_text() == "a certificate\n"
    assert "192.0.2.53" in (etc / "resolv.conf").read_text()
    assert "index.test" in (etc / "hosts").read_text()


def test_sessions_know_localhost_and_no_network(host: Path, tmp_path: Path) -> None:
    etc = write_etc(tmp_path / "etc", network=False, host=host)
    assert "127.0.0.1 localhost" in (etc / "hosts").read_text()
    assert "index.test" not in (etc / "hosts").read_text()
    assert {"resolv.conf", "ssl", "uv", "shadow"}.isdisjoint(p.name for p in etc.iterdir())
    assert (etc / "ld.so.cache").exists()


def test_the_only_users_are_root_and_the_student(host: Path, tmp_path: Path) -> None:
    etc = write_etc(tmp_path / "etc", network=False, host=host)
    assert [line.split(":")[0] for line in (etc / "passwd").read_text().splitlines()] == [
        "root",
        "student",
    ]


def test_every_uid_can_read_it_whatever_the_umask_is(host: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        etc = write_etc(tmp_path / "etc", network=True, host=host)
    finally:
        os.umask(before)
    for path in (etc, *etc.rglob("*")):
        wanted = 0o755 if path.is_dir() else 0o644
        assert path.is_symlink() or path.stat().st_mode & 0o777 == wanted, path


def test_it_is_written_afresh(host: Path, tmp_path: Path) -> None:
    etc = write_etc(tmp_path / "etc", network=True, host=host)
    (etc / "stale").write_text("from before")
    assert not (write_etc(tmp_path / "etc", network=True, host=host) / "stale").exists()


def test_a_machine_that_has_none_of_it_is_no_error(tmp_path: Path) -> None:
    etc = write_etc(tmp_path / "etc", network=True, host=tmp_path / "nowhere")
    assert sorted(path.name for path in etc.iterdir()) == [
        "group",
        "hosts",
        "nsswitch.conf",
        "passwd",
    ]


def test_this_machines_own_can_be_written(tmp_path: Path) -> None:
    etc = write_etc(tmp_path / "etc", network=True)
    assert not any(path.name in ("shadow", "gshadow", "sudoers") for path in etc.rglob("*"))
    refresh_resolver(etc)

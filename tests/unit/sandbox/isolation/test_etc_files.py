"""The synthetic ``/etc``: enough to run, nothing that not everybody may read anyway."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mograder.sandbox.supervisor.config import refresh_resolver, write_etc

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

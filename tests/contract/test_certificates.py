"""Findings about a front's certificate, by real handshakes with real certificates (D7)."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mograder.clients.certificate import trusting
from mograder.core.errors import InvalidInput
from mograder.operations.live_checks import certificate_line
from mograder.operations.report import Level
from tests.support.command_line import cli
from tests.support.http_server import Quiet, answering

pytestmark = pytest.mark.full


def openssl(place: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=place, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The place of a certificate authority of its own, root.crt."""
    place = tmp_path_factory.mktemp("authority")
    made = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(
        place, *made, "-keyout", "root.key", "-out", "root.crt", "-days", "30", "-subj", "/CN=Us"
    )
    return place


@pytest.fixture(scope="module")
def sign(authority: Path) -> Callable[[str, int], Path]:
    """Makes a certificate with its key in one file; of another's making without an authority."""

    def sign(name: str, days: int, *, alone: bool = False) -> Path:
        stem = f"{name}-{days}-{alone}"
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        named = ("-keyout", f"{stem}.key", "-subj", "/CN=x", "-addext", f"subjectAltName={name}")
        if alone:
            openssl(authority, "req", "-x509", *key, *named, "-out", f"{stem}.crt", "-days", "30")
        else:
            openssl(authority, "req", *key, *named, "-out", f"{stem}.csr")
            by = ("-CA", "root.crt", "-CAkey", "root.key", "-CAcreateserial")
            kept = ("-copy_extensions", "copy", "-days", str(days))
            request = ("x509", "-req", "-in", f"{stem}.csr", "-out", f"{stem}.crt")
            openssl(authority, *request, *by, *kept)
        both = authority / f"{stem}.pem"
        both.write_bytes(
            (authority / f"{stem}.crt").read_bytes() + (authority / f"{stem}.key").read_bytes()
        )
        return both

    return sign


class _Nothing(Quiet):
    def do_GET(self) -> None:
        self.send_error(404)


@contextmanager
def served(certificate: Path) -> Iterator[str]:
    """A web server with a certificate, at this address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with answering(_Nothing, context) as url:
        yield url


HERE, ELSEWHERE = "IP:127.0.0.1", "DNS:elsewhere.test"


@pytest.mark.parametrize(
    ("name", "days", "alone", "known", "said", "hint"),
    [
        (HERE, -1, False, True, "has expired", "Renew it"),
        (ELSEWHERE, 30, False, True, "is for another address (for elsewhere.test", "Use the name"),
        (HERE, 30, True, True, "is signed by itself alone", "The certificate is self-signed"),
        (HERE, 30, False, False, "is signed by no authority that this machine trusts", "root.crt"),
    ],
)
def test_d7_each_fault_of_a_certificate_has_its_own_words_and_remedy(
    authority: Path,
    sign: Callable[..., Path],
    name: str,
    days: int,
    alone: bool,
    known: bool,
    said: str,
    hint: str,
) -> None:
    ends = [datetime.now(UTC) + timedelta(days=days)]
    with served(sign(name, days, alone=alone)) as url:
        line = certificate_line(url, trusting(authority / "root.crt" if known else None))
    assert line is not None
    assert line.level is Level.PROBLEM
    assert said in line.text
    ends.append(datetime.now(UTC) + timedelta(days=days))
    assert any(f"until {end:%Y-%m-%d}" in line.text for end in ends)
    assert hint in line.hint


def test_d7_an_accepted_certificate_has_its_end_and_a_note_before_it(
    authority: Path, sign: Callable[..., Path]
) -> None:
    trust = trusting(authority / "root.crt")
    with served(sign(HERE, 30)) as url:
        line = certificate_line(url, trust)
        later = certificate_line(url, trust, datetime.now(UTC) + timedelta(days=25))
    assert line is not None
    assert later is not None
    assert line.level is Level.OK
    assert "is accepted until 20" in line.text
    assert later.level is Level.NOTE
    assert "should have been renewed" in later.hint


def test_from_another_machine_only_the_address_is_checked(
    authority: Path, sign: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No word of a secret, a sandbox, or of the working directory as a course."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mograder.toml").write_text("[backup]\ndirectory = '/none'\n")
    monkeypatch.delenv("MOGRADER_COURSE_DIR", raising=False)
    root = str(authority / "root.crt")
    with served(sign(HERE, -1)) as url:
        out = cli("hub check --url", url, "--ca", root, status=1).out
        assert len(out.splitlines()) == 4, "one line, its remedy, and the sum"
        assert "has expired" in out
    with served(sign(HERE, 30)) as url:
        printed = cli("hub check --url", url, "--ca", root, status=1)
        assert f"There is no hub at {url}: it answered 404." in printed.out


def test_an_authority_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "root.crt").write_text("no certificate")
    with pytest.raises(InvalidInput, match=r"root\.crt holds no certificate"):
        trusting(tmp_path / "root.crt")
    with pytest.raises(InvalidInput, match=r"none\.crt cannot be read: No such file"):
        trusting(tmp_path / "none.crt")


def test_b148_no_token_is_kept_for_a_server_whose_certificate_is_refused(
    sign: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with served(sign(HERE, 30, alone=True)) as url:
        printed = cli("https login --token alice:00 --url", url, status=69)
    assert "certificate" in printed.err
    assert not (tmp_path / ".config").exists()

"""A deployment behind a site's mirror, proxy and authority, and what it does to files of others.

A package index on loopback with a certificate of a test authority; the script's own functions ask
it with real pip and uv.
"""

from __future__ import annotations

import dataclasses
import functools
import http.server
import os
import ssl
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mograder.core.errors import Conflict, InvalidInput, MograderError
from mograder.operations.install.data import course_settings, ensure_course
from mograder.operations.install.options import InstallOptions
from mograder.operations.install.services import SITE, demand_free_ports, ensure_front, front_text
from mograder.operations.install.system import ensure_network, ensure_packages
from tests.support.course import REPOSITORY
from tests.support.http_server import Quiet, answering
from tests.unit.deploy.machine import FakeHost
from tests.unit.deploy.test_deploy_script import SCRIPT, deploy

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"

_METADATA = "Metadata-Version: 2.1\nName: of-the-mirror\nVersion: 1.0\n"
_WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_AUTHORITY = """\
set -e
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt \\
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
openssl req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout key.pem -out request.pem
printf 'subjectAltName=IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' > extensions
openssl x509 -req -in request.pem -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \\
  -extfile extensions -out cert.pem
"""


class _Files(Quiet, http.server.SimpleHTTPRequestHandler):
    """Serves a directory."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an authority's certificate, and one that it signed for loopback."""
    place = tmp_path_factory.mktemp("authority")
    subprocess.run(["bash", "-c", _AUTHORITY], cwd=place, check=True, capture_output=True)
    return place


@pytest.fixture(scope="module")
def mirror(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an index with one package, which no other index has."""
    root = tmp_path_factory.mktemp("index")
    package = root / "simple" / "of-the-mirror"
    package.mkdir(parents=True)
    with zipfile.ZipFile(package / "of_the_mirror-1.0-py3-none-any.whl", "w") as wheel:
        info = "of_the_mirror-1.0.dist-info"
        wheel.writestr("of_the_mirror.py", "")
        wheel.writestr(f"{info}/METADATA", _METADATA)
        wheel.writestr(f"{info}/WHEEL", _WHEEL)
        wheel.writestr(f"{info}/RECORD", "")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "cert.pem", authority / "key.pem")
    with answering(functools.partial(_Files, directory=str(root)), context) as url:
        yield f"{url}/simple/"


UV = REPOSITORY / ".tools" / "uv" / "bin" / "uv"
_TO_THE_END = 'main "$@"; exit\n'


def bootstrap(
    place: Path, commands: str, *, kept: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run commands with the script's functions, which root runs on the machine.

    ``kept`` is the file in which an earlier run has kept its network.
    """
    text = SCRIPT.read_text("utf-8").replace("/etc/mograder/build.env", str(kept))
    assert text.endswith(_TO_THE_END)
    (place / "functions.sh").write_text(text.removesuffix(_TO_THE_END))
    return subprocess.run(
        ["bash", "-c", f"source {place}/functions.sh\ntop={place}/top\n{commands}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(place)},
        timeout=120,
        check=False,
    )


_FETCH = f"""
mkdir -p $top/tools/bin
ln -sf {UV} $top/tools/bin/uv
uv pip install --target $top/out of-the-mirror
"""


@pytest.mark.full
def test_uv_and_pip_ask_the_mirror_and_trust_the_sites_authority(
    tmp_path: Path, mirror: str, authority: Path
) -> None:
    """The install and the builds read the same file."""
    options = InstallOptions(index_url=mirror, ca_file=str(authority / "ca.crt"))
    words = f"take --index-url={mirror}; take --ca-file={options.ca_file}; use_network"
    pip = f"{UV.with_name('pip')} download --no-deps --dest $top/pip of-the-mirror"
    done = bootstrap(tmp_path, f"{words}; {_FETCH}{pip}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "top" / "out" / "of_the_mirror.py").exists()
    assert list((tmp_path / "top" / "pip").iterdir())
    ensure_network(FakeHost(tmp_path), options)
    kept = tmp_path / "etc" / "mograder" / "build.env"
    lines = kept.read_text().splitlines()
    assert f"UV_DEFAULT_INDEX={mirror}" in lines
    assert f"SSL_CERT_FILE={BUNDLE}" in lines
    trusted = tmp_path / "usr/local/share/ca-certificates/mograder-site.crt"
    assert trusted.read_bytes() == (authority / "ca.crt").read_bytes()
    kept.write_text(kept.read_text().replace(BUNDLE, str(trusted)))
    again = bootstrap(tmp_path, f"use_network; rm -rf $top/out $top/cache; {_FETCH}", kept=kept)
    assert again.returncode == 0, "a later run needs no options"
    assert (tmp_path / "top" / "out" / "of_the_mirror.py").exists()


@pytest.mark.full
def test_an_older_python_than_is_needed_is_told(tmp_path: Path) -> None:
    (tmp_path / "mograder-1-a.whl").touch()
    words = f"uv() {{ return 2; }}; mograder_version={tmp_path}/mograder-1-a.whl"
    done = bootstrap(tmp_path, f"{words}; install_version; echo went on")
    assert done.returncode == 1
    assert "went on" not in done.stdout
    assert "Python 3.11 or newer is needed" in done.stderr


@pytest.mark.full
def test_without_the_authority_the_remedy_is_said(tmp_path: Path, mirror: str) -> None:
    words = f"take --index-url={mirror}; use_network; {_FETCH.rstrip()} || explain_network"
    done = bootstrap(tmp_path, words)
    assert done.returncode == 1
    assert "--ca-file" in done.stderr


@pytest.mark.full
def test_a_proxy_reaches_every_program_by_its_own_names(tmp_path: Path) -> None:
    proxy = "http://proxy.example:3128"
    host = FakeHost(tmp_path)
    ensure_network(host, InstallOptions(proxy=proxy))
    said = bootstrap(tmp_path, f"take --proxy={proxy}; use_network; env").stdout.splitlines()
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        assert f"{name}={proxy}" in said
        assert host.environment[name] == proxy
    assert "no_proxy=localhost,127.0.0.1,::1" in said
    assert host.environment["no_proxy"] == "localhost,127.0.0.1,::1"


@pytest.mark.full
@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_lines_that_an_administrator_has_quoted_are_read_as_systemd_does(
    tmp_path: Path, quote: str
) -> None:
    kept = tmp_path / "etc/mograder/build.env"
    kept.parent.mkdir(parents=True)
    kept.write_text(f"HTTPS_PROXY={quote}http://proxy.example:3128{quote}\n")
    host = FakeHost(tmp_path)
    ensure_network(host, InstallOptions())
    said = bootstrap(tmp_path, "use_network; env", kept=kept).stdout.splitlines()
    assert "https_proxy=http://proxy.example:3128" in said
    assert host.environment["https_proxy"] == "http://proxy.example:3128"


def test_other_lines_for_builds_stay(tmp_path: Path) -> None:
    env = tmp_path / "etc" / "mograder" / "build.env"
    env.parent.mkdir(parents=True)
    env.write_text("# ours\nUV_DEFAULT_INDEX=https://old.example/simple\nUV_HTTP_TIMEOUT=60\n")
    ensure_network(FakeHost(tmp_path), InstallOptions(index_url="https://new.example/simple"))
    assert env.read_text() == (
        "# ours\nUV_HTTP_TIMEOUT=60\nUV_DEFAULT_INDEX=https://new.example/simple\n"
    )


@pytest.mark.full
@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--index-url", "ftp://x", "--index-url wants"),
        ("--proxy", "http://me:secret@proxy", "No password"),
        ("--ca-file", "/nowhere", "cannot be read"),
        ("--ca-file", "/dev/null", "holds no certificate"),
        ("--session-domain", "s.example.net", "wildcard certificate"),
        ("--session-domain", "s.hub.example.org", "another domain"),
        ("--session-domain", "s.Hub.Example.ORG", "another domain"),
        ("--remote-user", "$x", "variable of Caddy's"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(option: str, value: str, said: str) -> None:
    words = ("--host", "h", "--key", "/dev/null", "--domain", "hub.example.org")
    done = deploy(*words, option, value)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(("absent", "hinted"), [("caddy", True), ("bubblewrap", False)])
def test_only_a_missing_caddy_is_told_where_caddy_is(
    tmp_path: Path, absent: str, *, hinted: bool
) -> None:
    """Any package that could not be fetched was answered with the systems that have Caddy."""
    answers = {
        f"dpkg-query -W -f ${{db:Status-Status}} {absent}": (1, ""),
        "dpkg-query": (0, "installed"),
        "apt-get -qq install": (100, ""),
    }
    with pytest.raises(MograderError) as failed:
        ensure_packages(FakeHost(tmp_path, answers), InstallOptions(domain="hub.example.org"))
    assert ("Caddy" in (failed.value.hint or "")) == hinted


@pytest.mark.parametrize("server", ["nginx", "caddy"])
def test_a_web_server_that_has_caddys_ports_is_named(tmp_path: Path, server: str) -> None:
    listening = f'LISTEN 0.0.0.0:443 users:(("{server}",pid=7))'
    host = FakeHost(tmp_path, {"ss": (0, listening), "systemctl": (3, "")})
    if server == "caddy":
        demand_free_ports(host, "hub.example.org")
        return
    with pytest.raises(Conflict, match=r"(?s)nginx.*deploy without --domain"):
        demand_free_ports(host, "hub.example.org")


def course(place: Path, text: str = "") -> FakeHost:
    """A machine with a course of these settings."""
    directory = place / "srv" / "mograder" / "course"
    directory.mkdir(parents=True)
    (directory / "mograder.toml").write_text(text.replace("/srv/mograder", str(place)))
    return FakeHost(place)


def test_a_sign_on_before_caddy_may_use_tokens_of_its_own(tmp_path: Path) -> None:
    """Requests that it names keep their name, whatever Authorization it adds."""
    host = course(tmp_path)
    said = front_text(host, InstallOptions(domain="hub.example.org", sso_proxy="10.0.3.7"))
    assert "header_up X-Remote-User {http.vars.mograder_user}" in said
    assert "https://hub.example.org {\n\t@mograder_sso remote_ip 10.0.3.7\n" in said
    assert "@mograder_token" not in said
    own = InstallOptions(domain="hub.example.org", remote_user="{http.auth.user.id}")
    assert "@mograder_token" in front_text(host, own)


@pytest.mark.full
def test_an_authority_is_trusted_on_a_machine_without_the_package(
    tmp_path: Path, authority: Path
) -> None:
    """Which comes by way of the proxy, and before everything else."""
    host = FakeHost(tmp_path, missing=("update-ca-certificates",))
    file = str(authority / "ca.crt")
    ensure_network(host, InstallOptions(proxy="http://proxy.example:3128", ca_file=file))
    assert host.ran[-2].endswith(" ca-certificates")
    assert host.ran[-1] == "update-ca-certificates"
    assert host.environment["http_proxy"] == "http://proxy.example:3128"
    again = FakeHost(tmp_path)
    ensure_network(again, InstallOptions(ca_file=file))
    assert again.ran == ["update-ca-certificates"], "an earlier run may have broken off before it"


def test_a_machine_whose_caddyfile_was_removed_gets_one(tmp_path: Path) -> None:
    host = course(tmp_path)
    ensure_front(host, InstallOptions(domain="hub.example.org"))
    assert (tmp_path / "etc/caddy/Caddyfile").read_text() == "\nimport mograder.caddy\n"
    assert host.ran[-1] == "systemctl reload-or-restart caddy"
    ensure_front(host, InstallOptions(domain="hub.example.org"))
    assert host.told[-1] == "[deploy] as it should be"


def test_a_configuration_that_caddy_has_not_taken_is_tried_again(tmp_path: Path) -> None:
    """Caddy refused it, or the connection broke: the file alone is not enough."""
    options = InstallOptions(domain="hub.example.org")
    course(tmp_path)
    validate = "runuser -u caddy -- env HOME=/var/lib/caddy caddy validate"  # not as root
    answers = {validate: (1, ""), "systemctl show -P StateChange": (0, "1000")}
    for _ in range(2):
        with pytest.raises(MograderError, match="Caddy refuses its configuration"):
            ensure_front(FakeHost(tmp_path, answers), options)
    host = FakeHost(tmp_path, answers | {validate: (0, "")})
    ensure_front(host, options)
    assert host.ran[-1] == "systemctl reload-or-restart caddy"


def test_another_port_than_that_of_the_settings_is_refused(tmp_path: Path) -> None:
    """The front would be written for a port where nobody listens."""
    options = InstallOptions(port=8123)
    ensure_course(course(tmp_path, course_settings(options)), options)
    with pytest.raises(InvalidInput, match=r"is 8123, and --port is 8080.*--port 8123"):
        ensure_course(FakeHost(tmp_path), InstallOptions())


def test_caddy_asks_the_socket_and_not_an_address_of_the_settings(tmp_path: Path) -> None:
    """A hub by hand may have listened there; with the socket, nothing does."""
    host = course(tmp_path, '[hub]\nhost = "10.0.3.5"\n')
    said = front_text(host, InstallOptions(domain="hub.example.org"))
    assert "reverse_proxy 127.0.0.1:8080 {" in said
    assert "10.0.3.5" not in said


def test_a_name_in_capitals_is_the_same(tmp_path: Path) -> None:
    """Configurations have it in small letters; the site's own lines were left out."""
    options = InstallOptions(
        domain="Hub.Example.ORG",
        internal_ca=True,
        sso_proxy="10.0.3.7",
        session_domain="Example.NET",
    )
    said = front_text(course(tmp_path, course_settings(options)), options)
    assert "https://hub.example.org {\n\ttls internal\n\t@mograder_sso remote_ip 10.0.3.7" in said
    assert "https://*.example.net {\n\ttls internal\n" in said
    small = dataclasses.replace(options, domain="hub.example.org", session_domain="example.net")
    host = FakeHost(tmp_path)
    ensure_course(host, small)
    assert "!!" not in host.text


def test_sessions_get_origins_of_their_own(tmp_path: Path) -> None:
    own = InstallOptions(domain="hub.example.org", session_domain="example.net", internal_ca=True)
    settings = course_settings(own)
    assert 'session_url = "https://{session}.example.net"' in settings
    host = course(tmp_path, settings)
    assert "https://*.example.net {\n\ttls internal\n" in front_text(host, own)
    own = dataclasses.replace(
        own,
        internal_ca=False,
        session_certificate="/etc/ssl/w.crt",
        session_key="/etc/ssl/w.key",
    )
    assert "https://*.example.net {\n\ttls /etc/ssl/w.crt /etc/ssl/w.key\n" in front_text(host, own)


@pytest.mark.parametrize(
    "given",
    [
        {"internal_ca": True},
        {"session_certificate": "/etc/ssl/w.crt", "session_key": "/etc/ssl/w.key"},
    ],
)
def test_an_upgrade_keeps_the_certificate_of_the_sessions(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    first = InstallOptions(domain="hub.example.org", session_domain="example.net", **given)
    host = course(tmp_path, course_settings(first))
    text = front_text(host, first)
    host.path(SITE).parent.mkdir(parents=True)
    host.path(SITE).write_text(text)
    again = InstallOptions(domain="hub.example.org", internal_ca=first.internal_ca)
    assert front_text(host, again) == text

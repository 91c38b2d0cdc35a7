"""A deployment behind a site's mirror, proxy and authority, and what it does to files of others.

A package index on loopback with a certificate of a test authority; the script's own functions ask
it with real pip and uv.
"""

from __future__ import annotations

import functools
import http.server
import ssl
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.course import REPOSITORY
from tests.support.http_server import Quiet, answering
from tests.unit.deploy.test_deploy_script import deploy, step

pytestmark = pytest.mark.full

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


_LOCAL = """\
site_authority=$top/mograder-site.crt system_bundle=$site_authority
update-ca-certificates() { :; }
"""
_FETCH = """\
mkdir -p $top/tools/bin
ln -sf {uv} $top/tools/bin/uv
uv pip install --target $top/out of-the-mirror \
"""
UV = REPOSITORY / ".tools" / "uv" / "bin" / "uv"


@pytest.mark.full
def test_uv_and_pip_ask_the_mirror_and_trust_the_sites_authority(
    tmp_path: Path, mirror: str, authority: Path
) -> None:
    """The install and the builds read the same file."""
    (tmp_path / "top").mkdir()
    words = {"index_url": mirror, "ca_file": str(authority / "ca.crt")}
    fetch = _FETCH.format(uv=UV)
    pip = f"{UV.with_name('pip')} download --no-deps --dest $top/pip of-the-mirror"
    done = step(tmp_path, f"{_LOCAL} ensure_network; {fetch} && {pip}", **words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "top" / "out" / "of_the_mirror.py").exists()
    assert list((tmp_path / "top" / "pip").iterdir())
    kept = (tmp_path / "etc" / "build.env").read_text().splitlines()
    assert f"UV_DEFAULT_INDEX={mirror}" in kept
    assert any(line.startswith("SSL_CERT_FILE=") for line in kept)
    again = step(tmp_path, f"{_LOCAL} ensure_network; rm -rf $top/out $top/cache; {fetch}")
    assert again.returncode == 0, "a later run needs no options"
    assert (tmp_path / "top" / "out" / "of_the_mirror.py").exists()


@pytest.mark.full
def test_without_the_authority_the_remedy_is_said(tmp_path: Path, mirror: str) -> None:
    (tmp_path / "top").mkdir()
    fetch = _FETCH.format(uv=UV)
    done = step(tmp_path, f"ensure_network; {fetch} || explain_network", index_url=mirror)
    assert done.returncode == 1
    assert "--ca-file" in done.stderr


def test_a_proxy_reaches_every_program_by_its_own_names(tmp_path: Path) -> None:
    done = step(tmp_path, "ensure_network; env", proxy="http://proxy.example:3128")
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        assert f"\n{name}=http://proxy.example:3128\n" in done.stdout
    assert "\nno_proxy=localhost,127.0.0.1,::1\n" in done.stdout


def test_other_lines_for_builds_stay(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    env = tmp_path / "etc" / "build.env"
    env.write_text("# ours\nUV_DEFAULT_INDEX=https://old.example/simple\nUV_HTTP_TIMEOUT=60\n")
    assert step(tmp_path, "ensure_network", index_url="https://new.example/simple").returncode == 0
    assert env.read_text() == (
        "# ours\nUV_HTTP_TIMEOUT=60\nUV_DEFAULT_INDEX=https://new.example/simple\n"
    )


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--index-url", "ftp://x", "--index-url wants"),
        ("--proxy", "http://me:secret@proxy", "No password"),
        ("--ca-file", "/nowhere", "holds no certificate"),
        ("--session-domain", "s.example.net", "wildcard certificate"),
        ("--session-domain", "s.hub.example.org", "another domain"),
        ("--remote-user", "$x", "variable of Caddy's"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(option: str, value: str, said: str) -> None:
    words = ("--host", "h", "--key", "/dev/null", "--domain", "hub.example.org")
    done = deploy(*words, option, value)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_web_server_that_has_caddys_ports_is_named(tmp_path: Path) -> None:
    stubs = (
        "systemctl() { return 1; }\nss() { echo 'LISTEN 0.0.0.0:443 users:((\"nginx\",pid=7))'; }"
    )
    done = step(tmp_path, f"{stubs}\ndemand_free_ports", domain="hub.example.org")
    assert done.returncode == 1
    assert "nginx" in done.stderr
    assert "deploy without --domain" in done.stderr
    stubs = stubs.replace("nginx", "caddy")
    assert step(tmp_path, f"{stubs}\ndemand_free_ports").returncode == 0


def test_a_sign_on_before_caddy_may_use_tokens_of_its_own(tmp_path: Path) -> None:
    """Requests that it names keep their name, whatever Authorization it adds."""
    words = {"domain": "hub.example.org", "sso_proxy": "10.0.3.7"}
    course = tmp_path / "course"
    course.mkdir()
    (course / "mograder.toml").write_text("")
    (tmp_path / "top" / "current").mkdir(parents=True)
    (tmp_path / "top" / "current" / "bin").symlink_to(Path(sys.executable).parent)
    said = step(tmp_path, f"course={course}; front_text", **words).stdout
    assert "header_up X-Remote-User {http.vars.mograder_user}" in said
    assert "@mograder_token" not in said
    words = {"domain": "hub.example.org", "remote_user": "{http.auth.user.id}"}
    assert "@mograder_token" in step(tmp_path, f"course={course}; front_text", **words).stdout


@pytest.mark.full
def test_an_authority_is_trusted_on_a_machine_without_the_package(
    tmp_path: Path, authority: Path
) -> None:
    """Which comes by way of the proxy, and before everything else."""
    (tmp_path / "top").mkdir()
    log = tmp_path / "log"
    stubs = f"""
site_authority=$top/mograder-site.crt
update-ca-certificates() {{ :; }}
command() {{ return 1; }}
env() {{ echo "$* by $http_proxy" >>{log}; }}
"""
    words = {"proxy": "http://proxy.example:3128", "ca_file": str(authority / "ca.crt")}
    done = step(tmp_path, f"{stubs} ensure_network", **words)
    assert done.returncode == 0, done.stderr
    assert log.read_text().endswith(" ca-certificates by http://proxy.example:3128\n")
    assert (tmp_path / "top" / "mograder-site.crt").exists()


def test_a_file_that_no_list_names_is_not_said_to_be_changed(tmp_path: Path) -> None:
    """At the first upgrade there is no list; what is as it should be joins it."""
    same, other = tmp_path / "same", tmp_path / "other"
    same.write_text("one\n")
    other.write_text("one\n")
    write = (
        f"printf 'one\\n' | put {same} 644 || true; printf 'two\\n' | put {same} 644;"
        f"printf 'two\\n' | put {other} 644"
    )
    done = step(tmp_path, write)
    assert done.returncode == 0, done.stderr
    assert f"{same} " not in done.stderr
    assert f"{other} was not written by this script, as far as it knows" in done.stderr


def test_a_file_that_somebody_changed_is_kept_and_told(tmp_path: Path) -> None:
    file = tmp_path / "mograder.caddy"
    write = f"printf 'one\\n' | put {file} 644; printf 'two\\n' | put {file} 644"
    done = step(tmp_path, write)
    assert (done.returncode, done.stderr) == (0, ""), "what we wrote ourselves is no one's"
    file.write_text("two\nand a line of mine\n")
    done = step(tmp_path, f"printf 'three\\n' | put {file} 644")
    assert file.read_text() == "three\n"
    assert "that copy is kept" in done.stderr
    (copy,) = (tmp_path / "etc" / "kept").iterdir()
    assert copy.read_text() == "two\nand a line of mine\n"
    assert copy.stat().st_mode & 0o777 == 0o600


def test_sessions_get_origins_of_their_own(tmp_path: Path) -> None:
    words = {"domain": "hub.example.org", "session_domain": "example.net", "internal_ca": "yes"}
    settings = step(tmp_path, "course_settings", **words).stdout
    assert 'session_url = "https://{session}.example.net"' in settings
    course = tmp_path / "course"
    course.mkdir()
    (course / "mograder.toml").write_text(settings.replace("/srv/mograder", str(tmp_path)))
    (tmp_path / "top" / "current").mkdir(parents=True)
    (tmp_path / "top" / "current" / "bin").symlink_to(Path(sys.executable).parent)
    said = step(tmp_path, f"course={course}; front_text", **words).stdout
    assert "https://*.example.net {\n\ttls internal\n" in said
    del words["internal_ca"]
    files = {"session_certificate": "/etc/ssl/w.crt", "session_key": "/etc/ssl/w.key"}
    said = step(tmp_path, f"course={course}; front_text", **words, **files).stdout
    assert "https://*.example.net {\n\ttls /etc/ssl/w.crt /etc/ssl/w.key\n" in said

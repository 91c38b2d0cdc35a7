"""``mograder-hub``, which the deployment installs: its exit status is the command's, or 69."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.course import REPOSITORY

pytestmark = pytest.mark.full

WRAPPER = REPOSITORY / "deploy" / "mograder-hub"

_SYSTEMD_RUN = """\
#!/bin/bash
# Starts the command's unit as systemd would, or ends with 0 without having started it.
printf '%s\\n' "$@" >"$LOG"
if [ "$STARTS" = no ]; then exit 0; fi
for word; do
  case "$word" in ExecStartPre=+*) ${word#ExecStartPre=+} ;; esac
done
echo "the command's words"
exit "$STATUS"
"""
_SYSTEMCTL = """\
#!/bin/sh
case "$*" in
  "cat mograder-hub.service") printf '%s' "$UNIT" ;;
  *LoadState*) echo "$LOADED" ;;
  *ActiveState*) echo failed ;;
esac
"""

Wrapper = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A machine's places, all of them there."""
    for name in ("data/course", "top/current/bin", "settings"):
        (tmp_path / name).mkdir(parents=True)
    program = tmp_path / "top/current/bin/mograder"
    program.touch(0o755)
    (tmp_path / "settings/hub-secret").touch()
    return tmp_path / "data"


@pytest.fixture
def wrapper(tmp_path: Path, data: Path) -> Wrapper:
    """Runs the wrapper with a fake systemd."""
    tools = tmp_path / "bin"
    tools.mkdir()
    scripts = {
        "systemd-run": _SYSTEMD_RUN,
        "systemctl": _SYSTEMCTL,
        "systemd-escape": "#!/bin/sh\necho srv-mograder.mount\n",
        "mountpoint": "#!/bin/sh\nexit 1\n",
        "id": '#!/bin/sh\nif [ "$1" = -u ]; then echo "$WHO"; fi\n',
    }
    for name, text in scripts.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    text = WRAPPER.read_text("utf-8")
    places = (("srv/mograder", "data"), ("opt/mograder", "top"), ("etc/mograder", "settings"))
    for place, ours in places:
        text = text.replace(f"/{place}", str(tmp_path / ours))
    program = tmp_path / "mograder-hub"
    program.write_text(text)

    def run(
        *arguments: str, cwd: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        state = {"STARTS": "yes", "STATUS": "0", "LOADED": "not-found", "WHO": "0", **variables}
        return subprocess.run(
            ["env", "--default-signal=INT,HUP", "sh", str(program), *arguments],
            cwd=cwd,
            capture_output=True,
            text=True,
            env={"PATH": f"{tools}:{os.environ['PATH']}", "LOG": str(tmp_path / "log"), **state},
            check=False,
        )

    return run


@pytest.mark.parametrize("status", ["0", "1", "3"])
def test_the_exit_status_is_the_commands(wrapper: Wrapper, tmp_path: Path, status: str) -> None:
    done = wrapper("check", "--url", "https://a b", STATUS=status)
    assert done.returncode == int(status)
    assert done.stdout == "the command's words\n"
    assert done.stderr == ""
    words = (tmp_path / "log").read_text().splitlines()
    assert words[-4:] == ["hub", "check", "--url", "https://a b"]


def test_a_variable_of_a_web_server_reaches_the_command(wrapper: Wrapper, tmp_path: Path) -> None:
    """systemd.service(5): of "$NAME" a command gets the value, of "$$" a dollar sign."""
    wrapper("proxy-config", "nginx", "--remote-user", "$remote_user", "a b*")
    words = (tmp_path / "log").read_text().splitlines()
    assert words[-4:] == ["nginx", "--remote-user", "$$remote_user", "a b*"]


def test_d1_a_volume_that_is_not_mounted_is_named_and_ends_non_zero(wrapper: Wrapper) -> None:
    done = wrapper("backup", "-", STARTS="no", LOADED="loaded")
    assert done.returncode == 69
    assert done.stdout == ""
    assert "is not mounted (srv-mograder.mount is failed)" in done.stderr
    assert "systemctl start srv-mograder.mount" in done.stderr


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("data/course", "data/course does not exist"),
        ("top/current/bin/mograder", "There is no program"),
        ("settings/hub-secret", "hub-secret is missing"),
        ("", "journalctl -b -n 20 _PID=1"),
    ],
)
def test_d1_every_other_obstacle_to_the_command_is_named(
    wrapper: Wrapper, data: Path, tmp_path: Path, missing: str, said: str
) -> None:
    path = tmp_path / missing
    if missing == "data/course":
        path.rmdir()
    elif missing:
        path.unlink()
    done = wrapper("check", STARTS="no")
    assert done.returncode == 69
    assert said in done.stderr


def test_without_sudo_it_does_not_say_that_the_secret_is_missing(
    wrapper: Wrapper, tmp_path: Path
) -> None:
    """Only root can read the secret, so it is no sign that it is gone."""
    (tmp_path / "settings/hub-secret").unlink()
    done = wrapper("check", STARTS="no", WHO="1000")
    assert (done.returncode, done.stderr) == (69, "Error: This wants root: sudo mograder-hub …\n")


def test_d7_an_authority_of_the_administrators_reaches_the_command(
    wrapper: Wrapper, tmp_path: Path
) -> None:
    """The hub's user could not read the file itself."""
    authority = tmp_path / "root.crt"
    authority.touch(0o600)
    assert wrapper("check", SSL_CERT_FILE=str(authority)).returncode == 0
    assert f"LoadCredential=authority:{authority}" in (tmp_path / "log").read_text()


def test_copies_go_to_a_disk_or_where_the_administrator_says(
    wrapper: Wrapper, tmp_path: Path
) -> None:
    """systemd-run starts the command without the caller's variables; /tmp may be memory."""
    log = tmp_path / "log"
    assert wrapper("backup", "-").returncode == 0
    assert "TMPDIR=/var/tmp" in log.read_text().splitlines()
    assert wrapper("backup", "-", TMPDIR=str(tmp_path)).returncode == 0
    assert f"TMPDIR={tmp_path}" in log.read_text().splitlines()


def test_the_hubs_further_secrets_reach_the_command(wrapper: Wrapper, tmp_path: Path) -> None:
    """Else `mograder-hub check` misses the mail server's password, which the hub has."""
    unit = (
        "# /etc/systemd/system/mograder-hub.service\n[Service]\n"
        "LoadCredential=hub-secret:/etc/mograder/hub-secret\n"
        "# /etc/systemd/system/mograder-hub.service.d/override.conf\n[Service]\n"
        "LoadCredential=mail-password:/etc/mograder/mail-password\n"
        "LoadCredential=oidc-secret:/etc/mograder/oidc-secret\n"
    )
    assert wrapper("check", UNIT=unit).returncode == 0
    words = (tmp_path / "log").read_text().splitlines()
    passed = [word for word in words if word.startswith("LoadCredential=")]
    assert sorted(passed) == [
        f"LoadCredential=hub-secret:{tmp_path}/settings/hub-secret",
        "LoadCredential=mail-password:/etc/mograder/mail-password",
        "LoadCredential=oidc-secret:/etc/mograder/oidc-secret",
    ]


def test_an_authority_is_found_from_the_directory_in_which_it_is_named(
    wrapper: Wrapper, tmp_path: Path
) -> None:
    """systemd knows nothing of the working directory."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "root.crt").touch()
    assert wrapper("check", SSL_CERT_FILE="root.crt", cwd=home).returncode == 0
    assert f"LoadCredential=authority:{home / 'root.crt'}\n" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(("name", "status"), [("INT", 130), ("TERM", 143), ("HUP", 143)])
def test_a_signal_leaves_no_file_behind(
    wrapper: Wrapper, tmp_path: Path, name: str, status: int
) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "bin" / "systemd-run").write_text(f"#!/bin/sh\nkill -{name} $PPID\n")
    assert wrapper("check", TMPDIR=str(tmp_path / "tmp")).returncode == status
    assert list((tmp_path / "tmp").iterdir()) == []

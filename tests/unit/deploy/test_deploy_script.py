"""``scripts/deploy-hub-aws.sh`` as far as no machine is needed (B1-B8, compatibility-0.3.16.md 10).

The machine's side runs in ``make test-deploy``.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import packaging
import pytest

from mograder import __version__
from mograder.cli.main import run
from tests.support.course import REPOSITORY
from tests.support.hub import outside

SOURCES = REPOSITORY / "src"
SCRIPT = REPOSITORY / "scripts" / "deploy-hub-aws.sh"
PLACE = "/tmp/mograder-deploy.abcdefgh"
_FAKE_SSH = """\
#!/bin/bash
# Keeps what it is asked and given, and answers as a machine would.
printf '%s\\0' "$@" '' >>"$SSH_LOG"
case "${*: -1}" in
  *mktemp*) echo /tmp/mograder-deploy.abcdefgh ;;
  cat*) cat >>"$SSH_LOG.given" ;;
esac
"""


@pytest.fixture
def ssh(tmp_path: Path) -> Path:
    """A directory with an `ssh` that goes nowhere."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "ssh").write_text(_FAKE_SSH)
    (place / "ssh").chmod(0o755)
    return place


def deploy(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the script as a person would."""
    before = f"{path}:" if path else ""
    log = {"SSH_LOG": str(path / "log")} if path else {}
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**outside(), "PATH": f"{before}{os.environ['PATH']}", **log},
        timeout=240,
        check=False,
    )


def asked(path: Path) -> list[list[str]]:
    """The calls of ssh, as words."""
    text = (path / "log").read_text() if (path / "log").exists() else ""
    return [call.split("\0") for call in text.split("\0\0") if call]


@pytest.fixture
def key(tmp_path: Path) -> str:
    (tmp_path / "key.pem").write_text("a key")
    return str(tmp_path / "key.pem")


@pytest.mark.full
def test_b1_it_goes_to_the_host_with_the_key_and_runs_itself_there_as_root(
    ssh: Path, key: str
) -> None:
    """B1: --host and --key are enough."""
    done = deploy("--host", "hub.example.org", "--key", key, path=ssh)
    assert done.returncode == 0, done.stderr
    calls = asked(ssh)
    for call in calls:
        assert call[call.index("-i") + 1] == key
        assert "ubuntu@hub.example.org" in call
    given = (ssh / "log.given").read_bytes()
    assert given.startswith(SCRIPT.read_bytes())
    command = calls[-2][-1]
    assert "sudo -n" in command
    assert (
        "bash /tmp/mograder-deploy.abcdefgh/deploy.sh --here --volume auto --port 8080" in command
    )
    assert calls[-1][-1] == f"rm -rf {PLACE}", "nothing of it stays there"


@pytest.mark.full
def test_b6_b7_the_volume_and_the_version_reach_the_machine(ssh: Path, key: str) -> None:
    """B6, B7, and the name that 0.3.16 gave the second."""
    reference = "git+https://example.org/mograder.git@v1.0"
    for option in ("--mograder-version", "--mograder-source"):
        (ssh / "log").unlink(missing_ok=True)
        wanted = ("--volume", "/dev/xvdf", option, reference, "--user", "admin")
        assert deploy("--host", "h", "--key", key, *wanted, path=ssh).returncode == 0
        words = asked(ssh)[-2][-1]
        assert "--volume /dev/xvdf" in words
        assert f"--mograder-version {reference}" in words
        assert "admin@h" in asked(ssh)[0]


@pytest.mark.full
def test_b7_a_wheel_of_this_machine_is_taken_along(ssh: Path, key: str, tmp_path: Path) -> None:
    """B7."""
    wheel = tmp_path / "mograder_hub-1.0-py3-none-any.whl"
    wheel.write_text("a wheel")
    assert (
        deploy("--host=h", f"--key={key}", f"--mograder-version={wheel}", path=ssh).returncode == 0
    )
    assert (ssh / "log.given").read_text().endswith("a wheel")
    assert f"{PLACE}/{wheel.name}" in asked(ssh)[-2][-1]


@pytest.mark.full
def test_without_a_version_the_wheel_of_the_checkout_is_taken_along(ssh: Path, key: str) -> None:
    """Never what a package index calls mograder, which is another program.

    The wheel has every file of the package: templates, stylesheets and pages too.
    """
    assert deploy("--host=h", f"--key={key}", path=ssh).returncode == 0
    given = (ssh / "log.given").read_bytes().removeprefix(SCRIPT.read_bytes())
    with zipfile.ZipFile(io.BytesIO(given)) as wheel:
        assert wheel.read("mograder/deploy/deploy-hub-aws.sh") == SCRIPT.read_bytes()
        packed = set(wheel.namelist())
    assert "mograder/operations/fronts/nginx.conf.j2" in packed
    files = (each for each in (SOURCES / "mograder").rglob("*") if each.is_file())
    ours = {each.relative_to(SOURCES).as_posix() for each in files if each.suffix != ".pyc"}
    assert ours <= packed
    assert (
        f"--mograder-version {PLACE}/mograder_hub-{__version__}-py3-none-any.whl"
        in asked(ssh)[-2][-1]
    )


@pytest.mark.full
@pytest.mark.parametrize(
    "name", ["1.2.3", ">=1.0", "mograder", "mograder==1.0", "http://example.org/m-1-py3.whl", "git"]
)
def test_a_name_that_an_index_would_be_asked_for_is_refused(name: str, ssh: Path, key: str) -> None:
    """The name mograder belongs to another program there."""
    done = deploy("--host", "h", "--key", key, "--mograder-version", name, path=ssh)
    assert (done.returncode, asked(ssh)) == (2, [])
    assert "belongs to" in done.stderr


@pytest.mark.full
def test_a_copy_that_belongs_to_no_checkout_wants_a_wheel(tmp_path: Path) -> None:
    """The one inside an installed mograder, and the one that runs on the machine."""
    copy = tmp_path / SCRIPT.name
    copy.write_bytes(SCRIPT.read_bytes())
    done = subprocess.run(
        ["bash", str(copy), "--host", "h", "--key", "k", "--dry-run"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Give its wheel file" in done.stderr


# ---- the steps, one by one, in a shell that has the script's functions --------------------------


def step(place: Path, commands: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run commands with the script's functions, for programs and settings below a directory."""
    functions = SCRIPT.read_text("utf-8").removesuffix('main "$@"\nexit 0\n')
    (place / "functions.sh").write_text(functions)
    settings = "".join(f"{name}={value}\n" for name, value in variables.items())
    text = (
        f"source {place}/functions.sh\ntop={place}/top settings={place}/etc\n{settings}{commands}"
    )
    return subprocess.run(
        ["bash", "-c", text],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(place)},
        timeout=120,
        check=False,
    )


def version(place: Path, number: str, *, units: bool = True) -> Path:
    """An environment with a mograder of that version, without its program."""
    home = place / "top" / "versions" / number
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    (packages,) = home.glob("lib/python3*/site-packages")
    (packages / f"mograder_hub-{number}.dist-info").mkdir()
    (packages / "mograder").mkdir()
    (packages / "mograder" / "__init__.py").write_text(f'__version__ = "{number}"\n')
    (packages / "packaging").symlink_to(Path(packaging.__file__).parent)
    if units:
        operations = packages / "mograder" / "operations"
        operations.mkdir()
        (operations / "__init__.py").write_text("")
        (operations / "deploy_files.py").write_text(
            f"def shipped_file(name):\n    return '{REPOSITORY}/deploy/' + name\n"
        )
    return home


@pytest.mark.full
def test_an_older_version_than_the_one_that_runs_is_refused(tmp_path: Path) -> None:
    """Going back is a decision: --downgrade, or --rollback."""
    newer, older = version(tmp_path, "1.10.0"), version(tmp_path, "1.9.0")
    (tmp_path / "top" / "current").symlink_to(newer)
    done = step(tmp_path, f"examine_version {older}")
    assert done.returncode == 1
    assert "mograder 1.9.0 is older than 1.10.0" in done.stderr
    assert "--rollback" in done.stderr
    assert step(tmp_path, f"examine_version {newer}").returncode == 0
    assert step(tmp_path, f"downgrade=yes; examine_version {older}").returncode == 0


@pytest.mark.full
def test_a_version_without_the_units_is_refused_before_anything_changes(tmp_path: Path) -> None:
    """As 0.3.16 is, which has no operations at all."""
    done = step(tmp_path, f"examine_version {version(tmp_path, '2.0', units=False)}")
    assert done.returncode == 1
    assert "lacks mograder-sessions.service" in done.stderr
    assert not (tmp_path / "top" / "current").exists()
    assert "holds no mograder" in step(tmp_path, f"examine_version {tmp_path}").stderr


@pytest.mark.full
def test_a_unit_that_systemd_does_not_accept_is_refused(tmp_path: Path) -> None:
    home = version(tmp_path, "2.0")
    units = tmp_path / "units"
    shutil.copytree(REPOSITORY / "deploy", units)
    (units / "mograder-hub.service").write_text("[Service]\nType=nonsense\n")
    (shipped,) = home.glob("lib/python3*/site-packages/mograder/operations/deploy_files.py")
    shipped.write_text(f"def shipped_file(name):\n    return '{units}/' + name\n")
    done = step(tmp_path, f"examine_version {home}")
    assert done.returncode == 1
    assert "does not accept the units" in done.stderr


@pytest.mark.full
def test_an_empty_file_is_never_written(tmp_path: Path) -> None:
    unit = tmp_path / "a.service"
    unit.write_text("[Unit]\n")
    done = step(tmp_path, f"printf '' | put {unit} 644")
    assert done.returncode == 1
    assert unit.read_text() == "[Unit]\n"


@pytest.mark.full
def test_the_version_before_is_remembered_and_kept(tmp_path: Path) -> None:
    homes = [version(tmp_path, f"1.{number}") for number in range(7)]
    for home in (homes[0], homes[6]):
        stubs = 'as_account() { :; }; run() { case "$*" in */usr/local*) ;; *) "$@" ;; esac; }\n'
        assert step(tmp_path, f"{stubs} point_at {home}").returncode == 0
    assert (tmp_path / "top" / "previous").resolve() == homes[0]
    assert (tmp_path / "top" / "current").resolve() == homes[6]
    assert homes[0].exists()
    assert len(list((tmp_path / "top" / "versions").iterdir())) < 7


@pytest.mark.full
def test_a_dry_run_explains_every_step_and_connects_to_nothing(ssh: Path) -> None:
    done = deploy("--host", "h", "--key", "none.pem", "--domain", "x.org", "--dry-run", path=ssh)
    assert done.returncode == 0, done.stderr
    assert asked(ssh) == []
    steps = set(re.findall(r"^(ensure_\w+)\(\)", SCRIPT.read_text("utf-8"), re.MULTILINE))
    told = set(re.findall(r"ensure_\w+", done.stdout))
    assert told == steps - {"ensure_removed", "ensure_unused"}
    assert "verify" in done.stdout


def test_b2_to_b5_the_steps_are_taken_in_the_order_in_which_they_need_each_other() -> None:
    """B2 dependencies, B3 the user, B4 the settings, B5 the service; and B8 at the end."""
    text = SCRIPT.read_text("utf-8")
    body = text[text.index("deploy_here() {") :]
    calls = re.findall(r"^  (ensure_\w+|verify|next_steps)$", body, re.MULTILINE)
    assert calls == [
        "ensure_system",
        "ensure_network",
        "ensure_packages",
        "ensure_account",
        "ensure_volume",
        "ensure_sandbox",
        "ensure_mograder",
        "ensure_secret",
        "ensure_course",
        "ensure_services",
        "ensure_front",
        "verify",
        "next_steps",
    ]


@pytest.mark.full
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--host is missing"),
        (("--host", "h", "--key", "k", "--rollback", "--uninstall"), "--rollback goes back"),
        (("--host", "h"), "--key is missing"),
        (("--host", "-oProxyCommand=x", "--key", "k"), "is no host"),
        (("--host", "h;reboot", "--key", "k"), "is no host"),
        (("--host", "h", "--key", "k", "--user", "-x"), "is no login"),
        (("--host", "h", "--key", "k", "--port", "80"), "--port wants"),
        (("--host", "h", "--key", "k", "--volume", "/dev/x y"), "--volume wants"),
        (("--host", "h", "--key", "k", "--domain", "x{"), "--domain wants"),
        (("--host", "h", "--key", "k", "--sso-header", "X: y"), "--sso-header wants"),
        (("--host", "h", "--key", "k", "--internal-ca"), "go with --domain"),
        (("--host", "h", "--key", "k", "--frobnicate"), "I do not know --frobnicate"),
        (("--host",), "wants a value"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_done(
    arguments: tuple[str, ...], said: str, ssh: Path
) -> None:
    done = deploy(*arguments, path=ssh)
    assert (done.returncode, asked(ssh)) == (2, [])
    assert said in done.stderr


@pytest.mark.full
def test_b6_b7_help_lists_the_options_that_are_promised() -> None:
    """B6, B7, compatibility-0.3.16.md 10, and options of our own."""
    text = deploy("--help").stdout
    promised = "host key user volume mograder-version domain sso-header dry-run port"
    for name in promised.split():
        assert f"--{name} " in text


@pytest.mark.full
def test_a_key_that_is_not_there_is_said_before_anything_is_done(ssh: Path) -> None:
    done = deploy("--host", "h", "--key", "/nowhere/key.pem", path=ssh)
    assert done.returncode == 1
    assert "cannot be read" in done.stderr


def test_what_is_empty_is_formatted_and_nothing_else() -> None:
    """Every signature is asked for, of partitions too, before mkfs."""
    text = SCRIPT.read_text("utf-8")
    body = text[text.index("format_volume() {") : text.index("mount_volume() {")]
    assert body.index("wipefs") < body.index("mkfs.ext4")
    assert body.index("blkid -p") < body.index("mkfs.ext4")
    assert text.count("mkfs") == 1
    assert "defaults,nofail" in text
    assert "UUID=%s" in text


@pytest.mark.full
@pytest.mark.parametrize("script", sorted((REPOSITORY / "scripts").glob("*deploy*")), ids=str)
def test_shellcheck_has_nothing_to_say(script: Path) -> None:
    done = subprocess.run(
        ["shellcheck", "--severity=style", str(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""


@pytest.mark.full
def test_on_the_machine_itself_it_is_hub_install(capfd: pytest.CaptureFixture[str]) -> None:
    """A dry run says what it would do and does none of it."""
    status = run(["hub", "install", "--systemd", "--port", "8123", "--dry-run"])
    out = capfd.readouterr().out
    assert status == 0
    assert "would" in out
    assert "A dry run: nothing was changed." in out
    assert "as_account" not in out
    assert not re.search(r"^\[deploy\] (installing|writing|making)", out, re.MULTILINE)


@pytest.mark.full
def test_hub_uninstall_leaves_the_data(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["hub", "uninstall", "--dry-run"]) == 0
    out = capfd.readouterr().out
    assert "Left as they are: /srv/mograder, /etc/mograder" in out
    assert not re.search(r"would run: rm .*/(srv|etc)/mograder( |$)", out)


def test_hub_install_says_that_it_knows_systemd_only(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["hub", "install"]) == 2
    assert "--systemd" in capfd.readouterr().err

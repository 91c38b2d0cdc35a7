"""``scripts/deploy-hub-aws.sh`` as far as no machine is needed (B1-B8, compatibility-0.3.16.md 10).

The machine's side runs in ``make test-deploy``.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from mograder import __version__
from mograder.operations.install.options import STEPS
from tests.support.course import REPOSITORY
from tests.support.hub import outside
from tests.support.sources import copy_sources

SOURCES = REPOSITORY / "src"
SCRIPT = REPOSITORY / "scripts" / "deploy-hub-aws.sh"
OPTIONS = "src/mograder/operations/install"
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


def deploy(
    *arguments: str, path: Path | None = None, script: Path = SCRIPT
) -> subprocess.CompletedProcess[str]:
    """Run the script as a person would."""
    before = f"{path}:" if path else ""
    log = {"SSH_LOG": str(path / "log")} if path else {}
    return subprocess.run(
        ["bash", str(script), *arguments],
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


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    file = tmp_path / "mograder_hub-1.0-py3-none-any.whl"
    file.write_text("a wheel")
    return file


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
    assert f"bash {PLACE}/deploy.sh --here --volume=auto --mograder-version={PLACE}/m" in command
    assert calls[-1][-1] == f"rm -rf {PLACE}", "nothing of it stays there"


@pytest.mark.full
@pytest.mark.parametrize(
    ("printed", "status"),
    [("*** Welcome ***\\n/tmp/mograder-deploy.abcdefgh", 0), ("* is here", 1)],
)
def test_what_a_logins_own_files_print_is_never_taken_for_the_directory(
    ssh: Path, key: str, wheel: Path, printed: str, status: int
) -> None:
    """It is removed there at the end, by its name."""
    (ssh / "ssh").write_text(
        _FAKE_SSH.replace("echo /tmp/mograder-deploy.abcdefgh", f"echo -e '{printed}'")
    )
    done = deploy("--host=h", f"--key={key}", f"--mograder-version={wheel}", path=ssh)
    assert done.returncode == status, done.stderr
    removed = [call[-1] for call in asked(ssh) if call[-1].startswith("rm ")]
    assert removed == ([] if status else [f"rm -rf {PLACE}"])
    assert status == 0 or "answers * is here when" in done.stderr


@pytest.mark.full
def test_a_loop_over_machines_reaches_all_of_them(ssh: Path, key: str, wheel: Path) -> None:
    """As the real one, the fake ssh reads all of its input where nothing else is given to it."""
    (ssh / "ssh").write_text(_FAKE_SSH.replace("case", "[ -f /dev/stdin ] || cat >/dev/null\ncase"))
    command = f"bash {SCRIPT} --host $h --key {key} --mograder-version {wheel}"
    done = subprocess.run(
        ["bash", "-c", f"while read h; do {command}; done"],
        input="one\ntwo\n",
        capture_output=True,
        text=True,
        env={**outside(), "PATH": f"{ssh}:{os.environ['PATH']}", "SSH_LOG": str(ssh / "log")},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {word for call in asked(ssh) for word in call if "@" in word} == {
        "ubuntu@one",
        "ubuntu@two",
    }


@pytest.mark.full
def test_b6_the_options_reach_the_machine(ssh: Path, key: str, wheel: Path) -> None:
    """B6, and the name that 0.3.16 gave the version."""
    wanted = ("--volume", "/dev/xvdf", "--mograder-source", str(wheel), "--user", "admin")
    assert deploy("--host", "h", "--key", key, *wanted, "--internal-ca", "--domain", "x.org",
                  path=ssh).returncode == 0  # fmt: skip
    words = asked(ssh)[-2][-1]
    assert "--volume=/dev/xvdf --internal-ca --domain=x.org" in words
    assert f"{PLACE}/{wheel.name}" in words
    assert "admin@h" in asked(ssh)[0]


@pytest.mark.full
def test_b7_a_version_of_git_becomes_a_wheel_here(ssh: Path, key: str, tmp_path: Path) -> None:
    """B7: a reference, whose wheel is taken along."""
    source = tmp_path / "source"
    git = ("git", "-C", str(source), "-c", "user.name=t", "-c", "user.email=t@example.org")
    copy_sources(source)
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "one"), ("tag", "v1")):
        subprocess.run([*git, *words], check=True)
    reference = f"git+file://{source}@v1"
    done = deploy("--host", "h", "--key", key, "--mograder-version", reference, path=ssh)
    assert done.returncode == 0, done.stderr
    assert f"{PLACE}/mograder_hub-{__version__}-py3-none-any.whl" in asked(ssh)[-2][-1]


@pytest.mark.full
def test_b7_a_wheel_of_this_machine_is_taken_along(ssh: Path, key: str, wheel: Path) -> None:
    """B7."""
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
        f"--mograder-version={PLACE}/mograder_hub-{__version__}-py3-none-any.whl"
        in asked(ssh)[-2][-1]
    )


@pytest.mark.full
def test_a_clone_is_built_by_the_uv_of_this_computer(ssh: Path, key: str, tmp_path: Path) -> None:
    """The script has a function of that name, which is for the machine."""
    clone = tmp_path / "clone"
    for name in ("scripts/deploy-hub-aws.sh", "pyproject.toml", f"{OPTIONS}/options.py"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, clone / name)
    (ssh / "uv").write_text('#!/bin/bash\necho built >"$5/mograder_hub-1.0-py3-none-any.whl"\n')
    (ssh / "uv").chmod(0o755)
    script = clone / "scripts" / SCRIPT.name
    done = deploy("--host", "h", "--key", key, path=ssh, script=script)
    assert done.returncode == 0, done.stderr
    assert (ssh / "log.given").read_text().endswith("built\n")


@pytest.mark.full
@pytest.mark.parametrize(
    "name", ["1.2.3", ">=1.0", "mograder", "mograder==1.0", "http://example.org/m-1-py3.whl", "git"]
)
def test_a_name_that_an_index_would_be_asked_for_is_refused(name: str, ssh: Path, key: str) -> None:
    """The name mograder belongs to another program there."""
    done = deploy("--host", "h", "--key", key, "--mograder-version", name, path=ssh)
    assert (done.returncode, asked(ssh)) == (2, [])
    assert "it is another program" in done.stderr


@pytest.mark.full
def test_a_copy_of_an_installed_mograder_wants_a_wheel(ssh: Path, key: str, tmp_path: Path) -> None:
    """It belongs to no checkout; and a lone copy, as on the machine, runs nothing beside it."""
    copy = tmp_path / "site-packages" / "mograder" / "deploy" / SCRIPT.name
    shutil.copytree(SOURCES / "mograder" / "operations", copy.parents[1] / "operations")
    copy.parent.mkdir()
    for place, said in ((copy, "Give its wheel file"), (tmp_path / "x.sh", "stands alone")):
        place.write_bytes(SCRIPT.read_bytes())
        done = deploy("--host", "h", "--key", key, path=ssh, script=place)
        assert (done.returncode, asked(ssh)) == (1, [])
        assert said in done.stderr


@pytest.mark.full
def test_a_dry_run_explains_every_step_and_connects_to_nothing(ssh: Path) -> None:
    done = deploy("--host", "h", "--key", "none.pem", "--domain", "x.org", "--dry-run", path=ssh)
    assert done.returncode == 0, done.stderr
    assert asked(ssh) == []
    for name, text in STEPS:
        assert f"{name} " in done.stdout
        assert text in done.stdout
    for word, said in (("--rollback", "the version before"), ("--uninstall", "data, settings")):
        assert said in deploy("--host", "h", "--key", "k", word, "--dry-run", path=ssh).stdout


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
        (("--host", "h", "--key", "k", "--port", ""), "--port wants"),
        (("--host", "h", "--key", "k", "--volume="), "--volume wants"),
        (("--host", "h", "--key", "k", "--user="), "--user wants"),
        (("--host", "h", "--key", "k", "--sso-header="), "--sso-header wants"),
        (("--host", "h", "--key", "k", "--volume", "/dev/x y"), "--volume wants"),
        (("--host", "h", "--key", "k", "--domain", "x{"), "--domain wants"),
        (("--host", "h", "--key", "k", "--sso-header", "X: y"), "--sso-header wants"),
        (("--host", "h", "--key", "k", "--internal-ca"), "only with --domain"),
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
        assert f"  --{name}" in text


@pytest.mark.full
def test_a_key_that_is_not_there_is_said_before_anything_is_done(ssh: Path) -> None:
    done = deploy("--host", "h", "--key", "/nowhere/key.pem", path=ssh)
    assert done.returncode == 1
    assert "cannot be read" in done.stderr


@pytest.mark.full
@pytest.mark.parametrize(
    "script", ["scripts/deploy-hub-aws.sh", "scripts/test-deploy", "deploy/mograder-hub"]
)
def test_shellcheck_has_nothing_to_say(script: str) -> None:
    done = subprocess.run(
        ["shellcheck", "--severity=style", str(REPOSITORY / script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""

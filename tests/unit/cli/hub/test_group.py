"""``mograder hub``: options override settings only when they are given (B73-B80, B14-B17)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from mograder.cli.hub import run
from mograder.cli.main import hub, overrides_of
from mograder.cli.shared.course_settings import course_option, load_course
from mograder.cli.shared.options import OVERRIDES
from mograder.core.settings import LoadedSettings, load_settings, read_environ
from mograder.sandbox.client.bootstrap import supervisor_config
from mograder.web.hub import server
from tests.support.command_line import cli

pytestmark = pytest.mark.usefixtures("here")
"""No settings from outside; the working directory is an empty course."""


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The secrets of the hubs that were started; none serves, or changes this process."""
    secrets: list[str] = []

    async def note(_: LoadedSettings, secret: str, *__: object, **___: object) -> None:
        secrets.append(secret)

    monkeypatch.setattr(server, "_serve", note)
    monkeypatch.setattr(run, "put_first", lambda: None)
    for name in ("configure_logging", "register_secret", "allow_open_files"):
        monkeypatch.setattr(server, name, lambda *_, **__: None)
    monkeypatch.setattr(sys, "setswitchinterval", lambda _: None)
    return secrets


@contextmanager
def given(*arguments: str) -> Iterator[click.Context]:
    """Parse a command line with the group, as before a command of it runs."""
    with hub.make_context("hub", [*arguments, "publish"]) as ctx:
        ctx.meta[OVERRIDES] = overrides_of(**ctx.params)
        yield ctx


def loaded(*arguments: str) -> LoadedSettings:
    with given(*arguments):
        return load_course()


def test_every_option_takes_effect(tmp_path: Path) -> None:
    """B73, B74, B75, B76, B77, B78; 0.3.16 ignores several of them."""
    (tmp_path / "course").mkdir()
    found = loaded(
        *("-C", "course", "--port", "9001", "--host", "127.0.0.1", "--notebooks-dir", "nb"),
        *("--session-ttl", "60", "--trusted-header", "X-User", "--base-url", "/live/hub/"),
        *("--instructors", "ann, bob,"),
    )
    section = found.settings.hub
    assert found.course_dir == tmp_path / "course"
    assert (section.port, section.host, section.session_ttl) == (9001, "127.0.0.1", 60)
    assert section.notebooks_dir == str(tmp_path / "nb"), "relative to the working directory"
    assert section.trusted_header == "X-User"
    assert (section.instructors, section.base_url) == (("ann", "bob"), "/live/hub")


def test_a_tilde_in_an_option_is_the_home_as_in_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither bash nor systemd replaces it after an equals sign."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    section = loaded("--notebooks-dir=~/work").settings.hub
    assert section.notebooks_dir == str(tmp_path / "home" / "work")


def test_a_hub_asks_for_sign_in_and_opens_a_browser_unless_told_otherwise() -> None:
    """B79, B80."""
    plain = hub.make_context("hub", ["publish"]).params
    told = hub.make_context("hub", ["--dev", "--headless", "publish"]).params
    assert (plain["dev"], plain["headless"]) == (False, False)
    assert (told["dev"], told["headless"]) == (True, True)


def test_the_course_decides_what_no_option_says(tmp_path: Path) -> None:
    """B106: `[hub] port` configures the port; an option still wins."""
    toml = '[hub]\nport = 9100\ninstructors = ["eve"]\n[marking]\nmarkers = ["max"]\n'
    (tmp_path / "mograder.toml").write_text(toml)
    found = loaded().settings
    assert (found.hub.port, found.hub.instructors) == (9100, ("eve",))
    assert found.marking.markers == ("max",)
    assert loaded("--port", "9200").settings.hub.port == 9200
    assert loaded("--instructors", "").settings.hub.instructors == ()
    assert loaded("--markers", "marta, mia").settings.marking.markers == ("marta", "mia")


def test_the_units_variable_names_the_course_unless_the_option_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B16, B17: 0.3.16 overwrites it by the option's default."""
    for name in ("unit", "option"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("MOGRADER_COURSE_DIR", str(tmp_path / "unit"))
    units = ("--port", "8080", "--host", "127.0.0.1", "--session-ttl", "3600")
    assert loaded(*units).course_dir == tmp_path / "unit"
    assert loaded("-C", "option").course_dir == tmp_path / "option"


def test_a_subcommands_own_course_is_nearer_than_the_groups(tmp_path: Path) -> None:
    for name in ("group", "own"):
        (tmp_path / name).mkdir()

    @click.command()
    @course_option
    def own(loaded: LoadedSettings) -> Path:
        return loaded.course_dir

    with given("-C", "group") as group:
        for words, course in ([], "group"), (["-C", "own"], "own"):
            found = own.main(words, "own", standalone_mode=False, parent=group)
            assert found == tmp_path / course


def test_what_the_settings_ignore_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mograder.toml").write_text("[[assignments]]\nnonsense = 1\n")
    with click.Context(hub):
        load_course()
    assert capfd.readouterr().err.startswith("Warning: ")


def test_a_hub_without_a_secret_says_so_and_ends_with_1(here: Path) -> None:
    """B49, compatibility-0.3.16.md 1: the first line is fixed. The next has the remedy."""
    first, hint = cli("hub", status=1).err.splitlines()
    assert first == "Error: MOGRADER_HUB_SECRET must be set (or use --dev for ephemeral secret)"
    _, found, command = hint.partition(": export MOGRADER_HUB_SECRET=")
    assert found
    assert command == '$(python3 -c "import secrets; print(secrets.token_hex(32))")'
    assert list(here.iterdir()) == [], "nothing was made"


def test_a_hub_with_the_guides_own_secret_does_not_start(
    here: Path, monkeypatch: pytest.MonkeyPatch, serving: list[str]
) -> None:
    monkeypatch.setenv("MOGRADER_HUB_SECRET", "<your-secret-here>")
    assert cli("hub --headless", status=2).err.splitlines() == [
        "Error: MOGRADER_HUB_SECRET is a placeholder, which everybody knows.",
        "Make one: openssl rand -hex 32",
    ]
    assert serving == []


@pytest.mark.parametrize(("secret", "warned"), [("short", True), ("0123456789abcdef" * 4, False)])
def test_a_secret_that_can_be_guessed_is_told_in_the_log(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    serving: list[str],
    caplog: pytest.LogCaptureFixture,
    secret: str,
    warned: bool,
) -> None:
    monkeypatch.setenv("MOGRADER_HUB_SECRET", secret)
    cli("hub --headless")
    assert serving == [secret]
    told = "MOGRADER_HUB_SECRET can be guessed. Make one: openssl rand -hex 32"
    assert (told in caplog.messages) == warned


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "70000"],
        ["--session-ttl", "0"],
        ["--trusted-header", "a b"],
        ["--base-url", "../x"],
        ["--instructors", "__instructor__"],
        ["-C", "missing"],
    ],
)
def test_an_option_that_no_setting_accepts_ends_with_2(arguments: list[str]) -> None:
    told = cli("hub --dev --headless", *arguments, status=2).err
    named = "There is no course directory" if arguments[0] == "-C" else arguments[0]
    assert told.startswith(f"Error: {named} ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[hub]\nport = = 1\n", "mograder.toml:2:8: Invalid value."),
        (b"\xff\xfe[hub]", "mograder.toml:1:1: not UTF-8 text."),
        (b"[hub]\nport = 'abc'\n", "mograder.toml:2: hub.port must be a whole number, not 'abc'."),
        (
            b"[hub]\nsesion_ttl = 5\n",
            "mograder.toml:2: hub.sesion_ttl is not a setting.\nDid you mean hub.session_ttl?",
        ),
    ],
    ids=["malformed", "not-text", "wrong-type", "unknown-key"],
)
def test_a_mistake_in_the_settings_is_told_with_its_place_and_nothing_is_made(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "mograder.toml").write_bytes(content)
    told = cli("hub --dev --headless -C", str(tmp_path), status=2)
    assert (told.out, told.err) == ("", f"Error: {tmp_path}/{said}\n")
    assert [each.name for each in tmp_path.iterdir()] == ["mograder.toml"]
    assert (tmp_path / "mograder.toml").read_bytes() == content


def test_settings_that_are_no_file_and_a_course_that_is_not_there_are_told(tmp_path: Path) -> None:
    (tmp_path / "mograder.toml").mkdir()
    told = cli("hub --dev --headless -C", str(tmp_path), status=2)
    assert told.err == f"Error: {tmp_path}/mograder.toml is not a regular file.\n"
    missing = tmp_path / "autumn"
    told = cli("hub --dev --headless -C", str(missing), status=2)
    assert told.err.splitlines() == [
        f"Error: There is no course directory {missing}.",
        "Check the -C/--course-dir option.",
    ]
    assert not missing.exists()


def test_a_supervisor_of_its_own_follows_the_settings(tmp_path: Path) -> None:
    (tmp_path / "mograder.toml").write_text(
        "[hub]\nsupervisor_socket = 'run/supervisor.sock'\nuv_cache_dir = 'cache'\n"
        "[security]\nuse_bubblewrap = false\nsandbox_uid_base = 70000\n"
    )
    environ = read_environ({"HOME": str(tmp_path), "UV_INDEX_URL": "https://e.org", "OTHER": "1"})
    config = supervisor_config(load_settings(tmp_path, environ={}), environ, lone=True)
    assert config.socket == tmp_path / "run" / "supervisor.sock"
    assert (config.sandbox, config.uid_base, config.owned) == ("none", 70000, False)
    assert config.uv_cache == tmp_path / "cache"
    assert config.build_variables == {"UV_INDEX_URL": "https://e.org"}


def test_a_supervisor_sandboxes_and_answers_in_the_units_directory_unless_told_otherwise(
    tmp_path: Path,
) -> None:
    environ = read_environ({"HOME": str(tmp_path), "RUNTIME_DIRECTORY": "/run/mograder"})
    config = supervisor_config(load_settings(tmp_path, environ={}), environ, lone=True)
    assert (config.sandbox, config.owned) == ("bubblewrap", False)
    assert config.socket == Path("/run/mograder/supervisor.sock")


def test_the_routes_of_a_hub_are_printed_with_their_access() -> None:
    lines = [line.split() for line in cli("hub routes").lines]
    assert ["GET", "/export/{user}/{a}", "owner", "hub.copies.copies.export"] in lines
    told = {(each["method"], each["path"]): each for each in cli("hub routes --json").json}
    assert len(told) == len(lines)
    assert told["GET", "/nodes"] == {
        "method": "GET",
        "path": "/nodes",
        "access": "instructor",
        "needs": "nodes",
        "handler": "mograder.web.hub.machines.list_nodes",
    }

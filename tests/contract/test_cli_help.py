"""`--help` lists the documented commands and options (B73-B105, compatibility-0.3.16.md 11)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mograder.cli.main import root
from mograder.cli.shared.lazy import LazyGroup

PROMISED = {
    "": "-v --version",
    "hub": "-C --course-dir --port --host --notebooks-dir --session-ttl --trusted-header "
    "--instructors --base-url --dev --headless",
    "hub publish": "--moodle-assignment --url --token --force --dry-run --no-warm --lecture "
    "--demo --ssh --ssh-port",
    "hub warm-cache": "--all --dry-run --url --token --ssh --ssh-port",
    "hub check": "-C --json --url",
    "hub generate-token": "--role",
    "generate": "-o --output-dir --dry-run --validate --no-validate --submit-url --progress "
    "--lecture",
    "https login": "--token --url",
    "https fetch": "--list --url --token -o --output-dir",
    "https submit": "--url --token --dry-run",
    "https feedback": "--url --token",
    "https fetch-submissions": "--url --token -o --output-dir --force",
    "https upload-grades": "--url --token --grades-csv --dry-run",
    "https upload-feedback": "--url --token --feedback-dir --grades-csv --dry-run",
    "config show": "-C --course-dir --json",
    "student": "-p --port --headless --no-token",
    "moodle export": "--worksheet --grades-csv --feedback-dir -o --output-dir --match-column",
    "moodle feedback": "--course-id -c --url --token",
    "moodle fetch": "--list --course-id -c --url --token -o --output-dir",
    "moodle fetch-submissions": "--course-id -c --url --token -o --output-dir --force",
    "moodle login": "--url --sso",
    "moodle submit": "--course-id -c --url --token --no-finalize --dry-run",
    "moodle sync": "--course-id -c --url --token --include -i --edit-links",
    "moodle sync-users": "--course-id -c --url --token --hub-url --hub-token --dry-run",
    "moodle upload": "--course-id -c --url --token --dry-run --open --no-open",
    "moodle upload-feedback": "--course-id -c --url --token --feedback-dir --grades-csv --dry-run "
    "--workflow-state",
}
"""Command → options that the promises, or scripts written for 0.3.16, use of what exists now."""

DEFAULTS = {
    "--course-dir": "default: .",
    "--port": "8080",
    "--host": "0.0.0.0",
    "--notebooks-dir": "hub-notebooks",
    "--session-ttl": "3600",
    "--trusted-header": "X-Remote-User",
}
"""B73-B78: option of `mograder hub` → the default that its help names."""


def commands(command: click.Command = root, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command with its path, the hidden ones too."""
    yield path, command
    if isinstance(command, click.Group):
        names = command.table if isinstance(command, LazyGroup) else command.commands
        for name in names:
            found = command.get_command(click.Context(command), name)
            assert found is not None
            yield from commands(found, f"{path} {name}".strip())


ALL = dict(commands())


def options_of(path: str) -> dict[str, click.Option]:
    return {
        name: option
        for option in ALL[path].params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }


def help_of(path: str) -> str:
    command = ALL[path]
    return command.get_help(click.Context(command, info_name=f"mograder {path}"))


@pytest.mark.parametrize(
    ("path", "option"), [(path, name) for path in PROMISED for name in PROMISED[path].split()]
)
def test_every_promised_option_is_there(path: str, option: str) -> None:
    assert option in options_of(path)


@pytest.mark.parametrize("option", sorted(DEFAULTS))
def test_the_hubs_help_names_the_documented_default(option: str) -> None:
    assert DEFAULTS[option] in (options_of("hub")[option].help or "")


@pytest.mark.parametrize("variable", ["MOGRADER_HUB_URL", "MOGRADER_HUB_INSTRUCTOR_TOKEN"])
def test_publish_names_its_variables(variable: str) -> None:
    """B97, B98."""
    assert variable in help_of("hub publish")


@pytest.mark.parametrize("path", sorted(ALL))
def test_every_command_and_option_says_what_it_is_for(path: str) -> None:
    assert ALL[path].help
    unexplained = [name for name, option in options_of(path).items() if not option.help]
    assert unexplained == []
    assert "\\" not in help_of(path)  # an escape of click's that a raw docstring keeps


def test_a_group_lists_its_commands_in_their_own_words() -> None:
    """Listing reads them from the files of the modules, since it must not import these."""
    for path, group in ALL.items():
        if isinstance(group, LazyGroup):
            for name, lazy in group.table.items():
                own = ALL[f"{path} {name}".strip()].help or ""
                assert own.strip().splitlines()[0] == lazy.summary


def test_only_the_shipped_units_command_is_hidden() -> None:
    hidden = {
        f"{path} {name}".strip()
        for path, group in ALL.items()
        if isinstance(group, LazyGroup)
        for name, lazy in group.table.items()
        if lazy.hidden
    }
    assert hidden == {"hub supervisor"}
    assert "supervisor" not in help_of("hub")


def test_an_environment_variable_is_read_by_the_settings_and_not_by_an_option() -> None:
    """One reader of the environment; `--debug` alone belongs to the command line itself."""
    read = {
        name
        for path in ALL
        for name, option in options_of(path).items()
        if option.envvar is not None
    }
    assert read == {"--debug"}


@pytest.mark.full
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_command_runs_with_closed_standard_streams(closed: str, tmp_path: Path) -> None:
    """Services and ``pythonw`` start programs so."""
    line = f"{sys.executable} -m mograder config show {closed}"
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")

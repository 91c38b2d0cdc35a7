"""What a command says whose package is not installed: the line that installs the rest."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import click
import pytest

from mograder.cli.main import EXIT_BUG, run
from mograder.cli.shared.failures import explained


class _Installed:
    def __init__(self, recorded: str | None) -> None:
        self._recorded = recorded

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self._recorded


WHEEL = "https://example.org/client/mograder_hub-1.0.0-py3-none-any.whl"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = f'{{"url": "{WHEEL}", "archive_info": {{}}}}'
    monkeypatch.setattr(metadata, "distribution", lambda _: _Installed(recorded))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("package", "extra"), [("sqlalchemy.orm", "server"), ("psycopg", "postgresql")]
)
def test_the_line_installs_the_rest_beside_what_is_there(
    package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/home/a b/venv/bin/python")
    failure = explained(ModuleNotFoundError(name=package))
    assert failure is not None
    assert failure.message.endswith(f": {package.partition('.')[0]} is missing.")
    assert failure.hint == (
        "Install the rest: "
        f'"/home/a b/venv/bin/python" -m uv pip install "mograder-hub[{extra}] @ {WHEEL}"'
    )


@pytest.mark.usefixtures("installed")
def test_an_environment_of_uvx_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(Path("/home/a/.cache/uv/archive-v0/x1")))
    failure = explained(ModuleNotFoundError(name="fastapi"))
    assert failure is not None
    assert failure.hint == f'Install the rest: uvx --from "mograder-hub[server] @ {WHEEL}" mograder'


@pytest.mark.parametrize("recorded", [None, "{", "{}"])
def test_an_install_that_names_no_address_gets_none_of_an_index(
    recorded: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda _: _Installed(recorded))
    failure = explained(ModuleNotFoundError(name="fastapi"))
    assert failure is not None
    assert failure.hint.endswith('"mograder-hub[server] @ ./mograder_hub-VERSION-py3-none-any.whl"')


@pytest.mark.parametrize("name", ["mograder.gone", "fcntl", None])
def test_a_module_of_ours_or_of_python_is_no_missing_package(name: str | None) -> None:
    assert explained(ModuleNotFoundError(name=name)) is None


@pytest.mark.parametrize(("name", "status"), [("sqlalchemy", 78), ("mograder.gone", EXIT_BUG)])
def test_a_command_ends_with_78_or_as_a_bug(
    name: str, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def fail() -> None:
        raise ModuleNotFoundError(name=name)

    assert run([], fail) == status
    told = capfd.readouterr().err
    assert ("Install the rest: " in told) == (status == 78)
    assert "Traceback" not in told

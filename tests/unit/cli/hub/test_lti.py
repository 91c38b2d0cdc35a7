"""``hub lti``: addresses for registration, platforms, keys, and people of other systems."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mograder.auth.login_links import hash_code
from mograder.cli.main import run
from mograder.core.clock import SystemClock
from mograder.core.external_settings import LtiPlatform
from mograder.store.database import database_url, open_engine, upgrade
from mograder.store.hub_state import HubState
from mograder.store.lti_registrations import UNREGISTERED, Registrations

MOODLE = "https://moodle.example.org"
HUB = "https://hub.example.org/live"


@pytest.fixture(autouse=True)
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course with a public address that is the working directory, and the hub's secret."""
    monkeypatch.delenv("MOGRADER_COURSE_DIR", raising=False)
    monkeypatch.setenv("MOGRADER_HUB_SECRET", "0123456789abcdef" * 4)
    monkeypatch.chdir(tmp_path)
    settings = '[hub]\npublic_url = "https://hub.example.org"\nbase_url = "/live"\n'
    (tmp_path / "mograder.toml").write_text(settings)
    return tmp_path


@pytest.fixture
def state(course: Path) -> Iterator[HubState]:
    """The database of a hub that has run in the course."""
    engine = open_engine(database_url("", course))
    upgrade(engine)
    yield HubState(engine)
    engine.dispose()


def test_register_prints_the_address_of_what_it_stored(
    state: HubState, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ("--course", "4", "--course", "7", "--roster", "show", "--scores", "--same-names")
    assert run(["hub", "lti", "register", f"{MOODLE}/", *options]) == 0
    (line,) = capfd.readouterr().out.splitlines()
    start = f"{HUB}/lti/register/"
    assert line.startswith(start)
    code = line.removeprefix(start)
    now = SystemClock().now()
    assert Registrations(state.engine).find(hash_code(code), now) == LtiPlatform(
        issuer=MOODLE,
        client_id=UNREGISTERED,
        courses=("4", "7"),
        names="same",
        roster="show",
        scores="released",
    )
    (row,) = state.recent_audit(5)
    assert (row.action, row.what) == ("make address of registration", MOODLE)
    assert code not in str(row)


@pytest.mark.parametrize("address", ["http://moodle.example.org", "moodle", f"{MOODLE}/?a=b"])
def test_register_refuses_what_is_no_platforms_address(
    state: HubState, address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["hub", "lti", "register", address, "--course", "4"]) == 2
    assert "PLATFORM must be an address such as https://" in capfd.readouterr().err
    assert not Registrations(state.engine).waiting(SystemClock().now())


def test_register_refuses_an_empty_course(
    state: HubState, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["hub", "lti", "register", MOODLE, "--course", " "]) == 2
    assert "--course must not be empty" in capfd.readouterr().err


@pytest.mark.parametrize("url", ["", "http://hub.example.org"])
def test_register_needs_an_https_address_of_the_hub(
    state: HubState, course: Path, url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (course / "mograder.toml").write_text(f'[hub]\npublic_url = "{url}"\n')
    assert run(["hub", "lti", "register", MOODLE, "--course", "4"]) == 2
    assert "public_url" in capfd.readouterr().err


def test_without_a_hubs_database_nothing_is_made(
    course: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["hub", "lti", "register", MOODLE, "--course", "4"]) == 3
    assert "No hub has run" in capfd.readouterr().err
    assert not (course / ".mograder").exists()

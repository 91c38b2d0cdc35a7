"""``hub lti``: addresses for registration, platforms, keys, and people of other systems."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.auth.login_links import hash_code
from mograder.cli.main import run
from mograder.core.clock import SystemClock
from mograder.core.sections.external_settings import LtiPlatform, LtiSettings
from mograder.core.settings import load_settings
from mograder.store.external.external_people import ExternalPeople
from mograder.store.external.lti_platforms import UNREGISTERED, Keys, Platforms, Registrations
from mograder.store.external.lti_presence import has_platforms
from mograder.store.hub.hub_state import HubState

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
    assert not has_platforms(state.engine, SystemClock().now())


def test_register_names_the_option_for_a_platform_with_a_private_address(
    state: HubState, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["hub", "lti", "register", "https://10.1.2.3", "--course", "4"]
    assert run(command) == 2
    assert "--private-network" in capfd.readouterr().err
    assert not has_platforms(state.engine, SystemClock().now())
    assert run([*command, "--private-network"]) == 0


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


STORED = LtiPlatform(
    issuer=MOODLE, client_id="client-1", deployments=("2",), courses=("4",), scores="released"
)


@pytest.fixture
def stored(state: HubState) -> HubState:
    """The same, with a registered platform."""
    Platforms(state.engine, LtiSettings()).put(STORED, SystemClock().now())
    return state


def test_platforms_prints_addresses_and_tables_that_the_settings_take(
    stored: HubState, course: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["hub", "lti", "platforms"]) == 0
    told = capfd.readouterr().out
    assert f"# Public keyset URL: {HUB}/lti/keys\n" in told
    assert f"# Initiate login URL: {HUB}/lti/login\n" in told
    assert "# registered\n[[lti.platform]]\n" in told
    with (course / "mograder.toml").open("a", encoding="utf-8") as file:
        file.write(told)
    assert load_settings(course).settings.lti.platform == (STORED,)
    assert run(["hub", "lti", "platforms"]) == 0
    again = capfd.readouterr().out
    assert again.count("[[lti.platform]]") == 1


def test_a_registered_platform_is_removed_by_its_client_id(
    stored: HubState, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["hub", "lti", "platforms", "--remove", "client-2"]) == 3
    assert "client-2" in capfd.readouterr().err
    assert run(["hub", "lti", "platforms", "--remove", "client-1"]) == 0
    assert Platforms(stored.engine, LtiSettings()).all() == ()
    assert stored.recent_audit(1)[0].action == "remove platform"


def test_keys_are_made_and_listed(
    state: HubState, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["hub", "lti", "keys"]) == 0
    assert capfd.readouterr().out == ""
    assert run(["hub", "lti", "keys", "--rotate"]) == 0
    assert run(["hub", "lti", "keys", "--rotate"]) == 0
    newest, retired = capfd.readouterr().out.splitlines()[-2:]
    assert "retired" not in newest
    assert "retired" in retired
    assert stored_kid(state) == newest.split()[0]
    monkeypatch.delenv("MOGRADER_HUB_SECRET")
    assert run(["hub", "lti", "keys", "--rotate"]) == 1
    assert "MOGRADER_HUB_SECRET" in capfd.readouterr().err
    assert stored_kid(state) == newest.split()[0]


def stored_kid(state: HubState) -> str:
    return Keys(state.engine, "").facts()[0].kid


def test_a_person_is_linked_listed_and_unlinked(
    stored: HubState, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["hub", "lti", "link", MOODLE, "13", "alice"]) == 0
    assert ExternalPeople(stored.engine).username_of(MOODLE, "13") == "alice"
    capfd.readouterr()
    assert run(["hub", "lti", "people", "--issuer", MOODLE]) == 0
    assert capfd.readouterr().out.split("\t")[:3] == ["alice", MOODLE, "13"]
    assert run(["hub", "lti", "people", "--issuer", "https://other.example.org"]) == 0
    assert capfd.readouterr().out == ""
    epoch = stored.epoch("alice")
    assert run(["hub", "lti", "unlink", MOODLE, "alice"]) == 0
    assert ExternalPeople(stored.engine).people() == ()
    assert stored.epoch("alice") == epoch + 1
    assert [row.action for row in stored.recent_audit(2)] == ["unlink person", "link person"]
    assert run(["hub", "lti", "unlink", MOODLE, "alice"]) == 3


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("https://other.example.org", "13", "alice"), 3, "it knows https://moodle.example.org"),
        ((MOODLE, "13", "__instructor__"), 2, "username"),
        ((MOODLE, "13", "../x"), 2, "username"),
        ((MOODLE, "14", "bob"), 5, "Unlink it first"),
        ((MOODLE, "12", "bert"), 5, "Unlink it first"),
    ],
)
def test_a_link_of_an_unknown_system_or_to_a_bad_or_taken_name_is_refused(
    stored: HubState,
    arguments: tuple[str, ...],
    status: int,
    said: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(["hub", "lti", "link", MOODLE, "12", "bob"]) == 0
    assert run(["hub", "lti", "link", *arguments]) == status
    assert said in capfd.readouterr().err
    assert len(ExternalPeople(stored.engine).people()) == 1

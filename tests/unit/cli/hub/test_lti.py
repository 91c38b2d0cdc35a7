"""``hub lti``: addresses for registration, platforms, keys, and people of other systems."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
from sqlalchemy import update

from mograder.auth.credentials import hash_code
from mograder.core.clock import SystemClock
from mograder.core.sections.settings_model import LtiPlatform, LtiSettings
from mograder.core.settings import load_settings
from mograder.store.external.external_people import ExternalPeople
from mograder.store.external.external_tables import has_platforms, lti_platforms
from mograder.store.external.lti_platforms import UNREGISTERED, Keys, Platforms, Registrations
from mograder.store.hub.hub_state import HubState
from tests.support.command_line import cli

MOODLE = "https://moodle.example.org"
HUB = "https://hub.example.org/live"


@pytest.fixture(autouse=True)
def course(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course with a public address that is the working directory, and the hub's secret."""
    monkeypatch.setenv("MOGRADER_HUB_SECRET", "0123456789abcdef" * 4)
    settings = '[hub]\npublic_url = "https://hub.example.org"\nbase_url = "/live"\n'
    (here / "mograder.toml").write_text(settings)
    return here


def test_register_prints_the_address_of_what_it_stored(state: HubState) -> None:
    options = ("--course", "4", "--course", "7", "--roster", "show", "--scores", "--same-names")
    (line,) = cli("hub lti register", f"{MOODLE}/", *options).lines
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
def test_register_refuses_what_is_no_platforms_address(state: HubState, address: str) -> None:
    printed = cli("hub lti register", address, "--course", "4", status=2)
    assert "PLATFORM must be an address such as https://" in printed.err
    assert not has_platforms(state.engine, SystemClock().now())


def test_register_names_the_option_for_a_platform_with_a_private_address(state: HubState) -> None:
    command = ["hub", "lti", "register", "https://10.1.2.3", "--course", "4"]
    assert "--private-network" in cli(*command, status=2).err
    assert not has_platforms(state.engine, SystemClock().now())
    cli(*command, "--private-network")


def test_register_warns_of_an_address_that_is_not_known(
    state: HubState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.getaddrinfo", mock.Mock(side_effect=OSError))
    told = cli("hub lti register", MOODLE, "--course", "4").err
    assert f"Warning: The learning platform {MOODLE} cannot be reached: " in told


def test_register_refuses_an_empty_course(state: HubState) -> None:
    printed = cli("hub lti register", MOODLE, "--course", " ", status=2)
    assert "--course must not be empty" in printed.err


@pytest.mark.parametrize("url", ["", "http://hub.example.org"])
def test_register_needs_an_https_address_of_the_hub(
    state: HubState, course: Path, url: str
) -> None:
    (course / "mograder.toml").write_text(f'[hub]\npublic_url = "{url}"\n')
    assert "public_url" in cli("hub lti register", MOODLE, "--course", "4", status=2).err


def test_without_a_hubs_database_nothing_is_made(course: Path) -> None:
    assert "No hub has run" in cli("hub lti register", MOODLE, "--course", "4", status=3).err
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
    stored: HubState, course: Path
) -> None:
    told = cli("hub lti platforms").out
    assert f"# Public keyset URL: {HUB}/lti/keys\n" in told
    assert f"# Initiate login URL: {HUB}/lti/login\n" in told
    assert "# registered\n[[lti.platform]]\n" in told
    with (course / "mograder.toml").open("a", encoding="utf-8") as file:
        file.write(told)
    assert load_settings(course).settings.lti.platform == (STORED,)
    again = cli("hub lti platforms").out
    assert again.count("[[lti.platform]]") == 1


def test_a_registered_platform_is_removed_by_its_client_id(stored: HubState) -> None:
    assert "client-2" in cli("hub lti platforms --remove client-2", status=3).err
    cli("hub lti platforms --remove client-1")
    assert Platforms(stored.engine, LtiSettings()).all() == ()
    assert stored.recent_audit(1)[0].action == "remove platform"


def test_removing_what_decided_who_enters_says_that_everybody_may(
    stored: HubState, course: Path
) -> None:
    platforms = Platforms(stored.engine, LtiSettings())
    for client, settings in (("allows", None), ("listed", None), ("newer", '{"new": 1}')):
        (course / "allowed_users.txt").unlink(missing_ok=True)
        if client == "listed":
            (course / "allowed_users.txt").write_text("alice\n")
        more = {"client_id": client, "roster": "allow"}
        platforms.put(STORED.model_copy(update=more), SystemClock().now())
        if settings is not None:
            own = lti_platforms.c.client_id == client
            with stored.engine.begin() as connection:
                connection.execute(update(lti_platforms).where(own).values(settings=settings))
        printed = cli("hub lti platforms --remove", client)
        assert ("Everybody who can sign in may come in now" in printed.err) == (client != "listed")
    assert "may come in" not in cli("hub lti platforms --remove client-1").err
    assert platforms.stored() == ()


def test_keys_are_made_and_listed(state: HubState, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("hub lti keys").out == ""
    cli("hub lti keys --rotate")
    newest, retired = cli("hub lti keys --rotate").lines[-2:]
    assert "retired" not in newest
    assert "retired" in retired
    assert stored_kid(state) == newest.split()[0]
    monkeypatch.delenv("MOGRADER_HUB_SECRET")
    assert "MOGRADER_HUB_SECRET" in cli("hub lti keys --rotate", status=1).err
    assert stored_kid(state) == newest.split()[0]


def stored_kid(state: HubState) -> str:
    return Keys(state.engine, "").facts()[0].kid


@pytest.mark.parametrize("subject", ["", " ", "1\0" + "3", "1" * 256])
def test_a_text_that_cannot_be_the_id_of_a_person_is_not_linked(
    stored: HubState, subject: str
) -> None:
    assert (
        "the number of the profile" in cli("hub lti link", MOODLE, subject, "alice", status=2).err
    )
    assert ExternalPeople(stored.engine).people() == ()


def test_a_person_is_linked_listed_and_unlinked(stored: HubState) -> None:
    cli("hub lti link", MOODLE, " 13\n", "alice")
    assert ExternalPeople(stored.engine).username_of(MOODLE, "13") == "alice"
    assert cli("hub lti people --issuer", MOODLE).out.split("\t")[:3] == ["alice", MOODLE, "13"]
    nobody = cli("hub lti people --issuer https://other.example.org")
    assert nobody.out == ""
    assert "No person of https://other.example.org is linked" in nobody.err
    epoch = stored.epoch("alice")
    cli("hub lti unlink", MOODLE, "alice")
    assert ExternalPeople(stored.engine).people() == ()
    assert stored.epoch("alice") == epoch + 1
    assert [row.action for row in stored.recent_audit(2)] == ["unlink person", "link person"]
    cli("hub lti unlink", MOODLE, "alice", status=3)


def test_a_link_stays_until_the_logins_have_ended(stored: HubState) -> None:
    cli("hub lti link", MOODLE, "13", "alice")
    with stored.engine.begin() as connection:  # no revocation can be written
        connection.exec_driver_sql(
            "CREATE TRIGGER stop BEFORE INSERT ON users BEGIN SELECT RAISE(ABORT, ''); END"
        )
    cli("hub lti unlink", MOODLE, "alice", status=5)
    assert ExternalPeople(stored.engine).username_of(MOODLE, "13") == "alice"


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
    stored: HubState, arguments: tuple[str, ...], status: int, said: str
) -> None:
    cli("hub lti link", MOODLE, "12", "bob")
    assert said in cli("hub lti link", *arguments, status=status).err
    assert len(ExternalPeople(stored.engine).people()) == 1

"""The instructors' page about signing in by other systems, and its links."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mograder.core.sections.settings_model import LtiSettings
from mograder.store.external.external_people import ExternalPeople
from mograder.store.external.lti_platforms import Keys, Platforms
from tests.support.hub_app import SECRET, Hub, running_hub
from tests.support.hub_copies import press, read

MOODLE = "https://moodle.example.org"
PAGE = "/course/people/sign-in"
SETTINGS = f"""title = "Numerics"
[hub]
public_url = "https://hub.test"
base_url = "/live"
instructors = ["boss"]
[[lti.platform]]
issuer = "{MOODLE}"
client_id = "client-full"
deployments = ["1"]
courses = ["4"]
roster = "show"
"""


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with running_hub(tmp_path / "course", SETTINGS) as made:
        yield made


def people(hub: Hub) -> ExternalPeople:
    return ExternalPeople(hub.engine)


def link(hub: Hub, subject: str, username: str, name: str = "") -> None:
    people(hub).link(MOODLE, subject, username, name, "", hub.clock.now())


async def get(hub: Hub, path: str = PAGE) -> str:
    return await read(hub, path, "prof")


async def post(hub: Hub, what: str, **form: str) -> int:
    return (await press(hub, f"{PAGE}/{what}", "prof", data=form)).status_code


def refuse(hub: Hub, username: str, subject: str) -> None:
    what = f"{MOODLE}: known here (subject {subject})"
    hub.services.state.record(hub.clock.now(), username, "sign in", what, "192.0.2.7", "refused")


async def test_who_was_refused_is_linked_by_one_button(hub: Hub) -> None:
    assert "Refused, since" not in await get(hub)
    refuse(hub, "dora", "6")
    refuse(hub, "dora", "6")
    refuse(hub, "boss", "7")
    hub.services.state.record(hub.clock.now(), "x", "sign in", f"{MOODLE}: used", "", "refused")
    text = await get(hub)
    assert text.count('name="subject" value="6"') == 1
    assert "instructor or marker here" in text
    assert await post(hub, "link", issuer=MOODLE, subject="6", username="dora") == 303
    assert people(hub).username_of(MOODLE, "6") == "dora"
    text = await get(hub)
    assert 'value="6"' not in text
    assert 'value="7"' in text


async def test_a_name_of_staff_is_linked_only_by_an_instructor_of_the_settings(hub: Hub) -> None:
    """A platform's instructor would otherwise have that role for good, by an account of theirs."""
    refuse(hub, "boss", "7")
    assert "linked by an instructor in the hub's settings only" in await get(hub)
    staff = {"issuer": MOODLE, "subject": "7", "username": "boss"}
    assert await post(hub, "link", **staff) == 403
    assert people(hub).people() == ()
    assert (await press(hub, f"{PAGE}/link", "boss", data=staff)).status_code == 303
    assert people(hub).username_of(MOODLE, "7") == "boss"


async def test_a_platform_that_is_in_the_file_too_is_not_called_registered(hub: Hub) -> None:
    (platform,) = hub.services.loaded.settings.lti.platform
    Platforms(hub.engine, LtiSettings()).put(platform, hub.clock.now())
    text = await get(hub)
    assert "in mograder.toml</span>" in text
    assert "registered</span>" not in text


async def test_the_page_has_platforms_addresses_key_and_people(hub: Hub) -> None:
    link(hub, "13", "alice", "<b>Alice</b>")
    link(hub, "14", "bob")
    text = await get(hub)
    for path in ("login", "launch", "pick", "keys"):
        assert f"https://hub.test/live/lti/{path}" in text
    for said in (MOODLE, "client-full", "in mograder.toml", "tell who is in the course"):
        assert said in text
    assert "&lt;b&gt;Alice&lt;/b&gt;" in text
    assert "<b>Alice" not in text
    (key,) = Keys(hub.engine, SECRET).facts()
    assert f'made <time datetime="{key.created_at:%Y-%m-%dT%H:%M:%S}' in text
    found = await get(hub, f"{PAGE}?q=BO")
    assert "bob" in found
    assert "alice" not in found
    assert "/course/people/sign-in" in await get(hub, "/course/people")


async def test_linking_and_unlinking_count_at_once_and_are_recorded(hub: Hub) -> None:
    assert await post(hub, "link", issuer=MOODLE, subject=" 13 ", username="alice") == 303
    assert people(hub).username_of(MOODLE, "13") == "alice"
    assert people(hub).people()[0].linked_by == "prof"
    epoch = hub.services.revocations.epoch("alice")
    async with hub.client("alice", browser=True) as browser:
        assert (await browser.get("/assignments")).status_code == 200
        assert await post(hub, "unlink", issuer=MOODLE, username="alice") == 303
        assert (await browser.get("/assignments")).status_code != 200
    assert people(hub).people() == ()
    assert hub.services.revocations.epoch("alice") == epoch + 1
    assert await post(hub, "unlink", issuer=MOODLE, username="alice") == 404
    assert [line[1:] for line in hub.audit() if "person" in line[1]] == [
        ("link person", f"alice {MOODLE} 13", "ok"),
        ("unlink person", f"alice {MOODLE}", "ok"),
    ]


async def test_a_link_stays_until_the_logins_have_ended(hub: Hub) -> None:
    link(hub, "13", "alice")
    with hub.engine.begin() as connection:  # no revocation can be written
        connection.exec_driver_sql(
            "CREATE TRIGGER stop BEFORE INSERT ON users BEGIN SELECT RAISE(ABORT, ''); END"
        )
    assert await post(hub, "unlink", issuer=MOODLE, username="alice") == 409
    assert people(hub).username_of(MOODLE, "13") == "alice", "so that it can be tried again"


async def test_a_link_to_nothing_or_to_somebody_else_is_refused(hub: Hub) -> None:
    link(hub, "12", "bob")
    wrong: tuple[tuple[dict[str, str], int], ...] = (
        ({"issuer": "https://other.example.org", "subject": "1", "username": "eve"}, 404),
        ({"issuer": MOODLE, "subject": "", "username": "eve"}, 400),
        ({"issuer": MOODLE, "subject": "1\n", "username": "../eve"}, 400),
        ({"issuer": MOODLE, "subject": "a\x00b", "username": "eve"}, 400),
        ({"issuer": MOODLE, "subject": "1" * 256, "username": "eve"}, 400),
        ({"issuer": MOODLE, "subject": "1", "username": "__instructor__"}, 400),
        ({"issuer": MOODLE, "subject": "12", "username": "eve"}, 409),
        ({"issuer": MOODLE, "subject": "1", "username": "bob"}, 409),
        ({}, 400),
    )
    for form, status in wrong:
        assert await post(hub, "link", **form) == status, form
    assert [each.username for each in people(hub).people()] == ["bob"]

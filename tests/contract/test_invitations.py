"""Inviting people in the browser: one-time links, who gets them, and how they end."""

from __future__ import annotations

import asyncio
import csv
import io

import httpx
import pytest

from mograder.auth.credentials import Role
from tests.support.hub_app import ORIGIN, Hub
from tests.support.hub_copies import ask, press, read
from tests.support.identity import Members


async def invite(hub: Hub, people: str, **fields: str) -> httpx.Response:
    data = {"people": people, "days": "7", "form": "csv", **fields}
    return await press(hub, "/course/invite", "prof", data=data)


def rows_of(answer: httpx.Response) -> list[dict[str, str]]:
    """Return the rows of a file, which has a byte order mark, for Excel."""
    text = answer.content.decode()
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


async def links(hub: Hub, people: str) -> dict[str, str]:
    """Invite people; return the codes by name."""
    rows = rows_of(await invite(hub, people))
    return {row["username"]: row["link"].partition("code=")[2] for row in rows}


async def use(hub: Hub, code: str) -> httpx.Response:
    return await press(hub, "/login/link", "", data={"code": code})


async def test_names_become_links_that_sign_each_person_in_once(hub: Hub) -> None:
    answer = await invite(hub, "alice, alice@example.org\n\nbob\nalice, again\n")
    rows = rows_of(answer)
    assert [(row["username"], row["about"]) for row in rows] == [("alice", "again"), ("bob", "")]
    assert answer.headers["cache-control"] == "no-store"
    code = rows[0]["link"].partition("code=")[2]
    assert rows[0]["link"].startswith(f"{ORIGIN}/login/link?code=")
    assert "set-cookie" in (await use(hub, code)).headers
    assert (await use(hub, code)).status_code == 403
    assert [row[1:3] for row in hub.audit() if row[1] == "invite"] == [
        ("invite", "alice"),
        ("invite", "bob"),
    ]


async def test_the_page_shows_the_links_and_escapes_what_was_typed(hub: Hub) -> None:
    text = (await invite(hub, "alice, </textarea><script>alert(1)</script>", form="")).text
    assert "/login/link?code=" in text
    assert "<script>alert" not in text


async def test_who_is_invited_is_added_to_the_list_if_there_is_one(hub: Hub) -> None:
    allowed = hub.course / "allowed_users.txt"
    await invite(hub, "alice")
    assert not allowed.exists()
    allowed.write_text("bob\n")
    await invite(hub, "alice")
    assert hub.services.roster.listed() == ("alice", "bob")


async def test_a_guest_of_a_course_of_platform_members_may_come_in(hub: Hub) -> None:
    """Without a list only the platform's members may, so that the link would lead nowhere."""
    roster = hub.services.roster
    roster.more = Members("dora")
    assert "New names are added to the access list" in await read(hub, "/course/people", "prof")
    await invite(hub, "alice")
    assert [roster.allows(name, Role.STUDENT) for name in ("alice", "bob", "dora")] == [
        True,
        False,
        True,
    ]


async def test_an_invitation_changes_no_other_line_of_the_list(hub: Hub) -> None:
    allowed = hub.course / "allowed_users.txt"
    allowed.write_text("# Tuesday\nbob\nAnna Müller\n")
    await asyncio.gather(*(invite(hub, name) for name in ("alice", "cleo", "alice\nbob")))
    lines = allowed.read_text().splitlines()
    assert (lines[:3], sorted(lines[3:])) == (
        ["# Tuesday", "bob", "Anna Müller"],
        ["alice", "cleo"],
    )


async def test_an_invitation_does_not_replace_a_list_that_cannot_be_read(hub: Hub) -> None:
    allowed = hub.course / "allowed_users.txt"
    allowed.write_text("bob\n" + "#" * 10_000_000)
    assert (await invite(hub, "alice")).status_code == 409
    assert allowed.read_text().startswith("bob\n#")


@pytest.mark.parametrize(
    ("people", "said"),
    [
        ("alice\n../etc", "Line 2"),
        ("prof", "prof instructs or marks"),
        ("marta", "marta instructs or marks"),
        ("__instructor__", "Line 1"),
        ("", "Write 1 to 2000 names"),
    ],
)
async def test_a_list_that_cannot_be_used_makes_no_link(hub: Hub, people: str, said: str) -> None:
    answer = await invite(hub, people)
    assert answer.status_code == 400
    assert said in answer.text
    assert not any(row[1] == "invite" for row in hub.audit())


async def test_a_link_ends_with_the_next_invitation_and_with_all_tokens(hub: Hub) -> None:
    first = (await links(hub, "alice"))["alice"]
    second = (await links(hub, "alice"))["alice"]
    assert (await use(hub, first)).status_code == 403
    await ask(hub, "POST", "/revoke-token/alice", "prof")
    assert (await use(hub, second)).status_code == 403


async def test_a_link_ends_after_its_days(hub: Hub) -> None:
    code = (await links(hub, "alice"))["alice"]
    hub.clock.advance(7 * 24 * 3600 + 1)
    assert (await use(hub, code)).status_code == 403

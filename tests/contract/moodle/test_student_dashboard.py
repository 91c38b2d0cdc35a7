"""A student's own dashboard over Moodle: the same pages and the same port."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from mograder.clients.token_store import MOODLE, TokenStore
from mograder.core.errors import InvalidInput
from tests.support.dashboard_app import dashboard
from tests.support.moodle.recordings import recorded
from tests.support.moodle.replay import Replay, Reply, token_of

A1 = "A1. Introduction"


@pytest.fixture
def folder(tmp_path: Path, moodle: Replay) -> Path:
    """A course folder whose settings name the replayed Moodle."""
    place = tmp_path / "course"
    place.mkdir()
    settings = f'[moodle]\nurl = "{moodle.url}"\ncourse_id = 2\n'
    (place / "mograder.toml").write_text(settings, "utf-8")
    return place


def tokens(folder: Path) -> TokenStore:
    """The tokens of the dashboard's home, which lies beside its folder."""
    home = folder.with_name(f"home-of-{folder.name}")
    return TokenStore(home, MOODLE)


def text(answer: httpx.Response) -> str:
    return html.unescape(answer.text)


async def test_a_student_signs_in_downloads_submits_and_reads_feedback(
    folder: Path, moodle: Replay
) -> None:
    async with dashboard(folder) as shown:
        answer = await shown.press("/sign-in/moodle_password", user="alice", password="PASSWORD")
        assert answer.url.path == "/", text(answer)
        assert A1 in text(answer)
        assert text(answer).count(">Download<") == 2, "the others have no files (L9)"
        assert text(answer).count("no files to download") == 4
        assert f"{A1} is yours now." in text(await shown.press(f"/fetch/{A1}"))
        notebook = folder / A1 / "A1-Introduction.py"
        assert notebook.read_bytes() == recorded(137).body
        notebook.write_bytes(b"# mine, twenty bytes")
        answer = await shown.press(f"/submit/{A1}")
        assert f"{A1} is submitted" in text(answer)
        assert "You may submit again; the newest counts." in text(answer), "Moodle keeps one (L7)"
        for later in (105, 155):  # what alice and then the teacher did in the recordings
            moodle.world.apply(recorded(later))
        page = text(await shown.press("/sync"))
        assert "87.50 / 100.00" in page
        known = shown.app.course.known()
        assert known is not None
        assert known.course_id == 2
        feedback = await shown.client.get(f"/feedback/{A1}/0/file")
        assert feedback.content == recorded(238).body


async def test_a_file_that_was_replaced_by_one_of_its_size_is_an_update(
    folder: Path, moodle: Replay
) -> None:
    """Not where an earlier version fetched it, which did not store the time."""

    def corrected(reply: Reply) -> Reply:
        time = rb'(A1-Introduction\.py","timemodified":)\d+'
        return replace(reply, body=re.sub(time, rb"\g<1>1795200000", reply.body))

    async with dashboard(folder) as shown:
        await shown.press("/sign-in/moodle_token", token=token_of("alice"))
        await shown.press(f"/fetch/{A1}")
        assert "Get the update" not in text(await shown.press("/sync"))
        moodle.between = corrected
        assert text(await shown.press("/sync")).count("Get the update") == 1
        stored = folder / ".mograder" / "student.json"
        stored.write_text(re.sub(r',\s*"modified": \d+', "", stored.read_text("utf-8")), "utf-8")
        assert "Get the update" not in text(await shown.press("/sync"))


async def test_a_wrong_password_is_told_on_the_page_and_never_shown(
    folder: Path, moodle: Replay
) -> None:
    async with dashboard(folder) as shown:
        answer = await shown.press("/sign-in/moodle_password", user="alice", password="wrong")
        assert "does not accept this user name and password" in text(answer)
        remedy = "write <code>moodle login --sso</code> in the place of <code>student</code>"
        assert remedy in text(answer)
        assert 'value="alice"' in answer.text
        assert "wrong" not in answer.text.replace('id="wrong"', "")
    assert tokens(folder).find(moodle.url) is None


async def test_a_token_of_the_commands_signs_in_without_asking_moodle(
    folder: Path, moodle: Replay
) -> None:
    async with dashboard(folder):
        pass
    tokens(folder).save(moodle.url, token_of("alice"), "alice", "Alice")
    moodle.requests.clear()
    async with dashboard(folder) as shown:
        assert shown.app.connection.user == "alice"
        assert moodle.requests == []


async def test_a_token_of_0_3_16_is_asked_whose_it_is(folder: Path, moodle: Replay) -> None:
    async with dashboard(folder):
        pass
    tokens(folder).save(moodle.url, token_of("alice"), full_name="Alice Ångström")
    async with dashboard(folder) as shown:
        assert shown.app.connection.user == "alice"


async def test_a_token_can_be_given_and_is_forgotten_on_signing_out(
    folder: Path, moodle: Replay
) -> None:
    async with dashboard(folder) as shown:
        answer = await shown.press("/sign-in/moodle_token", token=token_of("alice"))
        assert answer.url.path == "/", text(answer)
        kept = tokens(folder).find(moodle.url)
        assert kept is not None
        assert (kept.user, kept.full_name) == ("alice", "Alice Ångström")
        await shown.press("/logout")
        assert tokens(folder).find(moodle.url) is None


async def test_a_bad_token_is_told_and_not_kept(folder: Path, moodle: Replay) -> None:
    async with dashboard(folder) as shown:
        answer = await shown.press("/sign-in/moodle_token", token=token_of("invalid"))
        assert "does not know this token" in text(answer)
    assert tokens(folder).find(moodle.url) is None


async def test_settings_without_the_courses_number_are_refused(folder: Path) -> None:
    (folder / "mograder.toml").write_text('[moodle]\nurl = "https://moodle.example.edu"\n')
    with pytest.raises(InvalidInput, match="which course on Moodle"):
        async with dashboard(folder):
            pass


async def test_a_password_never_goes_over_plain_http_to_another_machine(folder: Path) -> None:
    settings = '[moodle]\nurl = "http://moodle.example.edu"\ncourse_id = 2\n'
    (folder / "mograder.toml").write_text(settings)
    async with dashboard(folder) as shown:
        answer = await shown.press("/sign-in/moodle_password", user="alice", password="PASSWORD")
        assert "would travel unencrypted" in text(answer)

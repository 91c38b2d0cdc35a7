"""A student who renamed the notebook finds the work, by every way through the hub (B66, B69)."""

from __future__ import annotations

from pathlib import Path

from mograder.sandbox.protocol import Mode
from mograder.sessions.session import SessionKey
from tests.support.hub_app import Hub, hub
from tests.support.hub_copies import WORK, ask, begin, folder, send

__all__ = ["hub"]

OLD = "alice homework.py"
KEY = SessionKey("alice", "A1", Mode.EDIT)


async def renamed(hub: Hub) -> Path:
    """Alice worked on A1 and renamed it; returns her folder."""
    (await begin(hub)).rename(folder(hub) / OLD)
    return folder(hub)


async def test_the_deep_link_opens_the_work_under_its_name_and_says_so(hub: Hub) -> None:
    place = await renamed(hub)
    stream = {"Accept": "application/x-ndjson"}
    response = await ask(hub, "POST", "/start-edit-deep/A1", headers=stream)
    assert f"Your notebook was called {OLD}. It has its name A1.py again." in response.text
    assert '"renamed":"alice homework.py"' in response.text.replace('": ', '":')
    assert (place / "A1.py").read_text() == WORK
    assert not (place / OLD).exists()
    again = (await ask(hub, "POST", "/start-edit-deep/A1")).json()
    assert "renamed" not in again


async def test_a_session_that_runs_ends_before_the_name_is_given_back(hub: Hub) -> None:
    place = await renamed(hub)
    hub.start("alice", "A1")
    session = hub.pool.find(KEY)
    response = await ask(hub, "POST", "/start-edit/alice/A1")
    assert response.json()["renamed"] == OLD
    now = hub.pool.find(KEY)
    assert now is not None
    assert now is not session
    assert [path.name for path in place.glob("*.py")] == ["A1.py"]


async def test_download_copies_nothing_over_it(hub: Hub) -> None:
    place = await renamed(hub)
    assert (await ask(hub, "POST", "/download/A1")).status_code == 200
    assert [path.name for path in place.glob("*.py")] == ["A1.py"]
    assert (place / "A1.py").read_text() == WORK


async def test_export_submit_and_validate_take_the_work(hub: Hub) -> None:
    place = await renamed(hub)
    export = await ask(hub, "GET", "/export/alice/A1")
    assert (export.status_code, export.text) == (200, WORK)
    assert 'filename="A1.py"' in export.headers["content-disposition"]
    submitted = await ask(hub, "POST", "/submit/alice/A1")
    assert submitted.status_code == 200
    assert (hub.course / "submitted" / "A1" / "alice.py").read_text() == WORK
    assert (await ask(hub, "POST", "/validate/alice/A1")).status_code == 200
    assert hub.runs.asked[-1].text == WORK
    assert (place / OLD).read_text() == WORK


async def test_the_list_the_status_and_the_first_page_say_so(hub: Hub) -> None:
    await renamed(hub)
    entries = (await ask(hub, "GET", "/assignments")).json()
    assert [each.get("renamed") for each in entries if each["name"] == "A1"] == [OLD]
    assert [each for each in entries if each["name"] != "A1" and "renamed" in each] == []
    assert (await ask(hub, "GET", "/status/alice/A1")).json()["renamed"] == OLD
    page = await ask(hub, "GET", "/", headers={"Accept": "text/html"})
    assert f"renamed to <strong>{OLD}</strong>" in page.text
    assert "Validate" in page.text


async def test_an_item_that_was_hidden_meanwhile_stays_open_for_it(hub: Hub) -> None:
    place = await renamed(hub)
    (hub.course / "hub-release" / ".visibility.json").write_text('{"A1": {"hidden": true}}')
    assert (await ask(hub, "POST", "/start-edit-deep/A1")).status_code == 200
    assert (place / "A1.py").read_text() == WORK


async def test_an_upload_and_a_reset_keep_it_as_an_earlier_version(hub: Hub) -> None:
    for path in ("/upload/alice/A1", "/reset/alice/A1"):
        place = await renamed(hub)
        for each in place.glob("A1.bak.*"):
            each.unlink()
        response = await send(hub, WORK) if "upload" in path else await ask(hub, "POST", path)
        assert response.status_code == 200
        versions = (await ask(hub, "GET", "/archives/alice/A1")).json()
        assert len(versions) == 1
        assert (place / versions[0]["name"]).read_text() == WORK
        assert not (place / OLD).exists()
        (place / "A1.py").unlink()

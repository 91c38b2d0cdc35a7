"""A copy's timeline by HTTP: its pages and its JSON, what is put back, and who may what."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from mograder.core.errors import Busy
from mograder.core.names import ItemName, Username, rehearsal_user
from mograder.hub.items import Items
from mograder.store.versions.versions import digest_of
from tests.support.hub_app import NOTEBOOK, Hub, HubOf
from tests.support.hub_copies import ask, begin, folder, press, read, send

pytestmark = pytest.mark.usefixtures("unsaved_in_threads")

BAD = "<script>alert('x')</script>"
SECOND = """

@app.cell
def _():
    y = 2
    return
"""


def text(code: str, *, second: bool = False) -> str:
    """A notebook with this code, and with a second cell if wanted."""
    made = NOTEBOOK.replace("1 + 1", code)
    return made.replace("    return\n", f"    return\n{SECOND}", 1) if second else made


async def lived(hub: Hub, *texts: str) -> Path:
    """Alice's notebook after these states, each of which the hub saw."""
    notebook = await begin(hub, texts[0])
    for each in texts:
        notebook.write_text(each)
        hub.services.recorder.look(Username("alice"), ItemName("A1"))
        hub.clock.advance(60)
    return notebook


async def numbers(hub: Hub) -> list[tuple[int, str, bool]]:
    """The timeline: number, origin, and whether it is the present text."""
    found = (await ask(hub, "GET", "/timeline/alice/A1")).json()
    return [(each["number"], each["origin"], each["present"]) for each in found]


async def test_a_cell_without_a_name_is_called_by_the_heading_above_it(hub: Hub) -> None:
    headed = text('mo.md("## Question 1: <a> sum")', second=True)
    await lived(hub, headed, headed.replace("y = 2", "y = 3"))
    assert "Below “Question 1: &lt;a&gt; sum”" in await read(hub, "/versions/alice/A1/2")


async def test_the_timeline_lists_what_changed_and_marks_the_present_version(hub: Hub) -> None:
    await lived(hub, text("1 + 1"), text("2 + 2"), text("2 + 2", second=True))
    assert await numbers(hub) == [(3, "found", True), (2, "found", False), (1, "release", False)]
    page = await read(hub, "/versions/alice/A1")
    assert page.count("as it is now") == 1
    assert '<span class="plus">+1</span> <span class="minus">−1</span>' in page
    assert 'action="/timeline/alice/A1/2/restore"' in page
    assert 'action="/timeline/alice/A1/3/restore"' not in page


async def test_what_replaces_a_copy_is_recorded_after_the_text_that_it_replaces(hub: Hub) -> None:
    versions = hub.services.recorder.versions
    notebook = await begin(hub, text("1 + 2"))
    assert versions.release_of("alice", "A1") == digest_of(NOTEBOOK.encode())
    await ask(hub, "POST", "/reset/alice/A1")
    await send(hub, text("1 + 3"))
    await ask(hub, "POST", "/timeline/alice/A1/2/restore")
    assert notebook.read_text() == text("1 + 2")
    await ask(hub, "POST", "/download-release/alice/A1")
    found = [(origin, versions.text("alice", "A1", at)) for at, origin, _ in await numbers(hub)]
    assert found[::-1] == [
        ("release", NOTEBOOK.encode()),
        ("found", text("1 + 2").encode()),
        ("reset", NOTEBOOK.encode()),
        ("upload", text("1 + 3").encode()),
        ("restore", text("1 + 2").encode()),
        ("reset", NOTEBOOK.encode()),
    ]


async def test_a_copy_from_before_the_timeline_begins_with_what_is_found(hub: Hub) -> None:
    folder(hub).mkdir(parents=True)
    (folder(hub) / "A1.py").write_text(text("1 + 2"))
    for _ in range(2):
        assert await numbers(hub) == [(1, "found", True)]
    assert hub.services.recorder.versions.release_of("alice", "A1") == ""


def test_the_copies_of_a_rehearsals_users_are_not_recorded(hub_of: HubOf) -> None:
    hub = hub_of("", "A1")  # one that runs removes them
    user, release = rehearsal_user(1), hub.services.releases.get(ItemName("A1"))
    assert release is not None
    hub.services.workspaces.ensure(user, release)
    hub.services.recorder.look(user, ItemName("A1"))
    assert hub.services.recorder.versions.newest(user, ItemName("A1")) is None


async def test_nothing_is_replaced_whose_text_cannot_be_recorded(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = await begin(hub, text("1 + 2"))

    def fails(*_: object, **__: object) -> None:
        raise Busy("The disk is full.")

    monkeypatch.setattr(type(hub.services.recorder.versions), "record", fails)
    assert (await ask(hub, "POST", "/reset/alice/A1")).status_code == 503
    assert notebook.read_text() == text("1 + 2")


async def test_a_versions_changes_are_shown_cell_by_cell_and_inert(hub: Hub) -> None:
    await lived(hub, text("1 + 1"), text(f"1 + 1  # {BAD}", second=True))
    page = await read(hub, "/versions/alice/A1/2")
    assert "<del>− 1 + 1\n</del>" in page
    assert "<ins>+ 1 + 1  # &lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;\n</ins>" in page
    assert BAD not in page
    assert "added" in page
    now = await read(hub, "/versions/alice/A1/1?to=now")
    assert 'action="/timeline/alice/A1/1/restore/0"' in now
    told = (await ask(hub, "GET", "/timeline/alice/A1/1/changes?to=now")).json()
    assert [(each["change"], each["before"], each["after"]) for each in told["cells"]] == [
        ("changed", 0, 0),
        ("added", None, 1),
    ]


async def test_the_first_version_has_nothing_before_it(hub: Hub) -> None:
    await lived(hub, text("1 + 1"))
    assert "nothing to compare it with" in await read(hub, "/versions/alice/A1/1")
    assert (await ask(hub, "GET", "/timeline/alice/A1/1/changes")).status_code == 404


async def test_a_version_is_put_back_and_its_editor_is_closed(hub: Hub) -> None:
    notebook = await lived(hub, text("1 + 1"), text("2 + 2"))
    hub.start("alice", "A1")
    assert "Putting a version back closes its editor first" in await read(hub, "/versions/alice/A1")
    answer = await press(hub, "/timeline/alice/A1/1/restore")
    assert notebook.read_text() == text("1 + 1")
    assert hub.pool.running == {}
    page = await read(hub, answer.headers["location"])
    assert "is back." in page
    assert '<a class="button main" href="/edit/A1">Open it again</a>' in page
    assert "Open it again" not in await read(hub, "/versions/alice/A1")
    assert await numbers(hub) == [
        (3, "restore", True),
        (2, "found", False),
        (1, "release", False),
    ]


async def test_a_version_that_is_present_or_never_was_is_not_put_back(hub: Hub) -> None:
    await lived(hub, text("1 + 1"), text("2 + 2"))
    hub.start("alice", "A1")
    for number, status in ((2, 409), (7, 404)):
        answer = await ask(hub, "POST", f"/timeline/alice/A1/{number}/restore")
        assert answer.status_code == status
    assert len(hub.pool.running) == 1


async def test_versions_outlive_the_folder_and_come_back_into_it(hub: Hub) -> None:
    notebook = await lived(hub, text("1 + 1"), text("2 + 2"))
    for each in folder(hub).iterdir():
        each.unlink()
    folder(hub).rmdir()
    assert [present for _, _, present in await numbers(hub)] == [False, False]
    assert (await ask(hub, "POST", "/timeline/alice/A1/2/restore")).status_code == 200
    assert notebook.read_text() == text("2 + 2")


async def test_one_cell_is_put_back_into_what_was_saved_last(hub: Hub) -> None:
    notebook = await lived(hub, text("1 + 1"), text("2 + 2"))
    notebook.write_text(text("2 + 2", second=True))
    answer = await press(hub, "/timeline/alice/A1/1/restore/0")
    assert notebook.read_text() == text("1 + 1", second=True)
    assert "The cell is back." in await read(hub, answer.headers["location"])
    assert [number for number, _, _ in await numbers(hub)] == [4, 3, 2, 1]
    kept = (await ask(hub, "GET", "/timeline/alice/A1/3")).text
    assert kept == text("2 + 2", second=True)


@pytest.mark.parametrize(("cell", "status"), [(0, 409), (1, 404), (10**12, 400)])
async def test_a_cell_that_cannot_be_put_back_changes_nothing(
    hub: Hub, cell: int, status: int
) -> None:
    notebook = await lived(hub, text("1 + 1"), text("1 + 1", second=True))
    hub.start("alice", "A1")
    answer = await ask(hub, "POST", f"/timeline/alice/A1/1/restore/{cell}")
    assert answer.status_code == status
    assert notebook.read_text() == text("1 + 1", second=True)
    assert len(hub.pool.running) == 1


async def test_a_broken_notebook_gets_no_single_cell_and_says_why(hub: Hub) -> None:
    notebook = await lived(hub, text("1 + 1"), text("(1 + "))
    answer = await ask(hub, "POST", "/timeline/alice/A1/1/restore/0")
    assert answer.status_code in (400, 409)
    assert "A1.py:" in answer.json()["detail"]
    assert notebook.read_text() == text("(1 + ")
    assert "compared line by line" in await read(hub, "/versions/alice/A1/2")


async def test_no_character_of_a_notebook_turns_the_direction_of_its_text(hub: Hub) -> None:
    """An instructor would read other code than runs."""
    turned = text("1 + 1  # ok \u202e }edoc live{")
    await lived(hub, f"# \u202e\n{turned}", text("2 + 2"), f"# \u2066\n{turned}")
    for path in ("look/alice/A1", "look/alice/A1/2", "versions/alice/A1/3", "versions/alice/A1/4"):
        page = await read(hub, f"/{path}")
        assert re.search("[\u202e\u2066]", page) is None, path
        assert "ok \ufffd }edoc live{" in page, path


async def test_a_version_is_read_and_downloaded(hub: Hub) -> None:
    await lived(hub, text("1 + 1"), text(f"1 + 1  # {BAD}"))
    page = await read(hub, "/look/alice/A1/2")
    assert "&lt;script&gt;" in page
    assert BAD not in page
    assert "It is the notebook as it is now." in page
    assert "/restore" not in page, "it would be refused"
    earlier = await read(hub, "/look/alice/A1/1")
    assert 'action="/timeline/alice/A1/1/restore"' in earlier
    assert "as it is now" not in earlier
    answer = await ask(hub, "GET", "/timeline/alice/A1/2")
    assert answer.text == text(f"1 + 1  # {BAD}")
    assert answer.headers["content-disposition"] == 'attachment; filename="A1.version-2.py"'


@pytest.mark.parametrize(
    "path",
    [
        "/look/alice/A1/99",
        "/look/alice/A1/" + "9" * 40,
        "/versions/alice/A1/99",
        "/timeline/alice/A1/99",
        "/timeline/alice/A1/99/changes",
    ],
)
async def test_a_version_that_never_was_is_not_found(hub: Hub, path: str) -> None:
    await lived(hub, text("1 + 1"))
    assert (await ask(hub, "GET", path)).status_code == 404


async def test_an_instructor_reads_and_each_look_is_in_the_log(hub: Hub) -> None:
    await lived(hub, text("1 + 1"), text("2 + 2"))
    page = await read(hub, "/versions/alice/A1", "prof")
    assert "<form" not in page[page.index("<main") :]
    await read(hub, "/versions/alice/A1/2?to=before", "prof")
    await read(hub, "/look/alice/A1/1", "prof")
    await ask(hub, "GET", "/timeline/alice/A1/1", "prof")
    log = (await ask(hub, "GET", "/audit", "prof")).json()
    assert [(each["action"], each["what"]) for each in log if each["who"] == "prof"][::-1] == [
        ("read", "alice/A1 versions"),
        ("read", "alice/A1 version 2"),
        ("read", "alice/A1 version 1"),
        ("export", "alice/A1 version 1"),
    ]


async def test_a_long_timeline_comes_in_pages(hub: Hub) -> None:
    await lived(hub, *(text(f"{number} + 1") for number in range(1, 43)))
    first = await read(hub, "/versions/alice/A1")
    older = re.search(r'href="(/versions/alice/A1\?below=\d+)"', first)
    assert older is not None
    second = await read(hub, older[1])
    shown = [re.findall(r'href="/look/alice/A1/(\d+)"', page) for page in (first, second)]
    assert shown == [[str(n) for n in range(42, 2, -1)], ["2", "1"]]
    assert "Newest" in second


def saved(*codes: str) -> str:
    """The body of a save by marimo's page."""
    return json.dumps(
        {
            "cellIds": [str(n) for n in range(len(codes))],
            "codes": codes,
            "names": ["_"] * len(codes),
            "configs": [{"hide_code": False}] * len(codes),
            "filename": "/home/student/work/A1.py",
        }
    )


MANY = json.dumps({"codes": [""] * 5001, "names": ["_"] * 5001, "configs": [{}] * 5001})
"""More cells than a notebook may have, which are read in a process of their own."""


async def hand_in(hub: Hub, body: str) -> httpx.Response:
    """Send work that could not be saved."""
    return await ask(hub, "POST", "/unsaved/alice/A1", content=body)


async def test_unsaved_work_is_a_version_and_not_in_the_notebook(hub: Hub) -> None:
    header = '# /// script\n# dependencies = ["marimo"]\n# ///\n\n'
    notebook = await lived(hub, header + text("1 + 1"))
    assert (await hand_in(hub, saved("1 + 1", "3 + 3"))).json() == {
        "status": "ok",
        "number": 3,
        "lines": 1,
    }
    assert notebook.read_text() == header + text("1 + 1")
    kept = (await ask(hub, "GET", "/timeline/alice/A1/3")).text
    assert kept.startswith(header)
    assert "    3 + 3\n" in kept
    assert (await numbers(hub))[:2] == [(3, "unsaved", False), (2, "found", True)]
    page = await read(hub, "/versions/alice/A1")
    assert "Could not be saved" in page
    assert (await ask(hub, "POST", "/timeline/alice/A1/3/restore")).status_code == 200
    assert "3 + 3" in notebook.read_text()


def unsaved(base: list[str], *codes: str) -> str:
    """The body of work that could not be saved; ``base`` is what the page had saved."""
    return json.dumps({**json.loads(saved(*codes)), "base": base})


async def test_unsaved_work_is_one_version_however_often_it_is_handed_in(hub: Hub) -> None:
    notebook = await lived(hub, text("1 + 1"))
    first = (await hand_in(hub, unsaved(["1 + 1"], "3 + 3"))).json()
    await hand_in(hub, unsaved(["1 + 1"], "4 + 4"))
    assert (await hand_in(hub, unsaved(["1 + 1"], "3 + 3"))).json() == first
    assert len(await numbers(hub)) == 3
    assert notebook.read_text() == text("1 + 1")


async def test_unsaved_work_is_put_into_the_notebook_that_it_changed(hub: Hub) -> None:
    notebook = await lived(hub, text("1 + 1"))
    body = unsaved(["1 + 1"], "1 + 1", "3 + 3")
    answer = await ask(hub, "POST", "/unsaved/alice/A1/put", content=body)
    assert answer.status_code == 200, answer.text
    assert "    1 + 1\n" in notebook.read_text()
    assert "    3 + 3\n" in notebook.read_text()
    assert (notebook.parent / answer.json()["archive"]).read_text() == text("1 + 1")
    assert (await hand_in(hub, body)).json()["number"] is None, "it is in the notebook"
    assert (await numbers(hub))[0][1:] == ("restore", True)


async def test_unsaved_work_that_cannot_be_put_back_is_no_upload_under_way(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lived(hub, text("1 + 1"))
    body = unsaved(["1 + 1"], "1 + 1", "3 + 3")

    def fail(*_: object) -> None:
        raise Busy("The database does not answer.")

    with monkeypatch.context() as failing:
        failing.setattr(Items, "ensure_files", fail)
        for _ in range(5):
            answer = await ask(hub, "POST", "/unsaved/alice/A1/put", content=body)
            assert answer.status_code == 503, answer.text
    assert (await ask(hub, "POST", "/unsaved/alice/A1/put", content=body)).status_code == 200


@pytest.mark.parametrize("base", [["1 + 1"], None])
async def test_unsaved_work_takes_no_others_place(hub: Hub, base: list[str] | None) -> None:
    """The notebook was changed after the page had it, or the page cannot tell what it had."""
    notebook = await lived(hub, text("1 + 1"), text("2 + 2"))
    body = saved("1 + 3") if base is None else unsaved(base, "1 + 3")
    answer = await ask(hub, "POST", "/unsaved/alice/A1/put", content=body)
    assert answer.status_code == 409
    assert "changed after you typed this" in answer.json()["detail"]
    assert notebook.read_text() == text("2 + 2")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("[]", 400),
        ("{}", 400),
        ('{"codes": ["x"], "names": [], "configs": []}', 400),
        ('{"codes": [3], "names": ["_"], "configs": [{}]}', 400),
        pytest.param(MANY, 400, marks=pytest.mark.full),
        ("[" * 20_000, 400),
        ("x" * 17_000_000, 413),
    ],
    ids=range(8),
)
async def test_what_no_page_of_marimo_saves_is_refused(hub: Hub, body: str, status: int) -> None:
    await lived(hub, text("1 + 1"))
    assert (await hand_in(hub, body)).status_code == status
    assert len(await numbers(hub)) == 1


async def test_unsaved_work_of_a_notebook_that_never_was_is_refused(hub: Hub) -> None:
    assert (await hand_in(hub, saved("1"))).status_code == 404


async def test_code_in_unsaved_work_stays_in_its_cell(hub: Hub) -> None:
    """Names, codes and settings that would end the cell or the string that they are written in."""
    await lived(hub, text("1 + 1"))
    hostile = {
        "codes": ['"""\n)\nimport os\nos.abort()\n("""', "x = (", "def f():\n  return"],
        "names": ["_():\n    import os\nx", "class", "\u0130\n"],
        "configs": [{"hide_code": "1);import os"}, {"column": 1e9}, ["disabled"]],
    }
    assert (await hand_in(hub, json.dumps(hostile))).status_code == 200
    kept = (await ask(hub, "GET", "/timeline/alice/A1/2")).text
    outside = re.sub(r'r?"""\n.*?\n    """|"""\n.*?\n"""', "", kept, flags=re.DOTALL)
    assert "os.abort" not in outside
    assert "import os" not in outside


STANDING = "/standing/alice/A1?session=alice-A1"


async def asked(hub: Hub) -> dict[str, Any]:
    """Wait until alice's open page is asked to put a cell back."""
    async with asyncio.timeout(20):
        while "cell" not in (answer := (await ask(hub, "GET", STANDING)).json()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    cell: dict[str, Any] = answer["cell"]
    return cell


async def putting(hub: Hub) -> tuple[Path, asyncio.Task[httpx.Response], dict[str, Any]]:
    """Alice has her notebook open, and puts a cell back."""
    notebook = await lived(hub, text("1 + 1"), text("2 + 2"))
    hub.start("alice", "A1").connections = 1
    restore = asyncio.create_task(ask(hub, "POST", "/timeline/alice/A1/1/restore/0"))
    return notebook, restore, await asked(hub)


async def test_an_open_page_puts_a_cell_back_and_the_editor_stays_open(hub: Hub) -> None:
    notebook, restore, cell = await putting(hub)
    assert (cell["index"], cell["before"], cell["after"]) == (0, "2 + 2", "1 + 1")
    theirs = (await ask(hub, "GET", STANDING, "prof")).json()
    assert "cell" not in theirs
    answer = f"{STANDING}&done=true&mark="
    assert (await ask(hub, "POST", answer + cell["mark"], "prof")).status_code == 403
    assert (await ask(hub, "POST", f"{answer}other")).status_code == 404
    notebook.write_text(text("1 + 1"))
    assert (await ask(hub, "POST", answer + cell["mark"])).status_code == 200
    result = (await restore).json()
    assert (result["running"], result["archive"]) == (True, None)
    assert hub.pool.running
    assert (await ask(hub, "POST", answer + cell["mark"])).status_code == 404


async def test_a_second_cell_is_refused_while_the_open_page_puts_one_back(hub: Hub) -> None:
    notebook, restore, cell = await putting(hub)
    second = await ask(hub, "POST", "/timeline/alice/A1/1/restore/0")
    assert second.status_code == 409
    assert "just being put back" in second.json()["detail"]
    notebook.write_text(text("1 + 1"))
    await ask(hub, "POST", f"{STANDING}&done=true&mark={cell['mark']}")
    assert (await restore).json()["running"] is True


@pytest.mark.parametrize("says", ["true", "false"])
async def test_a_page_that_did_not_put_a_cell_back_is_closed_whatever_it_says(
    hub: Hub, says: str
) -> None:
    notebook, restore, cell = await putting(hub)
    await ask(hub, "POST", f"{STANDING}&done={says}&mark={cell['mark']}")
    result = (await restore).json()
    assert result["running"] is False
    assert not hub.pool.running
    assert notebook.read_text() == text("1 + 1")

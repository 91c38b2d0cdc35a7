"""Publishing to the hub: check, prepare, then replace, in this order; a refusal changes nothing.

See compatibility-0.3.16.md 2.3, 2.7; security.md, "Input".
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import httpx
import pytest

from mograder.auth.credentials import Role
from mograder.core.names import INSTRUCTOR, ItemName
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.pep723 import Script
from mograder.sandbox.environments.builder import Environment
from mograder.store.releases.releases import ItemKind, Release, Releases
from tests.support import releases
from tests.support.hub_app import NOTEBOOK, FakeEnvironments, Hub, HubOf, events
from tests.support.hub_copies import ask

NDJSON = {"Accept": "application/x-ndjson"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
LIMITS = '[hub]\ninstructors = ["prof"]\n[limits]\nupload_mb = 1\nupload_files = 3\n'
MEGABYTE = 1024 * 1024
LECTURE = f'# /// script\n# mograder-type = "lecture"\n# ///\n{NOTEBOOK}'
BUILDABLE = f'# /// script\n# dependencies = ["numpy"]\n# ///\n{NOTEBOOK}'
UNBUILDABLE = f'# /// script\n# dependencies = ["no-such-package"]\n# ///\n{NOTEBOOK}'
Files = dict[str, str | bytes]


@pytest.fixture
def hub(hub_of: HubOf) -> Hub:
    """A hub with an assignment and a demo, which takes one megabyte in three files."""
    made = hub_of(LIMITS)
    made.publish("A1", files={"data.csv": b"x,y\n1,2\n"})
    made.publish("D1", ItemKind.DEMO)
    return made


async def publish(hub: Hub, path: str, files: Files, **more: Any) -> httpx.Response:
    """Publish as an instructor."""
    parts = [("files", (name, content)) for name, content in files.items()]
    return await ask(hub, "POST", f"/publish/{path}", "prof", files=parts, **more)


def published(hub: Hub) -> dict[str, bytes]:
    """All files of all releases, and what is staged."""
    root = hub.course / "hub-release"
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def released(hub: Hub) -> dict[str, bytes]:
    """All files of all releases."""
    return {name: data for name, data in published(hub).items() if not name.startswith(".staging")}


async def test_b128_publishing_replaces_the_release(hub: Hub) -> None:
    answer = await publish(hub, "A1", {"A1.py": NOTEBOOK, "public/plot.svg": "<svg/>"})
    told = {"files": ["A1.py", "public/plot.svg"], "type": "assignment"}
    assert answer.json() == {"status": "ok", **told}
    manifest = json.loads((hub.course / "hub-release" / "A1" / "files.json").read_text())
    assert manifest == told
    assert ("prof", "publish", "A1", "ok") in hub.audit()
    picture = await ask(hub, "GET", "/release/A1/public/plot.svg")
    assert picture.content == b"<svg/>"
    assert picture.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("text", "query", "kind"),
    [
        (NOTEBOOK, "", "assignment"),
        (LECTURE, "", "lecture"),
        (LECTURE, "?type=demo", "demo"),
        (NOTEBOOK, "?type=lecture", "lecture"),
    ],
)
async def test_b95_the_publishers_word_comes_before_the_notebooks(
    hub: Hub, text: str, query: str, kind: str
) -> None:
    """B90, B91."""
    assert (await publish(hub, f"L02{query}", {"L02.py": text})).json()["type"] == kind


def _header(line: str) -> Files:
    return {"A1.py": f"# /// script\n# [tool.mograder]\n# {line}\n# ///\n{NOTEBOOK}"}


@pytest.mark.parametrize(
    ("path", "files", "status", "detail"),
    [
        ("user", {"user.py": NOTEBOOK}, 400, "'user' is reserved and cannot be used as a name"),
        (".hidden", {".hidden.py": NOTEBOOK}, 400, "'.hidden': it must not start with a dot"),
        ("a..b", {"a..b.py": NOTEBOOK}, 400, "Invalid name 'a..b': it must not contain '..'"),
        ("x" * 101, {"x.py": NOTEBOOK}, 400, "it is longer than 100 characters"),
        ("a1", {"a1.py": NOTEBOOK}, 400, "there is 'A1' already"),
        ("A1?type=zzz", {"A1.py": NOTEBOOK}, 400, "Unknown type 'zzz'"),
        *(
            ("A1", {name: NOTEBOOK}, 400, "Invalid filename")
            for name in ("../A1.py", "..\\A1.py", ".bashrc", "sub/../../up.py")
        ),
        ("A1", {"other.py": NOTEBOOK}, 400, "The upload holds no A1.py."),
        ("A1", {"A1.py": NOTEBOOK, "aux.csv": ""}, 400, "aux.csv: Windows reserves the name AUX"),
        ("A1", {"A1.py": "import marimo\n\napp = marimo.App(\n"}, 400, "A1.py:3: '(' was never"),
        ("A1", {"A1.py": "print('hello')\n"}, 400, "A1.py:1: this is not a marimo notebook."),
        ("A1", {"A1.py": b"import marimo\n\xff\n"}, 400, "A1.py:2: the file is not UTF-8 text."),
        ("A1", {"A1.py": ""}, 400, "A1.py:1: the notebook is empty."),
        (
            "A1",
            {"A1.py": f"{NOTEBOOK}\n\n@app.cell\ndef _():\n    x = 1\n    return\n"},
            400,
            "a cell below `if __name__`, which marimo would drop",
        ),
        (
            "A1",
            {"A1.py": NOTEBOOK, "old.py": "x = 1\n    ### BEGIN SOLUTION\n"},
            400,
            "old.py:2: this file is for students, and marks a solution",
        ),
        ("A1", _header("allow = ['shell']"), 400, "A1.py, line 3: allow must list some of"),
        ("A1", _header("limit = 3"), 400, "A1.py, line 3: [tool.mograder] has no key 'limit'."),
        ("A1", _header("limits.memory_mb = 0"), 400, "must be at least 1, not 0."),
        ("A1", _header("limits = "), 400, "A1.py, line 3: the script block is not valid TOML"),
        (
            "A1",
            {"A1.py": NOTEBOOK, "big.bin": b"x" * (MEGABYTE + 1000)},
            413,
            "An upload may have at most 1 MB.",
        ),
        (
            "A1",
            {"A1.py": NOTEBOOK, "big.bin": b"x" * (3 * MEGABYTE)},
            413,
            "An upload may have at most 1 MB.",
        ),
        (
            "A1",
            {"A1.py": NOTEBOOK, "a": "", "b": "", "c": ""},
            413,
            "An upload may have at most 3 files.",
        ),
    ],
)
async def test_what_cannot_be_published_is_refused_before_anything_is_built_or_replaced(
    hub: Hub, path: str, files: Files, status: int, detail: str
) -> None:
    before = published(hub)
    answer = await publish(hub, path, files)
    assert answer.status_code == status
    assert detail in answer.json()["detail"]
    assert published(hub) == before
    assert not (hub.course / "up.py").exists()
    assert cast(FakeEnvironments, hub.services.environments).known == {}


async def test_b128_a_release_may_be_as_large_as_the_hub_tells(hub: Hub) -> None:
    """The command sends what has at most `most_mb`; 2 % of a release's bound were refused then."""
    told = (await ask(hub, "GET", "/release/A1", "prof")).json()
    data = bytes(told["most_mb"] * MEGABYTE - len(NOTEBOOK) - 1000)  # and the form around them
    answer = await publish(hub, "A1", {"A1.py": NOTEBOOK, "big.bin": data})
    assert answer.status_code == 200


async def test_b96_an_environment_that_cannot_be_built_leaves_the_old_release(hub: Hub) -> None:
    before = published(hub)
    answer = await publish(hub, "A1", {"A1.py": UNBUILDABLE})
    assert answer.status_code == 400
    assert "no-such-package was not found" in answer.json()["detail"]
    assert published(hub) == before


async def test_an_upload_whose_environment_takes_long_does_not_replace_a_later_one(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments = cast(FakeEnvironments, hub.services.environments)
    prepare, begun, built = environments.prepare, asyncio.Event(), asyncio.Event()

    async def slow(script: Script, progress: Callable[[str], None]) -> Environment:
        if script.dependencies:
            begun.set()
            await built.wait()
        return await prepare(script, progress)

    monkeypatch.setattr(environments, "prepare", slow)
    earlier = asyncio.create_task(publish(hub, "A1", {"A1.py": BUILDABLE}))
    await begun.wait()
    assert (await publish(hub, "A1", {"A1.py": LECTURE})).status_code == 200
    later = released(hub)
    built.set()
    answer = await earlier
    assert answer.status_code == 409
    assert "a newer upload of A1 was stored, which stays" in answer.json()["detail"]
    assert released(hub) == later
    assert (await publish(hub, "A1", {"A1.py": BUILDABLE})).status_code == 200


async def test_a_notebook_has_a_bound(hub_of: HubOf) -> None:
    answer = await publish(hub_of(), "A1", {"A1.py": NOTEBOOK + "#" * MAX_NOTEBOOK})
    assert answer.status_code == 413
    assert "larger than 16 MB" in answer.json()["detail"]


async def test_an_upload_without_a_length_is_bounded_too(hub: Hub) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="A1.py"\r\n\r\n'
        while True:
            sent += 65536
            yield b"x" * 65536

    answer = await ask(hub, "POST", "/publish/A1", "prof", content=endless(), headers=FORM)
    assert answer.status_code == 413
    # The bound, a megabyte that is read so that the answer arrives, and what was under way.
    assert sent <= 3 * MEGABYTE


@pytest.mark.parametrize(
    ("more", "detail"),
    [
        ({"data": {"x": "y"}}, "field 'files'"),
        ({"files": [("other", ("A1.py", b""))]}, "Nothing was uploaded."),
        ({"files": [("files", ("A1.py", NOTEBOOK))] * 2}, ""),
        ({"content": b"x"}, "multipart"),
        ({"content": b"garbage", "headers": FORM}, ""),
        ({"content": b"", "headers": {"Content-Type": "multipart/form-data"}}, ""),
    ],
)
async def test_a_body_that_is_no_upload_is_refused(
    hub: Hub, more: dict[str, Any], detail: str
) -> None:
    before = published(hub)
    answer = await ask(hub, "POST", "/publish/A1", "prof", **more)
    assert answer.status_code == 400
    assert detail in answer.json()["detail"]
    assert published(hub) == before


async def test_b99_an_instructor_sees_what_is_published(hub: Hub) -> None:
    """So that `--dry-run` can tell what would change, and publishing the same be no work."""
    answer = (await ask(hub, "GET", "/release/A1", "prof")).json()
    assert answer["type"] == "assignment"
    assert set(answer["files"]) == {"A1.py", "data.csv"}
    assert answer["files"]["A1.py"] == hashlib.sha256(NOTEBOOK.encode()).hexdigest()
    none = (await ask(hub, "GET", "/release/B7", "prof")).json()
    assert none == {"status": "ok", "files": {}, "type": None, "most_mb": 1, "most_files": 3}
    assert (await ask(hub, "GET", "/release/user", "prof")).status_code == 400


async def test_what_is_published_is_told_while_it_is_replaced(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = Releases.get

    def replaced_meanwhile(of: Releases, name: ItemName) -> Release | None:
        monkeypatch.setattr(Releases, "get", find)
        found = find(of, name)
        releases.publish(of, {"A1.py": LECTURE.encode()})
        return found

    monkeypatch.setattr(Releases, "get", replaced_meanwhile)
    answer = (await ask(hub, "GET", "/release/A1", "prof")).json()
    assert answer["files"] == {"A1.py": hashlib.sha256(LECTURE.encode()).hexdigest()}


async def test_publishing_tells_its_progress_and_ends_as_the_plain_answer_would(hub: Hub) -> None:
    told = events(await publish(hub, "A1", {"A1.py": LECTURE}, headers=NDJSON))
    said = [each.get("message") for each in told]
    assert said[0] == "Received 1 file"
    assert "A1 was published as assignment and becomes lecture." in said
    assert "Resolving" in said
    assert told[-1] == {"event": "done", "status": "ok", "files": ["A1.py"], "type": "lecture"}
    last = events(await publish(hub, "A1", {"A1.py": "def ("}, headers=NDJSON))[-1]
    assert (last["event"], last["status"]) == ("error", 400)


async def test_a_file_of_an_old_release_that_windows_refuses_is_warned_of(hub: Hub) -> None:
    hub.publish("A1", files={"aux.csv": b""})
    files: Files = {"A1.py": NOTEBOOK, "aux.csv": ""}
    answer = await publish(hub, "A1", files, headers=NDJSON)
    assert "Warning: aux.csv: Windows reserves the name AUX for a device." in answer.text


async def test_the_old_instructor_token_still_publishes(hub: Hub) -> None:
    async with hub.client(INSTRUCTOR, role=Role.INSTRUCTOR) as client:
        answer = await client.post("/publish/A1", files=[("files", ("A1.py", NOTEBOOK))])
    assert answer.status_code == 200


async def test_b129_warm_cache_names_what_stands_ready_and_why_an_item_does_not(hub: Hub) -> None:
    """Clients of 0.3.16 ask for it right after publishing."""
    hub.publish("A9", files={})
    (hub.course / "hub-release" / "A9" / "A9.py").write_text(UNBUILDABLE)
    answer = (await ask(hub, "POST", "/warm-cache", "prof")).json()
    assert answer["status"] == "ok"
    assert set(answer["warmed"]) == {"A1", "D1"}, "demos, which nobody lists, as well"
    assert list(answer["failed"]) == ["A9"]
    assert "no-such-package was not found" in answer["failed"]["A9"]

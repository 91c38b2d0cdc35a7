"""Publishing to the hub as 0.3.16's clients do it.

See compatibility-0.3.16.md 2.3, 2.7; B95, B96, B128.
"""

from __future__ import annotations

import hashlib
import json

import pytest

from mograder.auth.roles import Role
from mograder.core.names import INSTRUCTOR, ItemName
from tests.support.hub_app import NOTEBOOK, Hub, events, hub

__all__ = ["hub"]

NDJSON = {"Accept": "application/x-ndjson"}


def upload(name: str, content: str = NOTEBOOK) -> list[tuple[str, tuple[str, bytes]]]:
    """One notebook as the multipart field of a publish."""
    return [("files", (f"{name}.py", content.encode()))]


async def test_b128_publishing_replaces_the_release(hub: Hub) -> None:
    async with hub.client("prof", role=Role.INSTRUCTOR) as client:
        files = [*upload("A1"), ("files", ("more.txt", b"more"))]
        response = await client.post("/publish/A1", files=files)
    assert response.json() == {
        "status": "ok",
        "files": ["A1.py", "more.txt"],
        "type": "assignment",
    }
    manifest = json.loads((hub.course / "hub-release" / "A1" / "files.json").read_text())
    assert manifest == {"files": ["A1.py", "more.txt"], "type": "assignment"}
    assert ("prof", "publish", "A1", "ok") in hub.audit()


async def test_b95_b128_a_lecture_is_published_as_one(hub: Hub) -> None:
    async with hub.client("prof", role=Role.INSTRUCTOR) as client:
        response = await client.post("/publish/L02?type=lecture", files=upload("L02"))
    assert response.json()["type"] == "lecture"
    release = hub.services.releases.get(ItemName.parse("L02"))
    assert release is not None
    assert release.kind.value == "lecture"


@pytest.mark.parametrize(
    ("path", "filename", "detail"),
    [
        ("/publish/user", "user.py", "'user' is reserved and cannot be used as a name"),
        ("/publish/A1?type=zzz", "A1.py", "Unknown type 'zzz'"),
        ("/publish/A1", "../A1.py", "Invalid filename"),
        ("/publish/A1", ".bashrc", "Invalid filename"),
    ],
)
async def test_b128_what_cannot_be_published_is_refused(
    hub: Hub, path: str, filename: str, detail: str
) -> None:
    async with hub.client("prof", role=Role.INSTRUCTOR) as client:
        response = await client.post(path, files=[("files", (filename, b"x"))])
    assert (response.status_code, response.json()) == (400, {"detail": detail})


async def test_b96_an_environment_that_cannot_be_built_leaves_the_old_release(hub: Hub) -> None:
    header = '# /// script\n# dependencies = ["no-such-package"]\n# ///\n'
    async with hub.client("prof", role=Role.INSTRUCTOR) as client:
        response = await client.post("/publish/A1", files=upload("A1", header + NOTEBOOK))
    assert response.status_code == 400
    assert "no-such-package was not found" in response.json()["detail"]
    assert (hub.course / "hub-release" / "A1" / "A1.py").read_text() == NOTEBOOK
    assert (hub.course / "hub-release" / "A1" / "data.csv").is_file()


@pytest.mark.parametrize(
    ("lines", "detail"),
    [
        ("# allow = ['shell']\n", "A1.py, line 3: allow 'shell' is not known."),
        ("# limit = 3\n", "A1.py, line 3: [tool.mograder] has no key 'limit'."),
        (
            "# limits.memory_mb = 0\n",
            "A1.py, line 3: memory_mb in [tool.mograder.limits] must be at least 1, not 0.",
        ),
        ("# limits = \n", "A1.py, line 3: the script block is not valid TOML"),
    ],
)
async def test_a_broken_table_of_ours_is_refused_with_its_line(
    hub: Hub, lines: str, detail: str
) -> None:
    header = f"# /// script\n# [tool.mograder]\n{lines}# ///\n"
    async with hub.client("prof", role=Role.INSTRUCTOR) as client:
        response = await client.post("/publish/A1", files=upload("A1", header + NOTEBOOK))
    assert response.status_code == 400
    assert response.json()["detail"].startswith(detail)
    assert (hub.course / "hub-release" / "A1" / "A1.py").read_text() == NOTEBOOK


async def test_b99_an_instructor_sees_what_is_published(hub: Hub) -> None:
    """So that `--dry-run` can tell what would change, and publishing the same be no work."""
    async with hub.client("prof", role=Role.INSTRUCTOR) as client:
        answer = (await client.get("/release/A1")).json()
        none = (await client.get("/release/B7")).json()
        refused = await client.get("/release/user")
    assert answer["type"] == "assignment"
    assert set(answer["files"]) == {"A1.py", "data.csv"}
    assert answer["files"]["A1.py"] == hashlib.sha256(NOTEBOOK.encode()).hexdigest()
    most = {"most_mb": 100, "most_files": 200}
    assert none == {"status": "ok", "files": {}, "type": None, **most}
    assert refused.status_code == 400


async def test_publishing_tells_its_progress(hub: Hub) -> None:
    async with hub.client("prof", role=Role.INSTRUCTOR) as client:
        response = await client.post("/publish/A1", files=upload("A1"), headers=NDJSON)
    told = events(response)
    assert told[0] == {"event": "progress", "message": "Received 1 file"}
    assert {"event": "progress", "message": "Resolving"} in told
    assert told[-1] == {"event": "done", "status": "ok", "files": ["A1.py"], "type": "assignment"}


async def test_the_old_instructor_token_still_publishes(hub: Hub) -> None:
    async with hub.client(INSTRUCTOR, role=Role.INSTRUCTOR) as client:
        response = await client.post("/publish/A1", files=upload("A1"))
    assert response.status_code == 200


async def test_b129_warm_cache_names_what_stands_ready_for_clients_of_0_3_16(hub: Hub) -> None:
    """They ask for it right after publishing."""
    async with hub.client("prof", role=Role.INSTRUCTOR) as client:
        await client.post("/publish/A1", files=upload("A1"))
        listed = [entry["name"] for entry in (await client.get("/assignments")).json()]
        answer = await client.post("/warm-cache")
    assert answer.json()["status"] == "ok"
    assert set(answer.json()["warmed"]) == {*listed, "D1"}, "demos, which nobody lists, as well"


async def test_b129_warm_cache_tells_why_an_item_is_not_ready(hub: Hub) -> None:
    header = '# /// script\n# dependencies = ["no-such-package"]\n# ///\n'
    hub.publish("A9", files={})
    (hub.course / "hub-release" / "A9" / "A9.py").write_text(header + NOTEBOOK)
    async with hub.client("prof", role=Role.INSTRUCTOR) as client:
        answer = (await client.post("/warm-cache")).json()
    assert "A9" not in answer["warmed"]
    assert list(answer["failed"]) == ["A9"]
    assert "no-such-package was not found" in answer["failed"]["A9"]


async def test_a_health_check_may_ask_with_head(hub: Hub) -> None:
    async with hub.client("prof") as client:
        assert (await client.head("/health")).status_code == 200

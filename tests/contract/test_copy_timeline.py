"""The timeline of a copy through the hub's routes: each text that was replaced is in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mograder.core.errors import Busy, NotFound
from mograder.core.names import ItemName, Username, rehearsal_user
from mograder.sessions.student_copies import Copies, CopyOf
from mograder.store.versions.versions import Origin, digest_of
from tests.support.hub_app import NOTEBOOK, Hub, open_hub

ANNA = CopyOf(Username("anna"), ItemName("A1"))
EDITED = NOTEBOOK.replace("1 + 1", "1 + 2").encode()


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with open_hub(tmp_path / "course") as opened:
        yield opened


def copies(hub: Hub) -> Copies:
    services = hub.services
    reserve = services.loaded.settings.limits.disk_reserve
    return Copies(
        services.pool, services.workspaces, services.recorder, services.clock, reserve=reserve
    )


def timeline(hub: Hub) -> list[tuple[Origin, bytes]]:
    """The versions of the copy, the oldest first."""
    versions = hub.services.recorder.versions
    found = reversed(versions.all("anna", "A1"))
    return [(each.origin, versions.text("anna", "A1", each.number)) for each in found]


def take(hub: Hub) -> Path:
    """Give anna a copy, as the first start of her editor does; return its file."""
    release = hub.services.releases.get(ANNA.item)
    assert release is not None
    hub.services.workspaces.ensure(ANNA.user, release)
    hub.services.recorder.look(ANNA.user, ANNA.item)
    return hub.services.workspaces.notebook(ANNA.user, ANNA.item)


async def test_a_new_copy_begins_with_its_release(hub: Hub) -> None:
    released = take(hub).read_bytes()
    assert timeline(hub) == [(Origin.RELEASE, released)]
    assert hub.services.recorder.versions.release_of("anna", "A1") == digest_of(released)


async def test_the_copies_of_a_rehearsals_users_are_not_recorded(hub: Hub) -> None:
    user, release = rehearsal_user(1), hub.services.releases.get(ANNA.item)
    assert release is not None
    hub.services.workspaces.ensure(user, release)
    hub.services.recorder.look(user, ANNA.item)
    assert hub.services.recorder.versions.newest(user, ANNA.item) is None


async def test_an_older_copy_begins_with_what_is_found(hub: Hub) -> None:
    file = hub.services.workspaces.notebook(ANNA.user, ANNA.item)
    file.parent.mkdir(parents=True)
    file.write_bytes(EDITED)
    hub.services.recorder.look(ANNA.user, ANNA.item)
    hub.services.recorder.look(ANNA.user, ANNA.item)
    assert timeline(hub) == [(Origin.FOUND, EDITED)]
    assert hub.services.recorder.versions.release_of("anna", "A1") == ""


async def test_what_replaces_a_copy_is_recorded_after_the_text_that_it_replaces(hub: Hub) -> None:
    file = take(hub)
    released = file.read_bytes()
    release = hub.services.releases.get(ANNA.item)
    assert release is not None
    file.write_bytes(EDITED)
    await copies(hub).reset(ANNA, release)
    uploaded = EDITED.replace(b"1 + 2", b"1 + 3")
    await copies(hub).upload(ANNA, uploaded)
    await copies(hub).put_back(ANNA, 2)
    assert file.read_bytes() == EDITED
    await copies(hub).take_release(ANNA, release)
    assert timeline(hub) == [
        (Origin.RELEASE, released),
        (Origin.FOUND, EDITED),
        (Origin.RESET, released),
        (Origin.UPLOAD, uploaded),
        (Origin.RESTORE, EDITED),
        (Origin.RESET, released),
    ]


async def test_versions_survive_the_removal_of_the_workspace(hub: Hub) -> None:
    file = take(hub)
    file.write_bytes(EDITED)
    hub.services.recorder.look(ANNA.user, ANNA.item)
    file.unlink()
    hub.services.recorder.look(ANNA.user, ANNA.item)
    assert [origin for origin, _ in timeline(hub)] == [Origin.RELEASE, Origin.FOUND]
    await copies(hub).put_back(ANNA, 2)
    assert file.read_bytes() == EDITED


async def test_nothing_is_replaced_whose_text_cannot_be_recorded(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = take(hub)
    file.write_bytes(EDITED)
    release = hub.services.releases.get(ANNA.item)
    assert release is not None

    def fails(*_: object, **__: object) -> None:
        raise Busy("The disk is full.")

    monkeypatch.setattr(type(hub.services.recorder.versions), "record", fails)
    with pytest.raises(Busy):
        await copies(hub).reset(ANNA, release)
    assert file.read_bytes() == EDITED


async def test_a_version_that_is_not_there_cannot_be_put_back(hub: Hub) -> None:
    file = take(hub)
    with pytest.raises(NotFound):
        await copies(hub).put_back(ANNA, 7)
    assert [each.number for each in hub.services.recorder.versions.all("anna", "A1")] == [1]
    assert file.read_bytes()

"""The releases that updates know of: what was published on the hub, and where a copy came from."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from mograder.core.errors import Conflict
from mograder.core.names import ItemName, Username
from mograder.store.releases.releases import Releases
from mograder.store.versions.kept_releases import KeptReleases, KeptText, ReleaseHistory
from mograder.store.versions.versions import Origin, digest_of
from tests.support.hub_app import NOTEBOOK, Hub, hub
from tests.support.hub_copies import ask
from tests.support.threads import at_once

__all__ = ["hub"]

ANNA, A1 = Username("anna"), ItemName("A1")
SECOND = NOTEBOOK.replace("1 + 1", "1 + 2")
NOW = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)


def kept_in(hub: Hub) -> KeptReleases:
    return KeptReleases(hub.services.state.engine)


def history(hub: Hub) -> ReleaseHistory:
    services = hub.services
    return ReleaseHistory(
        services.releases, kept_in(hub), services.recorder.versions, services.clock
    )


async def publish(hub: Hub, text: str) -> None:
    """Publish an item as an instructor does."""
    response = await ask(
        hub, "POST", "/publish/A1", "prof", files=[("files", ("A1.py", text.encode()))]
    )
    assert response.status_code == 200


async def test_publishing_keeps_the_release_from_before_and_the_new_one(hub: Hub) -> None:
    await publish(hub, SECOND)
    kept = kept_in(hub).all(A1)
    assert [each.digest for each in kept] == [digest_of(t.encode()) for t in (SECOND, NOTEBOOK)]
    assert [sorted(each.files) for each in kept] == [[], ["data.csv"]]


async def test_a_copy_comes_from_the_release_that_its_timeline_names(hub: Hub) -> None:
    versions = hub.services.recorder.versions
    digest = digest_of(NOTEBOOK.encode())
    versions.record(ANNA, A1, b"begun", Origin.EDITOR, NOW, release=digest_of(b"never seen"))
    assert history(hub).origin(ANNA, A1, "begun") is None
    versions.record(ANNA, A1, b"edited", Origin.EDITOR, NOW, release=digest)
    await publish(hub, SECOND)
    assert history(hub).origin(ANNA, A1, "edited") == KeptText(digest, NOTEBOOK)
    present = history(hub).present(A1)
    assert present == KeptText(digest_of(SECOND.encode()), SECOND)


async def test_a_copy_comes_from_the_release_that_was_replaced_while_it_was_made(hub: Hub) -> None:
    recorder, release = hub.services.recorder, hub.services.releases.get(A1)
    assert release is not None
    hub.services.workspaces.ensure(ANNA, release)
    await publish(hub, SECOND)
    recorder.look(ANNA, A1)
    (made,) = recorder.versions.all(ANNA, A1)
    digest = digest_of(NOTEBOOK.encode())
    assert (made.origin, made.release) == (Origin.RELEASE, digest)
    assert recorder.versions.release_of(ANNA, A1) == digest


async def test_a_release_that_was_copied_by_hand_is_in_the_timeline(hub: Hub) -> None:
    versions = hub.services.recorder.versions
    by_hand = b"a release that was never published here\n"
    versions.record(ANNA, A1, by_hand, Origin.RELEASE, NOW, release=digest_of(by_hand))
    versions.record(ANNA, A1, b"edited", Origin.EDITOR, NOW)
    found = history(hub).origin(ANNA, A1, "edited")
    assert found == KeptText(digest_of(by_hand), by_hand.decode())


async def test_a_merge_is_put_in_place_with_the_data_files(hub: Hub) -> None:
    services = hub.services
    release = services.releases.get(A1)
    assert release is not None
    folder = services.workspaces.ensure(ANNA, release)
    base = history(hub).present(A1)
    await publish(hub, SECOND)
    new = history(hub).present(A1)
    assert new is not None
    release, known = history(hub).to_merge(A1, new, base)
    (change,) = services.workspaces.merge(ANNA, release, b"merged", known, NOW)
    assert change.sentence == "data.csv was removed: the new release has no such file."
    assert (folder / "A1.py").read_bytes() == b"merged"
    assert base is not None
    with pytest.raises(Conflict, match="published again"):
        history(hub).to_merge(A1, base, None)


def test_several_hubs_keep_a_release_at_the_same_time(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "hub-release" / "A1"
    folder.mkdir(parents=True)
    (folder / "A1.py").write_text(NOTEBOOK)
    release = Releases(tmp_path / "hub-release").get(A1)
    assert release is not None
    digest = digest_of(NOTEBOOK.encode())
    stores = [KeptReleases(engine) for _ in range(4)]
    assert at_once(4, lambda number: stores[number].keep(release, NOW)) == [digest] * 4
    assert len(stores[0].all(A1)) == 1
    assert KeptReleases(engine).text(digest) == NOTEBOOK

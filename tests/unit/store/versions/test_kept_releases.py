"""Kept releases: what is published is kept, and which release a copy came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from mograder.core.names import ItemName
from mograder.store.database.database import reading
from mograder.store.releases.releases import Release, Releases
from mograder.store.versions import kept_releases as module
from mograder.store.versions.kept_releases import KeptReleases
from mograder.store.versions.version_texts import kept_texts
from mograder.store.versions.versions import digest_of
from tests.support.releases import publish as publish_files

A1 = ItemName.parse("A1")
NOW = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
HEADER = '# /// script\n# mograder-cell-hashes = "{}"\n# ///\n'
Publish = Callable[[dict[str, str]], Release]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def kept(engine: Engine) -> KeptReleases:
    return KeptReleases(engine)


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    releases = Releases(tmp_path / "hub-release")
    return lambda files: publish_files(releases, {n: t.encode() for n, t in files.items()})


def test_each_release_is_kept_with_the_digests_of_its_data_files(
    kept: KeptReleases, publish: Publish
) -> None:
    first = kept.keep(publish({"A1.py": "one\n", "data.csv": "1"}), NOW)
    second = kept.keep(publish({"A1.py": "two\n", "public/a.png": "2"}), NOW + HOUR)
    assert (first, second) == (digest_of(b"one\n"), digest_of(b"two\n"))
    assert [(each.digest, dict(each.files)) for each in kept.all(A1)] == [
        (second, {"public/a.png": sha("2")}),
        (first, {"data.csv": sha("1")}),
    ]
    assert kept.text(first) == "one\n"
    assert kept.text("0" * 32) is None
    assert kept.all(ItemName.parse("A2")) == ()


def test_keeping_the_same_release_again_adds_nothing(kept: KeptReleases, publish: Publish) -> None:
    release = publish({"A1.py": "one\n"})
    kept.keep_all([release, publish({"A1.py": "one\n"})], NOW)
    kept.keep(release, NOW + HOUR)
    assert len(kept.all(A1)) == 1
    assert kept.all(A1)[0].published == NOW


def test_a_release_that_is_published_once_more_is_the_newest_again(
    kept: KeptReleases, publish: Publish
) -> None:
    for hours, text in enumerate(["one", "two", "one"]):
        kept.keep(publish({"A1.py": text}), NOW + hours * HOUR)
    assert [each.digest for each in kept.all(A1)] == [digest_of(b"one"), digest_of(b"two")]


def test_a_clock_that_was_ahead_does_not_make_an_old_release_the_newest(
    kept: KeptReleases, publish: Publish
) -> None:
    kept.keep(publish({"A1.py": "one"}), NOW + 24 * HOUR)
    kept.keep(publish({"A1.py": "two"}), NOW)
    assert [each.digest for each in kept.all(A1)] == [digest_of(b"two"), digest_of(b"one")]
    assert kept.since(A1) == NOW


def test_another_data_file_makes_another_release_of_the_same_text(
    kept: KeptReleases, publish: Publish
) -> None:
    digest = kept.keep(publish({"A1.py": "one", "data.csv": "1"}), NOW)
    assert kept.keep(publish({"A1.py": "one", "data.csv": "2"}), NOW + HOUR) == digest
    kept.keep(publish({"A1.py": "two", "data.csv": "3"}), NOW + 2 * HOUR)
    known = kept.known_files(A1, digest)
    assert known.released == {"data.csv": {sha("1"), sha("2"), sha("3")}}
    assert known.base == {"data.csv": {sha("1"), sha("2")}}
    assert kept.known_files(A1, "").base == {}


@pytest.mark.parametrize("name", ["data.csv", "public/data.csv"])
def test_a_data_file_that_is_edited_in_place_makes_another_release(
    kept: KeptReleases, publish: Publish, name: str
) -> None:
    release = publish({"A1.py": "one", name: "1"})
    kept.keep(release, NOW)
    (release.directory / name).write_text("more")
    kept.keep(release, NOW + HOUR)
    assert [dict(each.files) for each in kept.all(A1)] == [{name: sha("more")}, {name: sha("1")}]


def test_the_oldest_release_is_dropped_for_a_new_one(
    kept: KeptReleases, engine: Engine, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_KEPT", 2)
    for hours, text in enumerate(["one", "two", "three"]):
        kept.keep(publish({"A1.py": text}), NOW + hours * HOUR)
    assert [each.digest for each in kept.all(A1)] == [digest_of(b"three"), digest_of(b"two")]
    with reading(engine) as connection:
        assert connection.execute(select(func.count()).select_from(kept_texts)).scalar_one() == 2


def test_what_is_no_text_is_not_kept(kept: KeptReleases, publish: Publish, tmp_path: Path) -> None:
    release = publish({"A1.py": "one"})
    release.notebook.write_bytes(b"\xff\xfe")
    assert kept.keep(release, NOW) == ""
    assert kept.all(A1) == ()


def test_an_older_copy_came_from_the_release_with_the_hashes_in_its_header(
    kept: KeptReleases, publish: Publish
) -> None:
    old = HEADER.format("11111111,22222222") + "value = 1\n"
    new = HEADER.format("11111111,33333333") + "value = 1\nother = 2\n"
    digests = [kept.keep(publish({"A1.py": text}), NOW) for text in (old, new)]
    assert kept.fitting(A1, f"{old}mine = 3\n") == digests[0]
    assert kept.fitting(A1, f"{new}mine = 3\n") == digests[1]
    assert kept.fitting(A1, HEADER.format("44444444") + "value = 1\n") == ""


def test_of_releases_with_the_same_hashes_the_one_with_most_lines_in_the_copy_is_taken(
    kept: KeptReleases, publish: Publish
) -> None:
    header = HEADER.format("11111111")
    texts = [f"{header}begin = {n}\nmore = {n}\n" for n in range(3)]
    digests = [kept.keep(publish({"A1.py": text}), NOW + HOUR) for text in texts]
    assert kept.fitting(A1, f"{texts[1]}answer = 5\n") == digests[1]


def test_without_hashes_the_copy_must_have_most_lines_of_the_release(
    kept: KeptReleases, publish: Publish
) -> None:
    lines = [f"line_{n} = {n}\n" for n in range(10)]
    digest = kept.keep(publish({"A1.py": "".join(lines)}), NOW)
    assert kept.fitting(A1, "".join([*lines[:7], "mine = 1\n"])) == digest
    assert kept.fitting(A1, "".join([*lines[:4], "mine = 1\n"])) == ""

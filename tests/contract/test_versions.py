"""Versions of copies: recording and reading, on each database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event

from mograder.core.errors import NotFound
from mograder.store.database.database import open_engine
from mograder.store.versions.versions import Origin, Versions

NOW = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def kept(engine: Engine) -> Versions:
    """The versions of a new database."""
    return Versions(engine)


def test_each_version_can_be_read_back_and_the_newest_is_first(kept: Versions) -> None:
    texts = [b"", b"a = 1\n", b"a = 1\nb = 2\n", b"a = 1\n"]
    for number, text in enumerate(texts):
        made = kept.record("anna", "A1", text, Origin.EDITOR, NOW + number * SECOND)
        assert made.number == number + 1
        assert made == kept.newest("anna", "A1")

    found = kept.all("anna", "A1")
    assert [each.number for each in found] == [4, 3, 2, 1]
    assert found[0].saved == NOW + 3 * SECOND
    assert [kept.text("anna", "A1", number + 1) for number in range(4)] == texts
    assert kept.texts("anna", "A1", (4, 1, 3)) == {n: texts[n - 1] for n in (1, 3, 4)}


def test_the_same_text_makes_no_new_version(kept: Versions) -> None:
    first = kept.record("anna", "A1", b"a = 1\n", Origin.RELEASE, NOW, release="r1")
    again = kept.record("anna", "A1", b"a = 1\n", Origin.EDITOR, NOW + SECOND)
    assert again == first
    assert kept.all("anna", "A1") == (first,)


def test_an_opened_copy_costs_few_transactions(kept: Versions, engine: Engine) -> None:
    # A class opens its notebooks at the same moment, and each of them is recorded then.
    begun: list[object] = []
    event.listen(engine, "begin", begun.append)

    def transactions(user: str) -> int:
        before = len(begun)
        kept.record(user, "A1", b"a = 1\n", Origin.FOUND, NOW, first=lambda: (Origin.RELEASE, "r1"))
        return len(begun) - before

    kept.record("anna", "A1", b"a = 1\n", Origin.RELEASE, NOW, release="r1")
    assert transactions("anna") == 1  # unchanged
    assert transactions("bert") == 4  # a new copy of a known release
    assert kept.release_of("bert", "A1") == "r1"


def test_a_copy_remembers_the_release_that_it_came_from(kept: Versions) -> None:
    assert kept.release_of("anna", "A1") == ""
    kept.record("anna", "A1", b"a = 1\n", Origin.RELEASE, NOW, release="r1")
    edited = kept.record("anna", "A1", b"a = 2\n", Origin.EDITOR, NOW)
    assert edited.release == "r1"
    merged = kept.record("anna", "A1", b"a = 2\n", Origin.MERGE, NOW, release="r2")
    assert (merged.number, merged.release) == (2, "r2")
    assert kept.record("anna", "A1", b"a = 3\n", Origin.EDITOR, NOW).release == "r2"
    assert kept.newest("anna", "A1") == kept.all("anna", "A1")[0]
    assert kept.release_of("anna", "A1") == "r2"
    assert [each.release for each in kept.all("anna", "A1")] == ["r2", "r2", "r1"]
    assert kept.release_of("bert", "A1") == ""


def test_a_version_that_is_not_there_is_not_found(kept: Versions) -> None:
    with pytest.raises(NotFound):
        kept.text("anna", "A1", 1)
    kept.record("anna", "A1", b"a = 1\n", Origin.EDITOR, NOW)
    for number in (0, 2, -1):
        with pytest.raises(NotFound):
            kept.text("anna", "A1", number)
        with pytest.raises(NotFound):
            kept.texts("anna", "A1", (1, number))
    assert kept.texts("anna", "A1", ()) == {}
    with pytest.raises(NotFound):
        kept.text("bert", "A1", 1)


def test_saves_of_many_threads_are_all_there(kept: Versions) -> None:
    def save(number: int) -> None:
        user = f"student{number % 3}"
        kept.record(user, "A1", b"x = %d\n" % number, Origin.EDITOR, NOW)

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(save, range(60)))
    for user in range(3):
        found = kept.all(f"student{user}", "A1")
        assert [each.number for each in found] == list(range(20, 0, -1))
        texts = {kept.text(f"student{user}", "A1", each.number) for each in found}
        assert texts == {b"x = %d\n" % number for number in range(user, 60, 3)}


def test_saves_by_two_hubs_are_all_there(engine: Engine, url: str) -> None:
    """Both record versions of one copy at the same time, each with its own memory."""
    other = open_engine(url)
    hubs = [Versions(engine), Versions(other)]

    def save(number: int) -> int:
        text = b"x = %d\n" % number
        return hubs[number % 2].record("anna", "A1", text, Origin.EDITOR, NOW).number

    with ThreadPoolExecutor(6) as threads:
        numbers = list(threads.map(save, range(40)))
    assert sorted(numbers) == list(range(1, 41))
    for number, at in enumerate(numbers):
        assert hubs[1].text("anna", "A1", at) == b"x = %d\n" % number
    other.dispose()


def test_many_small_changes_of_a_long_text_can_be_read(kept: Versions) -> None:
    text = b"".join(b"line %d\n" % line for line in range(2000))
    for number in range(100):
        text = text.replace(b"line %d\n" % (number * 17), b"changed %d\n" % number)
        kept.record("anna", "A1", text, Origin.EDITOR, NOW + number * SECOND)
    assert kept.text("anna", "A1", 100) == text
    assert b"changed 42\n" in kept.text("anna", "A1", 43)
    assert b"changed 43\n" not in kept.text("anna", "A1", 43)

"""What a timeline lists: each state once, and which of them is the present one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mograder.core.errors import NotFound
from mograder.sessions.copy_timeline import Timeline, _without_repeats
from mograder.store.versions.versions import Origin, Version

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def version(number: int, text: str, origin: Origin = Origin.EDITOR) -> Version:
    """A version with this text."""
    return Version(number, NOW, origin, digest=text, size=1, release="")


def test_a_state_that_was_found_again_after_unsaved_work_is_listed_once() -> None:
    versions = (
        version(4, "a", Origin.FOUND),
        version(3, "b", Origin.UNSAVED),
        version(2, "a"),
        version(1, "z", Origin.RELEASE),
    )
    assert [each.number for each in _without_repeats(versions)] == [3, 2, 1]


def test_a_state_to_which_the_student_came_back_is_listed_again() -> None:
    versions = (version(3, "a"), version(2, "b"), version(1, "a"))
    assert [each.number for each in _without_repeats(versions)] == [3, 2, 1]


def test_a_version_follows_the_one_that_the_copy_had() -> None:
    versions = (version(3, "c"), version(2, "b", Origin.UNSAVED), version(1, "a"))
    timeline = Timeline(versions, versions[0])
    followed = [timeline.before(each) for each in versions]
    assert followed == [versions[2], versions[2], None]


def test_a_version_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        Timeline((version(1, "a"),), None).find(2)

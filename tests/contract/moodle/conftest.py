"""A replayed Moodle for each module, in the state that each test names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mograder.clients.moodle.client import MoodleClient
from tests.support.moodle.replay import Replay, token_of
from tests.support.moodle.server import serving

SignIn = Callable[[str], MoodleClient]
Sized = Callable[[str, int], Path]


@pytest.fixture(scope="module")
def site() -> Iterator[Replay]:
    replay = Replay()
    with serving(replay):
        yield replay


@pytest.fixture
def moodle(site: Replay) -> Iterator[Replay]:
    """The site before the first submission; a request that was not recorded fails the test."""
    site.begin(99)
    yield site
    assert not site.problems, site.problems


@pytest.fixture
def sign_in(moodle: Replay) -> Iterator[SignIn]:
    """Return a person's client, which does not wait between retries."""
    with ExitStack() as stack:

        def client(person: str) -> MoodleClient:
            made = MoodleClient(moodle.url, token_of(person), pause=lambda _: None)
            return stack.enter_context(made)

        yield client


@pytest.fixture
def sized(tmp_path: Path) -> Sized:
    """Return a file with a name and a size; the recordings know no more of most."""

    def file(name: str, size: int) -> Path:
        path = tmp_path / name
        with path.open("wb") as stream:
            stream.truncate(size)
        return path

    return file

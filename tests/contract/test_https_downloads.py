"""Downloads over a bad network, from the real server: resumed and verified (decision 30)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from mograder.clients.assignment_server.client import HttpsTransport
from mograder.clients.http import RetryPolicy
from mograder.core.errors import RemoteFailed
from tests.support.cutting_proxy import bad_network
from tests.support.served_course import Course, make_course, serving_course, token_of

BIG = random.Random(7).randbytes(3_000_000)
AT_ONCE = RetryPolicy(tries=3, sleep=lambda _: None)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    root = make_course(tmp_path_factory.mktemp("course") / "course")
    (root / "hw1" / "files" / "big.bin").write_bytes(BIG)
    with serving_course(root) as course:
        yield course


def fetch(url: str, to: Path) -> None:
    with HttpsTransport(url, token_of("alice"), retry=AT_ONCE) as transport:
        (file,) = (f for f in transport.list_assignments()[0].files if f.name == "big.bin")
        assert (file.size, len(file.digest or "")) == (len(BIG), 64)
        transport.download(file, to, lambda _: None)


def starts(ranges: list[str]) -> list[int]:
    return [int(text.removeprefix("bytes=").removesuffix("-") or 0) for text in ranges]


def test_a_download_goes_on_where_the_connection_broke(served: Course, tmp_path: Path) -> None:
    with bad_network(served.url, [1_000_000, 1_000_000], "big.bin") as network:
        fetch(network.url, tmp_path / "big.bin")
    assert (tmp_path / "big.bin").read_bytes() == BIG
    first, second, third = starts(network.ranges)
    assert first == 0
    assert 900_000 < second < 1_000_000
    assert 1_800_000 < third < 2_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["big.bin"]


def test_a_file_that_the_server_changed_in_between_comes_whole(tmp_path: Path) -> None:
    """The ETag is another one, so the beginning that is here belongs to nothing."""
    root = make_course(tmp_path / "course")
    place = root / "hw1" / "files" / "big.bin"
    place.write_bytes(BIG)
    with serving_course(root) as course:
        with (
            bad_network(course.url, [1_500_000, 10, 10, 10], "big.bin") as network,
            pytest.raises(RemoteFailed),
        ):
            fetch(network.url, tmp_path / "big.bin")
        place.write_bytes(BIG[::-1])
        fetch(course.url, tmp_path / "big.bin")
    assert (tmp_path / "big.bin").read_bytes() == BIG[::-1]

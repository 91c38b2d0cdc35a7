"""Downloads that go on where they broke off, and are checked (decision 30)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from mograder.clients.course_server import RemoteFile
from mograder.clients.downloads import Downloader
from mograder.clients.http import RetryPolicy
from mograder.core.errors import Conflict, Forbidden, InvalidInput, RemoteFailed, TooLarge
from tests.support.progress import quiet

CONTENT = bytes(range(256)) * 2000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
AT_ONCE = Downloader(RetryPolicy(sleep=lambda _: None))


class Cut(httpx.SyncByteStream):
    """A body whose connection breaks after this number of bytes."""

    def __init__(self, data: bytes, after: int | None) -> None:
        self.data, self.after = data, after

    def __iter__(self) -> Iterator[bytes]:
        end = len(self.data) if self.after is None else self.after
        for start in range(0, min(end, len(self.data)), 50_000):
            yield self.data[start : min(start + 50_000, end)]
        if self.after is not None and self.after < len(self.data):
            raise httpx.ReadError("connection reset")


@dataclass
class Server:
    """A file server with optional ranges and broken connections."""

    content: bytes = CONTENT
    etag: str = '"v1"'
    ranges: bool = True
    cuts: list[int | None] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)
    asked: list[Mapping[str, str]] = field(default_factory=list)

    @contextmanager
    def ask(self, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        self.asked.append(headers)
        start = self._start(headers)
        if start is not None and start >= len(self.content):
            told = {"etag": self.etag, "content-range": f"bytes */{len(self.content)}"}
            yield httpx.Response(416, headers=told)
            return
        cut = self.cuts.pop(0) if self.cuts else None
        body = self.content[start or 0 :]
        answer = {"content-length": str(len(body)), "etag": self.etag, **self.extra}
        if start is not None:
            whole = len(self.content)
            answer["content-range"] = f"bytes {start}-{whole - 1}/{whole}"
        status = 200 if start is None else 206
        request = httpx.Request("GET", "http://x/")
        yield httpx.Response(status, headers=answer, stream=Cut(body, cut), request=request)

    def _start(self, headers: Mapping[str, str]) -> int | None:
        asked = headers.get("Range", "")
        if not self.ranges or not asked or headers.get("If-Range") != self.etag:
            return None
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    @property
    def starts(self) -> list[str]:
        return [headers.get("Range", "") for headers in self.asked]


def file(size: int | None = None, digest: str | None = None) -> RemoteFile:
    return RemoteFile("data.csv", "/assignments/hw1/files/data.csv", size, digest)


def get(server: Server, to: Path, what: RemoteFile | None = None) -> None:
    AT_ONCE.download(server.ask, what or file(), to, quiet)


def leave_part(to: Path, content: bytes, etag: str = '"v1"') -> None:
    """Leave what a process that was killed leaves."""
    to.with_name(f".{to.name}.part").write_bytes(content)
    memory = json.dumps({"address": file().address, "etag": etag})
    to.with_name(f".{to.name}.part.json").write_text(memory)


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    get(Server(), tmp_path / "new" / "data.csv", file(len(CONTENT), DIGEST))
    assert (tmp_path / "new" / "data.csv").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["data.csv"]


def test_an_empty_file_arrives_too(tmp_path: Path) -> None:
    get(Server(b""), tmp_path / "empty")
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_later_command_goes_on_with_what_an_earlier_one_left(tmp_path: Path) -> None:
    target = tmp_path / "data.csv"
    target.write_bytes(b"the old one")
    with pytest.raises(RemoteFailed, match=r"broke while data.csv was coming") as failure:
        get(Server(cuts=[100_000, 0, 0, 0, 0]), target)
    assert "goes on from here" in failure.value.hint
    assert target.read_bytes() == b"the old one"
    later = Server()
    get(later, target)
    assert target.read_bytes() == CONTENT
    assert later.starts == ["bytes=100000-"]


@pytest.mark.parametrize("etag", ["", 'W/"v1"', "v1"])
def test_without_a_strong_etag_nothing_is_gone_on_with(tmp_path: Path, etag: str) -> None:
    server = Server(etag=etag, cuts=[100_000])
    get(server, tmp_path / "data.csv")
    assert (tmp_path / "data.csv").read_bytes() == CONTENT
    assert server.starts == ["", ""]


def test_a_server_that_knows_no_ranges_sends_the_whole_again(tmp_path: Path) -> None:
    """0.3.16."""
    server = Server(ranges=False, cuts=[100_000, 200_000])
    get(server, tmp_path / "data.csv")
    assert (tmp_path / "data.csv").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("left", "there", "digest", "starts"),
    [
        pytest.param(CONTENT, CONTENT, DIGEST, [len(CONTENT)], id="complete: nothing is sent"),
        pytest.param(
            b"x" * len(CONTENT), CONTENT, DIGEST, [len(CONTENT), 0], id="complete, of another file"
        ),
        pytest.param(
            b"x" * 100_000, CONTENT, DIGEST, [100_000, 0], id="the beginning of another file"
        ),
        pytest.param(
            CONTENT[:100_000], CONTENT[:1000], None, [100_000, 0], id="longer than the file"
        ),
    ],
)
def test_what_was_left_is_used_if_it_belongs_to_the_file(
    tmp_path: Path, left: bytes, there: bytes, digest: str | None, starts: list[int]
) -> None:
    """Whatever the ETag says: the digest decides."""
    leave_part(tmp_path / "data.csv", left)
    server = Server(there)
    get(server, tmp_path / "data.csv", file(digest=digest))
    assert (tmp_path / "data.csv").read_bytes() == there
    assert server.starts == [f"bytes={start}-" if start else "" for start in starts]


@pytest.mark.parametrize("told", ["", "bytes 0-9/10", "bytes */99"])
def test_an_answer_that_does_not_say_where_it_begins_is_not_appended(
    tmp_path: Path, told: str
) -> None:
    leave_part(tmp_path / "data.csv", CONTENT[:100])
    server = Server()

    @contextmanager
    def ask(headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        with server.ask(headers) as response:
            if headers.get("Range"):
                response.headers["content-range"] = told
            yield response

    AT_ONCE.download(ask, file(), tmp_path / "data.csv", quiet)
    assert (tmp_path / "data.csv").read_bytes() == CONTENT
    assert server.starts == ["bytes=100-", ""]


def test_a_refusal_leaves_nothing_behind(tmp_path: Path) -> None:
    def ask(headers: Mapping[str, str]) -> AbstractContextManager[httpx.Response]:
        raise Forbidden("No.")

    with pytest.raises(Forbidden):
        AT_ONCE.download(ask, file(), tmp_path / "data.csv", quiet)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (file(size=3), "with 512000 bytes instead of 3"),
        (file(digest="0" * 64), "other bytes than the server announced"),
    ],
)
def test_what_is_not_what_was_announced_never_takes_its_place(
    tmp_path: Path, what: RemoteFile, said: str
) -> None:
    with pytest.raises(RemoteFailed, match=said):
        get(Server(), tmp_path / "data.csv", what)
    assert list(tmp_path.iterdir()) == []


def test_the_digest_in_the_answer_is_checked_where_the_list_has_none(tmp_path: Path) -> None:
    """RFC 9530, as our server sends it."""
    other = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    with pytest.raises(RemoteFailed, match="other bytes"):
        get(Server(extra={"repr-digest": f"sha-256=:{other}:"}), tmp_path / "data.csv")
    right = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    get(Server(extra={"repr-digest": f"sha-256=:{right}:"}), tmp_path / "data.csv")


def test_a_server_that_sends_without_end_is_cut_off(tmp_path: Path) -> None:
    bounded = replace(AT_ONCE, largest=100_000)
    with pytest.raises(TooLarge):
        bounded.download(Server().ask, file(), tmp_path / "data.csv", quiet)
    assert not (tmp_path / "data.csv").exists()


def test_two_at_once_do_not_write_into_one_file(tmp_path: Path) -> None:
    server = Server()

    @contextmanager
    def ask(headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        with pytest.raises(Conflict, match="fetching"):
            get(server, tmp_path / "data.csv")
        with server.ask(headers) as response:
            yield response

    AT_ONCE.download(ask, file(), tmp_path / "data.csv", quiet)
    assert (tmp_path / "data.csv").read_bytes() == CONTENT


def test_a_place_that_cannot_be_written_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be written"):
        get(Server(), tmp_path / "file" / "data.csv")


def test_a_meter_is_told_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    server = Server(cuts=[100_000])
    AT_ONCE.download(
        server.ask,
        file(),
        tmp_path / "data.csv",
        quiet,
        lambda name, done, total: told.append((done, total)),
    )
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted(done for done, _ in told)

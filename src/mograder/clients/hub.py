"""A typed client for the HTTP interface of a running hub, for the command line.

It supports our hub, which streams its progress, and a hub of 0.3.16, which answers once
(compatibility-0.3.16.md 2.3). Failures of the network and refusals of the hub are converted to our
own errors here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.client import responses
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from mograder.clients.file_upload import Upload, opened
from mograder.clients.http import Server, bounded_body, check_token, family_of, make_client
from mograder.clients.server_url import parse_hub_url
from mograder.core.context_managers import Closing
from mograder.core.errors import (
    Forbidden,
    MograderError,
    NotFound,
    RemoteFailed,
    TimedOut,
    TooLarge,
)
from mograder.core.tasks import Progress

_STREAM = "application/x-ndjson"
_WRITE_SECONDS = 120.0
_READ_SECONDS = 960.0
"""Longer than a hub gives one environment build ([limits] build_timeout): uv may be silent."""
_ANSWER_SECONDS = 60.0
"""Seconds that the body of an answer may take; a stream of progress may take longer."""
_MAX_ANSWER = 1_000_000
_NO_SUCH_ROUTE = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
_NOTHING_THERE = ("", "Not Found", "Method Not Allowed", "There is nothing at this address.")
"""What a hub of 0.3.16 and ours say at an address that they do not have."""
_MAX_DETAIL = 20_000
_HOW_TO_GET_ONE = (
    "Make an instructor token where the hub runs: "
    "`mograder hub generate-token --role instructor NAME`."
)

T = TypeVar("T")
Event = Callable[[Mapping[str, object]], None]
"""Is called with a line of progress: its ``message``, and further fields of some requests."""


class HubAnswer(BaseModel):
    """An answer of a hub; a newer one may have more fields."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def messages(progress: Progress) -> Event:
    return lambda line: progress(str(line.get("message", "")))


Natural = Annotated[int, Field(ge=0)]
_Kind = Annotated[
    str, BeforeValidator(lambda kind: "" if kind is None else kind), Field(validation_alias="type")
]


@dataclass(frozen=True, slots=True)
class Published:
    """A published release; ``warmed``: its environment is prepared as well.

    ``copies`` is how many students have a copy of the item, 0 from an older hub.
    """

    files: tuple[str, ...] = ()
    kind: _Kind = ""
    warmed: bool = False
    copies: Natural = 0


@dataclass(frozen=True, slots=True)
class Held:
    """The files that the hub holds of an item, with their SHA-256.

    ``kind`` is empty if the hub does not give it (0.3.16), or holds nothing; ``complete``: there is
    nothing on the hub that ``files`` does not name. ``most_mb`` (of 2**20 bytes) and ``most_files``
    are the hub's limits for one release, 0 if it does not give them. ``own``: the hub has a source
    in its course directory and takes no other.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    kind: _Kind = ""
    complete: bool = True
    most_mb: Natural = 0
    most_files: Natural = 0
    own: bool = False

    def check(self, size: int, count: int, *, source: bool = False) -> None:
        what = "source" if source else "release"
        kept = "The release is there; --no-source keeps the source here."
        sent = kept if source else "Nothing was sent."
        if self.most_mb and size > self.most_mb * 2**20:
            raise TooLarge(
                f"The {what} has {size / 2**20:.1f} MB, and the hub takes {self.most_mb} MB.",
                hint=f"{sent} Leave files out, or raise [limits] upload_mb on the hub.",
            )
        if self.most_files and count > self.most_files:
            raise TooLarge(
                f"The {what} has {count} files, and the hub takes {self.most_files}.",
                hint=f"{sent} Put them into one archive in a folder, or raise [limits] "
                "upload_files on the hub.",
            )


class HubClient(Closing):
    """A connection to one hub as one person; use it as a context manager.

    ``url`` is the address in the browser, path prefix included (``https://host/live/hub/``). Every
    request raises :class:`~mograder.core.errors.MograderError` if the hub refuses, cannot be
    reached, or is no hub that we know; an old release or source then stays as it was.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        insecure: bool = False,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Check the address before the token is sent anywhere."""
        self.url = parse_hub_url(url, insecure=insecure)
        check_token(token, _HOW_TO_GET_ONE)
        self._server = Server(
            "the hub",
            self.url,
            unreachable="Check the address, and that the hub is running.",
            silent="Look at the hub's log; it may still be building. Then publish again.",
            broken="A proxy in front may limit the size of an upload. Publish again.",
        )
        self._client = make_client(
            self.url, read=_READ_SECONDS, write=_WRITE_SECONDS, token=token, transport=transport
        )

    def close(self) -> None:
        self._client.close()

    def publish(
        self, name: str, kind: str, files: Sequence[Upload], progress: Progress
    ) -> Published:
        """Replace the hub's release of an item, with progress while its environment is built."""
        with (
            opened(files, progress) as parts,
            self._sent(
                "POST",
                f"/publish/{quote(name, safe='')}",
                params={"type": kind},
                headers={"Accept": _STREAM},
                files=[("files", part) for part in parts],
            ) as response,
        ):
            answer = self._follow(response, messages(progress))
            warmed = _media_type(response) == _STREAM
        with self._known():
            return replace(TypeAdapter(Published).validate_python(answer), warmed=warmed)

    def held(self, name: str, files: Sequence[str]) -> Held:
        """Return the files that the hub holds of an item; 0.3.16 is asked for each of ``files``."""
        path = f"/release/{quote(name, safe='')}"
        held = self._held(path)
        if held is not None:
            return held
        found = ((file, self._digest(f"{path}/{quote(file)}")) for file in files)
        return Held({file: digest for file, digest in found if digest}, complete=False)

    def held_source(self, name: str) -> Held | None:
        """Return the source that the hub holds; None if it has its own, or is too old to grade."""
        held = self._held(_source_path(name))
        return None if held is None or held.own else held

    def send_source(self, name: str, files: Sequence[Upload], progress: Progress) -> None:
        with opened(files, progress) as parts:
            sent = [("files", part) for part in parts]
            with self._sent("PUT", _source_path(name), files=sent) as response:
                self._answer(response)

    def _held(self, path: str) -> Held | None:
        """Return what the hub tells at a path that it holds; None if it has no such route."""
        with self._sent("GET", path) as response:
            if response.status_code in _NO_SUCH_ROUTE:
                return None
            answer = self._answer(response)
        with self._known():
            return TypeAdapter(Held).validate_python(answer)

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        """Return the JSON of the hub's answer to a short request; ``path`` begins with a slash."""
        with self._sent(method, path, json=body) as response:
            return self._body(response)

    def read(self, shape: type[T], method: str, path: str, body: object = None) -> T:
        with self._known():
            return TypeAdapter(shape).validate_json(self.ask(method, path, body))

    def follow(
        self, shape: type[T], method: str, path: str, progress: Event, body: object = None
    ) -> T:
        """Send a request for long work, and return its result, validated as ``shape``.

        ``progress`` is called with each line of progress. Closing the connection, as an exception
        of ``progress`` does, ends work that the hub does for this connection alone.
        """
        with self._sent(method, path, json=body, headers={"Accept": _STREAM}) as response:
            answer = self._follow(response, progress)
        with self._known():
            return TypeAdapter(shape).validate_python(answer)

    @contextmanager
    def _known(self) -> Iterator[None]:
        try:
            yield
        except ValidationError as error:
            raise _no_hub(self.url) from error

    def _digest(self, path: str) -> str:
        """Return the SHA-256 of the file that the hub sends for a path, "" without such a file."""
        digest = hashlib.sha256()
        with self._sent("GET", path) as response:
            if response.status_code == HTTPStatus.NOT_FOUND:
                return ""
            if response.status_code != HTTPStatus.OK:
                self._body(response)
            for chunk in response.iter_bytes():
                digest.update(chunk)
        return digest.hexdigest()

    @contextmanager
    def _sent(self, method: str, path: str, **content: Any) -> Iterator[httpx.Response]:
        """Yield the answer, unread; failures of the network are translated, also as it is read."""
        with (
            self._server.errors(),
            self._client.stream(method, f"{self.url}{path}", **content) as response,
        ):
            yield response

    def _follow(self, response: httpx.Response, progress: Event) -> dict[str, object]:
        """Return the answer, from the end of a stream of progress or from a plain body."""
        if _media_type(response) != _STREAM:
            return self._answer(response)
        for line in _bounded_lines(response.iter_bytes()):
            answer = _object(line, self.url)
            event = answer.get("event")
            if event == "progress":
                progress(answer)
            elif event == "done":
                return answer
            elif event == "error":
                status = answer.get("status")
                status = status if isinstance(status, int) else HTTPStatus.INTERNAL_SERVER_ERROR
                raise _refusal(status, _detail(answer), self.url)
        raise RemoteFailed(
            "The hub closed the connection before it was done.",
            hint="What was published before is still there. Look at the hub's log and try again.",
        )

    def _answer(self, response: httpx.Response) -> dict[str, object]:
        return _object(self._body(response), self.url)

    def _body(self, response: httpx.Response) -> bytes:
        status = response.status_code
        body = bounded_body(response, _MAX_ANSWER, _ANSWER_SECONDS)
        if status == HTTPStatus.OK:
            return body
        self._server.refuse_redirect(response)
        media_type = _media_type(response)
        if status == HTTPStatus.NOT_FOUND and media_type != "application/json":  # not the hub's
            raise _refusal(status, "", self.url)
        raise _refusal(status, _said(media_type, body), self.url)


def _source_path(name: str) -> str:
    return f"/source/{quote(name, safe='')}"


def _refusal(status: int, detail: str, url: str) -> MograderError:
    """Return the error for the hub's refusal; pure. ``detail`` has uv's own words, unchanged."""
    said = detail or f"The hub answered {status} {responses.get(status, '')}."
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        if detail == "Instructor access required":
            told = "This token is a student's; publishing needs an instructor."
        elif detail and detail != "403 Forbidden":
            return Forbidden(detail)
        else:
            told = "The hub does not accept this token."
        return Forbidden(told, hint=_HOW_TO_GET_ONE)
    family = family_of(status)
    if family is NotFound and detail in _NOTHING_THERE:
        hint = f"Is {url} the hub's address, with its path prefix?"
        return NotFound(f"There is no hub at {url}, or it is too old: {said}", hint=hint)
    hint = "Look at the hub's log, then publish again." if family is TimedOut else ""
    return family(said, hint=hint)


def _said(media_type: str, body: bytes) -> str:
    """Return the text of an error answer: JSON ``detail``, or plain text; never a page."""
    if media_type == "application/json":
        try:
            return _detail(_object(body, ""))
        except RemoteFailed:
            return ""
    if media_type == "text/plain":
        return body.decode("utf-8", "replace").strip()[:_MAX_DETAIL]
    return ""


def _detail(answer: dict[str, object]) -> str:
    detail = answer.get("detail", "")
    return (detail if isinstance(detail, str) else json.dumps(detail))[:_MAX_DETAIL].strip()


def _object(content: bytes, url: str) -> dict[str, object]:
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise _no_hub(url)
    return answer


def _no_hub(url: str) -> RemoteFailed:
    return RemoteFailed(
        f"What answers at {url} is not a mograder hub, or it is of another version.",
        hint="Give the hub's own address, not that of a sign-in page in front of it.",
    )


def _bounded_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _MAX_ANSWER:
            raise RemoteFailed("The hub sent a line of progress that never ends.")
        yield from (line for line in lines if line.strip())
    if rest.strip():
        yield rest


def _media_type(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()

"""Files to and from Moodle: uploads checked for completeness, downloads verified by SHA-1.

Moodle drops an upload that is too large without an error; a download with a bad token is HTTP 200.
The ETag of a file is the SHA-1 of its content, by which downloads are verified.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qsl

import httpx
from pydantic import TypeAdapter, ValidationError

from mograder.clients.course_server import RemoteFile
from mograder.clients.downloads import IDENTITY, DigestCheck, Downloader, damaged, other_bytes
from mograder.clients.file_upload import Quarters, Upload, opened
from mograder.clients.http import bounded_body
from mograder.clients.moodle.http import ANSWER_SECONDS, Form, Wire, as_error, refusal_in
from mograder.clients.moodle.models import UploadedModel
from mograder.clients.moodle.records import Draft
from mograder.core.errors import (
    Conflict,
    InvalidInput,
    MograderError,
    NotFound,
    RemoteFailed,
    TooLarge,
)
from mograder.core.tasks import Progress

_UPLOAD = "/webservice/upload.php"
_TOGETHER = 10
"""Files in one upload; PHP drops those past ``max_file_uploads`` (20 by default)."""

_NO_POST = frozenset({404, 405, 501})
"""Statuses of a server that serves a file by GET alone."""

_LARGEST = 4 << 30
_MAX_REFUSAL = 1_000_000
_SHA1 = re.compile(r'^(?:W/)?"?([0-9a-f]{40})(?:-gzip)?"?$')
_PLUGINFILE = re.compile(r"^(?P<base>.*?)/(?:webservice/)?pluginfile\.php(?P<rest>/.+)?$")
_UPLOADED = TypeAdapter(list[UploadedModel])


def _content_hash(response: httpx.Response) -> str:
    """Return the content's SHA-1 from Moodle's ETag; a proxy may have marked it weak."""
    match = _SHA1.match(response.headers.get("etag", ""))
    return match[1] if match else ""


_CHECK = DigestCheck("sha1", _content_hash)


class FileTransfers:
    """The part of :class:`.client.MoodleClient` that uploads and downloads files."""

    def __init__(self, wire: Wire, token: str) -> None:
        self._wire = wire
        self._token = token
        self._downloader = Downloader(wire.retry, _CHECK, _LARGEST)

    def upload(self, files: Sequence[Upload], progress: Progress = lambda _: None) -> Draft:
        """Upload into one new draft area and check each name and size that Moodle returns."""
        names = [file.name for file in files]
        if not files or len(set(names)) < len(names):
            raise InvalidInput(
                "Nothing to upload, or two files of the same name.",
                hint="Give one file of each name.",
            )
        item, arrived = 0, []
        with opened(files, progress) as parts:
            for start in range(0, len(parts), _TOGETHER):
                uploaded = self._send(parts[start : start + _TOGETHER], item)
                item = uploaded[0].itemid or 0
                arrived += [each.filename for each in uploaded]
        return Draft(item, tuple(arrived))

    def download(self, file: RemoteFile, to: Path, progress: Progress = lambda _: None) -> None:
        """Write a file to ``to``, verified, complete or not at all.

        Bytes that arrived before a connection broke are kept, and the next call continues.
        """
        form = self._form(file)
        quarters = Quarters(progress)
        progress(f"Fetching {file.name}")
        self._downloader.download(
            lambda headers: self._asked(form, headers),
            file,
            to,
            progress,
            lambda name, done, total: quarters(f"{name}:", done, total),
        )

    def download_all(
        self,
        files: Sequence[tuple[RemoteFile, Path]],
        progress: Progress = lambda _: None,
        *,
        workers: int = 4,
    ) -> Mapping[Path, MograderError]:
        """Download a few at a time; ``progress`` is called from this thread only.

        Returns why files could not be had of which Moodle says so; the others arrived.
        """
        failures: dict[Path, MograderError | None] = {}
        with ThreadPoolExecutor(max_workers=workers) as pool:
            waiting = {
                pool.submit(self.download, file, to, lambda _: None): (file, to)
                for file, to in files
            }
            try:
                for count, done in enumerate(as_completed(waiting), 1):
                    file, to = waiting[done]
                    failures[to] = _failure_of_its_own(done)
                    progress(f"{count} of {len(files)}: {file.name}")
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        return {to: failure for to, failure in failures.items() if failure is not None}

    def read(self, file: RemoteFile, limit: int) -> bytes:
        """Return the verified bytes of a small file; raises TooLarge above ``limit``."""
        if file.size is not None and file.size > limit:
            raise _too_large(file, limit)
        form = self._form(file)
        with self._asked(form, IDENTITY) as response, self._wire.errors(form):
            body = bounded_body(response, limit + 1, ANSWER_SECONDS, cut=True)
        if len(body) > limit:
            raise _too_large(file, limit)
        digest = _content_hash(response)
        if digest and digest != _CHECK.of(io.BytesIO(body)):
            raise damaged(other_bytes(file.name))
        if not digest and file.size not in {None, len(body)}:
            raise damaged(f"{file.name} arrived with {len(body)} bytes instead of {file.size}.")
        return body

    def _send(self, parts: Sequence[tuple[str, BinaryIO]], item: int) -> list[UploadedModel]:
        form = Form(
            _UPLOAD,
            {"token": self._token, "itemid": item, "filearea": "draft"},
            ", ".join(name for name, _ in parts),
            # Moodle deletes a draft area that is never saved.
            safe=item == 0,
            files=parts,
        )
        try:
            uploaded = _UPLOADED.validate_python(self._wire.ask(form))
        except ValidationError as error:
            raise RemoteFailed("Moodle's answer to an upload has another form than we know.") from (
                error
            )
        for each in uploaded:
            if each.errortype or each.itemid is None:
                raise as_error(each.errortype, each.error, each.filename or form.asked)
        if not uploaded:
            raise as_error("fileoversized", "", form.asked)
        sizes = [os.fstat(stream.fileno()).st_size for _, stream in parts]
        if [each.filesize for each in uploaded] != sizes:
            raise Conflict(
                f"Not all of {form.asked} arrived at Moodle.", hint="Try again; nothing was saved."
            )
        return uploaded

    def _form(self, file: RemoteFile) -> Form:
        """Return the request for a file; its address must be on this site, as the token is sent."""
        try:
            address = httpx.URL(file.address)
        except httpx.InvalidURL as error:
            raise RemoteFailed(f"Moodle gave no address for {file.name}.") from error
        site = httpx.URL(self._wire.url)
        match = _PLUGINFILE.match(address.raw_path.decode("ascii").partition("?")[0])
        own = (address.scheme, address.host, address.port) == (site.scheme, site.host, site.port)
        if match is None or not own or match["base"] != site.path.rstrip("/"):
            raise RemoteFailed(
                f"{file.name} is kept on another server, where your token must not go.",
                hint="Download it in Moodle with your browser.",
            )
        fields = dict(parse_qsl(address.query.decode("ascii"), keep_blank_values=True))
        # Sites without "slash arguments" have the path in the query; it works in the body too.
        path = f"/webservice/pluginfile.php{match['rest'] or ''}"
        return Form(path, {**fields, "token": self._token}, file.name, safe=True)

    @contextmanager
    def _asked(self, form: Form, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Request a file and yield the answer, its body unread; raise a refusal."""
        good = {httpx.codes.OK}
        if "Range" in headers:
            good |= {httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE}
        with ExitStack() as sent:
            response = sent.enter_context(self._wire.sent(form, headers))
            if response.status_code in _NO_POST:
                self._wire.demand_no_refusal(response, form)
                form = replace(form, in_address=True)
                response = sent.enter_context(self._wire.sent(form, headers))
            if response.status_code not in good:
                self._wire.refuse(response, form)
            if response.status_code == httpx.codes.OK and not _content_hash(response):
                self._demand_file(response, form)
            yield response

    def _demand_file(self, response: httpx.Response, form: Form) -> None:
        """Raise the refusal if the answer is not a file; all files of Moodle have an ETag."""
        kind = str(response.headers.get("content-type", ""))
        if kind.startswith("application/json"):
            with self._wire.errors(form):
                body = bounded_body(response, _MAX_REFUSAL, ANSWER_SECONDS)
            raise refusal_in(body, form) or _nothing_verified(form.asked)
        if kind.startswith("text/html"):
            raise _nothing_verified(form.asked)


def _failure_of_its_own(done: Future[None]) -> MograderError | None:
    """Return why a file alone could not be had: it is gone meanwhile, or kept elsewhere."""
    try:
        done.result()
    except (NotFound, InvalidInput) as error:
        return error
    return None


def _nothing_verified(name: str) -> RemoteFailed:
    return RemoteFailed(
        f"Moodle gave a page instead of {name}.",
        hint="The token may be expired (`mograder moodle login`), or a sign-in page stands in "
        "front of Moodle.",
    )


def _too_large(file: RemoteFile, limit: int) -> TooLarge:
    return TooLarge(
        f"{file.name} is larger than {limit >> 20} MB.", hint="Download it with your browser."
    )

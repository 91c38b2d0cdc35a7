"""Files to and from Moodle: drafts that arrived whole, downloads that are what Moodle holds.

Moodle drops an upload that is too large and goes on; a download with a bad token is HTTP 200. Its
ETag is the SHA-1 of the content, and with that every byte is checked.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qsl

import httpx
from pydantic import TypeAdapter, ValidationError

from mograder.core.atomic_file import move_file
from mograder.core.errors import Conflict, InvalidInput, RemoteFailed, TimedOut, TooLarge
from mograder.core.shared import Progress
from mograder.transports.interface import RemoteFile
from mograder.transports.moodle.errors import Door, Refusal, as_error
from mograder.transports.moodle.models_work import UploadedModel
from mograder.transports.moodle.records import Draft
from mograder.transports.moodle.wire import Broken, Form, Wire, bounded, refusal_in
from mograder.transports.upload import Upload, opened

_UPLOAD = "/webservice/upload.php"
_TOGETHER = 10
"""Files in one upload; PHP drops those past ``max_file_uploads`` (20 by default)."""

_PLAIN = {"accept-encoding": "identity"}
"""A range of a compressed answer is none of the file."""

_LARGEST = 4 << 30
_LARGE = 4 << 20
_STEPS = 4
_MAX_REFUSAL = 1 << 20
_SHA1 = re.compile(r'^(?:W/)?"?([0-9a-f]{40})(?:-gzip)?"?$')
_RANGE = re.compile(r"^bytes (\d+)-")
_PLUGINFILE = re.compile(r"^(?P<base>.*?)/(?:webservice/)?pluginfile\.php(?P<rest>/.+)?$")
_UPLOADED = TypeAdapter(list[UploadedModel])


@dataclass(slots=True)
class _Told:
    """How far a large download is, told in quarters."""

    name: str
    total: int
    progress: Progress
    step: int = 0

    def __call__(self, done: int) -> None:
        step = done * _STEPS // self.total if self.total >= _LARGE else 0
        if self.step < step < _STEPS:
            self.progress(f"{self.name}: {step * 100 // _STEPS} % of {self.total >> 20} MB")
        self.step = max(step, self.step)


class _Stale(Exception):
    """What was kept of a broken download does not belong to what Moodle has now."""


class Files:
    """Uploads and downloads of the owner of a token."""

    def __init__(self, wire: Wire, token: str) -> None:
        self._wire = wire
        self._token = token

    def upload(self, files: Sequence[Upload], progress: Progress) -> Draft:
        """Upload into one new draft area and check each name and size that comes back.

        Raises:
            InvalidInput: A file cannot be read, there is none, or two have one name.
            TooLarge: One is larger than the site takes.
        """
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

    def download(self, file: RemoteFile, to: Path, progress: Progress) -> None:
        """Write a file to ``to``, verified, whole or not at all.

        What arrived before a connection broke is kept beside ``to`` and goes on from there.

        Raises:
            NotFound: It is gone, or not for this account.
            RemoteFailed: What came is not what Moodle holds.
        """
        part = to.with_name(f".{to.name}.part")
        told = _Told(file.name, file.size or 0, progress)
        progress(f"Fetching {file.name}")
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            self._complete(file, part, told)
            move_file(part, to)
        except OSError as error:
            raise InvalidInput(f"{to} cannot be written: {error.strerror}.") from error

    def download_all(
        self, files: Sequence[tuple[RemoteFile, Path]], progress: Progress, workers: int
    ) -> None:
        """Download a few at a time; ``progress`` is called from this thread only.

        Raises:
            MograderError: One failed; those that had arrived stay.
        """
        with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
            waiting = {
                pool.submit(self.download, file, to, lambda _: None): file for file, to in files
            }
            try:
                for count, done in enumerate(as_completed(waiting), 1):
                    done.result()
                    progress(f"{count} of {len(files)}: {waiting[done].name}")
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def read(self, file: RemoteFile, limit: int) -> bytes:
        """Return the verified bytes of a small file.

        Raises:
            TooLarge: It is larger than ``limit``.
        """
        if file.size is not None and file.size > limit:
            raise _too_large(file, limit)
        form = self._form(file)
        with self._wire.sent(form, _PLAIN) as response:
            if response.status_code != httpx.codes.OK:
                self._wire.refuse(response, form)
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > limit:
                    raise _too_large(file, limit)
        body, digest = bytes(content), _digest(response)
        if not digest:
            _demand_file(response, body, form)
        elif digest != hashlib.sha1(body, usedforsecurity=False).hexdigest():
            raise _damaged(file)
        if not digest and file.size not in {None, len(body)}:
            raise _damaged(file)
        return body

    def _send(self, parts: Sequence[tuple[str, BinaryIO]], item: int) -> list[UploadedModel]:
        form = Form(
            _UPLOAD,
            {"token": self._token, "itemid": item, "filearea": "draft"},
            Door.UPLOAD,
            ", ".join(name for name, _ in parts),
            # A draft that nobody saves vanishes by itself.
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
                refusal = Refusal(each.errortype, each.error, Door.UPLOAD, each.filename)
                raise as_error(refusal)
        if not uploaded:
            raise as_error(Refusal("fileoversized", "", Door.UPLOAD, form.asked))
        sizes = [os.fstat(stream.fileno()).st_size for _, stream in parts]
        if [each.filesize for each in uploaded] != sizes:
            raise Conflict(
                f"Not all of {form.asked} arrived at Moodle.", hint="Try again; nothing was saved."
            )
        return uploaded

    def _form(self, file: RemoteFile) -> Form:
        """Return the request for a file of this very site: a token goes nowhere else."""
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
        # Sites without "slash arguments" name the file in the query; in the body it is as good.
        path = f"/webservice/pluginfile.php{match['rest'] or ''}"
        return Form(path, {**fields, "token": self._token}, Door.DOWNLOAD, file.name, safe=True)

    def _complete(self, file: RemoteFile, part: Path, told: _Told) -> None:
        """Fill ``part`` over as many connections as bring something, and once more from nothing."""
        began_anew = False
        while True:
            before = _size(part)
            try:
                return self._continue(file, part, told)
            except (Broken, TimedOut):
                if _size(part) <= before:
                    raise
                told.progress(f"{file.name}: the connection broke, going on")
            except _Stale as error:
                part.unlink(missing_ok=True)
                if began_anew:
                    raise _damaged(file) from error
                began_anew = True

    def _continue(self, file: RemoteFile, part: Path, told: _Told) -> None:
        """Fill ``part`` from where it ends, and check the whole."""
        have = _size(part)
        form = self._form(file)
        headers = _PLAIN | ({"range": f"bytes={have}-"} if have else {})
        with self._wire.sent(form, headers) as response:
            if have and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise _Stale
            if response.status_code not in {httpx.codes.OK, httpx.codes.PARTIAL_CONTENT}:
                self._wire.refuse(response, form)
            digest = _digest(response)
            if not digest and _is_text(response):
                _demand_file(response, bounded(response, _MAX_REFUSAL), form)
            resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
            if resumed and not _goes_on_at(response, have):
                raise _Stale
            actual, size = _written(response.iter_bytes(), part, resumed, told)
        if digest and digest != actual:
            raise _Stale
        if not digest and size != (file.size if file.size is not None else size):
            raise _Stale


def _demand_file(response: httpx.Response, body: bytes, form: Form) -> None:
    """Raise the refusal that came instead of a file; all files of Moodle have an ETag."""
    kind = response.headers.get("content-type", "")
    if kind.startswith("application/json"):
        raise refusal_in(body, form) or _nothing_verified(form.asked)
    if kind.startswith("text/html"):
        raise _nothing_verified(form.asked)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _written(chunks: Iterator[bytes], part: Path, resumed: bool, told: _Told) -> tuple[str, int]:
    """Write what comes to disk; return the SHA-1 of the whole file and its size."""
    digest = hashlib.sha1(usedforsecurity=False)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if resumed else os.O_TRUNC)
    with os.fdopen(os.open(part, flags, 0o666), "r+b") as stream:
        size = 0
        while resumed and (block := stream.read(1 << 20)):
            digest.update(block)
            size += len(block)
        for chunk in chunks:
            stream.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            told(size)
            if size > _LARGEST:
                raise TooLarge(f"{told.name} is larger than {_LARGEST >> 30} GB.")
    return digest.hexdigest(), size


def _is_text(response: httpx.Response) -> bool:
    kind = str(response.headers.get("content-type", ""))
    return kind.startswith(("application/json", "text/html"))


def _goes_on_at(response: httpx.Response, have: int) -> bool:
    """Tell whether a part of a file begins where the bytes end that are here."""
    match = _RANGE.match(response.headers.get("content-range", ""))
    return match is not None and int(match[1]) == have


def _digest(response: httpx.Response) -> str:
    match = _SHA1.match(response.headers.get("etag", ""))
    return match[1] if match else ""


def _damaged(file: RemoteFile) -> RemoteFailed:
    return RemoteFailed(
        f"{file.name} is not what Moodle says it holds.",
        hint="It may be changing right now, or something on the way alters files. Try again.",
    )


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

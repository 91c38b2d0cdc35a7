"""The notebook's client of an assignment server: fetch files, submit work, ask for the mark.

It runs in the process of student code, also in Pyodide, so it uses the standard library only and
imports nothing of ours (signatures: compatibility-0.3.16.md 8; routes: compatibility-0.3.16.md 4).
0.3.16 sends no token; here one may be given, and is sent to that server only. The server is not
trusted: file names are checked before anything is written, and sizes are limited.
"""

from __future__ import annotations

import http.client
import importlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

_BOUNDARY = "----MograderBoundary"
_SILENCE_SECONDS, _ANSWER_SECONDS = 30.0, 300.0
_LARGEST_LIST, _LARGEST_FILE, _LARGEST_ERROR = 4 * 2**20, 128 * 2**20, 64 * 2**10
_MOST_FILES, _LONGEST_NAME, _CHUNK = 500, 255, 2**16
_LONGEST_MESSAGE, _LONGEST_LIST_OF_NAMES = 300, 4000
_PLAIN = "!$&'()*+,;=:@"
"""Kept in a path beside letters (RFC 3986, ``pchar``): 0.3.16's server does not decode paths."""
# Names that leave the directory on some system, or cannot be written at all.
_UNSAFE_NAME = re.compile(r"^\.+$|[/\\:\x00-\x1f\x7f\ud800-\udfff]")
_SURROGATES_AND_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_ADVICE: Mapping[int, str] = {
    401: 'Give a token that is valid: token="…".',
    403: "Check the user name, or ask your instructor.",
    404: "Check the spelling of the assignment.",
    413: "The file is too large for the server.",
}


class RemoteError(urllib.error.URLError):
    """The server could not be reached, refused, or gave an unexpected answer.

    A ``URLError``, because notebooks written for 0.3.16 catch that; ``code`` is the HTTP status, or
    None.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code

    def __str__(self) -> str:
        return str(self.reason)


def fetch(url: str, assignment: str, dest: str | Path = ".", token: str = "") -> list[Path]:
    """Download the files of an assignment into a directory and return their paths.

    An existing file that differs is kept under its name with the time, and a warning names it: a
    student's work is never overwritten. Nothing changes before all files have arrived. Hidden files
    are left out.

    Raises:
        ValueError: there is no such assignment (the message lists the others), the address is not
            valid, or a token would be sent unencrypted.
        RemoteError: the server cannot be reached, refuses, or names a file that is not safe.
    """
    server, headers = _server(url), _credentials(url, token)
    offered = _listing(_ask(_Request(f"{server}/assignments", headers), _LARGEST_LIST))
    if assignment not in offered:
        names = _printable(", ".join(sorted(offered)) or "none")[:_LONGEST_LIST_OF_NAMES]
        raise ValueError(f"There is no assignment {assignment!r}. Available: {names}.")
    files = _files(assignment, offered[assignment])
    directory = Path(dest)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mograder-", dir=directory) as staging:
        for name, path in files.items():
            content = _ask(_Request(server + path, headers), _LARGEST_FILE)
            _write(Path(staging) / name, content)
        kept = [_install(Path(staging) / name, directory) for name in files]
    copies = ", ".join(str(copy) for copy in kept if copy)
    if copies:
        warnings.warn(f"Your files were kept as {copies}.", stacklevel=2)
    return [directory / name for name in files]


def submit(
    url: str,
    assignment: str,
    filepath: str | Path,
    user: str,
    token: str = "",
    *,
    late: bool = False,
) -> str:
    """Submit a file for a user and return the status in the server's answer, "ok".

    ``late`` lets a late one replace one that was on time; without it the server refuses that.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is too large, the address is not valid, or a token would be sent
            unencrypted.
        RemoteError: the server cannot be reached or refuses.
    """
    path = Path(filepath)
    with path.open("rb") as file:
        content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise ValueError(f"{path} is larger than {_LARGEST_FILE // 2**20} MB.")
    body, content_type = _multipart(path.name, content)
    address = f"{_address(url, assignment)}/submit?user={_encoded(user)}"
    address += "&late=replace" if late else ""
    headers = _credentials(url, token) | {"Content-Type": content_type}
    answer = _object(_ask(_Request(address, headers, body), _LARGEST_LIST))
    if not isinstance(answer.get("status"), str):
        raise _unlike_a_server()
    return str(answer["status"])


def status(url: str, assignment: str, user: str, token: str = "") -> dict[str, object]:
    """Return the server's answer on whether a user's work was submitted and marked.

    The keys are ``status`` ("new" or "submitted"), ``graded``, ``grade``, ``feedback`` and
    ``feedback_available``.

    Raises:
        ValueError: the address is not valid, or a token would be sent unencrypted.
        RemoteError: the server cannot be reached or refuses.
    """
    address = f"{_address(url, assignment)}/status?user={_encoded(user)}"
    return _object(_ask(_Request(address, _credentials(url, token)), _LARGEST_LIST))


@dataclass(frozen=True, slots=True)
class _Request:
    url: str
    headers: dict[str, str]
    body: bytes | None = None


_Answer = tuple[int, bytes]


def _server(url: str) -> str:
    """Return the address without its last slash; raise ValueError if it is not http or https."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is no address of a server: it begins with http:// or https://.")
    return url.strip().rstrip("/")


def _credentials(url: str, token: str) -> dict[str, str]:
    """Return the header with the token; raise ValueError if it would be sent unencrypted."""
    plain = token.strip()
    if plain and not _is_here(url) and not url.strip().lower().startswith("https:"):
        raise ValueError(f"{url!r} is not encrypted: the token could be read on its way.")
    if not re.fullmatch(r"[!-~]*", plain):
        raise ValueError("The token holds characters that no token has.")
    return {"Authorization": f"Bearer {plain}"} if plain else {}


def _is_here(url: str) -> bool:
    host = urlsplit(url.strip()).hostname or ""
    return host in {"localhost", "::1"} or re.fullmatch(r"127(\.\d+){3}", host) is not None


def _address(url: str, assignment: str) -> str:
    return f"{_server(url)}/assignments/{_encoded(assignment, _PLAIN)}"


def _encoded(name: str, plain: str = "") -> str:
    """Return a name, which must not be empty or dots, percent-encoded but for ``plain``."""
    if name in ("", ".", ".."):
        raise ValueError(f"{name!r} is no name of an assignment or a user.")
    return quote(name, safe=plain)


def _listing(body: bytes) -> dict[str, list[object]]:
    """Return the server's entries of the files of each assignment, not checked yet."""
    entries = _json(body)
    if not isinstance(entries, list):
        raise _unlike_a_server()
    offered: dict[str, list[object]] = {}
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise _unlike_a_server()
        files = entry.get("files")
        offered[entry["name"]] = files if isinstance(files, list) else []
    return offered


def _files(assignment: str, entries: list[object]) -> dict[str, str]:
    """Return the files to fetch, name → path on the server; every name is safe to write."""
    files: dict[str, str] = {}
    for entry in entries:
        name = entry.get("filename") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(name, str):
            raise _unlike_a_server()
        if not _is_safe(name) or name.casefold() in map(str.casefold, files):
            raise RemoteError(f"The server names a file that is not safe to write: {name[:80]!r}.")
        if not name.startswith("."):
            files[name] = _path(assignment, name, entry.get("url"))
        if len(files) > _MOST_FILES:
            raise RemoteError(f"The server names more than {_MOST_FILES} files.")
    return files


def _is_safe(name: str) -> bool:
    """Whether a name stays in the directory it is written to, on every system."""
    return bool(name) and not _UNSAFE_NAME.search(name) and len(name.encode()) <= _LONGEST_NAME


def _path(assignment: str, name: str, given: object) -> str:
    """Return the path of a file on the server; raise RemoteError for one that is elsewhere."""
    usual = f"/assignments/{assignment}/files/{name}"
    if not isinstance(given, str) or given == usual:
        return f"/assignments/{quote(assignment, safe=_PLAIN)}/files/{quote(name, safe=_PLAIN)}"
    if not given.startswith("/") or given.startswith("//") or ".." in given.split("/"):
        raise RemoteError(f"The server names a file that is elsewhere: {given[:80]!r}.")
    return quote(given, safe="/%?=&", errors="replace")


def _install(new: Path, directory: Path) -> Path | None:
    """Put a file in its place in one step; keep one there that differs, and return its path.

    A link is renamed, so that nothing outside the directory is written.
    """
    target = directory / new.name
    copy = None
    if target.is_symlink() or target.exists():
        if target.is_file() and target.read_bytes() == new.read_bytes():
            return None
        copy = _free_name(target)
        if target.is_symlink() or not target.is_file():
            target.rename(copy)
        else:  # a kernel may be killed here: it stays in its place until the new one takes that
            _write(copy, target.read_bytes())
            with suppress(OSError):
                shutil.copystat(target, copy)
    new.replace(target)
    return copy


def _write(path: Path, content: bytes) -> None:
    """Write a new file, synced: the name that it gets next may survive a power cut before it."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _free_name(target: Path) -> Path:
    """Return an unused name with the time, which commands do not take for a notebook's name."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    copy, number = target.with_name(f"{target.stem}_{stamp}{target.suffix}"), 1
    while copy.is_symlink() or copy.exists():
        number += 1
        copy = target.with_name(f"{target.stem}_{stamp}_{number}{target.suffix}")
    return copy


def _multipart(filename: str, content: bytes) -> tuple[bytes, str]:
    """Return a form with one file, and its content type; the boundary is not in the file."""
    boundary, number = _BOUNDARY, 0
    while boundary.encode() in content:
        number += 1
        boundary = f"{_BOUNDARY}{number}"
    name = _printable(filename).replace('"', "%22").encode("utf-8", "replace")
    head = b'Content-Disposition: form-data; name="file"; filename="' + name + b'"\r\n'
    head += b"Content-Type: text/x-python\r\n\r\n"
    mark = b"--" + boundary.encode()
    body = mark + b"\r\n" + head + content + b"\r\n" + mark + b"--\r\n"
    return body, f"multipart/form-data; boundary={boundary}"


def _ask(request: _Request, limit: int) -> bytes:
    """Return the body of a successful response, at most ``limit`` bytes; else raise RemoteError."""
    # A browser has no sockets; marimo runs notebooks there in a worker, which may block.
    send = _through_the_browser if sys.platform == "emscripten" else _through_a_socket
    code, body = send(request, limit)
    if HTTPStatus.OK <= code < HTTPStatus.MULTIPLE_CHOICES:
        return body
    raise RemoteError(f"The server answered {code}: {_complaint(code, body)}", code)


class _FollowReading(urllib.request.HTTPRedirectHandler):
    """A redirect handler for downloads only: a redirected submission would arrive empty."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.get_method() != "GET" or urlsplit(newurl).scheme not in ("http", "https"):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _through_a_socket(request: _Request, limit: int) -> _Answer:
    # The scheme is http or https: see _server.
    ready = urllib.request.Request(request.url, request.body)  # noqa: S310
    for name, value in request.headers.items():
        ready.add_unredirected_header(name, value)  # a redirect leads to another server
    end = time.monotonic() + _ANSWER_SECONDS
    try:
        # A proxy from the environment must not receive a token for this machine.
        direct = [urllib.request.ProxyHandler({})] if _is_here(request.url) else []
        opener = urllib.request.build_opener(_FollowReading, *direct)
        with opener.open(ready, timeout=_SILENCE_SECONDS) as response:
            announced = str(response.headers.get("Content-Length") or "")
            return response.status, _read(response, limit, end, announced)
    except urllib.error.HTTPError as error:
        return error.code, _read_complaint(error)
    except RemoteError:
        raise
    # InvalidURL and the like; urllib raises a ValueError for some malformed answers.
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _unreachable(request, error) from error


def _read_complaint(error: urllib.error.HTTPError) -> bytes:
    with error, suppress(OSError, http.client.HTTPException):
        return error.read(_LARGEST_ERROR)
    return b""


def _read(response: http.client.HTTPResponse, limit: int, end: float, announced: str) -> bytes:
    content = bytearray()
    while chunk := response.read1(_CHUNK):
        content += chunk
        if len(content) > limit:
            raise _too_large(limit)
        if time.monotonic() > end:
            raise RemoteError("The server is too slow: its answer did not end in time.")
    if announced.isdecimal() and len(content) < int(announced):
        raise RemoteError("The connection to the server broke off in the middle of its answer.")
    return bytes(content)


def _through_the_browser(request: _Request, limit: int) -> _Answer:
    """Send a request by the worker's XMLHttpRequest, the only one there that can block."""
    javascript: Any = importlib.import_module("js")
    ffi: Any = importlib.import_module("pyodide.ffi")
    xhr = javascript.XMLHttpRequest.new()
    try:
        xhr.open("GET" if request.body is None else "POST", request.url, False)
        xhr.responseType = "arraybuffer"
        xhr.timeout = int(_ANSWER_SECONDS * 1000)
        for name, value in request.headers.items():
            xhr.setRequestHeader(name, value)
        xhr.send(ffi.to_js(request.body) if request.body is not None else None)
    except ffi.JsException as error:
        raise _unreachable(request, error) from error
    size = getattr(xhr.response, "byteLength", None)  # None if absent, or jsnull since Pyodide 0.28
    if size is None:
        raise _unreachable(request, OSError("no answer"))
    if size > limit:
        raise _too_large(limit)
    return int(xhr.status), bytes(xhr.response.to_bytes())


def _complaint(code: int, body: bytes) -> str:
    """Return the server's error message, made printable, and advice."""
    try:
        said = _object(body)
    except RemoteError:
        said = {}
    message = said.get("error") or said.get("detail")
    if not isinstance(message, str):
        message = http.client.responses.get(code, "an error")
    message = _printable(message)[:_LONGEST_MESSAGE].rstrip(" .")
    advice = _ADVICE.get(code, "Try again later." if code >= 500 else "")
    if said.get("reason") == "late-would-replace":
        advice = "submit(…, late=True) lets it count."
    if code in range(300, 400):
        advice = "The server has moved: ask for its new address."
    return f"{message}. {advice}".rstrip()


def _object(body: bytes) -> dict[str, object]:
    answer = _json(body)
    if not isinstance(answer, dict):
        raise _unlike_a_server()
    return answer


def _json(body: bytes) -> object:
    try:
        answer: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _unlike_a_server() from error
    return answer


def _printable(text: str) -> str:
    return _SURROGATES_AND_CONTROLS.sub(" ", text)


def _unlike_a_server() -> RemoteError:
    return RemoteError("The address does not answer like a mograder server. Check the address.")


def _too_large(limit: int) -> RemoteError:
    return RemoteError(f"The server sends more than {limit // 2**20} MB.")


def _unreachable(request: _Request, error: Exception) -> RemoteError:
    place = urlsplit(request.url).netloc
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, TimeoutError):
        return RemoteError(f"The server at {place} did not answer in time. Try again later.")
    why = _printable(str(reason))[:_LONGEST_MESSAGE] or type(error).__name__
    return RemoteError(
        f"The server at {place} cannot be reached ({why}). Check the address and the network."
    )

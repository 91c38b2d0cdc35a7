"""Grades and feedback, from the instructor to each person (B147; compatibility-0.3.16.md 4)."""

from __future__ import annotations

from typing import BinaryIO

from starlette.responses import JSONResponse, Response

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.files.disk import explained_when_full
from mograder.core.names import FileName, ItemName
from mograder.core.tasks import completed
from mograder.store.assignment_server.grades import FeedbackUpload, parse_entries, receiving
from mograder.web.request_body import MEGABYTE, FileParts, chunks, is_multipart
from mograder.web.server.access import RequestInfo
from mograder.web.server.assignments import find
from mograder.web.server.files import answer_file, look

_GRADES_LIMIT = 16 * MEGABYTE
_FEEDBACK_LIMIT = 2048 * MEGABYTE
_FEEDBACK_SECONDS = 3600.0
_AT_ONCE = 1 * MEGABYTE
# A document is a marimo export: scripts, some from other sites. It gets an opaque origin.
_SANDBOX = "sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox allow-downloads"


async def upload_grades(info: RequestInfo) -> Response:
    services, request = info.services, info.request
    assignment = await find(info)
    async with services.uploads.body(request, _GRADES_LIMIT) as body:

        def merge() -> int:
            return services.grades(assignment.name).merge(parse_entries(body))

        count = await services.write(merge)
    return JSONResponse({"status": "ok", "count": count})


async def upload_feedback(info: RequestInfo) -> Response:
    """Store feedback documents: all of them, or none."""
    services, request = info.services, info.request
    assignment = await find(info)
    if not is_multipart(request):
        raise InvalidInput("Expected multipart/form-data")
    place = await services.read(services.feedback_directory, assignment.name)
    with explained_when_full(), receiving(place, disk=services.disk) as upload:
        names = await _receive(info, upload)
    if not names:
        raise InvalidInput("No files received")
    return JSONResponse({"status": "ok", "files": names})


async def send_feedback(info: RequestInfo) -> Response:
    services = info.services
    assignment = await find(info)
    directory = await services.read(services.feedback_directory, assignment.name)
    name = f"{info.whose}.html"
    try:
        opened = await services.read(look, directory, name, services.digests)
    except NotFound as error:
        raise NotFound("Feedback not available") from error
    answer = answer_file(info.request, opened, "text/html; charset=utf-8")
    answer.headers["Content-Security-Policy"] = _SANDBOX
    return answer


async def _receive(info: RequestInfo, upload: FeedbackUpload) -> list[str]:
    """Write the form to disk as it arrives, with at most 1 MB in memory; return the file names."""

    def begin(filename: str) -> BinaryIO:
        # Some clients send a whole path.
        name = FileName.parse(filename.replace("\\", "/").rpartition("/")[2])
        ItemName.parse(name)
        return upload.open(name)

    parts = FileParts(info.request.headers.get("content-type", ""), begin)
    try:
        waiting = bytearray()
        async for chunk in chunks(info.request, _FEEDBACK_LIMIT, seconds=_FEEDBACK_SECONDS):
            waiting += chunk
            if len(waiting) >= _AT_ONCE:
                await info.services.write(parts.feed, bytes(waiting))
                waiting.clear()
        await info.services.write(parts.feed, bytes(waiting))
        parts.finish()
    finally:
        parts.close()
    return list(await completed(info.services.write(upload.finish)))

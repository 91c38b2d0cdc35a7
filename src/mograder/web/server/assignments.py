"""The course's assignments: the list and the files (B136-B138, B146)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from pydantic import JsonValue
from starlette.responses import JSONResponse, Response

from mograder.core.errors import Forbidden, InvalidInput, NotFound
from mograder.core.item_dates import OwnDates
from mograder.core.names import FileName
from mograder.store.assignment_server.assignments import Assignment, may_be_served
from mograder.store.submissions.receipts import moment
from mograder.web.server.access import RequestInfo
from mograder.web.server.files import answer_file, look


async def health(_: RequestInfo) -> Response:
    return JSONResponse({"status": "ok"})


async def list_all(info: RequestInfo) -> Response:
    def entries() -> list[dict[str, JsonValue]]:
        found = info.services.catalogue.all()
        return [_entry(each, info) for each in found if refusal(info, each.name) is None]

    return JSONResponse(await info.services.read(entries))


async def send_file(info: RequestInfo) -> Response:
    wanted = info.names["file"]
    try:
        name = FileName.parse(wanted)
    except InvalidInput as error:
        raise Forbidden("Invalid path") from error
    if not may_be_served(name):
        raise NotFound(f"Not found: {name}")
    services = info.services
    directory = await services.read(_directory, info)
    opened = await services.read(look, directory, name, services.digests)
    return answer_file(info.request, opened)


async def find(info: RequestInfo) -> Assignment:
    """Return the assignment that the path names; raises :class:`NotFound`."""
    return await info.services.read(find_open, info)


def find_open(info: RequestInfo) -> Assignment:
    """Return the assignment of the path, to a student once it is open; reads the disk."""
    found = info.services.catalogue.find(info.names["name"])
    if (refused := refusal(info, found.name)) is not None:
        raise refused
    return found


def _directory(info: RequestInfo) -> Path:
    """Return a file's directory, to a student not before all assignments with files there open."""
    name = info.names["name"]
    found = info.services.catalogue.holding(name)
    for each in (name, *(one.name for one in found)):
        if (refused := refusal(info, each)) is not None:
            raise refused
    return found[0].directory


def refusal(info: RequestInfo, name: str) -> NotFound | None:
    """Return why students do not see an assignment yet; None if the caller sees it."""
    if info.caller is not None and info.caller.instructor:
        return None
    rule, now = info.services.visibility.of(name), info.services.clock.now()
    return None if rule.visible(now) else rule.refusal(now)


def shown(when: datetime | None) -> str | None:
    return None if when is None else moment(when)


def _entry(assignment: Assignment, info: RequestInfo) -> dict[str, JsonValue]:
    entry: dict[str, JsonValue] = {"name": assignment.name, "id": assignment.name}
    if assignment.entry:
        entry = dict(assignment.entry)
    place = f"/assignments/{quote(assignment.name, safe='')}/files/"
    files = entry.setdefault(
        "files",
        [{"filename": each, "url": f"{place}{quote(each, safe='')}"} for each in assignment.files],
    )
    if entry.get("due") and assignment.deadline.due:
        entry["duedate"] = int(assignment.deadline.due.timestamp())
    caller, dates = info.asker, info.services.dates
    own = dates.usual(assignment.name)
    if not caller.instructor:
        entry.pop("extensions", None)
        own = dates.own(assignment.name, caller.user)
    _put_dates(entry, assignment, own)
    if info.detailed:
        entry["due"], entry["cutoff"] = shown(own.due), shown(own.closes)
        if isinstance(files, list):
            entry["files"] = [_with_size(each, assignment, info) for each in files]
    return entry


def _put_dates(entry: dict[str, JsonValue], assignment: Assignment, own: OwnDates) -> None:
    """Replace the dates of an entry where the manifest has others, or none."""
    if own.due is not None and own.due != assignment.deadline.due:
        entry["duedate"] = int(own.due.timestamp())
        if "due" in entry:
            entry["due"] = shown(own.due)
    if own.closes is not None and own.closes != assignment.deadline.cutoff:
        entry["cutoff"] = shown(own.closes)


def _with_size(file: JsonValue, assignment: Assignment, info: RequestInfo) -> JsonValue:
    """Return a listed file, with size and SHA-256 if it is in the assignment's directory."""
    name = file.get("filename") if isinstance(file, dict) else None
    if not isinstance(file, dict) or name not in assignment.files:
        return file
    try:
        opened = look(assignment.directory, str(name), info.services.digests)
    except NotFound:
        return file
    return {**file, "size": opened.status.st_size, "sha256": opened.sha256.hex()}

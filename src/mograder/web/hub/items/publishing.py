"""Instructors' changes to the course: publish a release (B128), prepare environments (B129).

An upload is limited in bytes and files, and spooled to disk while it arrives; the old release is
not touched before the new one is complete and its environment is ready (B95, B96).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from typing import Annotated

from anyio import to_thread
from fastapi import Query, Request
from pydantic import (
    Field,
    JsonValue,
)
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from mograder.core.errors import InvalidInput
from mograder.core.name_lookup import counted
from mograder.core.names import ItemName
from mograder.publishing.publish import publish_release
from mograder.publishing.warm import warm_releases
from mograder.store.releases.published_release import file_digest, parse_file, pinned
from mograder.store.releases.releases import ItemKind, ReleaseUpload
from mograder.store.versions.kept_releases import KeptReleases
from mograder.web.background import Report
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.items import item_name
from mograder.web.hub.core.responses import Done, deliver
from mograder.web.pages import with_outcome
from mograder.web.request_body import MEGABYTE, closing, receive
from mograder.web.route import INSTRUCTOR, FileBody, Route

_KINDS: dict[str, JsonValue] = {"enum": [each.value for each in ItemKind]}
KindAsked = Annotated[str, Query(alias="type", json_schema_extra=_KINDS)]


class Warmed(Done):
    """The environments that are ready, by item, and the errors of the others."""

    warmed: list[str]
    failed: dict[str, str] = Field(default_factory=dict)


class Held(Done):
    """The files published under a name, with their SHA-256; ``type`` is null for an unused name.

    ``most_mb`` (of 2**20 bytes) and ``most_files`` are the limits of a release.
    """

    files: dict[str, str]
    type: ItemKind | None
    most_mb: int
    most_files: int


class Published(Done):
    """A release was replaced; ``files`` are its files, sorted.

    ``copies`` is how many students have a copy of the item, as counted lately; it is left out if
    there is none.
    """

    files: list[str]
    type: ItemKind
    copies: int = Field(default=0, exclude_if=lambda copies: not copies)


async def publish(
    name: str,
    request: Annotated[Request, FileBody("files", many=True)],
    app: CurrentApp,
    kind: KindAsked = "",
) -> Annotated[Response, Published]:
    """Replace an item's release by the uploaded files (multipart field ``files``)."""
    item, asked = item_name(name), _kind(kind)
    return await _publish(request, app, item, asked, await received(request, app))


async def publish_form(request: Request, app: CurrentApp) -> Response:
    form = await received(request, app)
    try:
        item, kind = item_name(_name_in(form)), _kind(_text(form, "type"))
    except InvalidInput:
        await form.close()
        raise
    return await _publish(request, app, item, kind, form)


async def _publish(
    request: Request, app: HubApp, name: ItemName, kind: ItemKind | None, form: FormData
) -> Response:
    services, kept = app.services, app.of(KeptReleases)

    async def job(report: Report) -> Published:
        async with closing(form):
            parts = uploads(form)
            report(f"Received {counted(len(parts), 'file')}")
            async with staging(services.releases.stage, name, parts) as staged:
                release = await publish_release(
                    releases=services.releases,
                    environments=services.environments,
                    name=name,
                    kind=kind,
                    staged=staged,
                    progress=report,
                    keep=lambda release: kept.keep(release, services.clock.now()),
                )
        await app.audit.record(request, "publish", release.name)
        app.notifier.notify_all()
        copies = (await app.copy_counts.look()).begun[str(release.name)]
        return Published(files=sorted(release.files), type=release.kind, copies=copies)

    done = with_outcome("/course/items", "published", name)
    return await deliver(request, job, done)


def _name_in(form: FormData) -> str:
    """Return the item's name: the form's field, or the only notebook's. Raises: InvalidInput."""
    name = _text(form, "name").strip()
    if name:
        return name
    notebooks = [filename for filename in uploads(form) if filename.endswith(".py")]
    if len(notebooks) != 1 or "/" in notebooks[0]:
        raise InvalidInput(
            "It is not clear which item this is.",
            hint="Write its name into the form, the same as its notebook's without .py.",
        )
    return notebooks[0].removesuffix(".py")


def _text(form: FormData, field: str) -> str:
    value = form.get(field)
    return value if isinstance(value, str) else ""


def held(name: str, app: CurrentApp) -> Held:
    """Return the files published under a name, so that a publisher sees what would change."""
    release = app.services.releases.get(item_name(name))
    limits, digests = app.services.loaded.settings.limits, dict[str, str]()
    if release is not None:
        with pinned(release) as (fd, release):
            digests = {each: file_digest(fd, each) for each in release.files}
    return Held(
        files=digests,
        type=release.kind if release is not None else None,
        most_mb=limits.upload_mb,
        most_files=limits.upload_files,
    )


async def warm_cache(request: Request, app: CurrentApp) -> Annotated[Response, Warmed]:
    """Prepare the environments of all published items; 0.3.16's clients do so after publishing."""
    services = app.services

    async def job(report: Report) -> Warmed:
        result = await warm_releases(services.releases, services.environments.prepare, report)
        await app.audit.record(request, "warm cache", ", ".join(result.ready))
        return Warmed(warmed=list(result.ready), failed=dict(result.failed))

    done = with_outcome("/course/items", "warmed")
    return await deliver(request, job, done)


@asynccontextmanager
async def staging(
    stage: Callable[[ItemName], ReleaseUpload], name: ItemName, parts: Mapping[str, UploadFile]
) -> AsyncIterator[ReleaseUpload]:
    """Yield an upload with these files, which is deleted unless it is committed."""
    staged = await to_thread.run_sync(stage, name)
    stack = ExitStack()
    stack.push(staged)
    try:
        for filename, part in parts.items():
            await to_thread.run_sync(staged.add, filename, part.file)
        yield staged
    finally:
        await to_thread.run_sync(stack.close)


def _kind(text: str) -> ItemKind | None:
    if not text:
        return None
    try:
        return ItemKind(text)
    except ValueError as error:
        raise InvalidInput(f"Unknown type '{text[:40]}'") from error


async def received(request: Request, app: HubApp) -> FormData:
    limits = app.services.loaded.settings.limits
    return await receive(request, limits.upload_mb * MEGABYTE, limits.upload_files, field="files")


def uploads(form: FormData) -> dict[str, UploadFile]:
    parts = [part for part in form.getlist("files") if isinstance(part, UploadFile)]
    if not parts:
        raise InvalidInput(
            "Nothing was uploaded.", hint="Send the files in the multipart field 'files'."
        )
    try:
        named = {parse_file(part.filename or ""): part for part in parts}
    except InvalidInput as error:
        raise InvalidInput("Invalid filename") from error
    if len(named) != len(parts):
        raise InvalidInput("Two of the uploaded files have the same name.")
    return named


ROUTES = (
    Route("POST", "/course/publish", publish_form, INSTRUCTOR),
    Route("GET", "/release/{name}", held, INSTRUCTOR, "Items"),
    Route("POST", "/publish/{name}", publish, INSTRUCTOR, "Items"),
    Route("POST", "/warm-cache", warm_cache, INSTRUCTOR, "Items"),
)

"""A student's copy of an item: replacing it, and reading it for export.

Each replacement first ends the copy's session, then exchanges the files, and keeps the previous
version (B57, B117). The contents of the folder are untrusted; ``store.copies.workspaces`` handles
that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from mograder.core.clock import Clock
from mograder.core.errors import Conflict, InvalidInput, MograderError, NotFound
from mograder.core.files.disk import DiskReserve
from mograder.core.log import get_logger
from mograder.core.tasks import to_its_end
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.denied_code import Denied, Screening
from mograder.notebook.parsing import check_notebook, decode_notebook, looks_whole
from mograder.processes.isolated_call import IsolatedCall
from mograder.processes.notebook_calls import screen
from mograder.sessions.copy_recorder import CopyRecorder
from mograder.sessions.manager import SessionManager
from mograder.sessions.session import CopyOf
from mograder.store.copies.workspaces import Saved, Workspaces, parse_archive
from mograder.store.releases.published_release import Release
from mograder.store.versions.versions import Origin

T = TypeVar("T")
_log = get_logger(__name__)

MAX_REPORT = 8_000_000
"""Largest validation report that is read, in bytes."""

_SAVING_SECONDS = 0.25
_SAVING_LOOKS = 6
"""Interval and number of attempts to read a notebook that is being saved."""
_SETTLED_SECONDS = 60
"""Age from which an incomplete notebook is not being saved: more than clocks of servers differ."""


class Copies:
    """Changes and reads copies; for one event loop. Files are accessed in threads.

    ``reserve`` is the disk space that uploads must leave free. ``recorder`` records a text before
    it is replaced, and the new one.
    """

    def __init__(
        self,
        pool: SessionManager,
        workspaces: Workspaces,
        recorder: CopyRecorder,
        clock: Clock,
        *,
        reserve: DiskReserve,
    ) -> None:
        self._pool = pool
        self._workspaces = workspaces
        self._recorder = recorder
        self._clock = clock
        self._reserve = reserve
        self._apart = IsolatedCall()

    async def screen(
        self, copy: CopyOf, data: bytes, release: bytes | None, denied: Denied
    ) -> Screening:
        """Return the denied code in a notebook for a copy, except code of its release (B133).

        Raises: :class:`InvalidInput` when it is not a marimo notebook in UTF-8.
        """
        filename = copy.notebook
        text = decode_notebook(data, filename)
        released = None if release is None else _text_of(release, filename)
        look = partial(screen, text, filename, release=released, denied=denied)
        size = len(text) + len(released or "")
        return await self._apart.call(look, size=size, whose=copy.user)

    async def compare(
        self,
        look: Callable[[str, str, str], T],
        copy: CopyOf,
        data: bytes,
        release: bytes,
        *,
        patience_seconds: float | None = None,
    ) -> T:
        """Return what a function of ``processes.notebook_calls`` finds in a copy beside a release.

        Raises: :class:`InvalidInput` when one of them is not a marimo notebook in UTF-8;
        :class:`~mograder.core.errors.Busy` when the comparison does not begin within
        ``patience_seconds``, or its process fails.
        """
        text, released = (decode_notebook(each, copy.notebook) for each in (data, release))
        call = partial(look, text, copy.notebook, released)
        return await self._apart.call(
            call,
            size=len(text) + len(released),
            whose=copy.user,
            patience_seconds=patience_seconds,
        )

    async def upload(self, copy: CopyOf, data: bytes) -> str | None:
        """Replace the copy with an inspected notebook; return the name of the kept version (B117).

        Raises: as :meth:`~mograder.store.copies.workspaces.Workspaces.upload`.
        """
        text = decode_notebook(data, copy.notebook)
        now, user, item = self._clock.now(), copy.user, copy.item
        return await self._change(
            copy, lambda: self._workspaces.upload(user, item, text.encode(), now), Origin.UPLOAD
        )

    async def renew(
        self, copy: CopyOf, obtain: Callable[[], Release], *, only_replace: bool
    ) -> str | None:
        """Replace the copy with the release; return the name of the kept version (B57).

        With ``only_replace`` there must be one. ``obtain`` returns the release, or raises, once no
        session has the copy open: while one ends, the item may be hidden and published again.
        """
        now, user = self._clock.now(), copy.user

        def renew() -> str | None:
            known = self._recorder.known_files(user, copy.item)
            return self._workspaces.renew(user, obtain(), now, known, only_replace=only_replace)

        return await self._change(copy, renew, Origin.RESET)

    async def restore(self, copy: CopyOf, archive: str) -> str | None:
        """Restore an earlier version; return the name under which the present one is kept.

        Raises: :class:`NotFound` when there is no such version, else as :meth:`upload`.
        """
        name, read = parse_archive(archive, copy.item), self._workspaces.read
        earlier = await asyncio.to_thread(read, copy.user, copy.item, name, MAX_NOTEBOOK)
        return await self.put(copy, earlier.data, Origin.RESTORE)

    async def put_back(self, copy: CopyOf, number: int) -> str | None:
        """Put a version of the timeline back; return the name under which the present one is kept.

        Raises: :class:`NotFound` when there is no such version, else as :meth:`upload`.
        """
        versions = self._recorder.versions
        text = await asyncio.to_thread(versions.text, copy.user, copy.item, number)
        return await self.put(copy, text, Origin.RESTORE)

    async def put(self, copy: CopyOf, text: bytes, origin: Origin) -> str | None:
        """Replace an existing copy by a text that comes from its own versions, as an edit.

        Return the name under which the present one is kept. Raises: as :meth:`upload`.
        """
        user, item, now = copy.user, copy.item, self._clock.now()
        return await self._change(
            copy, lambda: self._workspaces.restore(user, item, text, now), origin
        )

    async def rewrite(
        self, copy: CopyOf, make: Callable[[bytes], Awaitable[bytes]], origin: Origin
    ) -> str | None:
        """Replace an existing copy by what ``make`` returns for its present text, as an edit.

        ``make`` is called twice: before the copy's session is ended, so that nothing happens if it
        raises, and with what was saved last after that. Return the name under which the present
        notebook is kept.

        Raises: as ``make`` and :meth:`upload`, :class:`NotFound` without a copy.
        """
        user, item = copy.user, copy.item
        await make((await self.export(copy)).data)
        async with self._pool.without_session(copy.key):
            text = await make((await asyncio.to_thread(self._read, copy, copy.notebook)).data)
            do = partial(self._workspaces.restore, user, item, text, self._clock.now())
            return await to_its_end(self._replace, copy, do, origin)

    async def export(self, copy: CopyOf) -> Saved:
        """Return the newest complete save, never a partly written one (B118).

        Raises: :class:`NotFound`, :class:`InvalidInput` where the path is not a regular file,
        :class:`Conflict` when the notebook stays incomplete.
        """
        saved = await self.newest(copy)
        if looks_whole(saved.data):
            return saved
        try:
            text = decode_notebook(saved.data, copy.notebook)
            check = partial(check_notebook, text, copy.notebook)
            await self._apart.call(check, size=len(text), whose=copy.user)
        except InvalidInput as error:
            raise Conflict(
                f"The notebook is incomplete as it was saved last: {error.message}",
                hint="Open it and save it again, or put an earlier version back.",
            ) from error
        return saved

    async def newest(self, copy: CopyOf) -> Saved:
        """Return the newest save, whole or not; one that is being written is waited for.

        Raises: :class:`NotFound`, :class:`InvalidInput` where the path is not a regular file.
        """
        saved = await asyncio.to_thread(self._read, copy, copy.notebook)
        for _ in range(_SAVING_LOOKS):
            settled = time.time() - saved.modified_ns / 1e9 > _SETTLED_SECONDS
            if settled or looks_whole(saved.data):
                break
            await asyncio.sleep(_SAVING_SECONDS)
            saved = await asyncio.to_thread(self._read, copy, copy.notebook)
        return saved

    async def archive(self, copy: CopyOf, name: str) -> Saved:
        """Return the earlier version ``name``. Raises: :class:`NotFound`, :class:`InvalidInput`."""
        return await asyncio.to_thread(self._read, copy, parse_archive(name, copy.item))

    async def report(self, copy: CopyOf) -> Saved:
        """Return the HTML report of the last validation, which is in the student's folder.

        Raises: :class:`NotFound`, :class:`InvalidInput`.
        """
        workspaces, name = self._workspaces, f"{copy.item}.html"
        try:
            return await asyncio.to_thread(workspaces.read, copy.user, copy.item, name, MAX_REPORT)
        except NotFound as error:
            raise NotFound("No validation report") from error

    def _read(self, copy: CopyOf, name: str) -> Saved:
        try:
            return self._workspaces.read(copy.user, copy.item, name, MAX_NOTEBOOK)
        except NotFound as error:
            raise NotFound("Notebook not found") from error

    async def _change(self, copy: CopyOf, do: Callable[[], T], origin: Origin) -> T:
        """Call ``do`` while no session has the files open (:meth:`_replace`)."""
        async with self._pool.without_session(copy.key):
            return await to_its_end(self._replace, copy, do, origin)

    def _replace(self, copy: CopyOf, do: Callable[[], T], origin: Origin) -> T:
        """Call ``do`` if the disk has enough space, and record the text before and after it.

        Raises: :class:`Busy` if the present text cannot be recorded first; nothing is changed then.
        """
        self._reserve.demand_room(self._workspaces.space())
        recorder, user, item = self._recorder, copy.user, copy.item
        recorder.found(user, item)
        done = do()
        try:
            recorder.found(user, item, origin)
        except MograderError as error:  # it will be found, and recorded, when it is next opened
            _log.warning("the new text of %s/%s was not recorded: %s", user, item, error)
        return done


def _text_of(release: bytes, filename: str) -> str | None:
    """Return a release's text, or None if it cannot be decoded, which is no error here.

    The submission is then screened without it, so nothing is excepted.
    """
    try:
        return decode_notebook(release, filename)
    except InvalidInput:
        return None

"""The line of ``mograder hub check`` about the versions of students' copies."""

from __future__ import annotations

from mograder.core.errors import MograderError
from mograder.core.settings import LoadedSettings
from mograder.operations.report import Line, ok, problem
from mograder.store.database.database import database_url, open_engine, sqlite_file
from mograder.store.versions.version_survey import Survey, survey

_SAMPLE = 500
_SECONDS = 5.0
_SHOWN = 3


def version_lines(loaded: LoadedSettings) -> tuple[Line, ...]:
    """Return how many versions there are, and which of a sample cannot be read back.

    A database that is not there yet, or does not open, has a line of its own, so none here.
    """
    try:
        url = database_url(loaded.settings.database.url, loaded.course_dir)
        file = sqlite_file(url)
        if file is not None and not file.exists():
            return ()
        engine = open_engine(url)
        try:
            found = survey(engine, _SAMPLE, _SECONDS)
        finally:
            engine.dispose()
    except MograderError:
        return ()
    return () if found is None else (_line(found),)


def _line(found: Survey) -> Line:
    text = (
        f"versions: {found.versions} of {found.copies} copies, {found.bytes / 1e6:.1f} MB; "
        f"{found.looked} read back"
    )
    if not found.damaged:
        return ok("versions", text)
    listed = ", ".join(f"{each.user}/{each.item}" for each in found.damaged[:_SHOWN])
    hint = (
        "What is saved from now on is recorded whole. The earlier versions are in a backup from "
        "before the damage; look at the disk, too."
    )
    return problem("versions", f"{text}, {len(found.damaged)} damaged: {listed}", hint)

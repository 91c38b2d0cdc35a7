"""One student's work on Moodle: which file is the notebook, and where its files go here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

from mograder.clients.course_server import RemoteFile
from mograder.core.errors import MograderError
from mograder.core.lookup import nfc
from mograder.exchange.collecting import CollectedFolder, CollectOutcome
from mograder.exchange.unpacking import visible_path


@dataclass(frozen=True, slots=True)
class Work:
    """One student's work: ``name`` is what its file is called here; ``why`` explains a skip.

    ``late`` is by how much it came after the deadline, None if it was on time or that is unknown.
    ``mates`` are the names here of those who handed it in together, ``team`` their group's name.
    ``before`` is the name that it had while the marking was anonymous, empty if it had none.
    """

    name: str
    full_name: str
    fate: CollectOutcome
    why: str = ""
    modified: datetime | None = None
    notebook: RemoteFile | None = None
    others: tuple[RemoteFile, ...] = ()
    late: timedelta | None = None
    team: str = ""
    mates: tuple[str, ...] = ()
    before: str = ""

    def places(self) -> tuple[tuple[RemoteFile, str], ...]:
        """Return each file with its path below the target directory; the notebook comes first.

        No path is hidden, and no two are the same.
        """
        found = [(self.notebook, f"{self.name}.py")] if self.notebook else []
        taken: set[str] = set()
        plain_first = sorted(self.others, key=lambda file: visible_path(file.name) != file.name)
        for file in plain_first:
            path = visible_path(file.name)
            while path.casefold() in taken:
                folder, _, last = path.rpartition("/")
                path = f"{folder}/_{last}" if folder else f"_{last}"
            taken.add(path.casefold())
            found.append((file, f"{self.name}.files/{path}"))
        return tuple(found)

    def renamed(self) -> tuple[tuple[str, str], ...]:
        """Return what students called a file and its path here, where the two differ."""
        return tuple(
            (file.name, path)
            for file, path in self.places()
            if file != self.notebook and path != f"{self.name}.files/{nfc(file.name)}"
        )


@dataclass(frozen=True, slots=True)
class Target:
    """Where submissions go, and how an assignment's notebook is called when there are several.

    ``force`` fetches again what is here already.
    """

    directory: Path
    notebooks: tuple[str, ...] = ()
    force: bool = False


def choose_notebook(files: Sequence[RemoteFile], expected: Sequence[str]) -> RemoteFile | None:
    """Return the notebook among what somebody handed in: the released one's name, or the only."""
    notebooks = [file for file in files if PurePosixPath(file.name).suffix.lower() == ".py"]
    named = [file for file in notebooks if PurePosixPath(file.name).name in expected]
    if len(named) == 1:
        return named[0]
    return notebooks[0] if len(notebooks) == 1 else None


def put_work(work: Work, contents: Iterable[bytes], folder: CollectedFolder) -> Work:
    """Put one student's files into their places; what was there and differs is kept.

    ``contents`` are those of :meth:`Work.places`, in its order.
    """
    try:
        for (_, path), content in zip(work.places(), contents, strict=True):
            folder.put(path, content)
    except (OSError, MograderError) as error:
        return replace(work, fate=CollectOutcome.FAILED, why=str(error))
    return work

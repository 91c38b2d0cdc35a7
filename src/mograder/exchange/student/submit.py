"""A student's submission: the notebook that is handed in (B150), its receipt, its feedback (B151).

A receipt states that the server holds those very bytes; it is the student's proof, so it is stored
unchanged beside the submitted notebook, and none is ever overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.clients.course_server import RemoteAssignment, Transport, WorkStatus
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.files.disk import write_file
from mograder.core.files.windows_files import digests_of_file
from mograder.core.item_dates import SentTime
from mograder.core.name_lookup import Entry, Words, find
from mograder.exchange.assignment_lookup import folder_of
from mograder.exchange.student.fetch import OURS
from mograder.exchange.unpacking import safe_path
from mograder.store.filesystem.files import atomic_write

_FOLDER = "receipts"
_LARGEST = 64_000


def check_notebook(file: Path) -> Path:
    """Return the file; raises InvalidInput if it is missing, not a ``.py`` file, or empty."""
    if file.suffix.lower() != ".py":
        raise InvalidInput(f"{file} is no .py file.", hint="Hand in the notebook itself.")
    if not file.is_file():
        raise InvalidInput(f"There is no file {file}.")
    if file.stat().st_size == 0:
        raise InvalidInput(f"{file} is empty.", hint="Save it in the editor first.")
    return file


def read_notebook(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.") from error


@dataclass(frozen=True, slots=True)
class Returned:
    status: WorkStatus
    pages: tuple[Path, ...] = ()


def read_feedback(
    transport: Transport, assignment: RemoteAssignment, out: Path | None = None
) -> Returned:
    """Return the status of one's own work; with ``out`` the pages of feedback are written there.

    Raises:
        MograderError: The server refuses or fails, or nothing can be written.
    """
    status = transport.work_status(assignment)
    if out is None or not status.feedback_available:
        return Returned(status)
    pages = []
    for document in transport.feedback(assignment):
        path = out / safe_path(document.name).rpartition("/")[2]
        try:
            out.mkdir(parents=True, exist_ok=True)
            atomic_write(path, document.content)
        except OSError as error:
            raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error
        pages.append(path)
    return Returned(status, tuple(pages))


class Receipt(BaseModel):
    """A receipt as any version of a server may give it; ``text`` is the whole of it, unchanged.

    The server's own form is :class:`mograder.store.submissions.receipts.Receipt`, which allows no
    other fields.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    assignment: str
    user: str
    filename: str = ""
    sha256: str
    size: int
    received: SentTime
    sequence: int = 0
    late: bool = False
    signature: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class KeptReceipt:
    receipt: Receipt
    server: str
    path: Path


class _Kept(BaseModel):
    model_config = ConfigDict(extra="ignore")

    server: str
    receipt: dict[str, object]


def parse_receipt(text: str) -> Receipt:
    """Read a receipt in the form that servers give it; raises InvalidInput."""
    try:
        receipt = Receipt.model_validate_json(text)
    except ValidationError as error:
        raise InvalidInput("This is no receipt of an assignment server.") from error
    return receipt.model_copy(update={"text": text})


def keep(
    text: str, assignment: RemoteAssignment, server: str, directory: Path
) -> KeptReceipt | None:
    """Write a receipt below the directory of the notebook; return None if ``text`` is empty.

    Raises:
        InvalidInput: It cannot be written, or is not a receipt.
    """
    if not text:
        return None
    receipt = parse_receipt(text)
    folder = directory / OURS / _FOLDER / folder_of(assignment)
    # The name has the digest: sending the same file again gives the same receipt.
    stamp = f"{receipt.received:%Y%m%dT%H%M%S}"
    path = folder / f"{stamp}-{receipt.sequence}-{receipt.sha256[:8]}.json"
    kept = _Kept(server=server, receipt=json.loads(text))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_file(path, kept.model_dump_json(indent=2).encode())
    except OSError as error:
        raise InvalidInput(
            f"The receipt cannot be kept in {folder}: {error.strerror}.",
            hint="The server has the submission all the same.",
        ) from error
    return KeptReceipt(receipt, server, path)


def kept_receipts(directory: Path) -> tuple[KeptReceipt, ...]:
    files = (directory / OURS / _FOLDER).glob("*/*.json")
    return tuple(kept for path in sorted(files) if path.is_file() and (kept := _read(path)))


def receipts_of(assignment: str, kept: Sequence[KeptReceipt]) -> tuple[KeptReceipt, ...]:
    """Return the receipts for the assignment that a typed name means, the latest first.

    An assignment is found by its name, or by the name of its folder.

    Raises:
        NotFound: There is no receipt for it.
        InvalidInput: Several assignments match.
    """
    names = {each.receipt.assignment: each.path.parent.name for each in kept}
    entries = [Entry(name, (folder,)) for name, folder in names.items()]
    words = Words("receipt for", empty="There are no receipts.")
    wanted = entries[find(assignment, entries, words)].name
    found = (each for each in kept if each.receipt.assignment == wanted)
    return tuple(sorted(found, key=lambda each: each.receipt.received, reverse=True))


def open_receipt(path: Path) -> KeptReceipt:
    """Read a receipt in our stored form or as the server gave it; raises NotFound, InvalidInput."""
    if not path.is_file():
        raise NotFound(f"There is no receipt {path}.")
    kept = _read(path)
    if kept is not None:
        return kept
    return KeptReceipt(parse_receipt(_text(path)), "", path)


def is_of(receipt: Receipt, file: Path) -> bool:
    """Return whether a receipt is for the bytes of a file, or for its text with other line ends.

    Raises:
        InvalidInput: The file cannot be read.
    """
    try:
        return receipt.sha256.lower() in digests_of_file(file)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.") from error


def _read(path: Path) -> KeptReceipt | None:
    with suppress(InvalidInput, ValidationError):
        kept = _Kept.model_validate_json(_text(path))
        text = json.dumps(kept.receipt, indent=2, ensure_ascii=False)
        return KeptReceipt(parse_receipt(text), kept.server, path)
    return None


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_LARGEST)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read as text.") from error

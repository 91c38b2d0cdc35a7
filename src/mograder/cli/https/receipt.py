"""``mograder https receipt``: the proof of a submission that a student keeps."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mograder.cli.https.server import Server, server_options
from mograder.cli.shared.console import plain
from mograder.cli.shared.lazy import Lazy, LazyGroup
from mograder.cli.shared.options import EXISTING_DIRECTORY, EXISTING_FILE
from mograder.cli.shared.result import Result, json_option
from mograder.clients.assignment_server.client import HttpsTransport
from mograder.core.errors import NotFound
from mograder.exchange.student.submit import (
    KeptReceipt,
    is_of,
    kept_receipts,
    open_receipt,
    receipts_of,
)
from mograder.store.course.course import shown

_HERE = "mograder.cli.https.receipt"
_MOMENT = "%a %d %b %Y, %H:%M:%S"
_directory_option = click.option(
    "--dir",
    "directory",
    type=EXISTING_DIRECTORY,
    default=Path(),
    show_default=True,
    help="Where the notebooks are: the receipts are in .mograder/ there, or one level below.",
)


@click.group(
    "receipt",
    cls=LazyGroup,
    table={
        "show": Lazy(f"{_HERE}:show"),
        "verify": Lazy(f"{_HERE}:verify"),
    },
)
def receipt() -> None:
    """Look at the receipts of what was handed in."""


@click.command("show")
@click.argument("assignment")
@_directory_option
@json_option
def show(*, assignment: str, directory: Path) -> Result:
    """Show the receipts for an assignment.

    The latest comes first.
    """
    kept = _find(assignment, directory)
    return Result(
        [_as_json(each) for each in kept], (line for each in kept for line in _lines(each))
    )


@click.command("verify")
@click.argument("receipt_or_assignment")
@click.option("--file", type=EXISTING_FILE, help="A notebook that it should be for.")
@_directory_option
@json_option
@server_options
def verify(
    *, server: Server, receipt_or_assignment: str, file: Path | None, directory: Path
) -> Result:
    """Ask the server whether a receipt is genuine.

    RECEIPT_OR_ASSIGNMENT is a receipt's file, or an assignment's name for the latest one here.
    It needs no token. Exits with 1 if the server did not sign it, no longer holds what
    it is for, or --file has other bytes.
    """
    path = Path(receipt_or_assignment)
    kept = open_receipt(path) if path.is_file() else _find(receipt_or_assignment, directory)[0]
    # The receipt may be forged: prefer the server that we know, and send no token to either.
    url = server.named_url or kept.server or server.url
    with HttpsTransport(url, "") as transport:
        verdict = transport.verify_receipt(kept.receipt.text)
    matches = None if file is None else is_of(kept.receipt, file)
    told = {
        **_as_json(kept),
        "valid": verdict.valid,
        "stored": verdict.stored,
        "counts": verdict.counts,
        "message": verdict.message,
        "matches_file": matches,
    }
    genuine = "It is genuine." if verdict.valid else "It is not genuine."
    lines = [*_lines(kept), plain(verdict.message) or genuine]
    if matches is not None:
        lines.append(f"{file} is {'exactly' if matches else 'NOT'} what it is for.")
    failed = not (verdict.valid and verdict.stored) or matches is False
    return Result(told, lines, int(failed))


def _find(assignment: str, directory: Path) -> tuple[KeptReceipt, ...]:
    """Return the receipts here and one level below, since each assignment has its own directory."""
    below = sorted(path for path in directory.iterdir() if path.is_dir())
    found = [kept for each in (directory, *below) for kept in kept_receipts(each)]
    try:
        return receipts_of(assignment, found)
    except NotFound as error:
        raise NotFound(
            f"There is no receipt for '{assignment}' in {directory.absolute()}.",
            hint=f"{error.hint} Or give the directory of the notebook by --dir.",
        ) from error


def _lines(kept: KeptReceipt) -> list[str]:
    receipt = kept.receipt
    late = " (late)" if receipt.late else ""
    told = (
        f"{receipt.assignment}, submission {receipt.sequence} of {receipt.user}",
        f"  Received: {receipt.received.astimezone():{_MOMENT}}{late}",
        f"  File:     {receipt.filename}, {receipt.size} bytes",
        f"  SHA-256:  {receipt.sha256}",
        f"  Server:   {kept.server or '-'}",
        f"  Receipt:  {shown(kept.path.absolute())}",
    )
    return [plain(line) for line in told]  # it may be forged


def _as_json(kept: KeptReceipt) -> dict[str, object]:
    return {
        "server": kept.server or None,
        "path": str(kept.path),
        "receipt": json.loads(kept.receipt.text),
    }

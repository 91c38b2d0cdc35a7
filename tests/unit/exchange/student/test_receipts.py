"""Receipts, kept beside the notebook that was handed in."""

from __future__ import annotations

import errno
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.clients.course_server import RemoteAssignment
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.files.disk import Disk
from mograder.exchange.student.submit import (
    is_of,
    keep,
    kept_receipts,
    open_receipt,
    parse_receipt,
    receipts_of,
)

WORK = b"import marimo\n"
SERVER = "https://one.example.org"
HW1 = RemoteAssignment("hw1", "hw1")


def receipt(sequence: int = 1, **other: object) -> str:
    fields = {
        "version": 1,
        "assignment": "hw1",
        "user": "alice",
        "filename": "alice_20260310T200800.py",
        "sha256": hashlib.sha256(WORK).hexdigest(),
        "size": len(WORK),
        "received": f"2026-03-10T20:08:0{sequence}.123Z",
        "sequence": sequence,
        "late": False,
        "signature": "0" * 64,
    }
    return json.dumps(fields | other)


def test_a_receipt_is_read_and_kept_whole(tmp_path: Path) -> None:
    kept = keep(receipt(new="ä"), HW1, SERVER, tmp_path)
    assert kept is not None
    assert kept.path.parent == tmp_path / ".mograder" / "receipts" / "hw1"
    again = open_receipt(kept.path)
    assert again.server == SERVER
    assert json.loads(again.receipt.text) == json.loads(receipt(new="ä"))
    assert again.receipt.received == datetime(2026, 3, 10, 20, 8, 1, 123000, tzinfo=UTC)


def test_a_time_that_cannot_be_told_in_each_zone_makes_no_receipt() -> None:
    with pytest.raises(InvalidInput, match="no receipt"):
        parse_receipt(receipt(received="9999-12-31T23:59:59.000Z"))


def test_the_latest_comes_first_and_none_is_lost(tmp_path: Path) -> None:
    for number in (2, 1, 3, 3):
        keep(receipt(number), HW1, SERVER, tmp_path)
    keep(receipt(assignment="hw2"), RemoteAssignment("hw2", "hw2"), SERVER, tmp_path)
    found = receipts_of("hw1", kept_receipts(tmp_path))
    assert [each.receipt.sequence for each in found] == [3, 2, 1]


def test_a_disk_that_is_full_is_told_with_what_the_server_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was said that nothing was changed, of work that was submitted."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Disk, "write", full)
    with pytest.raises(InvalidInput, match="cannot be kept") as told:
        keep(receipt(), HW1, SERVER, tmp_path)
    assert told.value.hint == "The server has the submission all the same."


def test_no_receipt_is_no_file(tmp_path: Path) -> None:
    assert keep("", HW1, SERVER, tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    assert kept_receipts(tmp_path) == ()


def test_a_receipt_is_for_exactly_these_bytes(tmp_path: Path) -> None:
    file = tmp_path / "hw1.py"
    file.write_bytes(WORK)
    assert is_of(parse_receipt(receipt()), file)
    file.write_bytes(WORK + b"\n")
    assert not is_of(parse_receipt(receipt()), file)


def test_a_bare_receipt_is_opened_too(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(receipt())
    assert open_receipt(tmp_path / "r.json").receipt.user == "alice"


@pytest.mark.parametrize("text", ["", "{}", "[1]", receipt(size="many"), receipt(received="now")])
def test_what_is_no_receipt_is_told_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(InvalidInput, match="no receipt"):
        open_receipt(tmp_path / "r.json")
    with pytest.raises(NotFound):
        open_receipt(tmp_path / "other.json")

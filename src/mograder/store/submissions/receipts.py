"""Receipts, which hub and assignment server sign when a submission is on their disk, and verify.

They are signed by HMAC with a separate key, derived from the server's secret, so that a receipt is
never valid as a token or the reverse. Only the server, or another holder of its secret, can verify
a receipt. The format is described in docs/reference/https-api.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mograder.auth.signing import derived_key, is_signature_of, read_record, signature_of
from mograder.core.errors import Busy, InvalidInput
from mograder.core.item_dates import OwnDates
from mograder.core.names import ItemName
from mograder.store.submissions.history import Submission
from mograder.store.submissions.submissions import Submissions

LONGEST = 16 * 1024
"""Most bytes of a receipt."""

UNSIGNED = "0" * 64
"""The signature of a receipt before :func:`sign_receipt`."""

_PURPOSE = "receipt"
_WHEN = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
_HEX = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Name = Annotated[str, Field(min_length=1, max_length=400)]


class Receipt(BaseModel):
    """A receipt as it is sent; ``signature`` covers the rest. Trust it after :func:`is_genuine`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1] = 1
    assignment: _Name
    user: _Name
    filename: _Name
    sha256: _HEX
    size: Annotated[int, Field(ge=0, le=2**53)]
    received: Annotated[str, Field(pattern=_WHEN, max_length=24)]
    sequence: Annotated[int, Field(ge=1, le=2**53)]
    late: bool
    signature: _HEX


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a receipt is genuine, and the state of its submission."""

    valid: bool
    stored: bool
    counts: bool
    message: str


def receipt_of(secret: str, item: ItemName, submission: Submission, dates: OwnDates) -> Receipt:
    """Return the signed receipt of a submission that is on the disk.

    By the person's ``dates`` it is late or not where no record tells it, as of one that was
    collected from Moodle.

    Raises: :class:`Busy` if the file cannot be read now.
    """
    if submission.sha256 is None or submission.size is None:
        raise Busy("The submission cannot be read at the moment.", hint="Try again.")
    late = submission.late
    unsigned = Receipt(
        assignment=item,
        user=submission.user,
        filename=submission.filename,
        sha256=submission.sha256,
        size=submission.size,
        received=moment(submission.received),
        sequence=submission.sequence,
        late=dates.is_late(submission.received) if late is None else late,
        signature=UNSIGNED,
    )
    return sign_receipt(secret, unsigned)


def verdict_of(secret: str, submissions: Submissions, receipt: Receipt) -> Verdict:
    """Return whether a secret signed a receipt, and, if so, what became of its file; blocks."""
    if not is_genuine(secret, receipt):
        told = "This receipt is not genuine: it was changed, or is another server's."
        return Verdict(valid=False, stored=False, counts=False, message=told)
    item, stored, counts = ItemName.valid(receipt.assignment), False, False
    if item is not None:
        names = [receipt.filename]
        if receipt.filename == f"{receipt.user}.py":
            # A file that was collected under this name gets one with its time at the next
            # submission, and ``<user>.py`` is then a link.
            found = submissions.of(receipt.user, item).submissions
            names = [each.filename for each in found if each.sha256 == receipt.sha256]
        held = (each for each in names if submissions.holds(item, each, receipt.sha256))
        name, counting = next(held, ""), submissions.counting(receipt.user, item)
        stored = bool(name)
        counts = stored and counting is not None and counting.filename == name
    told = "This receipt is genuine, but the server does not hold the file any more."
    if stored:
        how = ", which counts" if counts else "; another one counts"
        told = f"This receipt is genuine, and the server holds the file{how}."
    return Verdict(valid=True, stored=stored, counts=counts, message=told)


def sign_receipt(secret: str, unsigned: Receipt) -> Receipt:
    """Sign the receipt of a submission on the disk. Raises: InvalidInput for an empty secret."""
    signature = signature_of(derived_key(secret, _PURPOSE), _signed(unsigned))
    return unsigned.model_copy(update={"signature": signature})


def read_receipt(text: bytes | str) -> Receipt:
    """Parse a receipt, alone or as clients keep it, without verifying it. Raises: InvalidInput."""
    if len(text) > LONGEST:
        raise InvalidInput("This is not a receipt: it is longer than 16 KB.")
    try:
        found = read_record(text)
        return Receipt.model_validate(found.get("receipt", found))
    except ValidationError as error:
        raise InvalidInput("This is not a receipt") from error
    except ValueError as error:
        raise InvalidInput("Invalid JSON") from error


def is_genuine(secret: str, receipt: Receipt) -> bool:
    """Return whether a receipt was signed with this secret; constant-time."""
    return is_signature_of(derived_key(secret, _PURPOSE), _signed(receipt), receipt.signature)


def moment(when: datetime) -> str:
    """Return a time as ISO 8601 in UTC, with milliseconds, as in all answers of the server."""
    utc = when.astimezone(UTC).replace(tzinfo=None)
    return f"{utc.isoformat(timespec='milliseconds')}Z"


def _signed(receipt: Receipt) -> dict[str, object]:
    return receipt.model_dump(exclude={"signature"})

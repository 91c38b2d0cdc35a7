"""Receipts of submissions, as the hub and the assignment server give and verify them."""

from __future__ import annotations

from dataclasses import dataclass

from mograder.auth.receipts import UNSIGNED, Receipt, is_genuine, moment, sign_receipt
from mograder.core.errors import Busy, InvalidInput
from mograder.core.names import ItemName
from mograder.store.submissions.history import Submission
from mograder.store.submissions.submissions import Submissions

LONGEST = 16 * 1024
"""Most bytes of a receipt."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a receipt is genuine, and the state of its submission."""

    valid: bool
    stored: bool
    counts: bool
    message: str


def receipt_of(secret: str, item: ItemName, submission: Submission) -> Receipt:
    """Return the signed receipt of a submission that is on the disk.

    Raises: :class:`Busy` if the file cannot be read now.
    """
    if submission.sha256 is None or submission.size is None:
        raise Busy("The submission cannot be read at the moment.", hint="Try again.")
    unsigned = Receipt(
        assignment=item,
        user=submission.user,
        filename=submission.filename,
        sha256=submission.sha256,
        size=submission.size,
        received=moment(submission.received),
        sequence=submission.sequence,
        late=submission.late,
        signature=UNSIGNED,
    )
    return sign_receipt(secret, unsigned)


def verdict_of(secret: str, submissions: Submissions, receipt: Receipt) -> Verdict:
    """Return whether the holder of a secret signed a receipt, and what became of its file; blocks.

    The file of a receipt that is not genuine is not looked at.
    """
    valid, stored, counts = is_genuine(secret, receipt), False, False
    if valid:
        stored, counts = _look(submissions, receipt)
    if not valid:
        message = "This receipt is not genuine: it was changed, or is another server's."
    elif not stored:
        message = "This receipt is genuine, but the server does not hold the file any more."
    elif not counts:
        message = "This receipt is genuine, and the server holds the file; another one counts."
    else:
        message = "This receipt is genuine, and the server holds the file, which counts."
    return Verdict(valid, stored, counts, message)


def _look(submissions: Submissions, receipt: Receipt) -> tuple[bool, bool]:
    try:
        item = ItemName.parse(receipt.assignment)
    except InvalidInput:
        return False, False
    stored = submissions.holds(item, receipt.filename, receipt.sha256)
    counting = submissions.counting(receipt.user, item)
    counts = counting is not None and counting.filename == receipt.filename
    return stored, stored and counts

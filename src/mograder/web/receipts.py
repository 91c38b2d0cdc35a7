"""Receipts of submissions, as the hub and the assignment server give and verify them."""

from __future__ import annotations

from dataclasses import dataclass

from mograder.auth.receipts import UNSIGNED, Receipt, is_genuine, moment, sign_receipt
from mograder.core.errors import Busy
from mograder.core.names import ItemName
from mograder.store.submissions.history import Submission
from mograder.store.submissions.submissions import Submissions


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
    if not is_genuine(secret, receipt):
        told = "This receipt is not genuine: it was changed, or is another server's."
        return Verdict(valid=False, stored=False, counts=False, message=told)
    item, stored, counts = ItemName.valid(receipt.assignment), False, False
    if item is not None:
        stored = submissions.holds(item, receipt.filename, receipt.sha256)
        counting = submissions.counting(receipt.user, item)
        counts = stored and counting is not None and counting.filename == receipt.filename
    if not stored:
        told = "This receipt is genuine, but the server does not hold the file any more."
    elif not counts:
        told = "This receipt is genuine, and the server holds the file; another one counts."
    else:
        told = "This receipt is genuine, and the server holds the file, which counts."
    return Verdict(valid=True, stored=stored, counts=counts, message=told)

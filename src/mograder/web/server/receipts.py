"""Verification of receipts, open to anyone who has one."""

from __future__ import annotations

from anyio import to_thread
from starlette.responses import JSONResponse, Response

from mograder.auth.receipts import Receipt, is_genuine, read_receipt
from mograder.core.errors import InvalidInput
from mograder.core.names import ItemName
from mograder.web.server.access import RequestInfo
from mograder.web.server.request_bodies import read_body
from mograder.web.server.services import Services

_LIMIT = 16 * 1024


async def verify(info: RequestInfo) -> Response:
    """Return whether this server signed a receipt, and the state of its submission."""
    receipt = read_receipt(await read_body(info.request, _LIMIT))
    services = info.services
    valid, stored, counts = is_genuine(services.secret, receipt), False, False
    if valid:
        stored, counts = await to_thread.run_sync(
            _look, services, receipt, limiter=services.readers
        )
    if not valid:
        message = "This receipt is not genuine: it was changed, or is another server's."
    elif not stored:
        message = "This receipt is genuine, but the server does not hold the file any more."
    elif not counts:
        message = "This receipt is genuine, and the server holds the file; another one counts."
    else:
        message = "This receipt is genuine, and the server holds the file, which counts."
    return JSONResponse({"valid": valid, "stored": stored, "counts": counts, "message": message})


def _look(services: Services, receipt: Receipt) -> tuple[bool, bool]:
    """Return whether a receipt's file is stored, and whether it counts; reads the disk."""
    try:
        item = ItemName.parse(receipt.assignment)
    except InvalidInput:
        return False, False
    stored = services.submissions.holds(item, receipt.filename, receipt.sha256)
    counting = services.submissions.counting(receipt.user, item)
    counts = counting is not None and counting.filename == receipt.filename
    return stored, stored and counts

"""Verification of receipts, open to anyone who has one."""

from __future__ import annotations

from dataclasses import dataclass

from anyio import to_thread
from starlette.responses import JSONResponse, Response

from mograder.auth.receipts import Receipt, is_genuine, read_receipt
from mograder.core.errors import InvalidInput
from mograder.core.names import ItemName
from mograder.web.server.access import RequestInfo
from mograder.web.server.request_bodies import read_body
from mograder.web.server.services import Services

_LIMIT = 16 * 1024


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The current state of a receipt's submission."""

    stored: bool
    counts: bool

    @property
    def message(self) -> str:
        if not self.stored:
            return "This receipt is genuine, but the server does not hold the file any more."
        if not self.counts:
            return "This receipt is genuine, and the server holds the file; another one counts."
        return "This receipt is genuine, and the server holds the file, which counts."


async def verify(info: RequestInfo) -> Response:
    """Return whether this server signed a receipt, and the state of its submission."""
    receipt = read_receipt(await read_body(info.request, _LIMIT))
    services = info.services
    if not is_genuine(services.secret, receipt):
        return JSONResponse(
            {
                "valid": False,
                "stored": False,
                "counts": False,
                "message": "This receipt is not genuine: it was changed, or is another server's.",
            }
        )
    verdict = await to_thread.run_sync(_look, services, receipt, limiter=services.readers)
    return JSONResponse(
        {
            "valid": True,
            "stored": verdict.stored,
            "counts": verdict.counts,
            "message": verdict.message,
        }
    )


def _look(services: Services, receipt: Receipt) -> _Verdict:
    try:
        item = ItemName.parse(receipt.assignment)
    except InvalidInput:
        return _Verdict(stored=False, counts=False)
    stored = services.submissions.holds(item, receipt.filename, receipt.sha256)
    counting = services.submissions.counting(receipt.user, item)
    counts = counting is not None and counting.filename == receipt.filename
    return _Verdict(stored=stored, counts=stored and counts)

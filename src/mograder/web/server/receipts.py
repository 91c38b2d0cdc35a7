"""Verification of receipts, open to anyone who has one."""

from __future__ import annotations

from dataclasses import asdict

from anyio import to_thread
from starlette.responses import JSONResponse, Response

from mograder.auth.receipts import read_receipt
from mograder.web.receipts import LONGEST, verdict_of
from mograder.web.request_body import read_body
from mograder.web.server.access import RequestInfo


async def verify(info: RequestInfo) -> Response:
    """Return whether this server signed a receipt, and the state of its submission."""
    receipt, services = read_receipt(await read_body(info.request, LONGEST)), info.services
    verdict = await to_thread.run_sync(
        verdict_of, services.secret, services.submissions, receipt, limiter=services.readers
    )
    return JSONResponse(asdict(verdict))

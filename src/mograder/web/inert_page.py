"""Pages that student code may have written: they can be displayed, and do nothing else."""

from __future__ import annotations

from starlette.responses import Response

_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors {ancestors}"
)
"""No policy stops a browser from connecting to the host of an ``<iframe>`` or of a ``<link
rel="preconnect">``, so a page with other elements than ours is not shown at all.
"""


def inert_page(data: bytes, *, framed: bool = False) -> Response:
    """Return a page with an opaque origin and no rights.

    ``framed`` lets pages of our own show it in a frame; others cannot.
    """
    headers = {
        "Content-Security-Policy": _POLICY.format(ancestors="'self'" if framed else "'none'"),
        "X-DNS-Prefetch-Control": "off",
    }
    if framed:
        headers["X-Frame-Options"] = "SAMEORIGIN"
    return Response(data, headers=headers, media_type="text/html; charset=utf-8")

"""Pages that a learning platform may show in a frame of its own pages."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from mograder.auth.lti_addresses import addresses_of
from mograder.core.sections.external_settings import LtiPlatform
from mograder.web.context import request_context
from mograder.web.headers import content_security_policy


def framed(request: Request, platform: LtiPlatform, response: Response) -> Response:
    """Return the response, which this platform's pages may now show in a frame.

    Its forms may be sent to the platform. Such a page must neither show nor change anything by the
    person's login.
    """
    addresses = addresses_of(platform)
    response.headers["Content-Security-Policy"] = content_security_policy(
        request_context(request), frames=addresses.frames, posts=addresses.services
    )
    return response

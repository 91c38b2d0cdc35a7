"""The routes of signing in by other systems, imported only by hubs that have them configured.

A hub without ``[oidc]`` and without learning platforms has none of these routes, and does not
import what they need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mograder.web.hub.routes import Route
from mograder.web.hub.support.hub_app import HubApp
from mograder.web.hub.support.services import Services

if TYPE_CHECKING:
    from mograder.web.hub.support.oidc import OidcSignIn


def oidc_of(services: Services) -> OidcSignIn | None:
    """Return the sign-in by OpenID Connect, None without ``[oidc] issuer``.

    Raises: InvalidInput for settings that cannot work.
    """
    if not services.loaded.settings.oidc.issuer:
        return None
    from mograder.web.hub.support.oidc import open_oidc  # noqa: PLC0415 - see above

    return open_oidc(services)


def external_routes(app: HubApp) -> tuple[Route, ...]:
    """Return the routes of OpenID Connect and of LTI, each only if the hub has it configured."""
    routes: list[Route] = []
    if app.oidc is not None:
        from mograder.web.hub.oidc_routes import OIDC_ROUTES  # noqa: PLC0415 - see above

        routes += OIDC_ROUTES
    if app.lti is not None:
        from mograder.web.hub.lti_routes import LTI_ROUTES  # noqa: PLC0415 - see above

        routes += LTI_ROUTES
    if routes:
        from mograder.web.hub.people_routes import PEOPLE_ROUTES  # noqa: PLC0415 - see above

        routes += PEOPLE_ROUTES
    return tuple(routes)

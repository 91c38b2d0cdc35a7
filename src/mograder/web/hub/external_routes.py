"""The routes of signing in by other systems, imported only by hubs that have them configured.

A hub without ``[oidc]`` and without learning platforms has none of these routes, and does not
import what they need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mograder.store.lti_presence import has_platforms
from mograder.web.hub.routes import Route
from mograder.web.hub.support.hub_app import HubApp
from mograder.web.hub.support.services import Services

if TYPE_CHECKING:
    from mograder.web.hub.support.lti import LtiService
    from mograder.web.hub.support.oidc import OidcSignIn


def oidc_of(services: Services) -> OidcSignIn | None:
    """Return the sign-in by OpenID Connect, None without ``[oidc] issuer``.

    Raises: InvalidInput for settings that cannot work.
    """
    if not services.loaded.settings.oidc.issuer:
        return None
    from mograder.web.hub.support.oidc import open_oidc  # noqa: PLC0415 - see above

    return open_oidc(services)


def lti_service(services: Services) -> LtiService | None:
    """Return the objects of LTI 1.3, None for a hub without learning platforms.

    Raises: InvalidInput for settings that cannot work.
    """
    configured = services.loaded.settings.lti.platform
    if not configured and not has_platforms(services.state.engine, services.clock.now()):
        return None
    from mograder.web.hub.support.lti import make_lti  # noqa: PLC0415 - see above

    return make_lti(services)


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

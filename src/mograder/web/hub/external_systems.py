"""The objects and routes of other systems, imported only by hubs that have them configured.

A hub without ``[oidc]``, without learning platforms and without nodes has none of these routes,
and does not import what they need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mograder.store.external.lti_presence import has_platforms
from mograder.web.hub.core.hub_app import HubApp
from mograder.web.hub.core.services import Services
from mograder.web.hub.routes import MACHINE_ROUTES
from mograder.web.route import Route

if TYPE_CHECKING:
    from mograder.web.hub.support.lti import LtiService
    from mograder.web.hub.support.machine_watch import MachineWatch
    from mograder.web.hub.support.oidc import OidcSignIn
    from mograder.web.hub.support.post import Post


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


def post_of(services: Services) -> Post | None:
    """Return the letters by e-mail, None without ``[mail] host``.

    Raises: InvalidInput for settings that cannot work.
    """
    if not services.loaded.settings.mail.host:
        return None
    from mograder.store.hub.letters import Letters  # noqa: PLC0415 - see above
    from mograder.web.hub.support.post import open_post  # noqa: PLC0415 - see above

    password = services.mail_password
    return open_post(services.loaded, Letters(services.state.engine), password)


def machines_in(services: Services) -> MachineWatch | None:
    """Return the watch of the machines, None for a hub without nodes."""
    settings = services.loaded.settings.nodes
    if not settings.enabled:
        return None
    from mograder.operations.machines import NodesView  # noqa: PLC0415 - see above
    from mograder.store.hub.nodes import Nodes  # noqa: PLC0415 - see above
    from mograder.web.hub.support.machine_watch import MachineWatch  # noqa: PLC0415 - see above

    view = NodesView(Nodes(services.state.engine), settings.lease_seconds)
    return MachineWatch(view, services.clock)


def optional_routes(app: HubApp) -> tuple[Route, ...]:
    """Return the routes of OpenID Connect, LTI and nodes that the hub has configured."""
    machines = MACHINE_ROUTES if app.machines is not None else ()
    if app.oidc is None and app.lti is None:
        return machines
    from mograder.web.hub import external_routes as rows  # noqa: PLC0415 - see above

    oidc = rows.OIDC_ROUTES if app.oidc is not None else ()
    lti = rows.LTI_ROUTES if app.lti is not None else ()
    return (*machines, *oidc, *lti, *rows.PEOPLE_ROUTES)

"""The features of the hub: those of every hub, and those of systems that it may not have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from mograder.store.external.lti_presence import has_platforms
from mograder.web.hub.board.class_board import open_board
from mograder.web.hub.copies.hub_updates import open_updates
from mograder.web.hub.copies.timeline import open_versions
from mograder.web.hub.core.feature import Feature
from mograder.web.hub.core.services import Services
from mograder.web.hub.items.grading import open_grading
from mograder.web.hub.items.warming import open_warming
from mograder.web.hub.machines.machines import open_machines
from mograder.web.hub.mail.events import open_mail
from mograder.web.hub.people.client import open_client
from mograder.web.hub.people.roster_watch import open_watch
from mograder.web.hub.rehearsal.rehearsal import open_rehearsals
from mograder.web.hub.routes import MACHINE_ROUTES, ROUTES
from mograder.web.hub.signin.signin import open_signin
from mograder.web.hub.today.pages import open_numbers

FEATURES: tuple[Feature, ...] = (
    Feature(ROUTES),
    Feature((), open_client),
    Feature((), open_signin),
    Feature((), open_watch),
    Feature((), open_board),
    Feature((), open_rehearsals),
    Feature((), open_versions),
    Feature((), open_updates),
    Feature((), open_warming),
    Feature((), open_grading),
    Feature((), open_numbers),
)
"""The features of every hub."""


def _oidc() -> Feature:
    from mograder.web.hub.external_routes import OIDC_ROUTES  # noqa: PLC0415 - see OPTIONAL
    from mograder.web.hub.signin.oidc import open_oidc  # noqa: PLC0415 - see OPTIONAL

    return Feature(OIDC_ROUTES, open_oidc)


def _lti() -> Feature:
    from mograder.web.hub.external_routes import LTI_ROUTES  # noqa: PLC0415 - see OPTIONAL
    from mograder.web.hub.lti.service import open_lti  # noqa: PLC0415 - see OPTIONAL

    return Feature(LTI_ROUTES, open_lti)


def _external_people() -> Feature:
    from mograder.web.hub.external_routes import PEOPLE_ROUTES  # noqa: PLC0415 - see OPTIONAL

    return Feature(PEOPLE_ROUTES)


OPTIONAL: Mapping[str, Callable[[], Feature]] = MappingProxyType(
    {
        "oidc": _oidc,
        "lti": _lti,
        "oidc or lti": _external_people,
        "nodes": lambda: Feature(MACHINE_ROUTES, open_machines),
        "mail": lambda: Feature((), open_mail),
    }
)
"""Each feature that a hub has only with a system, by what it needs.

OpenID Connect and LTI need libraries that a hub without them does not load.
"""


def features_of(services: Services) -> tuple[Feature, ...]:
    """Return the features of a hub; those of learning platforms decide who is let in, so first."""
    settings = services.loaded.settings
    has = {
        "oidc": bool(settings.oidc.issuer),
        "lti": bool(settings.lti.platform)
        or has_platforms(services.state.engine, services.clock.now()),
        "nodes": settings.nodes.enabled,
        "mail": bool(settings.mail.host),
    }
    has["oidc or lti"] = has["oidc"] or has["lti"]
    return (*(make() for needed, make in OPTIONAL.items() if has[needed]), *FEATURES)

"""The features of the hub: those of every hub, and those of systems that it may not have.

``mograder hub routes`` prints the routes of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from mograder.store.external.external_tables import has_platforms
from mograder.web.hub import (
    calendar,
    client,
    events,
    gradebook,
    home,
    machines,
    mail,
    marks,
    people,
    rehearsal,
    service,
    sessions,
    today,
)
from mograder.web.hub.board import board, help_requests
from mograder.web.hub.copies import (
    copies,
    copy_pages,
    copy_update,
    hand_in,
    submissions,
    timeline,
    updates,
    validation,
)
from mograder.web.hub.core.hub_app import Feature, Services
from mograder.web.hub.items import dates, grading, item_pages, items, publishing, warming
from mograder.web.hub.signin import signin
from mograder.web.marking.routes import MARKING_ROUTES
from mograder.web.route import Route

_COPIES = (*copies.ROUTES, *validation.ROUTES, *hand_in.ROUTES, *submissions.ROUTES)

FEATURES: tuple[Feature, ...] = (
    Feature((*home.ROUTES, *calendar.ROUTES)),
    Feature(_COPIES),
    Feature(copy_pages.ROUTES, copy_pages.open_copy_pages),
    Feature(timeline.ROUTES, timeline.open_versions),
    Feature((*copy_update.ROUTES, *updates.ROUTES), updates.open_updates),
    Feature(sessions.ROUTES),
    Feature((*items.ROUTES, *item_pages.ROUTES, *publishing.ROUTES)),
    Feature(grading.ROUTES, grading.open_grading),
    Feature(warming.ROUTES, warming.open_warming),
    Feature(dates.ROUTES),
    Feature(people.ROUTES, people.open_watch),
    Feature(client.ROUTES, client.open_client),
    Feature(gradebook.ROUTES),
    Feature(today.ROUTES, today.open_numbers),
    Feature((*board.ROUTES, *help_requests.ROUTES), board.open_board),
    Feature(MARKING_ROUTES),
    Feature(marks.ROUTES),
    Feature(rehearsal.ROUTES, rehearsal.open_rehearsals),
    Feature(signin.ROUTES, signin.open_signin),
    Feature((*service.ROUTES, *events.ROUTES)),
)
"""The features of every hub."""


ROUTES: tuple[Route, ...] = tuple(route for feature in FEATURES for route in feature.routes)
"""The routes of every hub."""


def _oidc() -> Feature:
    from mograder.web.hub.signin import oidc  # noqa: PLC0415 - see OPTIONAL

    return Feature(oidc.ROUTES, oidc.open_oidc)


def _lti() -> Feature:
    from mograder.web.hub.lti import launch, pick, register, scores  # noqa: PLC0415
    from mograder.web.hub.lti.service import open_lti  # noqa: PLC0415

    rows = (*launch.ROUTES, *pick.ROUTES, *register.ROUTES, *scores.ROUTES)
    return Feature(rows, open_lti)


def _external_people() -> Feature:
    from mograder.web.hub.signin import external_signin  # noqa: PLC0415 - see OPTIONAL

    return Feature(external_signin.ROUTES)


OPTIONAL: Mapping[str, Callable[[], Feature]] = MappingProxyType(
    {
        "oidc": _oidc,
        "lti": _lti,
        "oidc or lti": _external_people,
        "nodes": lambda: Feature(machines.ROUTES, machines.open_machines),
        "mail": lambda: Feature((), mail.open_mail),
    }
)
"""Each feature that a hub has only with a system, by what it needs.

OpenID Connect and LTI need libraries that a hub without them does not load.
"""


def features_of(services: Services) -> tuple[Feature, ...]:
    """Return the features of a hub; those of learning platforms decide who is let in, so first."""
    settings = services.loaded.settings
    now = services.clock.now()
    has = {
        "oidc": bool(settings.oidc.issuer),
        "lti": bool(settings.lti.platform) or has_platforms(services.state.engine, now),
        "nodes": settings.nodes.enabled,
        "mail": bool(settings.mail.host),
    }
    has["oidc or lti"] = has["oidc"] or has["lti"]
    return (*(make() for needed, make in OPTIONAL.items() if has[needed]), *FEATURES)

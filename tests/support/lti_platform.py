"""A fake learning platform: it speaks LTI 1.3 as the recorded Moodle, and signs with test keys.

Clients reach it by its address; browsers see a course page, frames and a dialogue to pick
assignments. Tests change ``state``, read ``asked``, and let requests go wrong by ``trouble``.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import httpx
from joserfc.errors import JoseError

from tests.support.lti import pages
from tests.support.lti.exchange import Asked, Reply, as_json, error_page, refused
from tests.support.lti.server import serving
from tests.support.lti.services import Services
from tests.support.lti.site import Site, signed_in
from tests.support.lti.state import Activity, Grade, LineItem, Tool, recorded_state
from tests.support.lti.tokens import (
    DEEP_LINKING,
    GRADE_SCOPES,
    LIFETIME,
    RECORDED_PLATFORM,
    ROSTER_SCOPE,
    keys,
    launch_claims,
    picking_claims,
    recording,
    sign,
    verified,
)

_SERVICES = re.compile(r"/mod/lti/services\.php/(\w+)/lineitems(?:/(\d+)/lineitem(/\w+)?)?$")
_MEMBERS = re.compile(r"/mod/lti/services\.php/CourseSection/(\w+)/bindings/(\w+)/memberships$")
_KINDS = {
    "/mod/lti/certs.php": "keys",
    "/mod/lti/token.php": "token",
    "/mod/lti/openid-configuration.php": "configuration",
    "/mod/lti/openid-registration.php": "registration",
}

_NO_HUB = "http://hub.invalid"


class LtiPlatform:
    """A platform with the people, courses and activities of the recordings.

    ``clock`` gives seconds since 1970. ``hub_keys`` is the hub's key set where a test has no hub
    that could be asked for it.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        hub_keys: dict[str, Any] | None = None,
    ) -> None:
        self.hub = _NO_HUB
        self.url = ""
        self.clock = clock
        self.hub_keys = hub_keys
        self.lock = threading.RLock()
        self.state = recorded_state(_NO_HUB)
        self.asked: list[Asked] = []
        self.taken: list[tuple[Asked, int]] = []
        """The posts of scores with the status of their answers, in order."""
        self.picked: list[dict[str, Any]] = []
        """The items that deep linking has brought, in order."""
        self.registered: list[dict[str, Any]] = []
        self.key = "platform"
        self._troubles: dict[str, list[str | int]] = defaultdict(list)
        self._always: dict[str, str | int] = {}
        self._tokens: dict[str, tuple[str, tuple[str, ...], float]] = {}
        self._launches: dict[str, tuple[str, int | str]] = {}
        self._used_registrations: set[str] = set()
        self._number = 0

    # --- what tests ask for -------------------------------------------------------------------

    def serve(self, hub: str) -> None:
        """Let the hub at this address, with its base, be the tool from now on."""
        with self.lock:
            self.hub = hub
            for name, tool in self.state.tools.items():
                self.state.tools[name] = replace(tool, hub=hub)

    def settings(self, client_id: str = "client-full", /, **more: object) -> dict[str, object]:
        """Return the ``[[lti.platform]]`` table for this platform; ``more`` adds and replaces."""
        tool = self.state.tools[client_id]
        return {
            "issuer": self.url,
            "client_id": client_id,
            "deployments": [tool.deployment],
            "courses": ["4"],
            "private_network": True,
            **more,
        }

    def trouble(self, kind: str, *what: str | int) -> None:
        """Answer the next requests of a kind so: a status, or a word of ``lti/exchange.py``.

        Kinds are keys, token, configuration, registration, lineitems, scores, results, members.
        ``redirect:ADDRESS`` redirects.
        """
        with self.lock:
            self._troubles[kind] += what

    def always(self, kind: str, what: str | int | None) -> None:
        """Answer all requests of a kind so, or as usual again."""
        with self.lock:
            self._always.pop(kind, None)
            if what is not None:
                self._always[kind] = what

    def down(self, is_down: bool = True) -> None:
        """Close all connections of the hub without an answer; or be as usual again."""
        for kind in (*_KINDS.values(), "lineitems", "scores", "results", "members"):
            self.always(kind, "closed" if is_down else None)

    def rotate(self) -> None:
        """Sign with another key from now on; both are in the key set."""
        self.key = "platform.rotated"

    def grade(self, username: str, item: LineItem) -> Grade:
        """Return a person's grade, empty if there is none."""
        with self.lock:
            return item.grades.get(self.state.person(username).subject, Grade())

    def override(
        self, username: str, item: LineItem, given: float | None, comment: str = ""
    ) -> None:
        """Change a grade by hand, as a teacher does in the gradebook; None empties it."""
        with self.lock:
            subject = self.state.person(username).subject
            item.grades[subject] = Grade(given, comment, int(self.clock()), overridden=True)

    # --- a launch, step by step ---------------------------------------------------------------

    def initiation(self, username: str, activity: Activity | None = None) -> dict[str, str]:
        """Return the form for the hub's ``/lti/login``; without an activity, to pick one."""
        tool = self.state.tools[activity.client_id if activity else "client-full"]
        subject = self.state.person(username).subject
        with self.lock:
            self._number += 1
            launch = f"ltilaunch{activity.number if activity else '_Content'}_{self._number}"
            self._launches[launch] = (subject, activity.number if activity else "4")
        hint: dict[str, object] = {"cmid": activity.module} if activity else {}
        return {
            "iss": self.url,
            "target_link_uri": tool.target if activity else tool.picking,
            "login_hint": subject,
            "lti_message_hint": json.dumps({**hint, "launchid": launch}, separators=(",", ":")),
            "client_id": tool.client_id,
            "lti_deployment_id": tool.deployment,
        }

    def authenticate(self, location: str) -> tuple[str, dict[str, str]]:
        """Return the form, address and fields, that answers an authentication request."""
        assert location.startswith(f"{self.url}/mod/lti/auth.php?"), location
        asked = Asked("GET", location.removeprefix(self.url), {}, b"")
        return self._authenticated(asked.query)

    def token(self, username: str, activity: Activity, nonce: str, **changed: object) -> str:
        """Return a signed id_token; ``changed`` are members of its claims, None takes one away."""
        tool = self.state.tools[activity.client_id]
        person = self.state.person(username)
        claims = launch_claims(self.url, self.state, tool, person, activity)
        return self._signed({**claims, **changed}, nonce)

    def launch(
        self, browser: httpx.Client, username: str, activity: Activity | None = None
    ) -> httpx.Response:
        """Go through a launch as a browser's tab would; return the answer to the last post.

        ``browser`` has the hub's cookies (:func:`hub_browser`). Where the hub answers the first
        post with a page instead of a redirect, that page is returned.
        """
        headers = self.browser_headers()
        login = self.state.tools["client-full"].login
        form = self.initiation(username, activity)
        first = browser.post(login, data=form, headers=headers, follow_redirects=False)
        own = first.headers.get("location", "").startswith("/")
        if own:  # the hub begins again by a GET of its own
            again = httpx.URL(login).join(first.headers["location"])
            first = browser.get(again, headers=headers, follow_redirects=False)
        if not first.is_redirect:
            return first
        address, fields = self.authenticate(first.headers["location"])
        return browser.post(address, data=fields, headers=headers, follow_redirects=False)

    def browser_headers(self, destination: str = "document") -> dict[str, str]:
        """Return the headers of a form that one of the platform's pages posts to the hub."""
        return {
            "Origin": self.url,
            "Sec-Fetch-Site": "cross-site",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": destination,
        }

    # --- the server ---------------------------------------------------------------------------

    def kind(self, asked: Asked) -> str:
        """Return what a request is about, as ``trouble`` names it; empty for a browser's."""
        if _MEMBERS.match(asked.path):
            return "members"
        found = _SERVICES.match(asked.path)
        if found:
            return (found[3] or "/lineitems").removeprefix("/")
        return _KINDS.get(asked.path, "")

    def next_trouble(self, kind: str) -> str | int | None:
        """Take the next trouble of a kind, or the one for all of its requests."""
        with self.lock:
            queue = self._troubles[kind]
            return queue.pop(0) if queue else self._always.get(kind)

    def answer(self, asked: Asked) -> Reply:
        """Return the answer to a request; ``state`` changes as it says."""
        with self.lock:
            if found := _MEMBERS.match(asked.path):
                return self._members(asked, found[1], found[2])
            if found := _SERVICES.match(asked.path):
                return self._service(asked, found)
        handlers = {
            "/mod/lti/certs.php": self._keys,
            "/mod/lti/token.php": self._token,
            "/mod/lti/openid-configuration.php": self._configuration,
            "/mod/lti/openid-registration.php": self._registration,
            "/mod/lti/auth.php": self._authentication,
            "/mod/lti/contentitem_return.php": self._picked,
        }
        handler = handlers.get(asked.path)
        return handler(asked) if handler else Site(self).answer(asked)

    # --- keys, tokens, registration -----------------------------------------------------------

    def _keys(self, _: Asked) -> Reply:
        return as_json(keys(self.key))

    def _token(self, asked: Asked) -> Reply:
        form = asked.form
        if asked.media_type != "application/x-www-form-urlencoded" or not form.get("scope"):
            return _token_error("invalid_request")
        try:
            claims = verified(form.get("client_assertion", ""), self._keys_of_the_hub())
        except (JoseError, ValueError) as error:
            return _token_error(f'"{type(error).__name__}" invalid')
        if claims.get("iat", 0) > self.clock() + 1:
            return _token_error("Cannot handle token with iat prior to now")
        if claims.get("exp", 0) < self.clock():
            return _token_error("Expired token")
        tool = self.state.tools.get(str(claims.get("sub")))
        if tool is None or claims.get("iss") != tool.client_id:
            return _token_error("invalid_client")
        granted = (*GRADE_SCOPES, ROSTER_SCOPE) if tool.services else ()
        scopes = tuple(each for each in form["scope"].split() if each in granted)
        if not scopes:
            return _token_error("invalid_scope")
        with self.lock:
            self._number += 1
            token = f"access-{self._number:032x}"
            self._tokens[token] = (tool.client_id, scopes, self.clock() + 3600)
        told = {"access_token": token, "token_type": "Bearer", "expires_in": 3600}
        # Moodle sends its JSON as text/html.
        return as_json({**told, "scope": " ".join(scopes)}, "text/html")

    def forget_tokens(self) -> None:
        """Refuse all access tokens given out so far, with 401."""
        with self.lock:
            self._tokens.clear()

    def _configuration(self, _: Asked) -> Reply:
        recorded = recording("moodle-registration")[1]["response"]["json"]
        text = json.dumps(recorded).replace(RECORDED_PLATFORM, self.url)
        return as_json(json.loads(text))

    def _registration(self, asked: Asked) -> Reply:
        if not asked.bearer:
            return Reply(401, b"missing_registration_token", reason="Unauthorized")
        if asked.bearer in self._used_registrations:
            return Reply(401, b"token_already_used", reason="Unauthorized")
        try:
            verified(asked.bearer, keys("platform"))
        except (JoseError, ValueError):
            return error_page()
        told = json.loads(asked.body)
        with self.lock:
            self._used_registrations.add(asked.bearer)
            self.registered.append(told)
            self.state.tools["client-dynamic"] = Tool("client-dynamic", "4", self.hub)
        answer = dict(recording("moodle-registration")[2]["response"]["json"])
        answer |= {name: told[name] for name in told if name in answer}
        configuration = "https://purl.imsglobal.org/spec/lti-tool-configuration"
        answer[configuration] = {
            **told.get(configuration, {}),
            "version": "1.3.0",
            "deployment_id": "4",
        }
        return as_json(answer)

    def registration_address(self, page: str) -> str:
        """Return the address that the administrator's page opens the hub's page with."""
        now = int(self.clock())
        claims = {"sub": "client-dynamic", "scope": "reg", "iat": now, "exp": now + 3600}
        query = {
            "openid_configuration": f"{self.url}/mod/lti/openid-configuration.php",
            "registration_token": sign({**claims, "jti": str(self.clock())}),
        }
        return f"{page}?{urlencode(query)}"

    def _keys_of_the_hub(self) -> dict[str, Any]:
        if self.hub_keys is not None:
            return self.hub_keys
        address = self.state.tools["client-full"].keys
        found: dict[str, Any] = httpx.get(address, timeout=10, trust_env=False).json()
        return found

    # --- services -----------------------------------------------------------------------------

    def _scopes(self, asked: Asked) -> tuple[Tool, tuple[str, ...]] | None:
        client_id, scopes, until = self._tokens.get(asked.bearer, ("", (), 0.0))
        if not client_id or until < self.clock():
            return None
        return self.state.tools[client_id], scopes

    def _service(self, asked: Asked, found: re.Match[str]) -> Reply:
        allowed = self._scopes(asked)
        if allowed is None:
            return refused(asked, 401, "Unauthorized")
        services, scopes = Services(self.url, self.state), allowed[1]
        course, number, action = found[1], int(found[2] or 0), found[3]
        if action == "/scores":
            reply = services.scores(asked, course, number, scopes)
            self.taken.append((asked, reply.status))
            return reply
        if action == "/results":
            return services.results(asked, course, number, scopes)
        return services.line_items(asked, course, scopes)

    def _members(self, asked: Asked, course: str, type_id: str) -> Reply:
        allowed = self._scopes(asked)
        if allowed is None or allowed[0].type_id != type_id:
            return refused(asked, 401, "Unauthorized")
        services = Services(self.url, self.state)
        return services.members(asked, course, allowed[0], allowed[1])

    # --- pages --------------------------------------------------------------------------------

    def _authentication(self, asked: Asked) -> Reply:
        query = asked.form if asked.method == "POST" else asked.query
        viewer = signed_in(asked)
        if viewer and viewer != query.get("login_hint"):
            return error_page()
        try:
            address, fields = self._authenticated(query)
        except LookupError:
            return error_page()
        return pages.posting_form(address, fields)

    def _authenticated(self, query: dict[str, str]) -> tuple[str, dict[str, str]]:
        """Return the form for the hub; raise ``LookupError`` where only a page comes."""
        hint = json.loads(query["lti_message_hint"])
        right = {"scope": "openid", "response_type": "id_token"}
        if any(query.get(name) != value for name, value in right.items()):
            raise LookupError("wrong scope or type")
        with self.lock:
            subject, place = self._launches.pop(hint["launchid"])
        activity = self.state.activities[place] if isinstance(place, int) else None
        tool = self.state.tools[activity.client_id if activity else "client-full"]
        if query["redirect_uri"] not in (tool.target, tool.picking):
            raise LookupError("wrong address")
        state = re.sub(r"<[^>]*>", "", query.get("state", ""))
        error = ""
        if query.get("client_id") != tool.client_id:
            error = "unauthorized_client"
        elif query.get("prompt", "none") != "none" or query.get("response_mode") != "form_post":
            error = "invalid_request"
        elif query.get("login_hint") != subject:
            error = "access_denied"
        if error:
            return query["redirect_uri"], {"error": error, "state": state}
        person = self.state.people[subject]
        if activity is None:
            claims = picking_claims(self.url, self.state, tool, person, str(place))
        else:
            claims = launch_claims(self.url, self.state, tool, person, activity)
        token = self._signed(claims, query["nonce"])
        return query["redirect_uri"], {"id_token": token, "state": state}

    def _signed(self, claims: dict[str, Any], nonce: str) -> str:
        now = int(self.clock())
        times = {"nonce": nonce, "iat": now, "exp": now + LIFETIME}
        told = {name: value for name, value in {**times, **claims}.items() if value is not None}
        return sign(told, self.key)

    def _picked(self, asked: Asked) -> Reply:
        try:
            claims = verified(asked.form.get("JWT", ""), self._keys_of_the_hub())
        except (JoseError, ValueError):
            return error_page()
        if claims.get("exp", 0) < self.clock():
            return error_page()
        items = claims[f"{DEEP_LINKING}content_items"]
        with self.lock:
            self.picked += items
            for each in items:
                self._add_picked(each)
        return pages.picked([each["title"] for each in items])

    def _add_picked(self, item: dict[str, Any]) -> None:
        """Add the activity that the teacher would save."""
        line_item = item.get("lineItem", {})
        added = self.state.add_activity(
            item["title"],
            item.get("custom", {}).get("item", ""),
            line_item.get("scoreMaximum", 100),
            line_item.get("resourceId", ""),
        )
        made = self.state.line_item_of(added)
        assert made is not None
        made.tag = line_item.get("tag", "")


@contextlib.contextmanager
def lti_platform(
    *,
    host: str = "127.0.0.1",
    clock: Callable[[], float] = time.time,
    hub_keys: dict[str, Any] | None = None,
) -> Iterator[LtiPlatform]:
    """Serve a platform on a free port of this machine, by a name of it: 127.0.0.1 or localhost."""
    platform = LtiPlatform(clock=clock, hub_keys=hub_keys)
    with serving(platform) as port:
        platform.url = f"http://{host}:{port}"
        yield platform


def _token_error(error: str) -> Reply:
    """Errors are not always JSON, since quotation marks in them are not escaped."""
    text = f'{{\n  "error" : "{error}"\n}}'
    return Reply(400, text.encode(), "text/html", "Bad Request")

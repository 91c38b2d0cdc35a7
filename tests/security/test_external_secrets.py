"""Logs, the audit log and ``mograder hub check`` hold nothing that signs somebody in.

A real hub goes through good and bad sign-ins with a real provider and a fake platform; then all
that was secret on the way is searched for in everything that it wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.support.course import put_release
from tests.support.hub import HubProcess, run_mograder
from tests.support.hub_browser import hub_browser
from tests.support.identity import instructor
from tests.support.lti.tokens import sign
from tests.support.lti_platform import LtiPlatform, lti_platform
from tests.support.oidc_provider import SECRET, OpenIdProvider
from tests.support.shared_hub import TINY, notebook

pytestmark = pytest.mark.full

_STRANGERS = sign({"iss": "https://moodle.example.org", "sub": "13"}, "stranger")
_NO_STATE = "canary-state-canary-state-canary-state-0000"


@dataclass
class Watched:
    """A hub, and the secrets that went through it."""

    hub: HubProcess
    platform: LtiPlatform
    provider: OpenIdProvider
    secrets: set[str] = field(default_factory=set)

    def note(self, *texts: str) -> None:
        """Remember secrets: of a token each part, since a part of it is one too."""
        for text in texts:
            self.secrets |= {each for each in text.split(".") if len(each) >= 16}

    def note_query(self, address: str) -> None:
        """Remember what an address carries."""
        self.note(*httpx.URL(address).params.values())


@pytest.fixture
def watched(
    start_hub: Callable[..., HubProcess], work_directory: Path, tmp_path: Path
) -> Iterator[Watched]:
    course = work_directory / "course"
    course.mkdir()
    put_release(course, TINY, notebook())
    secret = work_directory / "client-secret"
    secret.write_text(SECRET)
    with ExitStack() as stack:
        platform = stack.enter_context(lti_platform())
        provider = stack.enter_context(OpenIdProvider(tmp_path / "provider.log"))
        settings = {
            "hub.public_url": "http://127.0.0.1:{port}",
            "lti.platform": [platform.settings()],
            **provider.settings(client_secret_file=str(secret), private_network=True),
        }
        hub = start_hub(course, settings=settings)
        platform.serve(hub.url)
        provider.serve(hub.url)
        yield Watched(hub, platform, provider, {SECRET, hub.config.secret})


def go_wrong_at_the_platform(watched: Watched) -> None:
    """Launch with a stranger's token and with a state of nobody's; then well, and once more."""
    assert launch(watched, lambda good: {**good, "id_token": _STRANGERS}) == [403, 403]
    assert launch(watched, lambda good: {**good, "state": _NO_STATE}) == [403, 403]
    assert launch(watched, lambda good: good) == [303, 403]


def launch(watched: Watched, spoil: Callable[[dict[str, str]], dict[str, str]]) -> list[int]:
    """Launch twice with the same fields in a new browser; return both statuses."""
    platform, hub = watched.platform, watched.hub
    activity, headers = platform.state.activities[1], platform.browser_headers()
    with hub_browser() as browser:
        form = platform.initiation("alice", activity)
        watched.note(form["lti_message_hint"])
        begun = browser.post(f"{hub.url}/lti/login", data=form, headers=headers)
        while begun.headers["location"].startswith("/"):
            begun = browser.get(f"{hub.url}{begun.headers['location']}", headers=headers)
        watched.note_query(begun.headers["location"])
        _, good = platform.authenticate(begun.headers["location"])
        fields = spoil(good)
        watched.note(good["id_token"], *fields.values())
        watched.note(*(each.value or "" for each in browser.cookies.jar))
        path = f"{hub.url}/lti/launch"
        return [browser.post(path, data=fields, headers=headers).status_code for _ in range(2)]


def go_wrong_at_the_provider(watched: Watched) -> None:
    """Sign in well, with the same code again, with an error, and sign out."""
    provider, hub = watched.provider, watched.hub
    with hub_browser() as browser:
        start = browser.get(f"{hub.url}/auth/oidc/start").headers["location"]
        watched.note_query(start)
        way = provider.sign_in(browser, start)
        watched.note_query(way)
        assert browser.get(way).status_code == httpx.codes.SEE_OTHER
        assert browser.get(way).status_code == httpx.codes.FORBIDDEN
        start = browser.get(f"{hub.url}/auth/oidc/start").headers["location"]
        state = httpx.URL(start).params["state"]
        told = {
            "error": "access_denied",
            "error_description": "canary-description-0123456789",
            "state": state,
            "iss": provider.issuer,
        }
        watched.note(*told.values())
        watched.secrets -= {provider.issuer, *provider.issuer.split(".")}
        denied = browser.get(f"{hub.url}/auth/oidc/back", params=told)
        assert denied.status_code == httpx.codes.FORBIDDEN
        assert "canary-description" not in denied.text
        provider.sign_out(browser)
        token = "e30.e30.canary-logout-token-0123456789"
        watched.note(token)
        path = f"{hub.url}/auth/oidc/backchannel-logout"
        assert browser.post(path, data={"logout_token": token}).status_code == 400


def test_nothing_that_the_hub_writes_signs_anybody_in(watched: Watched) -> None:
    go_wrong_at_the_platform(watched)
    go_wrong_at_the_provider(watched)
    hub = watched.hub
    with hub.client(instructor()) as client:
        audit = client.get("/audit", params={"limit": "500"}).text
        log_page = client.get("/course/log", headers={"Accept": "text/html"}).text
    checked = run_mograder("hub", "check", cwd=hub.course, env=hub.environment())
    written = {
        "log": hub.log_text(),
        "audit": audit,
        "page": log_page,
        "check": checked.output + checked.errors,
    }
    # The search would find something: these are there.
    assert "POST /lti/launch" in written["log"]
    assert watched.platform.url in written["audit"]
    assert len(watched.secrets) > 20
    found = {
        (name, each) for name, text in written.items() for each in watched.secrets if each in text
    }
    assert found == set()
    assert not re.search(r"eyJ[A-Za-z0-9_-]{20,}", "".join(written.values()))

"""Two hub processes with one PostgreSQL: what counts once counts once for both together.

Launches, ways back from the provider, messages of sign-outs and picked items are sent to both at
the same moment, by the browser that began them or by a thief of all that it sent.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.support.course import put_release
from tests.support.hub import HubConfig, HubProcess
from tests.support.hub_browser import hub_browser
from tests.support.lti_platform import LtiPlatform, lti_platform
from tests.support.oidc_provider import SECRET, OpenIdProvider
from tests.support.postgres import PostgresServer
from tests.support.shared_hub import TINY, notebook, until

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

_ROUNDS = 4
_LOGIN = "mograder_session="


@dataclass(frozen=True, slots=True)
class Twins:
    """Two hubs behind one address, which is the first one's."""

    hubs: tuple[HubProcess, HubProcess]
    platform: LtiPlatform
    provider: OpenIdProvider
    logouts: queue.Queue[bytes]

    def at_once(self, send: Callable[[HubProcess], httpx.Response]) -> list[httpx.Response]:
        """Send to both hubs at the same moment."""
        together = threading.Barrier(2)

        def go(hub: HubProcess) -> httpx.Response:
            together.wait(timeout=30)
            return send(hub)

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(go, self.hubs))


@contextmanager
def recorder(told: queue.Queue[bytes]) -> Iterator[str]:
    """Take the provider's messages of sign-outs, so that a test can send them on."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def twins(postgres: PostgresServer, tmp_path: Path) -> Iterator[Twins]:
    """Both hubs, started one after the other."""
    told: queue.Queue[bytes] = queue.Queue()
    secret = tmp_path / "client-secret"
    secret.write_text(SECRET)
    with ExitStack() as stack:
        platform = stack.enter_context(lti_platform())
        provider = stack.enter_context(OpenIdProvider(tmp_path / "provider.log"))
        settings: dict[str, object] = {
            "database.url": postgres.new_database(),
            "hub.public_url": "http://127.0.0.1:{port}",
            "limits.warm_environments": 0,  # no session is started, so none is prepared either
            "lti.platform": [platform.settings()],
            **provider.settings(client_secret_file=str(secret), private_network=True),
        }
        hubs = []
        for name in ("one", "two"):
            course = tmp_path / name / "c"
            course.mkdir(parents=True)
            put_release(course, TINY, notebook())
            own = {**settings, "hub.runtime_dir": str(tmp_path / name / "run")}
            made = HubProcess(course, tmp_path / f"{name}.log", HubConfig(settings=own))
            hubs.append(stack.enter_context(made))
            settings["hub.public_url"] = hubs[0].url
        platform.serve(hubs[0].url)
        provider.serve(stack.enter_context(recorder(told)), hubs[0].url)
        yield Twins((hubs[0], hubs[1]), platform, provider, told)


def cookies_of(browser: httpx.Client) -> dict[str, str]:
    """What a thief of the browser's cookies would send."""
    return {"Cookie": "; ".join(f"{each.name}={each.value}" for each in browser.cookies.jar)}


def logins(answers: list[httpx.Response]) -> int:
    """How many answers sign somebody in."""
    return sum(_LOGIN in each.headers.get("set-cookie", "") for each in answers)


def launch_under_way(
    twins: Twins, browser: httpx.Client, name: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Begin a launch at the first hub; return the platform's form and the browser's headers."""
    platform, first = twins.platform, twins.hubs[0]
    activity = platform.state.activities[1] if name == "alice" else None
    headers = platform.browser_headers("document" if activity else "iframe")
    form = platform.initiation(name, activity)
    begun = browser.post(f"{first.url}/lti/login", data=form, headers=headers)
    if begun.headers["location"].startswith("/"):
        begun = browser.get(f"{first.url}{begun.headers['location']}", headers=headers)
    _, fields = platform.authenticate(begun.headers["location"])
    return fields, {**headers, **cookies_of(browser)}


def test_of_two_equal_launches_one_signs_in(twins: Twins) -> None:
    for _ in range(_ROUNDS):
        with hub_browser() as browser:
            fields, headers = launch_under_way(twins, browser, "alice")

        def post(
            hub: HubProcess, fields: dict[str, str] = fields, headers: dict[str, str] = headers
        ) -> httpx.Response:
            with hub.client(headers) as client:
                return client.post("/lti/launch", data=fields)

        answers = twins.at_once(post)
        assert sorted(each.status_code for each in answers) == [303, 403]
        assert logins(answers) == 1
        assert logins([post(hub) for hub in twins.hubs]) == 0


def test_of_two_equal_answers_of_a_dialogue_one_counts(twins: Twins) -> None:
    with hub_browser() as browser:
        fields, headers = launch_under_way(twins, browser, "teach1")
        page = browser.post(f"{twins.hubs[0].url}/lti/launch", data=fields, headers=headers)
    handle = re.search(r'name="handle" value="([^"]+)"', page.text)
    assert handle is not None, page.text

    def pick(hub: HubProcess) -> httpx.Response:
        own = {**headers, "Origin": twins.hubs[0].url, "Sec-Fetch-Site": "same-origin"}
        with hub.client(own) as client:
            return client.post("/lti/pick", data={"handle": handle[1], "item1": TINY})

    answers = twins.at_once(pick)
    assert sorted(each.status_code for each in answers) == [200, 400]
    assert sum('name="JWT"' in each.text for each in answers) == 1


def test_of_two_equal_ways_back_from_the_provider_at_most_one_signs_in(twins: Twins) -> None:
    for _ in range(_ROUNDS):
        with hub_browser() as browser:
            start = browser.get(f"{twins.hubs[0].url}/auth/oidc/start")
            way = httpx.URL(twins.provider.sign_in(browser, start.headers["location"]))
            headers = cookies_of(browser)

        def come(
            hub: HubProcess, way: httpx.URL = way, headers: dict[str, str] = headers
        ) -> httpx.Response:
            with hub.client(headers) as client:
                return client.get(way.raw_path.decode())

        # The provider takes a code twice for a theft, and may give neither what it stands for.
        assert logins(twins.at_once(come)) <= 1
        assert logins([come(hub) for hub in twins.hubs]) == 0


def test_a_message_of_a_sign_out_counts_once_and_ends_the_login_at_both(twins: Twins) -> None:
    first, second = twins.hubs
    with hub_browser() as browser:
        start = browser.get(f"{first.url}/auth/oidc/start")
        way = twins.provider.sign_in(browser, start.headers["location"])
        assert browser.get(way).status_code == httpx.codes.SEE_OTHER
        for hub in twins.hubs:
            assert browser.get(f"{hub.url}/assignments").is_success
        twins.provider.sign_out(browser)
        told = twins.logouts.get(timeout=30)

        def send(hub: HubProcess) -> httpx.Response:
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            with hub.client(kind) as client:
                return client.post("/auth/oidc/backchannel-logout", content=told)

        answers = twins.at_once(send)
        assert sorted(each.status_code for each in answers) == [200, 400]
        assert browser.get(f"{first.url}/assignments").status_code == httpx.codes.FORBIDDEN
        ended_there_too(browser, second)


def ended_there_too(browser: httpx.Client, hub: HubProcess) -> None:
    """The other process reads revocations now and then."""
    forbidden = httpx.codes.FORBIDDEN
    until(lambda: browser.get(f"{hub.url}/assignments").status_code == forbidden)

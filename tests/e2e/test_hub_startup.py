"""A hub as an administrator starts it: its log, its browser, its settings (B45, B80, B107, …)."""

from __future__ import annotations

import json
import resource
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from mograder.core.settings import load_settings
from tests.support.course import REPOSITORY
from tests.support.hub import HubConfig, HubProcess
from tests.support.identity import SECRET, bearer, token
from tests.support.shared_hub import notebook, until

pytestmark = pytest.mark.full

_BROWSER = '#!/bin/sh\nprintf "%s" "$1" > "$(dirname "$0")/opened"\n'
_SETTINGS = {
    "hub.release_dir": "published",
    "hub.notebooks_dir": "work",
    "hub.trusted_header": "X-Person",
}


class OpenHub(HubProcess):
    """A hub that was started without ``--headless``, with the usual limit of open files."""

    def command(self) -> list[str]:
        own = [word for word in super().command() if word != "--headless"]
        return ["prlimit", "--nofile=1024:", *own]


@pytest.fixture(scope="module")
def hub() -> Iterator[HubProcess]:
    """A hub with an item and its own directories, and a person's browser."""
    with tempfile.TemporaryDirectory(prefix="mograder-test-", dir="/var/tmp") as place:
        browser = Path(place) / "browser"
        browser.write_text(_BROWSER)
        browser.chmod(0o755)
        course = Path(place) / "c"
        item = course / "published" / "T1"
        item.mkdir(parents=True)
        (item / "T1.py").write_text(notebook())
        (item / "files.json").write_text(json.dumps({"files": ["T1.py"], "type": "assignment"}))
        log = REPOSITORY / "artifacts" / "starting.log"
        log.parent.mkdir(exist_ok=True)
        log.unlink(missing_ok=True)
        config = HubConfig(settings=_SETTINGS, env={"BROWSER": f"{browser} %s"})
        with OpenHub(course, log, config) as hub:
            yield hub


def test_b80_without_headless_a_browser_opens_the_hub(hub: HubProcess) -> None:
    opened = hub.course.parent / "opened"
    until(lambda: opened.exists() and opened.read_text() != "")
    assert opened.read_text().startswith(f"{hub.url}/")


def test_b45_all_that_happens_is_told_at_once_on_the_output_that_journald_reads(
    hub: HubProcess,
) -> None:
    """A line for each event while the hub runs, in no file instead, and no secret in any line."""
    with hub.client(bearer(token("alice"))) as client:
        client.get("/assignments")
        client.get("/export/bob/T1")
    for event in ("GET /assignments 200", "GET /export/bob/T1 403"):
        # It is told when the answer has been given: a client may be quicker.
        hub.wait_until(partial(_is_told, hub, event), 60)
    lines = hub.log.read_text().splitlines()
    assert not any(SECRET in line or token("alice") in line for line in lines)
    assert not any("\x1b" in line for line in lines), "no colours where nobody sees them"
    assert not any("mograder.access" in log.read_text() for log in hub.course.rglob("*.log"))


def _is_told(hub: HubProcess, event: str) -> bool:
    return event in hub.log.read_text()


def test_b107_b108_b110_the_course_names_its_directories_and_header(hub: HubProcess) -> None:
    with hub.client({"X-Person": "carol"}) as client:
        assert [each["name"] for each in client.get("/assignments").json()] == ["T1"]
        assert client.post("/download-release/carol/T1").status_code == 200
    assert (hub.course / "work" / "carol" / "T1" / "T1.py").read_text() == notebook()
    assert not (hub.course / "hub-notebooks").exists()
    with hub.client({"X-Remote-User": "carol"}) as client:
        assert client.get("/assignments").status_code == 403
    assert load_settings(hub.course).settings.hub.release_dir == "published"


def test_the_hub_may_open_more_files_than_a_shell_or_a_unit_allows_it(hub: HubProcess) -> None:
    """A class of 300 at their notebooks needs more than 1024."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    assert resource.prlimit(hub.pid, resource.RLIMIT_NOFILE)[0] == wanted

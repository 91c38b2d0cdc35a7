"""Another page in the student's browser, even one of this machine, cannot drive the dashboard."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.support.browser import People
from tests.support.http_server import Quiet, answering
from tests.support.shared_hub import SharedCaches
from tests.support.student_dashboard import PI, DashboardSetup, register, served_course

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]

ATTACK = """<!doctype html><title>attacking</title><iframe name="sink" hidden></iframe>
<iframe src="{url}/" id="framed"></iframe>
<script>
const pages = ["/", "/sign-in", "/feedback/{item}/0", "/receipt/{item}/file"];
const deeds = ["/logout", "/sync", "/fetch/{item}", "/submit/{item}", "/edit/{item}"];
async function attack() {{
  const found = [];
  for (const path of pages) {{
    const answer = await fetch("{url}" + path, {{ credentials: "include" }}).catch(() => null);
    if (answer) found.push(path);
  }}
  const wish = {{ method: "POST", mode: "no-cors", credentials: "include" }};
  for (const path of deeds) await fetch("{url}" + path, wish).catch(() => null);
  const form = document.createElement("form");
  form.method = "post"; form.action = "{url}/logout"; form.target = "sink";
  document.body.append(form); form.submit();
  document.querySelector("[name=sink]").addEventListener("load", () => {{
    document.title = found.length ? "read " + found : "read nothing";
  }});
}}
attack();
</script>"""


@pytest.fixture(scope="module")
def scene(uv_cache: Path, run_directory: Path) -> Iterator[DashboardSetup]:
    with served_course("student-security", SharedCaches(uv_cache, run_directory)) as scene:
        yield scene


def asked_by(uid: int, port: int, path: str) -> str:
    """The status line that a user of this machine gets."""
    wish = f"GET {path} HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\n\\r\\n"
    script = f"exec 3<>/dev/tcp/127.0.0.1/{port}; printf '{wish}' >&3; head -n 1 <&3"
    command = ["bash", "-c", script]
    return subprocess.run(command, user=uid, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be another user")
def test_the_link_of_another_user_of_this_machine_is_of_no_use(scene: DashboardSetup) -> None:
    """The browser has the link among its arguments, which every user can read."""
    with scene.dashboard("neighbour") as dashboard:
        link = dashboard.link.partition(str(dashboard.port))[2]
        for path in (link, "/", "/health"):
            assert "403" in asked_by(65_534, dashboard.port, path)
        assert "303" in asked_by(0, dashboard.port, link)


@contextmanager
def page_on_another_port(html: str) -> Iterator[int]:
    """A web page that another program serves on this machine."""

    class Handler(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

    with answering(Handler) as url:
        yield int(url.rpartition(":")[2])


async def test_a_page_of_another_port_can_neither_read_nor_press_anything(
    scene: DashboardSetup, people: People
) -> None:
    """The same host name, so that the browser sends our cookie along: cookies know no ports."""
    name = "victim"
    with scene.dashboard(name) as dashboard:
        person = await people.person(name)
        own = await register(person, dashboard, name)
        await own.get_by_role("button", name=f"Download {PI}").click()
        await expect(own.get_by_text(f"{PI} is yours now.")).to_be_visible()
        with page_on_another_port(ATTACK.format(url=dashboard.url, item=PI)) as port:
            evil = await person.open(f"http://127.0.0.1:{port}/")
            await expect(evil).to_have_title("read nothing")
            framed = evil.frame_locator("#framed").get_by_text("Your assignments")
            await expect(framed).to_have_count(0)
            await evil.close()
        await own.goto(f"{dashboard.url}/")
        await expect(own.get_by_role("link", name="Sign out")).to_be_visible()
        await expect(own.get_by_text("Nothing is running.")).to_be_visible()
        assert not list(scene.server.root.rglob(f"{name}_2*.py")), "nothing was submitted"

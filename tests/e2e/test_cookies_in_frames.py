"""What Chromium does with cookies in frames: the facts that launches by a platform rest on.

Third-party cookies are blocked, as people's browsers do. A page of one site shows a page of
another, once in a frame and once in a tab; that sets cookies, and a form of the first site is
posted to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.http_server import Quiet, answering
from tests.support.two_sites import strict_profile

pytestmark = pytest.mark.full

KINDS = {
    "lax": "SameSite=Lax",
    "none": "SameSite=None; Secure",
    "partitioned": "SameSite=None; Secure; Partitioned",
}


class Tool(Quiet):
    """``/begin`` sets the cookies and goes back to the other site, whose form posts to ``/end``."""

    seen: dict[str, str]

    def do_GET(self) -> None:
        host, _, port = self.headers["Host"].partition(":")
        if self.path == "/begin":
            self.send_response(303)
            for name, kind in KINDS.items():
                self.send_header("Set-Cookie", f"{name}=1; Path=/; HttpOnly; {kind}")
            self.send_header("Location", f"http://localhost:{port}/form")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        other = f"http://127.0.0.1:{port}"
        frame = f'<iframe src="{other}/begin"></iframe>'
        form = f'<form action="{other}/end" method="post"></form>'
        pages = {
            "/frame": frame,
            "/tab": f'<a href="{other}/begin">Begin</a>',
            "/form": f"{form}<script>document.forms[0].submit()</script>",
        }
        self._page(pages.get(self.path, host))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        names = sorted(each.split("=")[0] for each in self.headers.get("Cookie", "").split("; "))
        self.seen[self.headers["Sec-Fetch-Dest"]] = " ".join(names)
        self._page("<p>the end</p>")

    def _page(self, body: str) -> None:
        content = f"<!doctype html><title>Page</title>{body}".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def tool(seen: dict[str, str]) -> Iterator[int]:
    """Serve the pages of both sites on one port; give it."""
    with answering(Tool, seen=seen) as url:
        yield int(url.rpartition(":")[2])


async def test_a_partitioned_cookie_alone_comes_back_in_a_frame(tmp_path: Path) -> None:
    seen: dict[str, str] = {}
    with tool(seen) as port:
        async with strict_profile(tmp_path / "framed") as context:
            page = await context.new_page()
            await page.goto(f"http://localhost:{port}/frame")
            await page.frame_locator("iframe").get_by_text("the end").wait_for()
        async with strict_profile(tmp_path / "tab") as context:
            page = await context.new_page()
            await page.goto(f"http://localhost:{port}/tab")
            await page.get_by_role("link", name="Begin").click()
            await page.get_by_text("the end").wait_for()
    assert seen == {"iframe": "partitioned", "document": "none partitioned"}

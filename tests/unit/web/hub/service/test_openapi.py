"""The description of the API, and the page that shows it."""

from __future__ import annotations

import re

from mograder.web.hub.app import ROUTES
from mograder.web.hub.service import viewer_file
from tests.support.hub_app import Hub


def test_a_summary_holds_no_marks_for_readers_of_the_code() -> None:
    summaries = [door.summary for door in ROUTES if door.chapter]
    assert [
        each for each in summaries if not each or re.search(r"\bB\d|\.md|`|:class:", each)
    ] == []


async def test_the_page_of_the_api_needs_no_other_host(hub: Hub) -> None:
    async with hub.client("alice", browser=True) as client:
        page = (await client.get("/api/docs")).text
        schema = (await client.get("/api/openapi.json")).text
        addresses = re.findall(r'(?:src|href|data-document)="([^"]+)"', page)
        answers = [await client.get(address) for address in addresses]
    assert "/start-edit-deep/{a}" in schema
    assert any("swagger-ui-bundle" in address for address in addresses)
    assert [answer.status_code for answer in answers] == [200] * len(addresses)
    kept = [each.headers["cache-control"] for each in answers if "/static/" in str(each.url)]
    assert len(kept) > 2
    assert all("immutable" in each for each in kept), "they are large"
    assert page.startswith("<!doctype html>")
    assert all(re.match("/(?!/)", address) for address in addresses)
    assert "<script>" not in page
    assert "style=" not in page


async def test_nothing_is_kept_for_the_name_of_a_file_that_does_not_exist(hub: Hub) -> None:
    async with hub.client() as client:
        for number in range(20):
            assert (await client.get(f"/static/x/{number}.css")).status_code == 404
    assert viewer_file.cache_info().currsize <= 2

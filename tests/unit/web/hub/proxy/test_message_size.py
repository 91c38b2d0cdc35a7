"""The size of a WebSocket message, for the rates and the counters."""

from __future__ import annotations

import pytest

from mograder.web.hub.proxy.websocket_relay import size_of


@pytest.mark.parametrize("data", ["", "abc", "hé €", b"\x00\xff", "\ud800"])
def test_a_message_counts_as_what_goes_over_the_wire(data: str | bytes) -> None:
    wire = data if isinstance(data, bytes) else data.encode("utf-8", "replace")
    assert size_of(data) == len(wire)

"""A hub that waits answers on the socket that it is to serve later."""

from __future__ import annotations

import contextlib
import socket
import struct

from mograder.core.systemd import NO_SERVICE
from mograder.web.hub.server import standing_by
from mograder.web.serving import LOOPBACK, bind

_LONGEST_AT = 28
"""Where ``tcp_info`` has the length of a listening socket's queue (``tcpi_sacked``)."""


def queue_length(listener: socket.socket) -> int:
    """Return how many connections the kernel holds until they are accepted."""
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    length: int = struct.unpack_from("I", info, _LONGEST_AT)[0]
    return length


async def test_as_many_connections_as_before_wait_for_the_hub_that_takes_over() -> None:
    with contextlib.closing(bind(LOOPBACK, 0)) as listener:
        before = queue_length(listener)
        async with standing_by(listener, NO_SERVICE):
            assert queue_length(listener) == before
        assert queue_length(listener) == before

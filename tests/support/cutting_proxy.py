"""A bad network: connections to a server that break after so many bytes of its answer."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class BadNetwork:
    """``cuts``: after how many bytes each next connection for a big answer breaks."""

    url: str
    cuts: list[int] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    """The ``Range`` of each request for a file, empty where there was none."""


@contextmanager
def bad_network(url: str, cuts: Sequence[int], path: str) -> Iterator[BadNetwork]:
    """Forward to a server; answers for ``path`` are cut after the bytes in ``cuts``, one each."""
    target = urlsplit(url)
    assert target.hostname
    assert target.port
    far = (target.hostname, target.port)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        network = BadNetwork(f"http://127.0.0.1:{listener.getsockname()[1]}", list(cuts))
        thread = threading.Thread(target=_accept, args=(listener, far, network, path))
        thread.start()
        try:
            yield network
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _accept(listener: socket.socket, far: tuple[str, int], network: BadNetwork, path: str) -> None:
    """Serve one connection after the other, each for one request."""
    while True:
        try:
            near, _ = listener.accept()
        except OSError:
            return
        with near, socket.create_connection(far, timeout=30) as server, suppress(OSError):
            near.settimeout(30)
            _forward(near, server, network, path)


def _forward(near: socket.socket, server: socket.socket, network: BadNetwork, path: str) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        head += near.recv(65536)
    # One request a connection, so that the next one comes to us again.
    server.sendall(head.replace(b"keep-alive", b"close"))
    left: int | None = None
    if path.encode() in head.partition(b"\r\n")[0]:
        found = re.search(rb"(?mi)^range: (.*?)\r$", head)
        network.ranges.append(found[1].decode() if found else "")
        left = network.cuts.pop(0) if network.cuts else None
    while data := server.recv(65536):
        near.sendall(data if left is None else data[:left])
        left = None if left is None else left - len(data)
        if left is not None and left <= 0:
            return

"""HTTP servers of tests, in threads of their process."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Quiet(BaseHTTPRequestHandler):
    """Logs nothing to the tests' stderr."""

    disable_nagle_algorithm = True
    """The head and the body of an answer are two writes; else the second waits for 40 ms."""

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@contextmanager
def answering(
    handler: Callable[..., BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None, **known: Any
) -> Iterator[str]:
    """Answer requests at the yielded address; ``known`` are attributes of the handler's class."""
    if known:
        assert isinstance(handler, type)
        handler = type("Handler", (handler,), known)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http{'s' * (tls is not None)}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()

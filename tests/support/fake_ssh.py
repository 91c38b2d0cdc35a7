"""A stand-in for ssh: forwards the port of ``-L`` to this machine, and notes how it was called.

Run as a program. The host's name selects the behaviour: ``denied`` prints ssh's message and fails,
``silent`` fails without one, ``deaf`` never listens; every other name forwards.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from pathlib import Path


def main(argv: list[str]) -> int:
    """Forward, or fail as the host's name demands."""
    Path(os.environ["FORWARDER_NOTES"]).write_text(json.dumps({"pid": os.getpid(), "argv": argv}))
    host = argv[-1]
    if host == "denied":
        sys.stderr.write("ann@denied: Permission denied (publickey).\r\n")
        return 255
    if host == "silent":
        return 3
    if host == "deaf":
        threading.Event().wait()
    address, port, _, target = argv[argv.index("-L") + 1].split(":")
    with socket.create_server((address, int(port))) as listener:
        while True:
            near, _ = listener.accept()
            threading.Thread(target=_join, args=(near, int(target)), daemon=True).start()


def _join(near: socket.socket, port: int) -> None:
    far = socket.create_connection(("127.0.0.1", port))
    back = threading.Thread(target=_pump, args=(far, near), daemon=True)
    back.start()
    _pump(near, far)
    back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

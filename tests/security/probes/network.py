"""Attempts on the network and on the sockets of others."""

from __future__ import annotations

import errno
import os
import socket
import struct
from functools import partial

from tests.security.probes.attempts import Hints, attempt, that_work

ALLOWED_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
LAST_FAMILY = 46
RTM_NEWLINK, RTM_SETLINK, RTM_NEWADDR, RTM_NEWROUTE = 16, 19, 20, 24
NLMSG_ERROR = 2
NETLINK_ROUTE, NETLINK_AUDIT = 0, 9


@attempt("dials an address of the host", unsandboxed=True)
def dials(hints: Hints) -> object:
    tries = {}
    for host in hints["addresses"]:
        for port in hints["ports"]:
            tries[f"{host} {port}"] = partial(connect_websocket, host, port)
    return that_work(tries)


def connect_websocket(host: str, port: int) -> str:
    """Connect by TCP. Raises: :class:`OSError`."""
    with socket.create_connection((host, port), timeout=2):
        return "connected"


@attempt("sends a packet to the outside")
def sends(hints: Hints) -> object:
    return that_work({host: partial(send, host) for host in hints["outside"]})


def send(host: str) -> int:
    """Send by UDP, without a handshake. Raises: :class:`OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        return sender.sendto(b"x", (host, 53))


@attempt("connects to a socket file of the host", unsandboxed=True)
def connects(hints: Hints) -> object:
    return that_work({path: partial(dial_unix, path) for path in hints["sockets"]})


@attempt("connects to a socket of the host or a neighbour that has a name only", unsandboxed=True)
def connects_by_name(hints: Hints) -> object:
    return that_work({n: partial(dial_unix, "\0" + n) for n in hints["abstract_sockets"]})


def dial_unix(path: str) -> str:
    """Connect to a Unix socket. Raises: :class:`OSError`."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    return "connected"


@attempt("learns of the host's sockets", unsandboxed=True)
def lists_sockets(hints: Hints) -> object:
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
        listed = file.read()
    names = (*hints["abstract_sockets"], *hints["sockets"])
    return [name for name in names if name in listed]


@attempt("has an interface or a route besides its own loopback", unsandboxed=True)
def has_interfaces(_: Hints) -> object:
    with open("/proc/net/route") as file:
        routes = [line.split() for line in file][1:]
    return [name for _, name in socket.if_nameindex() if name != "lo"] + routes


@attempt("opens a socket of a family that no notebook needs")
def opens_families(_: Hints) -> object:
    found = []
    for family in range(LAST_FAMILY):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            if family not in ALLOWED_FAMILIES:
                found += [(family, kind, how) for how in opened(family, kind)]
    return found


def opened(family: int, kind: int) -> list[str]:
    """How a socket of this family can be had, or at least asked for."""
    found = []
    for how in (socket.socket, socket.socketpair):
        try:
            how(family, kind)
            found.append(how.__name__)
        except OSError as error:
            # Any other error comes from the family's own code in the kernel.
            if error.errno not in (errno.EAFNOSUPPORT, errno.EPERM):
                found.append(f"{how.__name__}: {errno.errorcode.get(error.errno or 0)}")
    return found


@attempt("opens a raw socket", unsandboxed=True)
def opens_raw(_: Hints) -> object:
    tries = {}
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_PACKET):
        for kind in (socket.SOCK_RAW, 10, socket.SOCK_RAW | socket.SOCK_NONBLOCK):
            for protocol in (1, 255):
                name = f"{family} {kind} {protocol}"
                tries[name] = partial(open_and_close, family, kind, protocol)
    return that_work(tries)


def open_and_close(family: int, kind: int, protocol: int) -> str:
    """Raises: :class:`OSError`."""
    socket.socket(family, kind, protocol).close()
    return "opened"


@attempt("changes the network by netlink")
def changes_network(_: Hints) -> object:
    index = socket.if_nametoindex("lo")
    link = struct.pack("BxHiII", 0, 0, index, 0, 1)  # take loopback down
    address = struct.pack("BBBBI", socket.AF_INET, 8, 0, 0, index)
    address += struct.pack("HH4s", 8, 2, bytes((10, 1, 2, 3)))
    route = struct.pack("BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 3, 253, 1, 0)
    route += struct.pack("HHI", 8, 4, index)
    asked = {"setlink": (RTM_SETLINK, link), "address": (RTM_NEWADDR, address)}
    asked |= {"route": (RTM_NEWROUTE, route), "newlink": (RTM_NEWLINK, link)}
    return that_work({name: partial(ask_netlink, *words) for name, words in asked.items()})


def ask_netlink(kind: int, body: bytes) -> str:
    """Ask the routing part of the kernel for a change. Raises: :class:`OSError`."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as kernel:
        kernel.settimeout(5)
        kernel.send(struct.pack("IHHII", 16 + len(body), kind, 5, 1, 0) + body)
        answer = kernel.recv(4096)
    code = struct.unpack_from("i", answer, 16)[0]
    if struct.unpack_from("H", answer, 4)[0] == NLMSG_ERROR and code < 0:
        raise OSError(-code, os.strerror(-code))
    return "changed"


@attempt("speaks to the audit system")
def speaks_to_audit(_: Hints) -> object:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT) as kernel:
        kernel.settimeout(5)
        kernel.send(struct.pack("IHHII", 16, 1000, 5, 1, 0))  # its status
        code: int = struct.unpack_from("i", kernel.recv(4096), 16)[0]
    return code >= 0

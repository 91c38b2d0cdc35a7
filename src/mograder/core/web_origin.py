"""Origins of web addresses: read and compared, and the separate ones of sessions.

``[hub] session_url`` gives each viewer of each session an origin of its own:
``https://{session}.example.net`` is a wildcard on a separate domain. Values that only seem to
isolate are refused (security.md, "The page is theirs as well"): cookies ignore ports, and a name
that all sessions share does not separate students.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from mograder.core.errors import InvalidInput

_LONGEST = 2000
_PORTS = {"https": 443, "http": 80}

PLACE = "{session}"
_LABEL = re.compile(r"[a-z0-9]{20,63}")
_WILDCARD = 'Give a wildcard on a domain that nothing else uses: "https://{session}.example.net".'
_COUNTRY = 2
_SOLD = frozenset(
    {"ac", "co", "com", "edu", "go", "gob", "gov", "mil", "ne", "net", "nom", "or", "org", "sch"}
)
"""Second levels of countries, as ac.uk and com.au: a name below one is a site of its own."""


def is_loopback(host: str) -> bool:
    """Return whether a host name means this machine, without a DNS lookup."""
    if _is_localhost(host):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def network_of(address: str) -> str:
    """Return an address without what its owner chooses: an IPv6 one by its /64, to count attempts.

    A mapped IPv4 address is that one; what is no address stays as it is.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found), 64), strict=False))


def origin_of(url: str) -> str:
    """Return the origin of an address, such as "https://moodle.example.org", without usual ports.

    No message holds the address, whose query may be secret.
    """
    parts = _parts(url)
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    port = parts.port
    usual = port is None or port == _PORTS[parts.scheme]
    return f"{parts.scheme}://{shown}" if usual else f"{parts.scheme}://{shown}:{port}"


def _parts(url: str) -> SplitResult:
    wrong = InvalidInput("This is not a web address that can be used.")
    if len(url) > _LONGEST or not url.isascii() or not url.isprintable() or set(" \\#") & set(url):
        raise wrong
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise wrong
    return parts


@dataclass(frozen=True, slots=True)
class SessionUrl:
    """The origins of sessions; ``domain`` is the part of the host after the label's dot."""

    scheme: str
    domain: str
    port: int | None

    def origin(self, label: str) -> str:
        return f"{self.scheme}://{label}.{self.domain}{f':{self.port}' if self.port else ''}"

    def is_below(self, host: str) -> bool:
        """Return whether a Host header is in the sessions' domain, even if it is malformed."""
        name = _without_port(host)
        return name == self.domain or name.endswith(f".{self.domain}")

    def label_of(self, host: str) -> str:
        """Return the label in a Host header, or "" if it is not a session's."""
        label = _without_port(host).removesuffix(f".{self.domain}")
        return label if self.is_below(host) and _LABEL.fullmatch(label) else ""


def session_url(text: str, public_url: str) -> SessionUrl | None:
    """Return None for an empty text; raises InvalidInput if the value does not isolate sessions."""
    if not text:
        return None
    if not public_url:
        raise _refused("needs [hub] public_url, which it must differ from")
    public = urlsplit(public_url)
    try:
        parts = urlsplit(text.replace(PLACE, "label", 1))
        port, host = parts.port, (parts.hostname or "").lower()
    except ValueError as error:
        raise _refused("is no address") from error
    if host == public.hostname:
        raise _refused("differs from [hub] public_url by its port only, and cookies ignore ports")
    if not text.partition("://")[2].startswith(f"{PLACE}."):
        raise _refused("is one address for all sessions, which would share it")
    domain = host.partition(".")[2]
    bare = parts.path in ("", "/") and not parts.query and not parts.fragment
    if not bare or "@" in parts.netloc or not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", domain):
        raise _refused("must be scheme and host only")
    if parts.scheme != "https" and (parts.scheme != "http" or not _is_localhost(domain)):
        raise _refused("must be https")
    if _related(domain, public.hostname or ""):
        raise _refused("is of the same domain as [hub] public_url, so both would share cookies")
    return SessionUrl(parts.scheme, domain, port)


def _is_localhost(domain: str) -> bool:
    return domain == "localhost" or domain.endswith(".localhost")


def _refused(why: str) -> InvalidInput:
    return InvalidInput(f"[hub] session_url {why}.", hint=_WILDCARD)


def _related(one: str, other: str) -> bool:
    """Return whether two hosts share more than a public suffix, and so may share cookies.

    The public suffix list is not used: only the usual second levels of countries (``ac.uk``) are
    taken for suffixes. Doubtful cases count as related.
    """
    mine, theirs = one.split(".")[::-1], other.split(".")[::-1]
    common = 0
    for left, right in zip(mine, theirs, strict=False):
        if left != right:
            break
        common += 1
    if common == 0:
        return False
    if common == min(len(mine), len(theirs)):
        return True
    sold = len(mine[0]) == _COUNTRY and mine[1] in _SOLD
    return common > (2 if sold else 1)


def _without_port(host: str) -> str:
    return re.sub(r":\d*$", "", host.lower()).rstrip(".")

"""The configuration of Caddy in front of a hub (Caddy 2.6, as Debian has it, and later).

Caddy knows no allow-list for headers. So it removes by name and by beginning what may come with a
request, and the hub, which sees all of them when it is asked, lets a request pass this way only
when nothing else is in it (``core.session_headers``).
"""

from __future__ import annotations

from mograder.core.session_headers import (
    ASSET_HEADERS,
    FROM_SESSION_NEVER_PREFIXES,
    FRONT_DOOR,
    REMOVED_BY_FRONT,
    REMOVED_BY_FRONT_PREFIXES,
    UPSTREAM_HOST,
)
from mograder.operations.proxy_config import (
    ASSET_PATH,
    CAPABILITY,
    FENCED,
    HUB_IS_DOWN,
    NEVER,
    RELATIVE,
    RETRY_SECONDS,
    Front,
)
from mograder.sandbox.assets import ASSET_TYPES

_SITE = """\
# Written by `mograder hub proxy-config caddy`; import it into /etc/caddy/Caddyfile.
%(address)s {%(tls)s
	# Lines of your own for this site. This file is written again, those are not.
	import /etc/caddy/mograder.d/site*.caddy
	route {
		# What a client sends in these is never believed.
		request_header -%(header)s
		request_header -X-Mograder-*
%(body)s%(programs)s
		# Lines of your own before everything else, such as a sign-on's.
		import /etc/caddy/mograder.d/route*.caddy

		# Everything else.%(sign_in)s
		reverse_proxy %(upstream)s {
			header_up -X-Forwarded-Prefix
%(user)s			flush_interval -1
%(transport)s
		}
	}
%(errors)s}
"""

_TRANSPORT = """\
			# Caddy may lose what it does not read in one go of the answer to a POST.
			transport http {
				read_buffer 64KiB
			}"""

_PLAIN = """
		# Session pages have no cookie and no sign-in; their address is their key.
		@mograder_session path %(prefix)s/s/*
		reverse_proxy @mograder_session %(upstream)s {
			header_up -X-Forwarded-Prefix
			flush_interval -1
%(transport)s
		}
"""

_PROGRAMS = """
		# Monitoring, and programs that bring a token of the hub's, which the hub checks. Nobody
		# signs in here, and nobody is named.
		@mograder_open path %(prefix)s/health %(prefix)s/ready
		reverse_proxy @mograder_open %(upstream)s {
			header_up -X-Forwarded-Prefix
			flush_interval -1
%(transport)s
		}
		@mograder_token header_regexp Authorization "(?i)^bearer "
		reverse_proxy @mograder_token %(upstream)s {
			header_up -X-Forwarded-Prefix
			flush_interval -1
%(transport)s
		}
"""

_FAST = """
		@mograder_front path %(prefix)s/_front %(prefix)s/_front/*
		respond @mograder_front 404

		# marimo's static files, from the disk and precompressed; what is not there the hub has.
		@mograder_asset {
			method GET HEAD
			path_regexp mograder_asset "^%(prefix_re)s%(asset)s$"
		}
		route @mograder_asset {
			@mograder_held file {
				root %(assets)s
				try_files /{http.regexp.mograder_asset.1}/files/{http.regexp.mograder_asset.2}
			}
			route @mograder_held {
				header {
%(asset_headers)s
					defer
				}
				rewrite * /{http.regexp.mograder_asset.1}/files/{http.regexp.mograder_asset.2}
%(types)s
				file_server {
					root %(assets)s
					precompressed br gzip
				}
			}
		}

		# The fast path: whose is this, and where? The hub reads the address; what it does not
		# answer with 200 it answers itself. What comes with a body takes the hub's way: Caddy may
		# lose an answer whose head and body are sent apart, as a session's server does.
		# Caddy's service needs the group %(group)s (SupplementaryGroups= in a drop-in of its unit).
		@mograder_quick {
			method GET HEAD
			path %(prefix)s/s/*
		}
		route @mograder_quick {
			request_header -Cookie
			request_header -Authorization
			reverse_proxy %(upstream)s {
				method GET
				rewrite %(door)s
				header_up -Upgrade
				header_up -Connection
				header_up -X-Forwarded-Prefix
				header_up X-Mograder-Uri {http.request.uri}
				header_up X-Mograder-Method {http.request.method}
				header_up X-Mograder-Upgrade {http.request.header.Upgrade}

				@mograder_fast status 200
				handle_response @mograder_fast {
					vars {
						mograder_socket {http.reverse_proxy.header.X-Mograder-Socket}
						mograder_base {http.reverse_proxy.header.X-Mograder-Base}
						mograder_root {http.reverse_proxy.header.X-Mograder-Root}
					}
					request_body {
						max_size %(request_mb)sMiB
					}
					uri path_regexp ^%(prefix_re)s/s/%(capability)s/ {http.vars.mograder_base}/
					header {
%(fence)s
						defer
					}
					reverse_proxy unix/{http.vars.mograder_socket} {
						header_up Host %(upstream_host)s
%(removed)s
%(never)s
						# A redirect stays below the viewer's own address, or leads nowhere.
						header_down -Location
						@mograder_moved header Location *
						handle_response @mograder_moved {
							map %(location)s {mograder_way} {mograder_rest} {
								"~^%(own)s([!-\\[\\]-~]*)$" below "/${1}"
								"~^(%(relative)s)$" beside "${1}"
								default none ""
							}
							@mograder_below vars {mograder_way} below
							header @mograder_below Location {http.vars.mograder_root}%(rest)s
							@mograder_beside vars {mograder_way} beside
							header @mograder_beside Location {mograder_rest}
							copy_response
						}
						flush_interval -1
						# Connections are kept by the socket's path, so never for another session
						# (the hub names none with a colon), and let go before its server does.
						transport http {
							keepalive 2s
							keepalive_idle_conns_per_host 16
							compression off
							dial_timeout 10s
							response_header_timeout 60s
							max_response_header 64KiB
							read_buffer 64KiB
						}
					}
				}
				handle_response {
					reverse_proxy %(upstream)s {
						header_up -X-Forwarded-Prefix
						flush_interval -1
					}
				}
			}
		}
"""

_SESSION_ORIGIN = """
# One origin for each viewer of each session ([hub] session_url). Nobody signs in here. For https a
# wildcard certificate is needed: `tls FILE KEYFILE`, or a DNS provider's module.
%(address)s {%(session_tls)s
	reverse_proxy %(upstream)s {
		header_up -%(header)s
		header_up -Authorization
		header_up -X-Forwarded-Prefix
		flush_interval -1
		transport http {
			read_buffer 64KiB
		}
	}
}
"""

_ERRORS = """
	handle_errors {%(session_errors)s
		@mograder_down vars {http.error.status_code} 502 503 504
		route @mograder_down {
			header {
				Retry-After %(retry)s
				Cache-Control no-store
				Content-Type text/html
			}
			respond `%(down)s` 503
		}
	}
"""

_SESSION_ERRORS = """
		@mograder_session path %(prefix)s/s/*
		route @mograder_session {
			header {
%(error_fence)s
				Cache-Control no-store
				Content-Type text/plain
			}
			respond "Session unavailable" {http.error.status_code}
		}
"""

_OWN = r"(?:https?://session\.invalid)?/(?:edit|run)/user/[^/]+/[^/]+/"
_KEPT = frozenset({"sec-"})
_FAMILIES = ("sec-session-",)


def caddy_config(front: Front) -> str:
    """Return the site's block: the fast path where the settings name its group, else plain."""
    values = _values(front)
    parts = {"body": (_FAST + _PLAIN if front.group else _PLAIN) % values}
    parts["programs"] = _PROGRAMS % values if _signs_in_here(front) else ""
    session_errors = _SESSION_ERRORS % values if front.group else ""
    parts["errors"] = _ERRORS % {**values, "session_errors": session_errors}
    return _SITE % {**values, **parts} + _session_origins(front, values)


def _signs_in_here(front: Front) -> bool:
    """Tell whether Caddy itself asks people to sign in.

    A variable of ``vars`` holds the name that a sign-on in front of Caddy has set. Such a sign-on
    may add bearer tokens of its own; those requests must keep the name.
    """
    return bool(front.user) and not front.user.startswith("{http.vars.")


def _session_origins(front: Front, values: dict[str, object]) -> str:
    if front.sessions is None:
        return ""
    files = f"{front.session_certificate} {front.session_key}"
    tls = f"\n\ttls {files}" if front.session_certificate else ""
    return _SESSION_ORIGIN % {
        **values,
        "address": front.sessions.origin("*"),
        "session_tls": tls,
    }


def _values(front: Front) -> dict[str, object]:
    removed = [*REMOVED_BY_FRONT, *(f"{name}*" for name in REMOVED_BY_FRONT_PREFIXES)]
    families = [name for name in FROM_SESSION_NEVER_PREFIXES if name not in _KEPT]
    never = [*NEVER, *(f"{name}*" for name in (*families, *_FAMILIES))]
    user = f"\t\t\theader_up {front.header} {front.user}\n" if front.user else ""
    given = bool(front.certificate) and not front.certificate.startswith("/etc/letsencrypt/")
    return {
        "address": front.address,
        "tls": f"\n\ttls {front.certificate} {front.key}\n" if given else "",
        "prefix": front.prefix,
        "prefix_re": front.prefix.replace(".", "\\."),
        "own": _OWN,
        "rest": "{mograder_rest}",
        "location": "{http.reverse_proxy.header.Location}",
        "relative": RELATIVE,
        "upstream": front.upstream,
        "header": front.header or "X-Remote-User",
        "user": user,
        "transport": _TRANSPORT,
        "retry": RETRY_SECONDS,
        "down": HUB_IS_DOWN,
        "sign_in": "" if front.user else " People sign in at the hub itself.",
        "group": front.group,
        "assets": front.assets,
        "asset": ASSET_PATH,
        "asset_headers": _set(ASSET_HEADERS, 5),
        "types": _types(),
        "request_mb": front.request_mb,
        "door": front.prefix + FRONT_DOOR,
        "capability": CAPABILITY,
        "upstream_host": UPSTREAM_HOST,
        "fence": _set(FENCED, 6),
        "error_fence": _set(FENCED, 4),
        "removed": _removed("header_up", removed),
        "never": _removed("header_down", never),
    }


def _set(headers: tuple[tuple[str, str], ...], depth: int) -> str:
    tabs = "\t" * depth
    return "\n".join(f'{tabs}{name.title()} "{value}"' for name, value in headers)


def _removed(directive: str, names: list[str]) -> str:
    return "\n".join(f"\t\t\t\t\t\t{directive} -{name.title()}" for name in names)


def _types() -> str:
    lines = []
    for suffix, media in ASSET_TYPES.items():
        kind = suffix[1:]
        lines.append(f"\t\t\t\t@mograder_{kind} path *{suffix}")
        lines.append(f'\t\t\t\theader @mograder_{kind} Content-Type "{media}"')
    return "\n".join(lines)

"""The configuration of nginx in front of a hub (nginx 1.18 and later, Debian's own modules).

nginx has an allow-list for requests. For answers it hides by name only, so families of headers are
spelled out. The hub says where a request goes; its own reading of the address decides nothing.
"""

from __future__ import annotations

from mograder.core.session_headers import (
    ASSET_HEADERS,
    FAMILIES_BY_NAME,
    FRONT_DOOR,
    TO_SESSION,
    UPSTREAM_HOST,
)
from mograder.operations.proxy_config import (
    ASSET_PATH,
    FENCED,
    HUB_IS_DOWN,
    NEVER,
    RELATIVE,
    RETRY_SECONDS,
    Front,
)
from mograder.sandbox.assets import ASSET_TYPES

_BY_ITSELF = frozenset({"date", "server"})
"""Hidden by nginx unasked; it writes its own."""

_MAPS = """\
# Written by `mograder hub proxy-config nginx`; put it where nginx reads sites (the http context).
map $http_upgrade $mograder_upgrade { default ""; ~*^websocket$ websocket; }
map $http_upgrade $mograder_connection { default ""; ~*^websocket$ upgrade; }
upstream mograder_hub { server %(upstream)s; keepalive 32; }
"""

_FAST_MAPS = """
# The fast path. nginx's workers need the group of [hub] front_group, and nobody else does; in
# nginx.conf:  user www-data %(group)s;
map $http_accept_encoding $mograder_packed {
    default ""; "~*(?:^|[ ,])br(?:[ ,]|$)" .br; "~*(?:^|[ ,])gzip(?:[ ,]|$)" .gz;
}
map $mograder_packed $mograder_coding { default ""; .br br; .gz gzip; }
map $uri $mograder_file {
    default ""; "~^%(prefix_re)s%(asset)s$" /$1/files/$2;
}
map $mograder_file $mograder_type {
    default application/octet-stream;
%(types)s
}
# A redirect of a session's server stays below the viewer's own address, or is dropped.
map "$mograder_base $upstream_http_location" $mograder_location {
    default "";
    "~^%(own)s$" $mograder_root/$mg_rest;
    "~^%(relative)s$" $mg_relative;
}
"""

_TO_HUB = """\
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Prefix "";
        proxy_set_header Upgrade $mograder_upgrade;
        proxy_set_header Connection $mograder_connection;
        proxy_buffering off;
        proxy_request_buffering off;
        proxy_read_timeout 3600s;
        proxy_send_timeout 3600s;
"""

_PLAIN = """
    # Session pages have no cookie and no sign-in; their address is their key. Nobody is named here.
    location ^~ %(prefix)s/s/ {
        auth_basic off;
        auth_request off;
        proxy_pass http://mograder_hub;
        proxy_set_header %(header)s "";
%(to_hub)s    }
"""

_FAST = """
    # Who may have this, and from where? The hub reads the address as it came; 403 means "let me
    # answer it". nginx goes nowhere but where the hub says.
    location = /_mograder_front {
        internal;
        proxy_pass http://mograder_hub%(door)s;
        proxy_pass_request_body off;
        proxy_http_version 1.1;
        proxy_set_header Content-Length "";
        proxy_set_header Upgrade "";
        proxy_set_header Connection "";
        proxy_set_header Cookie "";
        proxy_set_header Authorization "";
        proxy_set_header %(header)s "";
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-Prefix "";
        proxy_set_header X-Mograder-Uri $request_uri;
        proxy_set_header X-Mograder-Method $request_method;
        proxy_set_header X-Mograder-Upgrade $http_upgrade;
        proxy_set_header X-Mograder-Length $http_content_length;
    }

    location ^~ %(prefix)s/_front { return 404; }

    location ^~ %(prefix)s/s/ {
        auth_basic off;
        auth_request /_mograder_front;
        auth_request_set $mograder_socket $upstream_http_x_mograder_socket;
        auth_request_set $mograder_target $upstream_http_x_mograder_target;
        auth_request_set $mograder_base $upstream_http_x_mograder_base;
        auth_request_set $mograder_root $upstream_http_x_mograder_root;
        error_page 403 500 = @mograder_hub;
        error_page 502 504 = @mograder_unavailable;
        proxy_pass http://unix:$mograder_socket:$mograder_target;
        proxy_http_version 1.1;
        proxy_redirect off;
        proxy_intercept_errors off;
        proxy_next_upstream off;
        proxy_buffering off;
        proxy_buffer_size 64k;
        proxy_buffers 4 64k;
        proxy_request_buffering off;
        proxy_connect_timeout 10s;
        proxy_read_timeout 3600s;
        proxy_send_timeout 3600s;

        # To the session: these, and nothing else that the client sent.
        proxy_pass_request_headers off;
        proxy_set_header Host %(upstream_host)s;
        proxy_set_header Upgrade $mograder_upgrade;
        proxy_set_header Connection $mograder_connection;
%(to_session)s

        # From the session: nothing that acts on the hub's origin, on nginx, or on the connection.
        proxy_headers_hash_max_size 4096;
        proxy_headers_hash_bucket_size 128;
        proxy_ignore_headers %(ignored)s;
%(hidden)s
        add_header Location $mograder_location;
        add_header Upgrade $mograder_upgrade always;
%(fence)s
    }

    location @mograder_hub {
        auth_basic off;
        auth_request off;
        proxy_pass http://mograder_hub$request_uri;
        proxy_set_header Cookie "";
        proxy_set_header %(header)s "";
%(to_hub)s    }

    location @mograder_unavailable {
        auth_basic off;
        auth_request off;
        default_type text/plain;
%(fence)s
        add_header Cache-Control no-store always;
        return 502 "Session unavailable";
    }

    # marimo's static files, from the disk and precompressed; what is not there the hub has.
    location ^~ %(prefix)s/s/_marimo/ {
        auth_basic off;
        auth_request off;
        root %(assets)s;
        types { }
        default_type "";
        gzip off;
        log_not_found off;
        error_page 405 = @mograder_hub;
        try_files $mograder_file$mograder_packed @mograder_unpacked;
        add_header Content-Type $mograder_type always;
        add_header Content-Encoding $mograder_coding always;
%(asset_headers)s
    }

    location @mograder_unpacked {
        auth_basic off;
        auth_request off;
        root %(assets)s;
        types { }
        default_type "";
        gzip off;
        log_not_found off;
        try_files $mograder_file @mograder_hub;
        add_header Content-Type $mograder_type always;
%(asset_headers)s
    }
"""

_PROGRAMS = """
    # Monitoring, and programs that bring a token of the hub's, which the hub checks. Nobody signs
    # in here, and nobody is named.
    location ~ ^%(prefix_re)s/(health|ready)$ {
        auth_basic off;
        auth_request off;
        error_page 502 504 = @mograder_down;
        proxy_pass http://mograder_hub;
        proxy_set_header %(header)s "";
%(to_hub)s    }

    location @mograder_token {
        auth_basic off;
        auth_request off;
        proxy_pass http://mograder_hub$request_uri;
        proxy_set_header %(header)s "";
%(to_hub)s    }
"""

_TO_PROGRAMS = """\
        error_page 418 = @mograder_token;
        if ($http_authorization ~* "^bearer ") { return 418; }
"""

_DOWN = """
    # Lines of your own for this server, such as locations. This file is written again, that is not.
    include /etc/nginx/mograder.d/server*.conf;

    location @mograder_down {
        auth_basic off;
        auth_request off;
        default_type text/html;
        add_header Retry-After %(retry)s always;
        add_header Cache-Control no-store always;
        return 503 "%(down)s";
    }
"""

_BASIC = """\
        # $remote_user is what a client says unless something checks it: never without this, or
        # another module's sign-in in its place.
        auth_basic "Sign in";
        auth_basic_user_file /etc/nginx/mograder-people;
"""

_EVERYTHING = """
    # Everything else.%(sign_in)s
    location %(prefix)s/ {
        error_page 502 504 = @mograder_down;
%(to_programs)s%(basic)s        # Lines of your own for this location, such as a sign-on's.
        include /etc/nginx/mograder.d/location*.conf;
        proxy_pass http://mograder_hub;
        # Set or deleted on every request: what a client sends in it is never believed.
        proxy_set_header %(header)s %(user)s;
%(to_hub)s    }
"""

_HEADERS_IGNORED = (
    "X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate X-Accel-Buffering X-Accel-Charset"
)
_OWN = r"(?<mg_base>[^ ]+) (?:https?://session\.invalid)?\k<mg_base>/(?<mg_rest>[!-\[\]-~]*)"
_RELATIVE = rf"[^ ]+ (?<mg_relative>{RELATIVE})"
_WEBSOCKET = ("key", "version", "protocol", "extensions")


def nginx_config(front: Front) -> str:
    """Return the site's file: the fast path where the settings name its group, else plain."""
    values = _values(front)
    body = _FAST if front.group else _PLAIN
    maps = _MAPS + (_FAST_MAPS if front.group else "")
    body += _DOWN + (_PROGRAMS if front.user else "") + _EVERYTHING
    whole = f"{maps}\n{_redirect(front)}server {{\n{_listens(front)}{body}"
    if front.prefix:
        whole += f"\n    location = {front.prefix} {{ return 308 {front.prefix}/$is_args$args; }}\n"
    return whole % values + "}\n" + _session_origins(front)


def _values(front: Front) -> dict[str, object]:
    to_session = [_passed(name) for name in TO_SESSION]
    to_session += [_passed(f"sec-websocket-{name}") for name in _WEBSOCKET]
    hidden = sorted({*NEVER, *FAMILIES_BY_NAME} - _BY_ITSELF)
    types = (f"    ~*\\.{kind[1:]}$ {_quoted(media)};" for kind, media in ASSET_TYPES.items())
    user = front.user or '""'
    values: dict[str, object] = {
        "upstream": front.upstream,
        "prefix": front.prefix,
        "prefix_re": front.prefix.replace(".", "\\."),
        "own": _OWN,
        "relative": _RELATIVE,
        "header": front.header or "X-Remote-User",
        "user": user,
        "to_programs": _TO_PROGRAMS if front.user else "",
        "retry": RETRY_SECONDS,
        "down": HUB_IS_DOWN,
        "basic": _BASIC if front.user == "$remote_user" else "",
        "sign_in": "" if front.user else " People sign in at the hub itself.",
        "group": front.group,
        "asset": ASSET_PATH,
        "types": "\n".join(types),
        "door": front.prefix + FRONT_DOOR,
        "upstream_host": UPSTREAM_HOST,
        "to_session": "\n".join(to_session),
        "ignored": _HEADERS_IGNORED,
        "hidden": "\n".join(f"        proxy_hide_header {_title(name)};" for name in hidden),
        "fence": _added(FENCED),
        "assets": front.assets,
        "asset_headers": _added(ASSET_HEADERS),
    }
    return {**values, "to_hub": _TO_HUB}


def _passed(name: str) -> str:
    return f"        proxy_set_header {_title(name)} $http_{name.replace('-', '_')};"


def _added(headers: tuple[tuple[str, str], ...]) -> str:
    lines = (f"        add_header {_title(name)} {_quoted(v)} always;" for name, v in headers)
    return "\n".join(lines)


def _title(name: str) -> str:
    return name.title()


def _quoted(value: str) -> str:
    return f'"{value}"' if set(value) - set("abcdefghijklmnopqrstuvwxyz0123456789*/-=") else value


def _listens(front: Front) -> str:
    files = (front.certificate, front.key)
    return _head(front.host, front.scheme, front.port, files) + _BOUNDS % front.request_mb


def _head(name: str, scheme: str, port: int, files: tuple[str, str]) -> str:
    if scheme == "http":
        lines = [f"listen {port or 80};"]
    else:
        lines = [
            f"listen {port or 443} ssl http2;",
            f"listen [::]:{port or 443} ssl http2;",
            f"ssl_certificate {files[0]};",
            f"ssl_certificate_key {files[1]};",
        ]
    return "".join(f"    {line}\n" for line in [*lines, f"server_name {name};"])


_BOUNDS = """\
    client_max_body_size %sm;
    merge_slashes off;
    large_client_header_buffers 4 32k;
"""

_SESSION_ORIGIN = """
# One origin for each viewer of each session ([hub] session_url). Nobody signs in here.
server {
%(head)s%(bounds)s
    location / {
        proxy_pass http://mograder_hub;
        proxy_set_header %(header)s "";
        proxy_set_header Authorization "";
%(to_hub)s    }
}
"""


def _redirect(front: Front) -> str:
    if front.scheme == "http" or front.port:
        return ""
    return (
        "server {\n    listen 80;\n    listen [::]:80;\n"
        f"    server_name {front.host};\n"
        f"    return 308 https://{front.host}$request_uri;\n}}\n\n"
    )


def _session_origins(front: Front) -> str:
    url = front.sessions
    if url is None:
        return ""
    live = f"/etc/letsencrypt/live/{url.domain}"
    files = (
        front.session_certificate or f"{live}/fullchain.pem",
        front.session_key or f"{live}/privkey.pem",
    )
    return _SESSION_ORIGIN % {
        "head": _head(f"*.{url.domain}", url.scheme, url.port or 0, files),
        "bounds": _BOUNDS % front.request_mb,
        "header": front.header or "X-Remote-User",
        "to_hub": _TO_HUB,
    }

"""Pages and their static files: Jinja2 with autoescape, and a version in every static path.

Static files are few and small: they are read once at the start and served from memory, so no
request opens a file by its path. Their common version is part of the path
(``/static/<version>/app.css``), so browsers may cache them indefinitely, and one module imports the
next one by a relative path.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from importlib.resources.abc import Traversable
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from mograder.core.csv_table import number_text
from mograder.grading.pages.page_templates import readable

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d) ([A-Z]{2,5}|[+-]\d\d(?:\d\d)?)\b")


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One stylesheet, module or image of our own, in memory, plain and gzipped."""

    body: bytes
    media_type: str
    packed: bytes


@dataclass(frozen=True, slots=True)
class StaticFiles:
    """All static files of an app, under one version made from their contents."""

    version: str
    by_name: Mapping[str, StaticFile]

    def url(self, prefix: str, name: str) -> str:
        """Return the address of a file below the app's prefix. Raises: KeyError."""
        if name not in self.by_name:
            raise KeyError(name)
        return f"{prefix}/static/{self.version}/{name}"


@dataclass(frozen=True, slots=True)
class Pages:
    """Renders the templates of ``web/templates``; page text is there and nowhere else."""

    environment: Environment
    static: StaticFiles

    def render(self, template: str, prefix: str, **values: object) -> str:
        """Return a page's HTML; ``prefix`` is the path below which this app is served."""

        def asset(name: str) -> str:
            return self.static.url(prefix, name)

        return self.environment.get_template(template).render(prefix=prefix, asset=asset, **values)


@functools.cache
def load_pages() -> Pages:
    """Read templates and static files from the package, once for all apps of a process.

    To compile the templates of a page takes longer than all else that an app needs to start.
    """
    environment = Environment(
        loader=PackageLoader("mograder.web"),
        autoescape=select_autoescape(disabled_extensions=("txt", "ics"), default=True),
        undefined=StrictUndefined,
        auto_reload=False,  # the package does not change while it runs
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["segment"] = path_segment
    environment.filters["utc"] = in_utc
    environment.filters["readable"] = readable
    environment.filters["timed"] = timed
    environment.filters["points"] = functools.partial(number_text, places=2)
    return Pages(environment, load_static(files("mograder.web") / "static"))


@functools.cache
def static_file(body: bytes, media_type: str) -> StaticFile:
    """Return a static file, gzipped once for all requests and apps."""
    return StaticFile(body, media_type, gzip.compress(body, 9, mtime=0))


def load_static(directory: Traversable) -> StaticFiles:
    """Read a directory's files of the known types, and hash them into their version."""
    found: dict[str, StaticFile] = {}
    digest = hashlib.sha256()
    for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
        media_type = _MEDIA_TYPES.get("." + entry.name.rpartition(".")[2])
        if media_type is None or not entry.is_file():
            continue
        body = entry.read_bytes()
        digest.update(entry.name.encode() + b"\0" + body + b"\0")
        found[entry.name] = static_file(body, media_type)
    return StaticFiles(digest.hexdigest()[:16], found)


def in_utc(moment: datetime) -> datetime:
    """Return the same moment in UTC, which pages show where no script converts it to local time."""
    return moment.astimezone(UTC)


def timed(sentence: str) -> Markup:
    """Return a sentence of ours, escaped, in which scripts tell its times in the reader's zone.

    They are as ``grading.late.explanation.moment`` writes them, in the zone of this machine.
    """
    return Markup(_MOMENT.sub(_time_element, str(escape(sentence))))  # noqa: S704 - escaped


def _time_element(found: re.Match[str]) -> str:
    try:
        first = datetime.strptime(found[1], "%Y-%m-%d %H:%M").astimezone()
        again = first.replace(tzinfo=None, fold=1).astimezone()
    except (ValueError, OverflowError):
        return found[0]
    # Clocks show an hour twice in autumn: the zone's name says which of the two is meant.
    meant = [at for at in (first, again) if f"{at:%Z}" == found[2]]
    return f'<time datetime="{meant[0].isoformat()}">{found[0]}</time>' if meant else found[0]


def path_segment(name: str) -> str:
    """Percent-encode one name for use between two slashes."""
    return quote(name, safe="")

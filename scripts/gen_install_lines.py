"""Write the version of the newest release into every line that installs or names one.

The newest release is the first section of ``CHANGELOG.md`` that has a date; before the first
release, the section that will become it. ``--check`` writes nothing, and names each page that cites
another version, a wheel that no release has, or an install by name, which an index of packages
answers with another project (decision 5).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
CHANGE_LOG = REPOSITORY / "CHANGELOG.md"
UNRELEASED = "unreleased"

_NUMBER = r"\d+(?:\.\d+)+(?:(?:a|b|rc|\.dev|\.post)\d+)*"
_HEADING = re.compile(rf"^## ({_NUMBER}) - ({UNRELEASED}|\d{{4}}-\d\d-\d\d)$", re.MULTILINE)
_CITED = re.compile(
    r"(\bmograder_hub-|\bmograder-(?=[\d.]+\+runtime)|/mograder:|\bown-|/apps/mograder/"
    rf"|\bcheckout v|`v|\?ref=v|\bVERSION=|\bnewTag: \"|\bversions: mograder ){_NUMBER}"
)
"""What stands before the version: wheels, images, directories of a version, tags, a report."""

_WHEEL = re.compile(r"[\w.+-]*mograder[\w.+-]*\.whl")
_REQUIREMENT = re.compile(r"(mograder[\w.-]*)(?:\[[\w,]*\])? @ (?!reference)")
_BY_NAME = re.compile(
    r"(?:pip|pipx|uv tool|uv) (?:install|add)[^\n`]* [\"']?"
    r"mograder(?:[_-]hub)?(?:\[[\w,]*\])?(?![\w./\[-]| @)"
)
_WARNING = "`pip install mograder` is something else"


@dataclass(frozen=True, slots=True)
class Section:
    """A release in the change log: its version, its date or ``unreleased``, and its text."""

    version: str
    date: str
    text: str


def sections(change_log: str) -> list[Section]:
    """Return the change log's releases, newest first."""
    found = list(_HEADING.finditer(change_log))
    ends = [*(each.start() for each in found), len(change_log)][1:]
    return [
        Section(each[1], each[2], change_log[each.end() : end].strip())
        for each, end in zip(found, ends, strict=True)
    ]


def newest_release(change_log: str) -> str:
    """Return the version that the guides cite."""
    known = sections(change_log)
    return next((each.version for each in known if each.date != UNRELEASED), known[0].version)


def pages() -> list[Path]:
    """Return the files whose lines are written."""
    image = REPOSITORY / "deploy" / "kubernetes" / "base" / "kustomization.yaml"
    return [REPOSITORY / "README.md", image, *sorted((REPOSITORY / "docs").rglob("*.md"))]


def citing(text: str, version: str) -> str:
    """Return a page's text that cites this version."""
    return _CITED.sub(lambda found: found[1] + version, text)


def mistakes(text: str, version: str) -> Iterator[str]:
    """Yield what a page cites that does not exist, or is not ours."""
    for found in _CITED.finditer(text):
        if found[0] != found[1] + version:
            yield f"{found[0]!r} is not of {version}"
    runtime = re.compile(
        rf"mograder-{re.escape(version)}\+runtime\.[0-9a-f]{{8}}-py3-none-any\.whl"
    )
    wheels = {f"mograder_hub-{each}-py3-none-any.whl" for each in (version, "VERSION")}
    for name in _WHEEL.findall(text):
        if name not in wheels and not runtime.fullmatch(name):
            yield f"no release has a wheel {name!r}"
    for found in _REQUIREMENT.finditer(text):
        if found[1] != "mograder-hub":
            yield f"the distribution is not {found[1]!r}"
    for found in _BY_NAME.finditer(text.replace(_WARNING, "")):
        yield f"{found[0]!r} takes what an index of packages has"


def write(version: str) -> list[Path]:
    """Let all pages cite this version; return those that changed."""
    changed = []
    for page in pages():
        text = page.read_text("utf-8")
        if (cited := citing(text, version)) != text:
            page.write_text(cited, "utf-8")
            changed.append(page)
    return changed


def main() -> int:
    """Write the lines, or check them."""
    version = newest_release(CHANGE_LOG.read_text("utf-8"))
    if "--check" not in sys.argv[1:]:
        write(version)
    told = [
        f"{page.relative_to(REPOSITORY)}: {mistake}"
        for page in pages()
        for mistake in mistakes(page.read_text("utf-8"), version)
    ]
    print("".join(f"{line}\n" for line in told), end="")
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main())

"""Make the files of a release: ``make release VERSION=1.0.0``.

1. The version goes into the program and the guides, today's date into the change log.
2. Wheel and source archive are built twice, from two copies of the tracked files, and compared. All
   times in them are midnight (UTC) of the release's date, so any machine makes the same bytes.
3. The wheel is installed into a fresh environment, which grades the example course.
4. They lie in ``dist/VERSION``, with the list of parts (CycloneDX), notes, and checksums.

Neither a commit nor a tag is made; the last lines say how. It may be run again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.gen_install_lines import (
    CHANGE_LOG,
    REPOSITORY,
    UNRELEASED,
    Section,
    mistakes,
    pages,
    sections,
    write,
)

_PROGRAM = REPOSITORY / "src" / "mograder" / "__init__.py"
_MARK = re.compile(r'^__version__ = ".*"$', re.MULTILINE)
_ITEM = "A1-Measuring-Pi"
_MARKS = {"alice": 35.0, "bob": 0.0}
"""What checks give to the solution, and to a release that nobody has worked on."""

_SENTENCE = re.compile(r"^[^#\s]", re.MULTILINE)
"""The beginning of a line that is no heading."""

_FILE_LINK = re.compile(r"\[([^]]+)]\((?!https?:)([^)]+)\)")
"""A link of the change log to a file of the checkout, which the page of a release has not."""

_SUMS = "SHA256SUMS"


class Refused(Exception):
    """A release cannot be made; the text says why, and what to do."""


def main(arguments: Sequence[str]) -> int:
    """Make a release of the version that is given."""
    if len(arguments) != 1:
        print("Say which version: make release VERSION=1.0.0", file=sys.stderr)
        return 2
    (version,) = arguments
    try:
        made = _make(version)
    except Refused as refused:
        print(f"[release] {refused}", file=sys.stderr)
        return 1
    print(_what_is_left(version, made))
    return 0


def _make(version: str) -> Path:
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise Refused(f"{version!r} is no version of a release, such as 1.0.0.")
    _demand_clean(version)
    section = _write_version(version)
    with tempfile.TemporaryDirectory(prefix="mograder-release-") as name:
        place = Path(name)
        built = _build_twice(place, _epoch(section))
        (wheel,) = (path for path in built if path.suffix == ".whl")
        _say("installing the wheel into a fresh environment")
        check_wheel(wheel, version, place)
        out = place / "out"
        out.mkdir()
        for path in built:
            shutil.copyfile(path, out / path.name)
        parts = json.dumps(list_of_parts(exported_parts(), section, wheel), indent=1) + "\n"
        (out / f"mograder_hub-{version}.cdx.json").write_text(parts, "utf-8")
        (out / _SUMS).write_text(checksums(out), "utf-8")
        (out / "NOTES.md").write_text(notes(section), "utf-8")
        target = REPOSITORY / "dist" / version
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(out, target)
    return target


def _demand_clean(version: str) -> None:
    """Refuse changes that would be released without a commit, and a version that is out."""
    ours = {path.relative_to(REPOSITORY).as_posix() for path in (_PROGRAM, CHANGE_LOG, *pages())}
    changed = {line[3:] for line in _git("status", "--porcelain").splitlines()}
    if others := sorted(changed - ours):
        raise Refused(f"Commit or remove first: {', '.join(others[:5])}")
    tag = _git("tag", "--list", f"v{version}", "--format", "%(objectname) %(*objectname)").split()
    if tag and _git("rev-parse", "HEAD").strip() not in tag:
        raise Refused(f"The tag v{version} is of another commit: choose the next version.")


def _write_version(version: str) -> Section:
    log = CHANGE_LOG.read_text("utf-8")
    dated = with_date(log, version, f"{datetime.now(UTC):%Y-%m-%d}")
    CHANGE_LOG.write_text(dated, "utf-8")
    _PROGRAM.write_text(
        _MARK.sub(f'__version__ = "{version}"', _PROGRAM.read_text("utf-8")), "utf-8"
    )
    for page in write(version):
        _say(f"{page.relative_to(REPOSITORY)} cites {version}")
    wrong = [each for page in pages() for each in mistakes(page.read_text("utf-8"), version)]
    if wrong:
        raise Refused(f"The guides are wrong: {'; '.join(wrong)}")
    return sections(dated)[0]


def with_date(change_log: str, version: str, date: str) -> str:
    """Return a change log whose first section is the release of this date, if it has none yet.

    Raises: :class:`Refused` if the first section is another version's, or empty.
    """
    known = sections(change_log)
    if not known or known[0].version != version or not _SENTENCE.search(known[0].text):
        raise Refused(
            f"CHANGELOG.md has to begin with a section '## {version} - {UNRELEASED}' "
            "that says what users notice."
        )
    return change_log.replace(f"## {version} - {UNRELEASED}\n", f"## {version} - {date}\n", 1)


def _epoch(section: Section) -> int:
    return int(datetime.fromisoformat(f"{section.date}T00:00:00+00:00").timestamp())


def _build_twice(place: Path, epoch: int) -> list[Path]:
    """Return wheel and source archive, after they came out alike twice."""
    first = build(copy_tracked(place / "first"), place / "built-1", epoch)
    again = build(copy_tracked(place / "a-second-copy"), place / "built-2", epoch)
    for one, other in zip(first, again, strict=True):
        if one.name != other.name or one.read_bytes() != other.read_bytes():
            raise Refused(f"{one.name} came out differently twice, from the same files.")
        _say(f"{one.name}: twice the same bytes")
    wheel, archive = sorted(first, key=lambda path: path.suffix != ".whl")
    with tarfile.open(archive) as packed:
        packed.extractall(place / "unpacked", filter="data")
    (source,) = (place / "unpacked").iterdir()
    if build(source, place / "built-3", epoch, "wheel")[0].read_bytes() != wheel.read_bytes():
        raise Refused(f"{archive.name} makes another wheel than the checkout: it lacks files.")
    return first


def copy_tracked(place: Path) -> Path:
    """Copy the files that git knows, as they are in the work tree, and nothing else."""
    for line in _git("ls-files", "--stage", "-z").split("\0")[:-1]:
        mode, name = line.split(maxsplit=1)[0], line.partition("\t")[2]
        target = place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, target)
        target.chmod(0o755 if mode == "100755" else 0o644)
    return place


def build(source: Path, out: Path, epoch: int, *targets: str) -> list[Path]:
    """Build with the locked hatchling; return the files by name. ``targets`` as hatchling has."""
    chosen = [option for each in targets or ("sdist", "wheel") for option in ("--target", each)]
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(out), *chosen]
    _run(command, cwd=source, env={**_outside(), "SOURCE_DATE_EPOCH": str(epoch)})
    return sorted(path for path in out.iterdir() if path.suffix in {".whl", ".gz"})


def check_wheel(wheel: Path, version: str, place: Path) -> None:
    """Install a wheel with the locked libraries, and grade the example course with it.

    Raises: :class:`Refused` if it does not work.
    """
    locked = place / "locked.txt"
    exported = ("--frozen", "--no-hashes", "--no-emit-project", "--all-extras", "--no-dev")
    locked.write_text(_run([_uv(), "export", "--quiet", *exported], cwd=REPOSITORY), "utf-8")
    home = place / "environment"
    _run([_uv(), "venv", "--quiet", "--python", sys.executable, str(home)])
    into = ("--python", str(home / "bin" / "python"), "--constraints", str(locked))
    wanted = f"mograder-hub[server] @ {wheel.as_uri()}"
    _run([_uv(), "pip", "install", "--quiet", *into, wanted], cwd=place)
    program = str(home / "bin" / "mograder")
    told = _run([program, "--version"], cwd=place).strip()
    if told != f"mograder {version}":
        raise Refused(f"The wheel of {version} says that it is {told!r}.")
    course = place / "course"
    shutil.copytree(REPOSITORY / "examples" / "course", course)
    submitted = course / "submitted" / _ITEM
    submitted.mkdir(parents=True)
    for student, kind in (("alice", "source"), ("bob", "release")):
        shutil.copyfile(course / kind / _ITEM / f"{_ITEM}.py", submitted / f"{student}.py")
    told = _run([program, "autograde", _ITEM, "--json", "-C", str(course)], cwd=place)
    (graded,) = json.loads(told)["assignments"]
    marks = {each["student"]: each["auto_mark"] for each in graded["submissions"]}
    if marks != _MARKS:
        raise Refused(f"The example course is not graded as it should be: {marks}")
    _say("the wheel grades the example course")


def exported_parts() -> Any:
    """Return the list of parts as uv makes it of the lock."""
    wanted = ("--frozen", "--no-dev", "--all-extras", "--format", "cyclonedx1.5")
    allowed = ("--preview-features", "sbom-export")
    return json.loads(_run([_uv(), "export", "--quiet", *wanted, *allowed], cwd=REPOSITORY))


def list_of_parts(parts: dict[str, Any], section: Section, wheel: Path) -> dict[str, Any]:
    """Return uv's list of parts with what it leaves out of our own, and the same at each run."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    about = parts["metadata"]
    about["timestamp"] = f"{section.date}T00:00:00Z"
    about["component"] |= {
        "version": section.version,
        "licenses": [{"expression": "MIT AND Apache-2.0"}],
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }
    return {**parts, "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}"}


def checksums(place: Path) -> str:
    """Return the lines that ``sha256sum --check`` reads."""
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(place.iterdir())
    )


def notes(section: Section) -> str:
    """Return the text for the release's page."""
    wheel = f"mograder_hub-{section.version}-py3-none-any.whl"
    text = _FILE_LINK.sub(r"\1 (`\2`)", section.text)
    return (
        f"# mograder {section.version}\n\n{section.date}\n\n{text}\n\n"
        "### Install\n\n"
        "Download the wheel and the checksums, and in an environment of its own:\n\n"
        "```console\n"
        f"$ sha256sum --check --ignore-missing {_SUMS}\n"
        f"$ pip install './{wheel}[server]'\n"
        "```\n\n"
        "`pip install mograder` is something else: on PyPI that name is another project's.\n"
    )


def _what_is_left(version: str, made: Path) -> str:
    place = made.relative_to(REPOSITORY)
    return (
        f"\n{place} has the release. What is left is yours:\n"
        f'  git commit --all --message "Release {version}"\n'
        f'  git tag --sign v{version} --message "mograder {version}"\n'
        "  git push --follow-tags\n"
        f"  publish the files of {place} on the page of that tag, with NOTES.md as its text\n"
        "Then begin the next one: its first .dev0 in src/mograder/__init__.py, and a section\n"
        f"'## VERSION - {UNRELEASED}' in CHANGELOG.md."
    )


def _uv() -> str:
    return str(REPOSITORY / ".tools" / "uv" / "bin" / "uv")


def _git(*arguments: str) -> str:
    return _run(["git", "-C", str(REPOSITORY), *arguments])


def _outside() -> dict[str, str]:
    """Return the environment without this checkout's Python and any hub's settings."""
    ours = ("MOGRADER_", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _run(
    command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=env or _outside(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Refused(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _say(text: str) -> None:
    print(f"[release] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

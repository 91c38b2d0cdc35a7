"""Where a test run's time goes: seconds by file and by fixture, from the JUnit file of a run.

As a plugin this writes into the JUnit file how long the fixtures of each test took to set up.
``python -m tests.support.timings`` reads ``artifacts/junit*.xml``; ``--files 15`` prints the
fifteen slowest files only.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

RESULTS = Path("artifacts")
_LEAST_SECONDS = 0.005
_PREFIX = "fixture "
_LINES = 40
_current: list[pytest.Item] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Remember which test runs."""
    _current[:] = [item]
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> Iterator[None]:
    """Note how long a fixture took, with the test that asked for it first."""
    started = time.perf_counter()
    try:
        return (yield)
    finally:
        seconds = time.perf_counter() - started
        if _current and seconds >= _LEAST_SECONDS:
            noted = (f"{_PREFIX}{fixturedef.argname}", f"{seconds:.3f}")
            _current[0].user_properties.append(noted)


def main(directory: Path, slowest_files: int | None = None) -> None:
    """Print the files, fixtures and tests that took longest, in seconds; or so many files alone."""
    results = sorted(directory.glob("junit*.xml"))
    if not results:
        raise SystemExit(f"{directory} has no results yet: `make test` writes them")
    files: Counter[str] = Counter()
    tests: Counter[str] = Counter()
    fixtures: Counter[str] = Counter()
    cases = [case for path in results for case in ElementTree.parse(path).iter("testcase")]
    for case in cases:
        file, seconds = case.get("classname", ""), float(case.get("time", 0))
        files[file] += seconds  # type: ignore[assignment]
        tests[f"{file} {case.get('name')}"] += seconds  # type: ignore[assignment]
        for each in case.iter("property"):
            name = each.get("name", "")
            if name.startswith(_PREFIX):
                fixtures[name.removeprefix(_PREFIX)] += float(each.get("value", 0))  # type: ignore[assignment]
    print(f"{len(cases)} tests, {sum(files.values()):.0f} s in all workers")
    if slowest_files is not None:
        _print("file", files, slowest_files)
        return
    for title, counted in (("file", files), ("fixture", fixtures), ("test", tests)):
        _print(title, counted, _LINES)


def _print(title: str, counted: Counter[str], lines: int) -> None:
    print(f"\nseconds by {title}")
    for name, seconds in counted.most_common(lines):
        print(f"{seconds:8.1f}  {name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, metavar="NUMBER")
    main(RESULTS, parser.parse_args().files)

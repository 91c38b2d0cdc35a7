"""Where a test run's time goes: seconds by file and by fixture, from the JUnit file of a run.

As a plugin this writes into the JUnit file how long the fixtures of each test took to set up.
``python -m tests.support.timings [FILE]`` reads ``artifacts/junit.xml``, or another file.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

RESULTS = Path("artifacts/junit.xml")
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


def main(path: Path) -> None:
    """Print the files and the fixtures that took longest, in seconds."""
    if not path.exists():
        raise SystemExit(f"{path} is not there yet: `make test` writes it")
    files: Counter[str] = Counter()
    tests: Counter[str] = Counter()
    fixtures: Counter[str] = Counter()
    cases = list(ElementTree.parse(path).iter("testcase"))
    for case in cases:
        file, seconds = case.get("classname", ""), float(case.get("time", 0))
        files[file] += seconds  # type: ignore[assignment]
        tests[f"{file} {case.get('name')}"] += seconds  # type: ignore[assignment]
        for each in case.iter("property"):
            name = each.get("name", "")
            if name.startswith(_PREFIX):
                fixtures[name.removeprefix(_PREFIX)] += float(each.get("value", 0))  # type: ignore[assignment]
    print(f"{len(cases)} tests, {sum(files.values()):.0f} s in all workers")
    for title, counted in (("file", files), ("fixture", fixtures), ("test", tests)):
        print(f"\nseconds by {title}")
        for name, seconds in counted.most_common(_LINES):
            print(f"{seconds:8.1f}  {name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS)

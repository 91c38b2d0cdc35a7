"""The report of where a test run's time went."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.timings import main

RUN = """<testsuites><testsuite>
<testcase classname="tests.unit.test_a" name="test_one" time="2.5">
  <properties><property name="fixture hub" value="2.0"/></properties></testcase>
<testcase classname="tests.unit.test_a" name="test_two" time="0.5"/>
<testcase classname="tests.unit.test_b" name="test_three" time="1.0">
  <properties><property name="fixture hub" value="0.25"/></properties></testcase>
</testsuite></testsuites>"""


def test_seconds_are_summed_by_file_and_by_fixture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "junit.xml").write_text(RUN)
    main(tmp_path)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:4] == ["3", "tests,", "4", "s"]
    for expected in (["3.0", "tests.unit.test_a"], ["1.0", "tests.unit.test_b"], ["2.2", "hub"]):
        assert expected in lines


def test_all_results_of_a_run_count_and_the_slowest_files_are_printed_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "junit.xml").write_text(RUN)
    (tmp_path / "junit-journeys.xml").write_text(RUN.replace("test_b", "test_journey"))
    main(tmp_path, slowest_files=1)
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "6 tests, 8 s in all workers",
        "",
        "seconds by file",
        "     6.0  tests.unit.test_a",
    ]


def test_without_a_run_it_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="make test"):
        main(tmp_path)

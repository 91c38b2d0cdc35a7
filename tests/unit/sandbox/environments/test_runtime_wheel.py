"""The slim wheel that is forced into every notebook environment."""

from __future__ import annotations

import os
import stat
import sys
import zipfile
from pathlib import Path

import pytest
from uv import find_uv_bin

import mograder.runtime
from mograder.core.errors import SandboxUnavailable
from mograder.sandbox.environments import runtime_wheel
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel, offer_runtime
from tests.support.programs import printed_by


def _names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.mark.full
def test_uv_installs_it_offline_and_the_runtime_imports_from_there(tmp_path: Path) -> None:
    wheel = build_runtime_wheel(tmp_path / "wheels")
    target = tmp_path / "site"
    install = ["pip", "install", "--offline", "--no-deps", "--python", sys.executable]
    printed_by(find_uv_bin(), *install, "--target", target, wheel)
    program = (
        "import mograder.runtime as r, importlib.metadata as m;"
        "print(r.__file__); print(m.version('mograder'));"
        "print(m.requires('mograder')); print(r.count_response_words('x'))"
    )
    found = {**os.environ, "PYTHONPATH": str(target)}
    answer = printed_by(sys.executable, "-c", program, env=found).splitlines()
    assert Path(answer[0]) == target / "mograder" / "runtime.py"
    assert answer[1] == wheel.name.split("-")[1]
    assert answer[2:] == ["None", "None"]


@pytest.mark.full
def test_uv_runs_a_notebook_with_it_when_the_header_says_where_it_is(tmp_path: Path) -> None:
    """Away from the hub a header's source keeps PyPI's project of that name out."""
    wheel = build_runtime_wheel(tmp_path / "wheels")
    notebook = tmp_path / "source" / "A1.py"
    notebook.parent.mkdir()
    notebook.write_text(
        '# /// script\n# dependencies = ["mograder>=0.3.16"]\n#\n# [tool.uv.sources]\n'
        f'# mograder = {{ path = "../wheels/{wheel.name}" }}\n# ///\n'
        "import mograder.remote, importlib.metadata as m\n"
        "print(m.version('mograder'))\n"
    )
    command = ["run", "--offline", "--no-project", "--python", sys.executable, str(notebook)]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables = {**kept, "UV_CACHE_DIR": str(tmp_path / "cache")}
    printed = printed_by(find_uv_bin(), *command, env=variables)
    assert printed.strip() == wheel.name.split("-")[1]


def test_it_holds_what_a_notebook_needs_and_nothing_else(tmp_path: Path) -> None:
    wheel = build_runtime_wheel(tmp_path)
    info = f"mograder-{wheel.name.split('-')[1]}.dist-info"
    assert _names(wheel) == [
        "mograder/__init__.py",
        "mograder/runtime.py",
        "mograder/judging.py",
        "mograder/marks.py",
        "mograder/remote.py",
        f"{info}/METADATA",
        f"{info}/WHEEL",
        f"{info}/RECORD",
    ]
    with zipfile.ZipFile(wheel) as archive:
        source = Path(mograder.runtime.__file__).read_bytes()
        assert archive.read("mograder/runtime.py") == source
        assert b"Requires-Dist" not in archive.read(f"{info}/METADATA")


def test_its_version_is_ours_with_a_label_of_its_content(tmp_path: Path) -> None:
    version = build_runtime_wheel(tmp_path).name.split("-")[1]
    ours, _, label = version.partition("+")
    assert ours == mograder.__version__
    prefix, _, digest = label.partition(".")
    assert prefix == "runtime"
    assert len(digest) == 8
    assert not digest.isdecimal()


def test_building_again_gives_the_same_bytes_and_leaves_the_file_alone(tmp_path: Path) -> None:
    first = build_runtime_wheel(tmp_path / "a")
    before = first.stat()
    assert build_runtime_wheel(tmp_path / "a") == first
    assert first.stat().st_ino == before.st_ino
    elsewhere = build_runtime_wheel(tmp_path / "b")
    assert elsewhere.name == first.name
    assert elsewhere.read_bytes() == first.read_bytes()


def test_a_damaged_wheel_is_replaced_and_nothing_temporary_stays(tmp_path: Path) -> None:
    wheel = build_runtime_wheel(tmp_path)
    good = wheel.read_bytes()
    wheel.write_bytes(good[:100])
    assert build_runtime_wheel(tmp_path).read_bytes() == good
    assert [path.name for path in tmp_path.iterdir()] == [wheel.name]
    assert stat.S_IMODE(wheel.stat().st_mode) == 0o644


def test_a_changed_runtime_changes_the_file_name() -> None:
    before = runtime_wheel._version({"mograder/runtime.py": b"a"})
    after = runtime_wheel._version({"mograder/runtime.py": b"b"})
    assert before != after


def test_a_directory_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SandboxUnavailable, match="cannot be written"):
        build_runtime_wheel(tmp_path / "file" / "wheels")


def test_the_one_that_is_offered_to_a_course_stands_alone(tmp_path: Path) -> None:
    """uv takes the highest of an index, and a digest is as good as random."""
    old = tmp_path / "mograder-9.0.0+runtime.ffffffff-py3-none-any.whl"
    old.write_bytes(b"old")
    (tmp_path / "other-1.whl").write_bytes(b"theirs")
    wheel = offer_runtime(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {wheel.name, "other-1.whl"}
    assert offer_runtime(tmp_path) == wheel

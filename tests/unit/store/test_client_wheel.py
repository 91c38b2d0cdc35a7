"""The wheel of this program that a course hands out."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import zipfile
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path

import pytest

import mograder
from mograder.core import wheel as packing
from mograder.core.errors import NotFound
from mograder.store.client_wheel import PLACE, ClientWheel, ClientWheels

pytestmark = pytest.mark.full

SOURCES = Path(mograder.__file__).parent
WHEEL = "mograder_hub-1.0-py3-none-any.whl"


@pytest.fixture
def wheels(tmp_path: Path) -> ClientWheels:
    return ClientWheels(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ClientWheel:
    """A wheel that tests only read."""
    return ClientWheels(tmp_path_factory.mktemp("course")).current()


def test_the_wheel_has_the_program_and_its_metadata_as_installed(made: ClientWheel) -> None:
    version = metadata.version("mograder-hub")
    assert made.path.name == f"mograder_hub-{version}-py3-none-any.whl"
    assert made.sha256 == hashlib.sha256(made.path.read_bytes()).hexdigest()
    info = f"mograder_hub-{version}.dist-info"
    with zipfile.ZipFile(made.path) as archive:
        names = archive.namelist()
        inside = archive.read("mograder/cli/main.py")
        about, scripts = (archive.read(f"{info}/{n}") for n in ("METADATA", "entry_points.txt"))
    assert inside == (SOURCES / "cli" / "main.py").read_bytes()
    assert about.decode() == metadata.distribution("mograder-hub").read_text("METADATA")
    assert b"mograder = mograder.cli.main:main" in scripts
    assert "mograder/web/static/app.css" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    assert len(names) == len(set(names))


def test_the_licences_of_all_that_travels_with_it_are_in_the_wheel(made: ClientWheel) -> None:
    with zipfile.ZipFile(made.path) as archive:
        names = archive.namelist()
        (about,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        listed = HeaderParser().parsestr(archive.read(about).decode()).get_all("License-File")
    assert listed == ["LICENSE", "LICENSES/Apache-2.0.txt", "LICENSES/NOTICE.txt"]
    assert {f"{about.removesuffix('METADATA')}licenses/{name}" for name in listed} <= set(names)


def test_every_file_is_recorded_with_its_digest(made: ClientWheel) -> None:
    with zipfile.ZipFile(made.path) as archive:
        (record,) = (name for name in archive.namelist() if name.endswith("/RECORD"))
        lines = list(csv.reader(io.StringIO(archive.read(record).decode())))
        assert [line[0] for line in lines] == archive.namelist()
        for name, digest, size in lines:
            if name == record:
                assert (digest, size) == ("", "")
                continue
            data = archive.read(name)
            expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
            assert (digest, size) == (f"sha256={expected.decode()}", str(len(data)))


def test_equal_programs_are_one_wheel_and_a_restart_packs_nothing(
    wheels: ClientWheels, made: ClientWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = wheels.current()
    assert first.sha256 == made.sha256
    monkeypatch.setattr("mograder.store.client_wheel.pack_wheel", None)
    assert wheels.current() == first
    assert ClientWheels(tmp_path).current() == first


def test_two_hubs_of_one_course_share_a_wheel_that_another_zlib_packed(
    wheels: ClientWheels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stored(files: dict[str, bytes], info: str, *, deflate: bool) -> bytes:
        assert deflate
        return packing.pack_wheel(files, info)

    monkeypatch.setattr("mograder.store.client_wheel.pack_wheel", stored)
    theirs = ClientWheels(tmp_path).current()
    monkeypatch.undo()
    assert wheels.current() == theirs


def test_a_wheel_that_a_power_cut_truncated_is_not_handed_out(
    wheels: ClientWheels, tmp_path: Path
) -> None:
    broken = wheels.current().path
    broken.write_bytes(broken.read_bytes()[:-100])
    again = ClientWheels(tmp_path).current()
    assert hashlib.sha256(again.path.read_bytes()).hexdigest() == again.sha256
    with zipfile.ZipFile(again.path) as archive:
        assert archive.testzip() is None


def test_a_wheel_is_found_by_its_address_and_made_again_when_it_was_lost(
    wheels: ClientWheels,
) -> None:
    made = wheels.current()
    digest, name = made.address.split("/")
    assert wheels.find(digest, name) == made.path
    made.path.unlink()
    assert wheels.find(digest, name).is_file()


@pytest.mark.parametrize(
    ("digest", "name"),
    [
        ("0" * 16, WHEEL),
        ("..", WHEEL),
        ("1" * 16, f"../{WHEEL}"),
        ("1" * 16, "mograder_hub-1.0-1/../../x-py3-none-any.whl"),
        ("1" * 16, "people.jsonl"),
        ("1" * 16, "other-1.0-py3-none-any.whl"),
        # Names that no file can have.
        *(("1" * 16, WHEEL.replace("1.0", tag)) for tag in ("a" * 300, "\0", "\u00fc" * 150)),
        *(("1" * 16, WHEEL.replace("py3", tag)) for tag in ("a" * 300, "\0", "\u00fc" * 150)),
    ],
)
def test_nothing_else_is_found(
    digest: str, name: str, wheels: ClientWheels, tmp_path: Path
) -> None:
    for place in (tmp_path / PLACE, tmp_path / PLACE / ("1" * 16), tmp_path / ".mograder"):
        place.mkdir(parents=True, exist_ok=True)
        for other in (WHEEL, "people.jsonl", "other-1.0-py3-none-any.whl"):
            (place / other).write_bytes(b"not to be found")
    with pytest.raises(NotFound):
        wheels.find(digest, name)


def test_wheels_of_earlier_versions_stay_for_a_while(wheels: ClientWheels, tmp_path: Path) -> None:
    name = "mograder_hub-0.9-py3-none-any.whl"
    for number in range(1, 8):
        path = tmp_path / PLACE / f"{number:016x}" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        os.utime(path, (number, number))
    current = wheels.current()
    kept = {path.name for path in (tmp_path / PLACE).iterdir()}
    assert kept == {current.path.parent.name, *(f"{number:016x}" for number in (4, 5, 6, 7))}
    assert wheels.find(f"{7:016x}", name).is_file()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / ".mograder").write_text("a file")
    with pytest.raises(NotFound, match="cannot be packed"):
        ClientWheels(tmp_path).current()


def test_a_program_that_is_not_installed_has_no_wheel(
    wheels: ClientWheels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(_: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(NotFound, match="not installed"):
        wheels.current()

"""Uploads that arrived whole, downloads that are what Moodle holds (README: Upload, Download)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from mograder.clients.course_server import RemoteFile
from mograder.clients.file_upload import Upload
from mograder.core.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    RemoteFailed,
    TooLarge,
)
from tests.contract.moodle.conftest import SignIn, Sized
from tests.support.moodle.recordings import NORMAL, recorded
from tests.support.moodle.replay import Replay, Reply

A1 = "/webservice/pluginfile.php/18/mod_assign/introattachment/0/A1-Introduction.py"
CONTENT = recorded(137).body


def a1(moodle: Replay, path: str = A1) -> RemoteFile:
    return RemoteFile("A1-Introduction.py", f"{moodle.url}{path}", len(CONTENT))


@pytest.mark.parametrize(
    ("sent", "names"),
    [
        pytest.param({"a.py": 1, "b.py": 1}, ("a.py", "b.py"), id="two in one draft area (089)"),
        pytest.param({"empty.py": 0}, ("empty.py",), id="an empty one (088)"),
        pytest.param(
            {"étude n°1 – 山田.py": 20}, ("étude n°1 – 山田.py",), id="any alphabet (086)"
        ),
        pytest.param(
            {'../../we"ird/na me?.py': 20}, ("na me?.py",), id="as the site calls it (087)"
        ),
    ],
)
def test_files_arrive_under_the_names_that_moodle_tells(
    sent: dict[str, int], names: tuple[str, ...], sign_in: SignIn, sized: Sized
) -> None:
    files = [Upload(name, sized(f"{size}", size)) for name, size in sent.items()]
    draft = sign_in("alice").upload(files)
    assert draft.names == names
    assert draft.item > 0


@pytest.mark.parametrize(
    ("after", "mood", "sent"),
    [
        pytest.param(94, "small-uploads", {"big.py": 1048586}, id="above the site's limit (095)"),
        pytest.param(94, "small-uploads", {"ok.py": 1, "big.py": 1048586}, id="one of two (096)"),
        pytest.param(97, NORMAL, {"big.py": 84934656}, id="PHP dropped it (098)"),
        pytest.param(99, NORMAL, {"big.py": 84934656}, id="PHP dropped it with the token (099)"),
    ],
)
def test_a_file_that_is_too_large_is_named(
    after: int, mood: str, sent: dict[str, int], sign_in: SignIn, sized: Sized, moodle: Replay
) -> None:
    """An item of a list, with HTTP 200; nothing says that the whole failed."""
    moodle.begin(after, mood)
    files = [Upload(name, sized(name, size)) for name, size in sent.items()]
    with pytest.raises(TooLarge, match=r"big\.py"):
        sign_in("alice").upload(files)


def test_two_files_of_one_name_are_refused_before_anything_is_sent(
    sign_in: SignIn, sized: Sized, moodle: Replay
) -> None:
    """084: Moodle would drop the second one."""
    file = sized("a.py", 1)
    with pytest.raises(InvalidInput, match="same name"):
        sign_in("alice").upload([Upload("a.py", file), Upload("a.py", file)])
    assert moodle.requests == []


def test_a_file_that_arrived_short_is_an_error(
    sign_in: SignIn, sized: Sized, moodle: Replay
) -> None:
    moodle.between = lambda reply: replace(
        reply, body=reply.body.replace(b'"filesize": 20', b'"filesize": 19')
    )
    with pytest.raises(Conflict, match="Not all"):
        sign_in("alice").upload([Upload("A1-Introduction.py", sized("x", 20))])


def test_a_plain_address_becomes_the_web_services(
    sign_in: SignIn, moodle: Replay, tmp_path: Path
) -> None:
    """150: ``pluginfile.php`` knows no token and redirects to a page."""
    plain = A1.replace("/webservice", "")
    sign_in("alice").download(a1(moodle, plain), tmp_path / "a1.py")
    assert (tmp_path / "a1.py").read_bytes() == CONTENT


def test_a_site_that_names_files_in_the_query_is_understood(
    sign_in: SignIn, moodle: Replay
) -> None:
    """154: "slash arguments" are off."""
    path = "/pluginfile.php?file=%2F18%2Fmod_assign%2Fintroattachment%2F0%2FA1-Introduction.py"
    assert sign_in("alice").read(a1(moodle, path), 1000) == CONTENT


def test_an_address_keeps_its_escapes(sign_in: SignIn, moodle: Replay) -> None:
    """141: file addresses come percent-encoded."""
    moodle.begin(129)
    client = sign_in("teach1")
    rows = {row.user_id: row for row in client.submissions(1)}
    assert client.read(rows[6].files[0], 1000) == '# carol\nx = "é"\n'.encode()


def test_a_token_goes_to_no_other_server(sign_in: SignIn, moodle: Replay) -> None:
    """Repositories may keep files elsewhere (``isexternalfile``)."""
    elsewhere = RemoteFile("x.py", f"https://files.example.org{A1}")
    with pytest.raises(RemoteFailed, match="another server"):
        sign_in("alice").read(elsewhere, 1000)
    assert moodle.requests == []


def test_a_sign_in_page_is_no_file(sign_in: SignIn, moodle: Replay, tmp_path: Path) -> None:
    page = recorded(151)
    moodle.between = lambda _: Reply(200, page.content_type, page.body)
    with pytest.raises(RemoteFailed, match="page instead of"):
        sign_in("alice").download(a1(moodle), tmp_path / "a1.py")
    with pytest.raises(RemoteFailed, match="page instead of"):
        sign_in("alice").read(a1(moodle), 1 << 20)
    assert list(tmp_path.iterdir()) == []


def test_damaged_bytes_never_take_the_place_of_a_file(
    sign_in: SignIn, moodle: Replay, tmp_path: Path
) -> None:
    to = tmp_path / "a1.py"
    to.write_text("mine")
    moodle.between = lambda reply: replace(reply, body=reply.body[:-1] + b"?")
    with pytest.raises(RemoteFailed, match="other bytes"):
        sign_in("alice").download(a1(moodle), to)
    assert [path.name for path in tmp_path.iterdir()] == ["a1.py"]
    assert to.read_text() == "mine"
    with pytest.raises(RemoteFailed, match="other bytes"):
        sign_in("alice").read(a1(moodle), 1 << 20)


def test_a_download_goes_on_where_the_connection_broke(
    sign_in: SignIn, moodle: Replay, tmp_path: Path
) -> None:
    """153: Moodle gives ranges."""
    cut_once = iter([10, None])
    moodle.between = lambda reply: replace(reply, cut=next(cut_once))
    told: list[str] = []
    sign_in("alice").download(a1(moodle), tmp_path / "a1.py", told.append)
    assert (tmp_path / "a1.py").read_bytes() == CONTENT
    assert [request.range for request in moodle.requests] == ["", "bytes=10-"]
    assert "going on" in told[-1]


def test_several_downloads_go_at_once_and_tell_how_far_they_are(
    sign_in: SignIn, moodle: Replay, tmp_path: Path
) -> None:
    told: list[str] = []
    files = [(a1(moodle), tmp_path / f"{number}.py") for number in range(6)]
    sign_in("alice").download_all(files, told.append, workers=3)
    digests = {hashlib.sha1(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    assert digests == {hashlib.sha1(CONTENT).hexdigest()}
    assert len(told) == 6
    assert told[-1] == "6 of 6: A1-Introduction.py"


def test_a_file_that_is_gone_keeps_no_other_away(
    sign_in: SignIn, moodle: Replay, tmp_path: Path
) -> None:
    """A student hands in anew while a class is fetched."""
    gone = a1(moodle, A1.replace("A1-Introduction", "nope"))
    files = [(gone, tmp_path / "b.py"), (a1(moodle), tmp_path / "a.py")]
    missing = sign_in("alice").download_all(files, workers=1)
    assert {path.name: type(error) for path, error in missing.items()} == {"b.py": NotFound}
    assert (tmp_path / "a.py").read_bytes() == CONTENT


def test_a_failure_that_all_would_have_stops_them_and_keeps_what_is_whole(
    sign_in: SignIn, moodle: Replay, tmp_path: Path
) -> None:
    elsewhere = replace(a1(moodle), address="https://elsewhere.example.org/pluginfile.php/1/x.py")
    files = [(a1(moodle), tmp_path / "a.py"), (elsewhere, tmp_path / "b.py")]
    files += [(a1(moodle), tmp_path / f"{number}.py") for number in range(20)]
    with pytest.raises(RemoteFailed):
        sign_in("alice").download_all(files, workers=1)
    assert (tmp_path / "a.py").read_bytes() == CONTENT
    assert len(moodle.requests) < 21


def test_a_file_above_the_callers_limit_is_not_read(sign_in: SignIn, moodle: Replay) -> None:
    with pytest.raises(TooLarge):
        sign_in("alice").read(a1(moodle), 100)
    assert moodle.requests == []
    untold = replace(a1(moodle), size=None)
    with pytest.raises(TooLarge):
        sign_in("alice").read(untold, 100)

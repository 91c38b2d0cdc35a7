"""A notebook's requests to an assignment server that implements compatibility-0.3.16.md 4.

See compatibility-0.3.16.md 8.

Every test runs through a socket and through a stand-in of the browser's XMLHttpRequest.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from mograder import remote, runtime
from mograder.remote import RemoteError, fetch, status, submit
from tests.support.assignment_server import (
    Course,
    Listing,
    pretend_to_be_in_a_browser,
    reply,
    serving,
)


def names(directory: Path) -> list[str]:
    """Return the names in a directory, sorted."""
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(params=["socket", "browser"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    if request.param == "browser":
        pretend_to_be_in_a_browser(monkeypatch)
    return str(request.param)


@pytest.fixture
def course() -> Course:
    return Course(
        files={
            "A1-Pi": {"A1-Pi.py": b"# release\r\n\xff", "data 1.csv": b"1,2\n", "empty.txt": b""},
            "Übung 2": {"Übung 2.py": b"# zwei"},
            "50% #1?": {"50% #1?.py": b"# odd"},
        }
    )


@pytest.fixture
def url(course: Course) -> Iterator[str]:
    with serving(course) as address:
        yield address


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The student's directory, with something beside it that must stay as it is."""
    directory = tmp_path / "here"
    directory.mkdir()
    (tmp_path / "evil").write_text("untouched")
    monkeypatch.chdir(directory)
    return directory


pytestmark = pytest.mark.usefixtures("transport")


def test_the_runtime_offers_what_a_star_import_brought_in_0_3_16() -> None:
    assert set(runtime.__all__) == {"check", "Grader", "hint", "fetch", "submit", "status"}
    assert (runtime.fetch, runtime.submit, runtime.status) == (fetch, submit, status)


def test_fetch_writes_every_file_byte_for_byte_and_says_where(url: str, here: Path) -> None:
    assert fetch(url, "A1-Pi") == [Path("A1-Pi.py"), Path("data 1.csv"), Path("empty.txt")]
    assert (here / "A1-Pi.py").read_bytes() == b"# release\r\n\xff"
    assert (here / "empty.txt").read_bytes() == b""
    assert len(names(here)) == 3


@pytest.mark.parametrize("name", ["Übung 2", "50% #1?"])
def test_names_are_percent_encoded(url: str, here: Path, name: str) -> None:
    assert fetch(url + "/", name, "new/deep") == [Path("new/deep") / f"{name}.py"]
    assert (here / "new" / "deep" / f"{name}.py").is_file()


def test_without_a_token_no_request_carries_one(url: str, course: Course, here: Path) -> None:
    fetch(url, "A1-Pi")
    status(url, "A1-Pi", "alice")
    assert len(course.requests) == 5
    assert not [name for _, _, headers in course.requests for name in headers if name == "Cookie"]
    assert not [headers for _, _, headers in course.requests if "Authorization" in headers]


def test_a_server_may_live_below_a_prefix_and_say_where_its_files_are(
    url: str, course: Course, here: Path
) -> None:
    course.prefix = "/course"
    place = "/assignments/A1-Pi/files/data%201.csv"
    course.listing = [{"name": "Pi", "duedate": 1, "files": [{"filename": "d.csv", "url": place}]}]
    fetch(f"{url}/course", "Pi")
    assert (here / "d.csv").read_bytes() == b"1,2\n"


def test_an_unknown_assignment_names_those_that_there_are(url: str, here: Path) -> None:
    with pytest.raises(ValueError, match=r"no assignment 'A9'. Available: 50% #1\?, A1-Pi, Übung"):
        fetch(url, "A9")
    assert names(here) == []


def test_fetching_again_changes_nothing(url: str, here: Path) -> None:
    fetch(url, "A1-Pi")
    before = {path.name: path.stat().st_ino for path in here.iterdir()}
    fetch(url, "A1-Pi")
    assert {path.name: path.stat().st_ino for path in here.iterdir()} == before


def test_a_students_edits_are_kept_beside_the_new_file(url: str, here: Path) -> None:
    contents = set()
    for work in ("# my work", "# my second work"):
        (here / "A1-Pi.py").write_text(work)
        with pytest.warns(UserWarning, match=r"Your files were kept as A1-Pi_\d{8}T\d{6}.*\.py"):
            fetch(url, "A1-Pi")
        assert (here / "A1-Pi.py").read_bytes() == b"# release\r\n\xff"
        contents.add(work)
        copies = [path.read_text() for path in here.glob("A1-Pi_*.py")]
        assert set(copies) == contents


def test_a_students_edits_stay_in_their_place_until_the_new_file_takes_it(
    url: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that was killed in between left no notebook of that name."""
    (here / "A1-Pi.py").write_text("# my work")
    before = (here / "A1-Pi.py").stat().st_mtime_ns
    seen: list[dict[str, bytes]] = []

    def look(new: Path, target: Path) -> None:
        seen.append({path.name: path.read_bytes() for path in here.glob("*.py")})
        new.rename(target)

    monkeypatch.setattr(Path, "replace", look)
    with pytest.warns(UserWarning, match="kept as"):
        fetch(url, "A1-Pi")
    (copy,) = here.glob("A1-Pi_*.py")
    assert seen[0] == {"A1-Pi.py": b"# my work", copy.name: b"# my work"}
    assert copy.stat().st_mtime_ns == before


def test_a_link_is_replaced_and_what_it_points_at_is_not(url: str, here: Path) -> None:
    (here / "A1-Pi.py").symlink_to("../evil")
    with pytest.warns(UserWarning, match="kept as"):
        fetch(url, "A1-Pi")
    assert (here.parent / "evil").read_text() == "untouched"
    assert not (here / "A1-Pi.py").is_symlink()


@pytest.mark.parametrize(
    "name",
    ["../evil", "..", ".", "", "/etc/x", "a/b", "a\\b", "C:x", "a\0b", "a\nb", "\ud800", "x" * 256],
)
def test_a_name_that_leaves_the_directory_is_refused_before_anything_is_written(
    url: str, course: Course, here: Path, name: str
) -> None:
    course.listing = [{"name": "A", "files": [{"filename": "good.py"}, {"filename": name}]}]
    with pytest.raises(RemoteError, match="not safe to write"):
        fetch(url, "A")
    assert names(here) == []
    assert names(here.parent) == ["evil", "here"]
    assert len(course.requests) == 1


@pytest.mark.parametrize(
    "place", ["http://elsewhere.example/x", "//elsewhere.example/x", "@elsewhere/x", "/a/../b", "x"]
)
def test_a_file_that_is_elsewhere_is_refused(
    url: str, course: Course, here: Path, place: str
) -> None:
    course.listing = [{"name": "A", "files": [{"filename": "A.py", "url": place}]}]
    with pytest.raises(RemoteError, match="is elsewhere"):
        fetch(url, "A")


def test_hidden_files_are_left_out_and_two_of_one_name_refused(
    url: str, course: Course, here: Path
) -> None:
    course.listing = [{"name": "A", "files": [{"filename": ".bashrc"}]}, {"name": "B"}]
    assert fetch(url, "A") == fetch(url, "B") == []
    course.listing = [{"name": "A", "files": [{"filename": "a.py"}, {"filename": "A.py"}]}]
    with pytest.raises(RemoteError, match="not safe"):
        fetch(url, "A")
    course.listing = [{"name": "A", "files": [{"filename": f"{n}"} for n in range(501)]}]
    with pytest.raises(RemoteError, match="more than 500 files"):
        fetch(url, "A")


def test_nothing_changes_when_one_file_is_missing(url: str, course: Course, here: Path) -> None:
    (here / "A1-Pi.py").write_text("# my work")
    files: Listing = [{"filename": "A1-Pi.py"}, {"filename": "gone.csv"}]
    course.listing = [{"name": "A1-Pi", "files": files}]
    with pytest.raises(RemoteError, match=r"The server answered 404: Not found: gone.csv\."):
        fetch(url, "A1-Pi")
    assert names(here) == ["A1-Pi.py"]
    assert (here / "A1-Pi.py").read_text() == "# my work"


def test_submitting_hands_in_the_bytes_of_the_file(url: str, course: Course, here: Path) -> None:
    content = b"# \xff\r\n--\r\n" + bytes(range(256))
    (here / 'my "work".py').write_bytes(content)
    assert submit(url, "Übung 2", 'my "work".py', "alice") == "ok"
    assert course.submissions == {("Übung 2", "alice"): content}
    _, path, headers = course.requests[0]
    assert path == "/assignments/%C3%9Cbung%202/submit?user=alice"
    assert headers["Content-Type"] == "multipart/form-data; boundary=----MograderBoundary"


def test_a_file_that_holds_the_boundary_arrives_whole(url: str, course: Course, here: Path) -> None:
    content = b"x\r\n------MograderBoundary--\r\ny ----MograderBoundary1"
    (here / "A1.py").write_bytes(content)
    submit(url, "A1", here / "A1.py", "alice")
    assert course.submissions["A1", "alice"] == content


def test_a_file_that_is_missing_or_too_large_is_not_sent(
    url: str, course: Course, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError):
        submit(url, "A1", "none.py", "alice")
    monkeypatch.setattr(remote, "_LARGEST_FILE", 2**20)
    (here / "big.py").write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(ValueError, match=r"big.py is larger than 1 MB"):
        submit(url, "A1", "big.py", "alice")
    assert course.requests == []


def test_the_status_is_what_the_server_says(url: str, here: Path) -> None:
    assert status(url, "A1-Pi", "alice") == {
        "status": "new",
        "graded": False,
        "grade": None,
        "feedback": "",
        "feedback_available": False,
    }
    (here / "A1.py").write_text("x")
    submit(url, "A1-Pi", "A1.py", "alice")
    assert status(url, "A1-Pi", "alice")["status"] == "submitted"


def test_a_user_name_stays_one_value(url: str, course: Course, here: Path) -> None:
    (here / "A1.py").write_text("x")
    with pytest.raises(RemoteError, match="400: Invalid username"):
        submit(url, "A1", "A1.py", "a&user=b/../c d")
    assert course.requests[0][1] == "/assignments/A1/submit?user=a%26user%3Db%2F..%2Fc%20d"


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_names_that_are_directories_in_an_address_are_refused(url: str, name: str) -> None:
    with pytest.raises(ValueError, match="no name of"):
        status(url, name, "alice")
    with pytest.raises(ValueError, match="no name of"):
        status(url, "A1", name)


@pytest.mark.parametrize(
    ("code", "body", "message"),
    [
        (401, b'{"error": "Authentication required"}', r"required\. Give a token that is valid"),
        (403, b'{"error": "Not your work"}', r"403: Not your work\. Check the user name"),
        (404, b"<html>", r"404: Not Found\. Check the spelling"),
        (409, b'{"detail": "in the hub\'s words."}', r"409: in the hub's words\.$"),
        (413, b"", r"413: Request Entity Too Large\. The file is too large"),
        (500, b'{"error": ["no", "text"]}', r"500: Internal Server Error\. Try again later"),
        (599, b'{"error": "a\\u0000b\\u009bc\\ud800d"}', r"599: a b c d\. Try again"),
        (301, b"", r"301: Moved Permanently\. The server has moved"),
        (418, b'{"error": "' + b"x" * 100_000 + b'"}', r"418: "),
    ],
)
def test_an_error_is_told_in_the_servers_words(
    url: str, course: Course, code: int, body: bytes, message: str
) -> None:
    course.rude = lambda handler: reply(handler, code, body)
    with pytest.raises(RemoteError, match=message) as error:
        status(url, "A1", "alice")
    assert error.value.code == code
    assert isinstance(error.value, URLError)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b"\xff", b'"ok"', b"[" * 100_000])
def test_what_is_no_answer_of_a_server_is_said_to_be_none(
    url: str, course: Course, here: Path, body: bytes
) -> None:
    course.rude = lambda handler: reply(handler, 200, body)
    (here / "A1.py").write_text("x")
    with pytest.raises(RemoteError, match="does not answer like a mograder server"):
        status(url, "A1", "alice")
    with pytest.raises(RemoteError, match="does not answer like a mograder server"):
        submit(url, "A1", "A1.py", "alice")


@pytest.mark.parametrize(
    "listing",
    [
        {},
        [1],
        [{"name": 1}],
        [{"name": "A1", "files": [1]}],
        [{"name": "A1", "files": [{}]}],
    ],
)
def test_a_list_of_another_shape_is_refused(
    url: str, course: Course, here: Path, listing: Any
) -> None:
    course.listing = listing
    with pytest.raises(RemoteError, match="does not answer like a mograder server"):
        fetch(url, "A1")


def test_a_huge_answer_is_cut_off(
    url: str, course: Course, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_LARGEST_FILE", 2**20)
    monkeypatch.setattr(remote, "_LARGEST_LIST", 2**20)
    course.files["A1-Pi"]["A1-Pi.py"] = b"x" * (2**20 + 1)
    with pytest.raises(RemoteError, match="sends more than 1 MB"):
        fetch(url, "A1-Pi")
    course.listing = [{"name": "x" * 2**20, "files": []}]
    with pytest.raises(RemoteError, match="sends more than 1 MB"):
        fetch(url, "A1-Pi")
    assert names(here) == []


def test_a_server_that_does_not_answer_is_not_waited_for(
    url: str, course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def silent(_: BaseHTTPRequestHandler) -> None:
        over.wait(60)

    course.rude = silent
    monkeypatch.setattr(remote, "_SILENCE_SECONDS", 0.2)
    with pytest.raises(RemoteError, match=r"did not answer in time|timed out"):
        status(url, "A1", "alice")
    over.set()


def test_an_answer_that_drips_is_not_waited_for(
    url: str, course: Course, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if transport == "browser":
        pytest.skip("the browser keeps the time")
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        reply(handler, 200, b"", content_length="1000000")
        with suppress(OSError):  # the client goes away
            while not over.wait(0.01):
                handler.wfile.write(b" ")

    course.rude = drip
    monkeypatch.setattr(remote, "_ANSWER_SECONDS", 0.2)
    with pytest.raises(RemoteError, match="too slow"):
        status(url, "A1", "alice")
    over.set()


def test_a_download_follows_where_the_server_moved_and_a_submission_does_not(
    url: str, course: Course, transport: str, here: Path
) -> None:
    if transport == "browser":
        pytest.skip("the browser follows by its own rules")

    def moved(handler: BaseHTTPRequestHandler) -> None:
        course.rude = None
        reply(handler, 301, b"", location=url + handler.path)

    course.rude = moved
    assert status(url, "A1-Pi", "alice")["status"] == "new"
    course.rude = moved
    (here / "A1.py").write_text("x")
    with pytest.raises(RemoteError, match=r"301: .* The server has moved"):
        submit(url, "A1-Pi", "A1.py", "alice")
    course.rude = lambda handler: reply(handler, 302, b"", location="file:///etc/passwd")
    with pytest.raises(RemoteError, match="302"):
        fetch(url, "A1-Pi")


def test_an_answer_that_breaks_off_is_an_error(url: str, course: Course) -> None:
    course.rude = lambda handler: reply(handler, 200, b"{}", content_length="100")
    with pytest.raises(RemoteError, match=r"broke off|cannot be reached"):
        status(url, "A1", "alice")


def test_a_server_that_is_not_there_is_said_to_be_unreachable() -> None:
    with pytest.raises(RemoteError, match=r"127\.0\.0\.1:1 cannot be reached .* Check the address"):
        status("http://127.0.0.1:1", "A1", "alice")


@pytest.mark.parametrize(
    "address", ["", "file:///etc", "ftp://h/", "localhost:8080", "http://", "http://h?a=b"]
)
def test_an_address_that_is_no_servers_is_refused(address: str) -> None:
    for ask in (status, fetch):
        with pytest.raises(ValueError, match="is no address of a server"):
            ask(address, "A1", "alice")

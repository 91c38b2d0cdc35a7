"""How often Moodle is asked when the network fails, and what is written to it."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from decimal import Decimal

import httpx
import pytest

from mograder.clients.course_server import RemoteFile
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.fields import moment, number
from mograder.clients.moodle.http import Wire, written
from mograder.clients.moodle.texts import plain
from mograder.clients.server_url import is_insecure, parse_moodle_url
from mograder.core.errors import (
    Busy,
    InvalidInput,
    MograderError,
    RemoteFailed,
    TimedOut,
)
from mograder.core.log import TextFormatter

URL = "https://moodle.example.edu"
SECRET = "5ec8e75ec8e75ec8e75ec8e75ec8e75e"

Answer = Callable[[], httpx.Response]


def fails(error: httpx.TransportError) -> Answer:
    def answer() -> httpx.Response:
        raise error

    return answer


def says(value: object, status: int = 200) -> Answer:
    return lambda: httpx.Response(status, content=json.dumps(value))


class Network:
    """Answers one after the other; the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = answers
        self.asked: list[httpx.Request] = []
        self.pauses: list[float] = []

    def wire(self) -> Wire:
        return Wire(URL, transport=httpx.MockTransport(self.answer), pause=self.pauses.append)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]()


def call(network: Network, *, safe: bool) -> object:
    wire = network.wire()
    try:
        return wire.call("some_function", SECRET, {"a": 1}, safe=safe)
    finally:
        wire.close()


@pytest.mark.parametrize(
    "failure",
    [
        fails(httpx.ReadError("reset")),
        fails(httpx.ReadTimeout("slow")),
        fails(httpx.ConnectError("refused")),
        says("busy", 500),
        says("busy", 502),
        says("busy", 504),
    ],
)
def test_what_only_reads_is_asked_again_after_a_pause(failure: Answer) -> None:
    network = Network(failure, failure, says([1]))
    assert call(network, safe=True) == [1]
    assert network.pauses == [0.5, 2.0]


@pytest.mark.parametrize(
    ("failure", "family"),
    [
        (fails(httpx.ReadError("reset")), RemoteFailed),
        (fails(httpx.ReadTimeout("slow")), TimedOut),
        (fails(httpx.WriteError("broken")), RemoteFailed),
        (says("busy", 500), RemoteFailed),
        (says("busy", 502), RemoteFailed),
    ],
)
def test_what_changes_something_is_never_sent_twice(
    failure: Answer, family: type[MograderError]
) -> None:
    network = Network(failure, says(None))
    with pytest.raises(family):
        call(network, safe=False)
    assert len(network.asked) == 1


def test_a_lost_answer_to_a_change_says_that_it_may_have_been_done() -> None:
    with pytest.raises(TimedOut) as caught:
        call(Network(fails(httpx.ReadTimeout("slow"))), safe=False)
    assert "may have been done" in caught.value.hint


def test_the_words_of_a_broken_connection_end_in_one_full_stop() -> None:
    """What httpx says may end in a full stop of its own."""
    gone = httpx.RemoteProtocolError("Server disconnected without sending a response.")
    with pytest.raises(RemoteFailed) as caught:
        call(Network(fails(gone)), safe=True)
    assert caught.value.message.endswith("disconnected without sending a response.")


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow")])
def test_a_change_is_tried_again_if_nothing_was_sent(error: httpx.TransportError) -> None:
    assert call(Network(fails(error), says(None)), safe=False) is None


def test_after_three_tries_it_is_said_that_moodle_cannot_be_reached() -> None:
    network = Network(fails(httpx.ConnectError("[Errno 113] no route")))
    with pytest.raises(RemoteFailed, match="cannot be reached: no route") as caught:
        call(network, safe=True)
    assert len(network.asked) == 3
    assert "VPN" in caught.value.hint


def test_maintenance_is_not_waited_for() -> None:
    network = Network(says("down", 503))
    with pytest.raises(Busy):
        call(network, safe=True)
    assert len(network.asked) == 1


def test_a_token_is_in_no_address_no_log_and_no_message(caplog: pytest.LogCaptureFixture) -> None:
    network = Network(says([]), fails(httpx.ReadError("reset")))
    with caplog.at_level(logging.DEBUG):
        call(network, safe=True)
        with pytest.raises(RemoteFailed) as caught:
            call(network, safe=True)
    assert SECRET.encode() in network.asked[0].content
    assert SECRET not in str(network.asked[0].url)
    assert SECRET not in caplog.text
    assert SECRET not in str(caught.value)


FILE = RemoteFile("a.py", f"{URL}/pluginfile.php/1/a.py?forcedownload=1")


def read_file(network: Network) -> bytes:
    transport = httpx.MockTransport(network.answer)
    with MoodleClient(URL, SECRET, transport=transport) as client:
        return client.read(FILE, 100)


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_file_is_asked_by_get_where_post_is_not_served(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Its address has the token then, which is masked in the log."""
    network = Network(lambda: httpx.Response(status), lambda: httpx.Response(200, content=b"1"))
    with caplog.at_level(logging.DEBUG):
        assert read_file(network) == b"1"
    posted, got = network.asked
    assert (posted.method, posted.url.query, got.method, got.content) == ("POST", b"", "GET", b"")
    assert str(got.url).startswith(f"{URL}/webservice/pluginfile.php/1/a.py?")
    assert dict(got.url.params) == {"token": SECRET, "forcedownload": "1"}
    written_lines = [TextFormatter().format(each) for each in caplog.records]
    assert SECRET not in "\n".join(written_lines)


@pytest.mark.parametrize(
    "answer",
    [
        says({"errorcode": "filenotfound", "error": "File not found"}, 404),
        says("<html>", 403),
        lambda: httpx.Response(301, headers={"location": "https://other.example/a.py"}),
    ],
)
def test_a_file_that_was_refused_is_not_asked_with_the_token_in_its_address(answer: Answer) -> None:
    network = Network(answer)
    with pytest.raises(MograderError):
        read_file(network)
    assert [each.method for each in network.asked] == ["POST"]


def test_a_file_that_neither_way_gives_is_named_without_the_token() -> None:
    moved = httpx.Response(302, headers={"location": f"https://other.example/a?token={SECRET}"})
    network = Network(lambda: httpx.Response(405), lambda: moved)
    with pytest.raises(MograderError) as caught:
        read_file(network)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert [each.url.host for each in network.asked] == ["moodle.example.edu"] * 2


def test_a_redirect_with_a_token_in_it_is_named_without_it() -> None:
    moved = httpx.Response(303, headers={"location": f"https://other.example/x?token={SECRET}"})
    with pytest.raises(InvalidInput) as caught:
        call(Network(lambda: moved), safe=True)
    assert "other.example" in caught.value.message
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"[" * 100_000])
def test_what_is_no_json_is_no_moodle(body: bytes) -> None:
    with pytest.raises(RemoteFailed, match="not Moodle's web service"):
        call(Network(lambda: httpx.Response(200, content=body)), safe=True)


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"", "Web services are switched off"), (b"<html>Blocked", "not Moodle's web service")],
)
def test_a_403_with_a_page_is_not_moodles(body: bytes, words: str) -> None:
    """Recording 002 has no body; a firewall's page told that web services were off."""
    with pytest.raises(RemoteFailed, match=words):
        call(Network(lambda: httpx.Response(403, content=body)), safe=True)


def test_an_answer_without_end_is_cut_off() -> None:
    endless = httpx.Response(200, content=(b" " * (1 << 20) for _ in range(100)))
    with pytest.raises(RemoteFailed, match="more than 64 MB"):
        call(Network(lambda: endless), safe=True)


def test_words_that_look_like_a_refusal_in_a_list_are_none() -> None:
    answer = [{"errorcode": "x", "exception": "y"}]
    assert call(Network(says(answer)), safe=True) == answer
    assert json.dumps(answer)


def test_an_answer_of_another_form_is_named_by_its_function() -> None:
    answers = httpx.MockTransport(lambda _: httpx.Response(200, json={"sitename": "x"}))
    with (
        MoodleClient(URL, SECRET, transport=answers) as client,
        pytest.raises(RemoteFailed, match=r"core_webservice_get_site_info .*siteurl"),
    ):
        client.site()


def test_a_value_of_another_form_is_not_repeated() -> None:
    answer = {"lastattempt": {"canedit": "Alice"}}
    answers = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    with (
        MoodleClient(URL, SECRET, transport=answers) as client,
        pytest.raises(RemoteFailed, match=r"lastattempt\.canedit") as caught,
    ):
        client.submission_status(1)
    assert "Alice" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "1"), (False, "0"), (Decimal("1E+2"), "100"), (Decimal("87.5"), "87.5"), (-1, "-1")],
)
def test_fields_are_written_as_moodle_reads_them(value: bool | Decimal | int, text: str) -> None:
    assert written(value) == text


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://moodle.example.edu/", URL),
        (" https://Moodle.Example.edu//", URL),
        ("https://moodle.example.edu/course/view.php?id=2", URL),
        ("https://moodle.example.edu/login/index.php", URL),
        ("https://example.edu/moodle/my/", "https://example.edu/moodle"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
    ],
)
def test_an_address_may_be_that_of_any_page(text: str, url: str) -> None:
    assert parse_moodle_url(text) == url


@pytest.mark.parametrize(
    "text",
    ["", "moodle.example.edu", "ftp://x.edu", "https://a:b@x.edu", "https://x.edu/%00", "\udcff"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_moodle_url(text)


def test_a_token_in_the_clear_is_known_to_be() -> None:
    assert is_insecure("http://moodle.example.edu")
    assert not is_insecure("http://localhost:8000")
    assert not is_insecure("http://127.0.0.1:8000")
    assert not is_insecure(URL)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A3. Blind &amp; hidden", "A3. Blind & hidden"),
        ("O&amp;#039;Connor", "O'Connor"),
        ("n &lt;3 &amp;amp; m&gt;4", "n <3 & m>4"),
        ("87.50&nbsp;/&nbsp;100.00", "87.50 / 100.00"),
        ('<i class="icon"></i>89.00', "89.00"),
    ],
)
def test_names_and_grades_are_plain_text(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("87.50000", Decimal("87.5")), ("-1.00000", None), ("", None), (None, None), ("x", None)],
)
def test_a_grade_is_a_number_or_none(text: str | None, expected: Decimal | None) -> None:
    assert number(text) == expected


def test_the_time_zero_is_none() -> None:
    assert moment(0) is moment(None) is moment(10**18) is None

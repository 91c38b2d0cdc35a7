"""The server of a folder's dashboard, and the message for an unknown one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.clients.token_store import HTTPS, TokenStore
from mograder.core.errors import Conflict, InvalidInput
from mograder.core.settings import load_settings, read_environ
from mograder.exchange.student.course import Known
from mograder.store.copies.student_folder import StudentFolder
from mograder.web.student.connector import Connector, connector_of
from tests.support.dashboard_app import dashboard

SERVER = "https://course.example.org"


def connector(folder: Path, settings: str = "", **environment: str) -> Connector:
    """The connector of a folder with these settings."""
    (folder / "mograder.toml").write_text(settings)
    environ = {"HOME": str(folder), **environment}
    return connector_of(load_settings(folder, environ=environ), read_environ(environ))


def synced(folder: Path, server: str = SERVER, course_id: int = 0) -> Known:
    """Let the folder hold alice's work on a course."""
    known = Known(server=server, user="alice", synced=datetime.now(UTC), course_id=course_id)
    StudentFolder(folder).put_known(known)
    return known


@pytest.mark.parametrize("transport", ["", 'transport = "https"\n'])
def test_b155_the_course_names_its_server(tmp_path: Path, transport: str) -> None:
    found = connector(tmp_path, f'{transport}[https]\nurl = "{SERVER}"\n')
    assert (found.server, found.settled) == (SERVER, True)
    assert found.resume() is None, "nobody has signed in yet"


def test_a_folder_without_settings_goes_on_with_the_server_of_last_time(tmp_path: Path) -> None:
    assert (connector(tmp_path).server, connector(tmp_path).settled) == ("", False)
    synced(tmp_path)
    assert (connector(tmp_path).server, connector(tmp_path).settled) == (SERVER, False)


def test_b152_a_token_of_the_environment_signs_in_without_a_form(tmp_path: Path) -> None:
    token = "alice:" + "0" * 64
    found = connector(tmp_path, f'[https]\nurl = "{SERVER}"\n', MOGRADER_HTTPS_TOKEN=token)
    transport = found.resume()
    assert transport is not None
    assert transport.user == "alice"
    transport.close()


def test_b152_a_kept_token_counts_before_that_of_the_settings(tmp_path: Path) -> None:
    """As for the commands: a student whose token was renewed stays signed in with the new one."""
    settings = f'[https]\nurl = "{SERVER}"\ntoken = "old:{"0" * 64}"\n'
    of_settings = connector(tmp_path, settings).resume()
    TokenStore(tmp_path, HTTPS).save(SERVER, "kept:" + "1" * 64, "kept")
    kept = connector(tmp_path, settings).resume()
    given = connector(tmp_path, settings, MOGRADER_HTTPS_TOKEN="given:" + "2" * 64).resume()
    found = [each.user for each in (of_settings, kept, given) if each is not None]
    assert found == ["old", "kept", "given"]


def test_a_course_on_moodle_is_told_in_a_sentence(tmp_path: Path) -> None:
    moodle = '[moodle]\nurl = "https://moodle.example.org"\n'
    with pytest.raises(InvalidInput, match="on Moodle"):
        connector(tmp_path, moodle)
    both = f'transport = "https"\n[https]\nurl = "{SERVER}"\n{moodle}'
    assert connector(tmp_path, both).server == SERVER


def test_the_work_on_one_course_is_never_taken_for_that_on_another(tmp_path: Path) -> None:
    """By an address that was given at the start, and by one that was typed."""
    known = synced(tmp_path)
    other = "https://algebra.example.org"
    with pytest.raises(Conflict, match=f"{SERVER}, and not at {other}"):
        connector(tmp_path, MOGRADER_HTTPS_URL=other)
    assert connector(tmp_path, MOGRADER_HTTPS_URL=f"{SERVER.upper()}/").settled
    typed = {"server": other, "token": "alice:" + "0" * 64}
    with pytest.raises(Conflict, match=f"{SERVER}, and not at {other}"):
        connector(tmp_path).sign_in("token", typed, known)


def test_a_second_course_of_the_same_moodle_wants_its_own_folder(tmp_path: Path) -> None:
    def course(number: int) -> str:
        return f'transport = "moodle"\n[moodle]\nurl = "{SERVER}"\ncourse_id = {number}\n'

    known = synced(tmp_path, course_id=5)
    assert connector(tmp_path, course(5)).course_id == 5
    with pytest.raises(Conflict, match=f"course 5 at {SERVER}, and not on course 7"):
        connector(tmp_path, course(7))
    StudentFolder(tmp_path).put_known(known.model_copy(update={"course_id": 0}))
    assert connector(tmp_path, course(7)).course_id == 7, "an older sync kept no number"


def test_a_server_on_this_machine_may_have_another_port_each_time(tmp_path: Path) -> None:
    synced(tmp_path, server="http://127.0.0.1:8080")
    assert connector(tmp_path, MOGRADER_HTTPS_URL="http://localhost:8081").settled


def test_a_course_that_moved_has_its_new_address_in_the_folder(tmp_path: Path) -> None:
    synced(tmp_path)
    moved = "https://moved.example.org"
    assert connector(tmp_path, f'[https]\nurl = "{moved}"\n').server == moved


def test_the_instructors_token_is_none_of_a_students(tmp_path: Path) -> None:
    """It was kept as this computer's, and the folder belonged to no student for good."""
    found = connector(tmp_path, f'[https]\nurl = "{SERVER}"\n')
    with pytest.raises(InvalidInput, match="the instructor's token"):
        found.sign_in("token", {"token": "__instructor__:" + "0" * 64}, None)
    assert TokenStore(tmp_path, HTTPS).find(SERVER) is None


@pytest.mark.parametrize("url", ["course.example.org", "ftp://course.example.org", "https://"])
def test_an_address_that_is_none_is_told_at_the_start(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInput):
        connector(tmp_path, f'transport = "https"\n[https]\nurl = "{url}"\n')


def test_a_token_never_travels_in_the_clear_to_another_machine(tmp_path: Path) -> None:
    found = connector(tmp_path, 'transport = "https"\n[https]\nurl = "http://course.example.org"\n')
    with pytest.raises(InvalidInput, match="not encrypted") as refused:
        found.sign_in("token", {"token": "alice:" + "0" * 64}, None)
    assert "--insecure" not in refused.value.hint, "the dashboard has no such option"
    with pytest.raises(InvalidInput, match="not encrypted"):
        found.sign_in("register", {"user": "alice", "code": "open-sesame"}, None)


async def test_an_address_that_was_typed_stands_in_the_form_again_after_an_error(
    tmp_path: Path,
) -> None:
    async with dashboard(tmp_path / "w") as shown:
        fields = {"server": "http://course.example.org", "user": "alice", "code": "open-sesame"}
        answer = await shown.press("/sign-in/register", **fields)
        assert "is not encrypted" in answer.text
        assert f'value="{fields["server"]}"' in answer.text
        assert "open-sesame" not in answer.text

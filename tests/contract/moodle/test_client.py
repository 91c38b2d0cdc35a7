"""The client's parsing of a real Moodle's answers, with each exception that the README lists."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.records import Accepts, FeedbackTypes
from mograder.core.errors import Conflict, InvalidInput
from tests.contract.moodle.conftest import SignIn
from tests.support.moodle.replay import Replay


def test_the_site_says_who_we_are_and_what_the_service_offers(
    sign_in: SignIn, moodle: Replay
) -> None:
    client = sign_in("teach1")
    site = client.site()
    assert (site.user_id, site.username, site.full_name) == (3, "teach1", "Tea Cher")
    assert site.name == "Université de Côte-d’Azur — Moodle 测试"
    assert len(site.functions) == 430
    assert "core_course_edit_module" not in site.functions
    assert client.site() is site
    assert len(moodle.requests) == 1


def test_assignments_have_the_settings_that_change_what_a_client_does(
    sign_in: SignIn, moodle: Replay
) -> None:
    found = {each.id: each for each in sign_in("teach1").assignments(2)}
    a1, a2 = found[1], found[2]
    assert (a1.cmid, a1.name, a1.maximum) == (3, "A1. Introduction", Decimal(100))
    assert a1.due == datetime(2026, 12, 18, 23, 59, tzinfo=UTC)
    assert a1.cutoff is None
    assert a1.reopens == "manual"
    assert a1.accepts == Accepts(files=True, max_bytes=20 << 20)
    assert a1.feedback == FeedbackTypes(comments=True, files=True, worksheet=True)
    assert (a2.drafts, a2.workflow, a2.accepts.file_types) == (True, True, (".py", ".zip"))
    assert a2.statement.startswith("This submission is my own work")
    assert a1.statement == ""
    assert found[3].name == "A3. Blind & hidden"
    assert found[5].cutoff == datetime(2026, 10, 2, tzinfo=UTC)


def test_later_assignments_show_teams_texts_and_no_feedback(
    sign_in: SignIn, moodle: Replay
) -> None:
    moodle.begin(316)
    found = {each.id: each for each in sign_in("alice").assignments(2)}
    assert found[8].feedback == FeedbackTypes()
    assert found[9].accepts == Accepts(online_text=True)
    assert found[10].team
    assert found[11].attachments == ()


def test_a_teams_files_are_in_a_row_of_nobody(sign_in: SignIn, moodle: Replay) -> None:
    moodle.begin(310)
    rows = {row.user_id: row for row in sign_in("teach1").submissions(10)}
    assert [file.name for file in rows[0].files] == ["team.py"]
    assert rows[0].group_id == 1
    assert rows[4].files == rows[5].files == ()


def test_the_worksheet_setting_saves_the_question(sign_in: SignIn, moodle: Replay) -> None:
    client = sign_in("teach1")
    a1 = client.assignments(2)[0]
    client.grading_method(a1)
    asked = {request.fields["wsfunction"] for request in moodle.requests}
    assert asked == {"mod_assign_get_assignments"}


@pytest.mark.parametrize(
    ("after", "act", "told"),
    [
        pytest.param(
            105,
            lambda client: client.save_submission(1, draft=999999),
            "Nothing was submitted",
            id="no such draft (106)",
        ),
        pytest.param(
            101,
            lambda client: client.submit_for_grading(1),
            "did not hand it in",
            id="saving did that already, as drafts are off (102)",
        ),
    ],
)
def test_work_that_moodle_refuses_with_a_warning_is_a_conflict(
    after: int,
    act: Callable[[MoodleClient], None],
    told: str,
    sign_in: SignIn,
    moodle: Replay,
) -> None:
    """Else earlier work of the same name and size would be taken for what was refused."""
    moodle.begin(after)
    with pytest.raises(Conflict, match=told):
        act(sign_in("alice"))


@pytest.mark.parametrize("token", ["", "with space", "line\nbreak"])
def test_a_token_that_is_none_is_refused_before_anything_is_sent(
    token: str, moodle: Replay
) -> None:
    with pytest.raises(InvalidInput):
        MoodleClient(moodle.url, token)
    assert moodle.requests == []

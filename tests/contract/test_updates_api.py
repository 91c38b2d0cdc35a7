"""Updates of copies over HTTP: preview, offer, taking it, undoing it, and who hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mograder.core.errors import Busy
from mograder.core.names import ItemName, Username
from mograder.store.copies.update_rows import CopyUpdateRow, UpdateRows
from mograder.store.submissions.submissions import Submissions
from mograder.store.versions.version_thinning import Thinning
from mograder.store.versions.versions import Versions
from tests.support.hub_app import Hub, open_hub
from tests.support.hub_copies import ask, press, read, send
from tests.support.updated_course import (
    ANSWER,
    BROKEN,
    DONE,
    HALF,
    NEW,
    OLD,
    RIGHT,
    STAGES,
    TEXT_CHANGED,
    WRONG,
    correct,
    publish,
    take_copy,
    with_cells,
)

OPEN = "@app.cell\ndef _():\n    # YOUR CODE HERE\n    pass\n    return\n\n\n"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    """A hub with the item in its first release."""
    async with open_hub(tmp_path / "course") as opened:
        publish(opened, OLD)
        yield opened


async def offer(hub: Hub) -> None:
    """Publish the correction and offer it."""
    correct(hub)
    assert (await ask(hub, "POST", "/updates/A1", user="prof")).status_code == 200


async def state(hub: Hub, user: str) -> str | None:
    """What the bar above a student's notebook says of the update."""
    hub.start(user, "A1")
    path = f"/standing/{user}/A1?session={user}-A1"
    answer = (await ask(hub, "GET", path, user=user)).json()
    hub.pool.running.clear()
    update = answer.get("update")
    return None if update is None else update["state"]


# ---- preview ----


async def test_a_preview_says_what_becomes_of_each_copy_and_changes_nothing(hub: Hub) -> None:
    notebooks = {name: take_copy(hub, name, text) for name, text in STAGES.items()}
    correct(hub)
    answer = await ask(hub, "POST", "/updates/A1/preview", user="prof")
    preview = answer.json()["preview"]
    assert (preview["state"], preview["total"], preview["completed"]) == ("done", 9, 9)
    lines = {line["student"]: line for line in preview["copies"]}
    assert lines["broken"]["reason"].startswith("the copy:")
    assert {name for name, line in lines.items() if line["reason"]} == {"broken"}
    assert {name for name, line in lines.items() if line["conflicts"]} == {"text"}
    assert lines["untouched"]["changed"]
    assert (lines["half"]["replaced"], lines["half"]["conflicts"]) == (2, 0)
    assert {name: path.read_text() for name, path in notebooks.items()} == STAGES


async def test_a_conflict_that_changes_nothing_is_counted_once(hub: Hub) -> None:
    take_copy(hub, "alice", TEXT_CHANGED)
    correct(hub, with_cells(OLD, lambda cells: [cells[0], *cells[2:]]))  # without that text
    await ask(hub, "POST", "/updates/A1/preview", user="prof")
    page = await read(hub, "/course/updates/A1", "prof")
    assert "0 copies merge cleanly, 1 with conflicts" in " ".join(page.split())
    assert "1 conflict</span>" in page
    assert "0 with no cell to change" in page


async def test_a_preview_of_nothing_is_refused(hub: Hub) -> None:
    assert (await ask(hub, "POST", "/updates/A9/preview", user="prof")).status_code == 404


async def test_a_preview_of_an_earlier_release_is_not_shown_for_the_next(hub: Hub) -> None:
    take_copy(hub, "alice", HALF)
    await ask(hub, "POST", "/updates/A1/preview", user="prof")
    correct(hub)
    assert (await ask(hub, "GET", "/updates/A1", user="prof")).json()["preview"] is None


async def test_a_release_that_was_published_since_the_preview_is_not_offered(hub: Hub) -> None:
    take_copy(hub, "alice", HALF)
    correct(hub)
    answer = await ask(hub, "POST", "/updates/A1/preview", user="prof")
    previewed = f"/updates/A1?release={answer.json()['preview']['release']}"
    assert f'action="{previewed}"' in await read(hub, "/course/updates/A1", "prof")
    correct(hub, NEW.replace("of a disc", "of a draft"))
    refused = await ask(hub, "POST", previewed, user="prof")
    assert refused.status_code == 409
    assert "published again since the preview" in refused.json()["detail"]
    assert not (await ask(hub, "GET", "/updates/A1", user="prof")).json()["offered"]
    correct(hub)
    await ask(hub, "POST", "/updates/A1/preview", user="prof")
    assert (await ask(hub, "POST", previewed, user="prof")).json()["offered"]


async def test_data_files_that_nobody_previewed_are_not_offered(hub: Hub) -> None:
    """The digest of a release is that of its notebook alone."""
    take_copy(hub, "alice", HALF)
    correct(hub, NEW, {"data.csv": b"previewed"})
    answer = await ask(hub, "POST", "/updates/A1/preview", user="prof")
    previewed = f"/updates/A1?release={answer.json()['preview']['release']}"
    correct(hub, NEW, {"data.csv": b"another"})
    assert (await ask(hub, "GET", "/updates/A1", user="prof")).json()["preview"] is None
    assert (await ask(hub, "POST", previewed, user="prof")).status_code == 409


# ---- offering and taking ----


async def test_without_an_offer_a_new_release_changes_no_copy(hub: Hub) -> None:
    notebook = take_copy(hub, "alice", HALF)
    correct(hub)
    assert await state(hub, "alice") is None
    assert (await ask(hub, "POST", "/start-edit-deep/A1")).status_code == 200
    assert notebook.read_text() == HALF
    assert (await ask(hub, "POST", "/update/alice/A1")).status_code == 409


async def test_an_offered_update_is_merged_at_the_next_start(hub: Hub) -> None:
    notebook = take_copy(hub, "alice", HALF)
    await offer(hub)
    assert notebook.read_text() == HALF
    assert await state(hub, "alice") == "offered"
    await ask(hub, "POST", "/start-edit-deep/A1")
    text = notebook.read_text()
    assert RIGHT in text
    assert WRONG not in text
    assert ANSWER in text
    assert await state(hub, "alice") == "merged"
    assert ("alice", "take update", "alice/A1", "ok") in hub.audit()


async def test_a_copy_with_a_session_is_left_alone_until_its_student_takes_it(hub: Hub) -> None:
    notebook = take_copy(hub, "alice", HALF)
    hub.start("alice", "A1")
    await offer(hub)
    await ask(hub, "POST", "/start-edit-deep/A1")
    assert notebook.read_text() == HALF
    answer = await ask(hub, "POST", "/update/alice/A1")
    assert answer.json()["state"] == "merged"
    assert hub.pool.running == {}
    assert RIGHT in notebook.read_text()


async def test_an_instructor_who_opens_a_copy_merges_nothing(hub: Hub) -> None:
    notebook = take_copy(hub, "alice", HALF)
    await offer(hub)
    assert (await ask(hub, "POST", "/start-edit/alice/A1", user="prof")).status_code == 200
    assert notebook.read_text() == HALF


async def test_two_tabs_merge_once_and_share_the_session(hub: Hub) -> None:
    take_copy(hub, "alice", HALF)
    await offer(hub)
    answers = await asyncio.gather(*(ask(hub, "POST", "/start-edit-deep/A1") for _ in range(4)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(hub.pool.started) == 1
    assert [line[1] for line in hub.audit()].count("take update") >= 1


async def test_a_copy_of_the_new_release_is_offered_nothing(hub: Hub) -> None:
    await offer(hub)
    take_copy(hub, "alice")
    assert await state(hub, "alice") is None


async def test_a_correction_of_a_data_file_alone_is_an_update_too(hub: Hub) -> None:
    correct(hub, OLD, {"data.csv": b"1\n", "own.csv": b"1\n"})
    notebook = take_copy(hub, "alice", HALF)
    (notebook.parent / "own.csv").write_text("mine\n")
    correct(hub, OLD, {"data.csv": b"2\n", "own.csv": b"2\n"})
    await ask(hub, "POST", "/updates/A1", user="prof")
    assert await state(hub, "alice") == "offered"
    answer = (await ask(hub, "POST", "/update/alice/A1")).json()
    assert answer["files"] == ["You changed own.csv; the new release's is own.new.csv."]
    assert notebook.read_text() == HALF
    assert (notebook.parent / "data.csv").read_text() == "2\n"
    assert (notebook.parent / "own.csv").read_text() == "mine\n"


@pytest.mark.parametrize("way", ["reset/alice/A1", "download/A1"])
async def test_a_copy_that_begins_anew_has_the_corrected_data_files(hub: Hub, way: str) -> None:
    correct(hub, OLD, {"data.csv": b"1\n", "own.csv": b"1\n", "same.csv": b"1\n"})
    notebook = take_copy(hub, "alice", HALF)
    for name in ("own.csv", "same.csv"):
        (notebook.parent / name).write_text("mine\n")
    correct(hub, NEW, {"data.csv": b"2\n", "own.csv": b"2\n", "same.csv": b"1\n"})
    if way == "download/A1":  # the student has removed the notebook alone
        notebook.unlink()
    assert (await ask(hub, "POST", f"/{way}")).status_code == 200
    found = {path.name: path.read_text() for path in notebook.parent.glob("*.csv")}
    mine = {"own.csv": "mine\n", "same.csv": "mine\n"}
    assert found == {"data.csv": "2\n", "own.new.csv": "2\n", **mine}
    assert notebook.read_text() == NEW


async def test_a_data_file_that_is_corrected_after_an_offer_can_be_offered_too(hub: Hub) -> None:
    correct(hub, OLD, {"data.csv": b"1\n"})
    notebook, _ = take_copy(hub, "alice", HALF), take_copy(hub, "bob")
    correct(hub, NEW, {"data.csv": b"1\n"})
    await ask(hub, "POST", "/updates/A1", user="prof")
    await ask(hub, "POST", "/update/alice/A1")
    assert await state(hub, "bob") == "offered"
    correct(hub, NEW, {"data.csv": b"2\n"})
    assert not (await ask(hub, "GET", "/updates/A1", user="prof")).json()["offered"]
    assert await state(hub, "bob") is None
    offered = await ask(hub, "POST", "/updates/A1", user="prof")
    assert (offered.status_code, offered.json()["offered"]) == (200, True)
    assert "No cell of your notebook would change" in await read(hub, "/update/alice/A1")
    await ask(hub, "POST", "/start-edit-deep/A1")
    assert (notebook.parent / "data.csv").read_text() == "2\n"


async def test_an_update_that_cannot_be_put_in_place_leaves_the_data_files(hub: Hub) -> None:
    correct(hub, OLD, {"data.csv": b"1\n", "gone.csv": b"1\n"})
    notebook = take_copy(hub, "alice", HALF)
    for number in range(1, 201):
        notebook.with_name(f"A1.bak.20260101T000000-{number}.py").touch()
    correct(hub, NEW, {"data.csv": b"2\n"})
    await ask(hub, "POST", "/updates/A1", user="prof")
    refused = await ask(hub, "POST", "/update/alice/A1")
    assert "200 earlier versions" in refused.text
    assert notebook.read_text() == HALF
    found = {name: (notebook.parent / name).read_text() for name in ("data.csv", "gone.csv")}
    assert found == {"data.csv": "1\n", "gone.csv": "1\n"}


async def test_conflicts_are_listed_to_the_student(hub: Hub) -> None:
    take_copy(hub, "alice", TEXT_CHANGED)
    await offer(hub)
    answer = (await ask(hub, "POST", "/update/alice/A1")).json()
    assert [each["line"] > 0 for each in answer["conflicts"]] == [True]
    page = await read(hub, "/update/alice/A1")
    assert "1 place to look at" in page
    assert "Put my text from before back" in page


async def test_of_a_changed_check_it_is_not_said_that_the_students_stays(hub: Hub) -> None:
    take_copy(hub, "alice", HALF.replace("The area is wrong.", "Mine."))
    await offer(hub)
    await ask(hub, "POST", "/update/alice/A1")
    page = await read(hub, "/update/alice/A1")
    assert "This cell runs as it was released." in page
    assert "your cell stays" not in page


@pytest.mark.parametrize(("store", "write"), [(Versions, "record"), (UpdateRows, "save")])
async def test_conflicts_are_listed_also_where_the_merge_was_cut_short(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, store: type, write: str
) -> None:
    own = TEXT_CHANGED.replace("The area is wrong.", "Mine.")
    old, mine, new = (
        with_cells(text, lambda cells: [*cells, OPEN])
        for text in (OLD, own, with_cells(NEW, lambda cells: [*cells, OPEN]))
    )
    correct(hub, old)
    notebook = take_copy(hub, "alice", mine)
    correct(hub, new)
    await ask(hub, "POST", "/updates/A1", user="prof")
    made, begun = getattr(store, write), count(1)

    def cut_short(*given: Any, **more: Any) -> Any:
        if next(begun) == 2:  # after the new text is in place
            raise Busy("The hub was ended.")
        return made(*given, **more)

    with monkeypatch.context() as cut:
        cut.setattr(store, write, cut_short)
        assert (await ask(hub, "POST", "/update/alice/A1")).status_code == 503
    text = notebook.read_text()
    await ask(hub, "POST", "/start-edit-deep/A1")
    assert notebook.read_text() == text
    assert text.count(OPEN) == 2, "and no third one"
    page = await read(hub, "/update/alice/A1")
    assert "2 places to look at" in page
    assert "Replaced: Q1: the area" in page


async def test_a_copy_that_does_not_parse_opens_as_it_is_and_merges_when_it_is_mended(
    hub: Hub,
) -> None:
    notebook = take_copy(hub, "alice", BROKEN)
    await offer(hub)
    assert (await ask(hub, "POST", "/start-edit-deep/A1")).status_code == 200
    assert notebook.read_text() == BROKEN
    assert await state(hub, "alice") == "refused"
    status = (await ask(hub, "GET", "/updates/A1", user="prof")).json()
    assert [(each["state"], bool(each["reason"])) for each in status["copies"]] == [
        ("refused", True)
    ]
    notebook.write_text(HALF)
    await ask(hub, "POST", "/start-edit-deep/A1")
    assert RIGHT in notebook.read_text()


async def test_the_same_release_is_not_offered_twice(hub: Hub) -> None:
    await offer(hub)
    assert (await ask(hub, "POST", "/updates/A1", user="prof")).status_code == 409
    assert ("prof", "offer update", "A1", "ok") in hub.audit()


# ---- undo ----


async def merged(hub: Hub, *users: str) -> dict[str, Path]:
    """Students whose copies have the update."""
    notebooks = {user: take_copy(hub, user, HALF) for user in users}
    await offer(hub)
    for user in users:
        assert (await ask(hub, "POST", f"/update/{user}/A1", user=user)).status_code == 200
    return notebooks


async def test_undo_brings_back_each_text_that_was_not_edited(hub: Hub) -> None:
    notebooks = await merged(hub, "alice", "bob", "carol")
    edited = notebooks["bob"].read_text().replace("3.14159", "3.1415926")
    notebooks["bob"].write_text(edited)
    hub.start("carol", "A1")
    answer = (await ask(hub, "DELETE", "/updates/A1", user="prof")).json()
    assert (answer["undone"], answer["kept"], answer["waiting"]) == (["alice"], ["bob"], ["carol"])
    assert notebooks["alice"].read_text() == HALF
    assert notebooks["bob"].read_text() == edited
    assert RIGHT in notebooks["carol"].read_text()
    again = (await ask(hub, "DELETE", "/updates/A1", user="prof")).json()
    assert (again["undone"], again["kept"], again["waiting"]) == ([], ["bob"], ["carol"])
    hub.pool.running.clear()
    await ask(hub, "POST", "/start-edit-deep/A1", user="carol")
    assert notebooks["carol"].read_text() == HALF
    log = hub.audit()
    assert ("prof", "undo update", "A1", "ok") in log
    assert ("prof", "undo update", "alice/A1", "ok") in log


async def test_undo_takes_the_offer_that_it_withdraws_back(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebooks, withdraw = await merged(hub, "alice"), UpdateRows.withdraw

    def withdraw_the_next_one(rows: UpdateRows, item: str) -> object:
        last = rows.offer(item)
        assert last is not None
        rows.make_offer(item, last.release, "a colleague", hub.clock.now(), again=True)
        return withdraw(rows, item)

    monkeypatch.setattr(UpdateRows, "withdraw", withdraw_the_next_one)
    answer = (await ask(hub, "DELETE", "/updates/A1", user="prof")).json()
    assert answer["undone"] == ["alice"]
    assert notebooks["alice"].read_text() == HALF


@pytest.mark.parametrize("again", [False, True], ids=["withdrawn", "replaced"])
async def test_an_offer_that_ends_while_a_copy_is_merged_does_not_change_it(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    notebook, save = take_copy(hub, "alice", HALF), UpdateRows.save
    await offer(hub)

    def save_too_late(rows: UpdateRows, row: CopyUpdateRow) -> None:
        last = rows.withdraw("A1")
        assert last is not None
        if again:
            rows.make_offer("A1", last.release, "a colleague", hub.clock.now(), again=True)
        save(rows, row)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(UpdateRows, "save", save_too_late)
        refused = await ask(hub, "POST", "/update/alice/A1")
    assert (refused.status_code, notebook.read_text()) == (409, HALF)
    assert await state(hub, "alice") == ("offered" if again else "withdrawn")
    await ask(hub, "POST", "/start-edit-deep/A1")
    assert (RIGHT in notebook.read_text()) is again
    assert await state(hub, "alice") == ("merged" if again else None)


async def test_undo_leaves_a_copy_that_nobody_has_edited_one_of_those(hub: Hub) -> None:
    notebook = take_copy(hub, "alice")
    await offer(hub)
    assert (await ask(hub, "POST", "/update/alice/A1")).status_code == 200
    hub.clock.advance(3600)
    answer = (await ask(hub, "DELETE", "/updates/A1", user="prof")).json()
    assert (answer["undone"], notebook.read_text()) == (["alice"], OLD)
    status = (await ask(hub, "GET", "/status/alice/A1")).json()
    assert status["file_status"] == "uploaded"
    assert "edited" not in await read(hub, "/")


async def test_undo_passes_by_a_copy_whose_student_had_put_it_back(hub: Hub) -> None:
    """It has nothing of the update any more, so there is nothing to choose either."""
    notebook = (await merged(hub, "alice"))["alice"]
    await put_version_back(hub, 2)
    notebook.write_text(DONE)
    answer = (await ask(hub, "DELETE", "/updates/A1", user="prof")).json()
    assert (answer["undone"], answer["kept"], answer["waiting"]) == ([], [], [])
    assert notebook.read_text() == DONE
    assert await state(hub, "alice") is None
    status = (await ask(hub, "GET", "/updates/A1", user="prof")).json()
    assert [each["state"] for each in status["copies"]] == ["undone"]


async def test_undo_keeps_what_was_written_after_a_merge_that_failed_at_first(hub: Hub) -> None:
    notebook = take_copy(hub, "alice", HALF)
    others = [notebook.with_name(f"A1.bak.20260101T000000-{n}.py") for n in range(1, 201)]
    for each in others:
        each.touch()
    await offer(hub)
    await ask(hub, "POST", "/start-edit-deep/A1")
    assert notebook.read_text() == HALF, "there are too many earlier versions"
    hub.pool.running.clear()
    for each in others:
        each.unlink()
    notebook.write_text(DONE)
    await ask(hub, "POST", "/start-edit-deep/A1")
    assert RIGHT in notebook.read_text()
    hub.pool.running.clear()
    answer = (await ask(hub, "DELETE", "/updates/A1", user="prof")).json()
    assert answer["undone"] == ["alice"]
    assert notebook.read_text() == DONE


async def test_an_update_that_failed_is_not_undone_when_it_is_withdrawn(hub: Hub) -> None:
    notebook = take_copy(hub, "alice", HALF)
    for number in range(1, 201):
        notebook.with_name(f"A1.bak.20260101T000000-{number}.py").touch()
    await offer(hub)
    assert (await ask(hub, "POST", "/update/alice/A1")).status_code == 409
    notebook.write_text(DONE)
    answer = (await ask(hub, "DELETE", "/updates/A1", user="prof")).json()
    assert (answer["kept"], answer["failed"]) == ([], {})
    assert notebook.read_text() == DONE
    assert "Put my text from before back" not in await read(hub, "/update/alice/A1")


async def test_a_copy_that_the_editor_wrote_anew_is_not_edited(hub: Hub) -> None:
    notebooks = await merged(hub, "alice")
    text = notebooks["alice"].read_text()
    notebooks["alice"].write_text(text.replace("0.23.9", "0.25.2"))
    answer = (await ask(hub, "DELETE", "/updates/A1", user="prof")).json()
    assert answer["undone"] == ["alice"]
    assert notebooks["alice"].read_text() == HALF


async def test_a_student_who_edited_since_may_go_back_and_keeps_both_texts(hub: Hub) -> None:
    notebooks = await merged(hub, "alice")
    edited = notebooks["alice"].read_text().replace("3.14159", "3.1415926")
    notebooks["alice"].write_text(edited)
    await ask(hub, "DELETE", "/updates/A1", user="prof")
    assert await state(hub, "alice") == "kept"
    assert (await ask(hub, "POST", "/update/alice/A1/undo")).json()["state"] == "undone"
    assert notebooks["alice"].read_text() == HALF
    versions = hub.services.recorder.versions
    texts = [versions.text("alice", "A1", each.number) for each in versions.all("alice", "A1")]
    assert edited.encode() in texts
    assert await state(hub, "alice") is None


async def test_a_text_that_an_update_left_alone_is_kept_also_once_its_version_went(
    hub: Hub,
) -> None:
    """Only data files were new, so there is no text from before to go back to."""
    correct(hub, OLD, {"data.csv": b"1\n"})
    notebook = take_copy(hub, "alice", HALF)
    correct(hub, OLD, {"data.csv": b"2\n"})
    await ask(hub, "POST", "/updates/A1", user="prof")
    assert (await ask(hub, "POST", "/update/alice/A1")).json()["state"] == "merged"
    assert "Put my text from before back" not in await read(hub, "/update/alice/A1")
    assert (await ask(hub, "POST", "/update/alice/A1/undo")).status_code == 409
    for text in (DONE, edited := DONE.replace("3.14159", "3.1415926")):
        notebook.write_text(text)
        hub.services.recorder.look(Username("alice"), ItemName("A1"))
    hub.clock.advance(2 * 86400)
    (copy,) = Thinning(hub.engine).due(hub.clock.now(), 9)
    assert Thinning(hub.engine).thin(copy, hub.clock.now())
    answer = (await ask(hub, "DELETE", "/updates/A1", user="prof")).json()
    assert (answer["undone"], answer["kept"], answer["waiting"]) == (["alice"], [], [])
    assert notebook.read_text() == edited
    assert await state(hub, "alice") is None


async def test_an_undone_update_can_be_offered_again(hub: Hub) -> None:
    notebooks = await merged(hub, "alice")
    await ask(hub, "DELETE", "/updates/A1", user="prof")
    assert notebooks["alice"].read_text() == HALF
    assert (await ask(hub, "POST", "/updates/A1", user="prof")).status_code == 200
    await ask(hub, "POST", "/start-edit-deep/A1")
    assert RIGHT in notebooks["alice"].read_text()


async def test_an_update_that_is_offered_again_can_be_undone_in_copies_that_kept_it(
    hub: Hub,
) -> None:
    """Copies that were open while it was withdrawn, and those that were edited since."""
    notebooks = {user: take_copy(hub, user, TEXT_CHANGED) for user in ("alice", "bob")}
    await offer(hub)
    for user, notebook in notebooks.items():
        await ask(hub, "POST", f"/update/{user}/A1", user=user)
        notebook.write_text(notebook.read_text().replace("0.23.9", "0.25.2"))
    edited = notebooks["bob"].read_text().replace("3.14159", "3.1415926")
    notebooks["bob"].write_text(edited)
    hub.start("alice", "A1")
    undone = (await ask(hub, "DELETE", "/updates/A1", user="prof")).json()
    assert (undone["kept"], undone["waiting"]) == (["bob"], ["alice"])
    again = (await ask(hub, "POST", "/updates/A1", user="prof")).json()
    assert [each["state"] for each in again["copies"]] == ["merged", "merged"]
    hub.pool.running.clear()
    for user in notebooks:
        page = await read(hub, f"/update/{user}/A1", user)
        assert "1 place to look at" in page
        assert "Put my text from before back" in page
    undone = (await ask(hub, "DELETE", "/updates/A1", user="prof")).json()
    assert (undone["undone"], undone["kept"]) == (["alice"], ["bob"])
    assert notebooks["alice"].read_text() == TEXT_CHANGED
    assert notebooks["bob"].read_text() == edited
    assert await state(hub, "bob") == "kept"


async def test_data_files_corrected_before_an_update_is_offered_again_come_too(hub: Hub) -> None:
    correct(hub, OLD, {"data.csv": b"1\n"})
    notebook = take_copy(hub, "alice", HALF)
    correct(hub, NEW, {"data.csv": b"1\n"})
    await ask(hub, "POST", "/updates/A1", user="prof")
    await ask(hub, "POST", "/update/alice/A1")
    hub.start("alice", "A1")
    await ask(hub, "DELETE", "/updates/A1", user="prof")
    hub.pool.running.clear()
    correct(hub, NEW, {"data.csv": b"2\n"})
    await ask(hub, "POST", "/updates/A1", user="prof")
    assert await state(hub, "alice") == "offered"
    await ask(hub, "POST", "/start-edit-deep/A1")
    assert (notebook.parent / "data.csv").read_text() == "2\n"


async def test_a_student_who_goes_back_is_not_merged_again_unless_they_say_so(hub: Hub) -> None:
    notebooks = await merged(hub, "alice")
    await ask(hub, "POST", "/update/alice/A1/undo")
    await ask(hub, "POST", "/start-edit-deep/A1")
    assert notebooks["alice"].read_text() == HALF
    hub.pool.running.clear()
    assert (await ask(hub, "POST", "/update/alice/A1")).json()["state"] == "merged"
    assert RIGHT in notebooks["alice"].read_text()


async def put_version_back(hub: Hub, number: int) -> None:
    """Put a version of alice's copy back, as from the page of its versions."""
    path = f"/timeline/alice/A1/{number}/restore"
    assert (await ask(hub, "POST", path)).status_code == 200


@pytest.mark.parametrize("way", ["timeline", "backup"])
async def test_a_version_from_before_a_merge_is_of_the_release_that_it_came_from(
    hub: Hub, way: str
) -> None:
    notebook = (await merged(hub, "alice"))["alice"]
    if way == "timeline":
        await put_version_back(hub, 2)
    else:  # a program put the file back, and the hub finds it there
        notebook.write_text(HALF)
        await ask(hub, "POST", "/start-edit-deep/A1")
    assert notebook.read_text() == HALF
    page = await read(hub, "/update/alice/A1")
    assert "You went back to your text from before" in page
    assert "Take the update after all" in page
    page = await read(hub, "/course/updates/A1", "prof")
    assert "put back" in page
    assert "has the update" not in page
    correct(hub, NEW.replace("It is wrong.", "Look again."))
    await ask(hub, "POST", "/updates/A1", user="prof")
    answer = (await ask(hub, "POST", "/update/alice/A1")).json()
    assert answer["conflicts"] == []
    assert "Look again." in (text := notebook.read_text())
    assert RIGHT in text
    assert WRONG not in text
    assert "of a disc of radius 2" in text
    assert ANSWER in text


@pytest.mark.parametrize("way", ["submission", "archive"])
async def test_a_text_brought_back_that_is_no_version_is_of_the_release_that_its_lines_tell(
    hub: Hub, way: str
) -> None:
    """It came by another way, or its version was thinned away."""
    notebook = (await merged(hub, "alice"))["alice"]
    sent = HALF.replace(ANSWER, f"{ANSWER}  # by mail")
    if way == "submission":
        submissions = Submissions(hub.course / "submitted")
        submissions.add(Username("alice"), ItemName("A1"), sent.encode(), hub.clock.now())
        assert (await press(hub, "/submissions/alice/A1/1/restore")).status_code == 303
    else:
        name = "A1.bak.20250901T101112.py"
        notebook.with_name(name).write_text(sent)
        assert (await ask(hub, "POST", f"/restore/alice/A1/{name}")).status_code == 200
    assert notebook.read_text() == sent
    assert "Take the update after all" in await read(hub, "/update/alice/A1")


async def test_a_file_that_nobody_has_looked_at_is_of_the_release_of_its_version(hub: Hub) -> None:
    notebook = (await merged(hub, "alice"))["alice"]
    correct(hub, NEW.replace("It is wrong.", "Look again."))
    await ask(hub, "POST", "/updates/A1", user="prof")
    notebook.write_text(HALF)
    for _ in range(2):
        answer = (await ask(hub, "POST", "/update/alice/A1")).json()
        assert answer["conflicts"] == []
        assert "Look again." in (text := notebook.read_text())
        assert RIGHT in text
        assert ANSWER in text
        await ask(hub, "POST", "/update/alice/A1/undo")
        assert notebook.read_text() == HALF


async def test_a_merged_version_that_is_put_back_has_the_update_again(hub: Hub) -> None:
    notebook = (await merged(hub, "alice"))["alice"]
    text = notebook.read_text()
    await put_version_back(hub, 2)
    await put_version_back(hub, 3)
    assert notebook.read_text() == text
    assert await state(hub, "alice") == "merged"


async def test_a_copy_that_was_made_anew_is_of_the_release_that_it_was_made_from(hub: Hub) -> None:
    notebook = take_copy(hub, "alice", HALF)
    notebook.unlink()
    second = OLD.replace("of a circle", "of a disc")
    correct(hub, second)
    await ask(hub, "POST", "/download/A1")
    assert notebook.read_text() == second
    correct(hub, second.replace("of a disc", "of a round table"))
    await ask(hub, "POST", "/updates/A1", user="prof")
    answer = (await ask(hub, "POST", "/update/alice/A1")).json()
    assert answer["conflicts"] == []
    assert "of a round table" in notebook.read_text()
    lost = HALF.encode()
    hub.clock.advance(40 * 86400)
    (copy,) = Thinning(hub.engine).due(hub.clock.now(), 9)
    Thinning(hub.engine).thin(copy, hub.clock.now())
    versions = hub.services.recorder.versions
    texts = [versions.text("alice", "A1", each.number) for each in versions.all("alice", "A1")]
    assert lost in texts


@pytest.mark.parametrize(
    "way",
    ["reset/alice/A1", "download-release/alice/A1", "upload", "download/A1", "start-edit-deep/A1"],
)
async def test_what_takes_the_place_of_a_merged_copy_has_no_places_to_look_at(
    hub: Hub, way: str
) -> None:
    notebook = take_copy(hub, "alice", TEXT_CHANGED)
    await offer(hub)
    await ask(hub, "POST", "/update/alice/A1")
    assert "1 place to look at" in await read(hub, "/update/alice/A1")
    if way == "upload":
        done = await send(hub, NEW.replace("# YOUR ANSWER\n    area = 0", ANSWER))
    else:
        if "alice" not in way:  # these requests make a copy anew if there is no notebook
            notebook.unlink()
        done = await ask(hub, "POST", f"/{way}")
    assert done.status_code == 200
    assert await state(hub, "alice") is None
    assert "There is no update" in await read(hub, "/update/alice/A1")


async def test_work_of_an_earlier_release_that_is_uploaded_may_have_the_update_again(
    hub: Hub,
) -> None:
    notebook = (await merged(hub, "alice"))["alice"]
    assert (await send(hub, DONE)).status_code == 200
    assert "Take the update after all" in await read(hub, "/update/alice/A1")
    answer = (await ask(hub, "POST", "/update/alice/A1")).json()
    assert answer["conflicts"] == []
    assert RIGHT in (text := notebook.read_text())
    assert "around = 2 * 3.14159 * 2" in text


async def test_a_student_who_went_back_finds_the_update_again_under_versions(hub: Hub) -> None:
    link = 'href="/update/alice/A1"'
    take_copy(hub, "alice", HALF)
    assert link not in await read(hub, "/versions/alice/A1")
    await offer(hub)
    for path in ("/update/alice/A1", "/update/alice/A1/undo"):
        await ask(hub, "POST", path)
        assert link in await read(hub, "/versions/alice/A1")


async def test_the_page_of_an_update_says_what_is_so_where_there_is_none(hub: Hub) -> None:
    for item in ("A1", "nope"):
        assert (await ask(hub, "GET", f"/update/alice/{item}")).status_code == 404
    take_copy(hub, "alice", HALF)
    page = await read(hub, "/update/alice/A1")
    assert "There is no update" in page
    assert "has corrected" not in page


async def test_undoing_what_was_never_offered_is_refused(hub: Hub) -> None:
    assert (await ask(hub, "DELETE", "/updates/A1", user="prof")).status_code == 404
    assert (await ask(hub, "POST", "/update/alice/A1/undo")).status_code == 409


async def test_the_next_release_is_merged_into_a_merged_copy(hub: Hub) -> None:
    notebooks = await merged(hub, "alice")
    correct(hub, NEW.replace("It is wrong.", "Look again."))
    assert (await ask(hub, "POST", "/updates/A1", user="prof")).status_code == 200
    await ask(hub, "POST", "/start-edit-deep/A1")
    assert "Look again." in notebooks["alice"].read_text()


# ---- pages ----


async def test_the_first_page_leads_to_an_update_only_where_there_is_one(hub: Hub) -> None:
    link = 'href="/update/alice/A1"'
    take_copy(hub, "alice", HALF)
    await offer(hub)
    page = await read(hub, "/")
    assert "update available" in page
    assert link in page
    correct(hub, NEW.replace("It is wrong.", "Look again."))
    page = await read(hub, "/")
    assert "update available" in page
    assert "Reset to the new release" in page
    assert link not in page


async def test_the_pages_show_a_students_text_as_text(hub: Hub) -> None:
    take_copy(
        hub,
        "alice",
        DONE.replace(ANSWER, f"{ANSWER}\n    '<script>alert(1)</script>'"),
    )
    take_copy(hub, "bob", TEXT_CHANGED.replace("my circle", "<script>alert(2)</script>"))
    correct(hub)
    await ask(hub, "POST", "/updates/A1/preview", user="prof")
    for path in ("", "/alice", "/bob"):
        assert "<script>alert" not in await read(hub, f"/course/updates/A1{path}", "prof")
    assert ("prof", "read", "bob/A1", "ok") in hub.audit()


async def test_a_form_offers_and_undoes_and_comes_back_to_the_page(hub: Hub) -> None:
    take_copy(hub, "alice", HALF)
    correct(hub)
    await ask(hub, "POST", "/updates/A1/preview", user="prof")
    place = "/course/updates/A1"
    assert "Offer the update" in await read(hub, place, "prof")
    done = await press(hub, "/updates/A1", "prof")
    assert done.headers["location"] == f"{place}?done=offered&item=A1"
    assert "Undo the update" in await read(hub, place, "prof")
    undone = await press(hub, "/course/undo-update/A1", "prof")
    assert undone.headers["location"] == f"{place}?done=undone&item=A1"
    begun = await press(hub, "/updates/A1/preview", "prof")
    assert (begun.status_code, begun.headers["location"]) == (303, place)

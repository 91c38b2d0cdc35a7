"""Scores and members, as Moodle's services answer: its line items, results, scores and roster."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tests.support.lti.exchange import Asked, Reply, as_json, refused
from tests.support.lti.state import Grade, LineItem, Member, State, Tool
from tests.support.lti.tokens import AGS, ROSTER_SCOPE, line_item_url

CONTAINER = "application/vnd.ims.lis.v2.lineitemcontainer+json"
SCORE = "application/vnd.ims.lis.v1.score+json"
RESULTS = "application/vnd.ims.lis.v2.resultcontainer+json"
MEMBERS = "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"

_NO_ZONE = re.compile(r"\d\d:\d\d:\d\d(\.\d+)?$")


class Services:
    """The services of a platform at an address; tokens are checked by the platform's scopes."""

    def __init__(self, url: str, state: State) -> None:
        self.url = url
        self.state = state

    def line_items(self, asked: Asked, course: str, scopes: Sequence[str]) -> Reply:
        if f"{AGS}scope/lineitem.readonly" not in scopes and f"{AGS}scope/lineitem" not in scopes:
            return refused(asked, 401, "Unauthorized")
        if asked.headers.get("accept") != CONTAINER:
            return refused(asked, 400, "No context or unsupported content type")
        query = asked.query
        found = [
            each
            for each in self.state.line_items.values()
            if each.course == course
            and each.type_id == query.get("type_id", each.type_id)
            and str(each.link) == query.get("resource_link_id", str(each.link))
            and each.resource_id == query.get("resource_id", each.resource_id)
            and each.tag == query.get("tag", each.tag)
        ]
        return as_json([self._told(each) for each in found], CONTAINER)

    def scores(self, asked: Asked, course: str, number: int, scopes: Sequence[str]) -> Reply:
        """Take a score, with all the oddities that were seen."""
        if f"{AGS}scope/score" not in scopes:
            return refused(asked, 401, "Unauthorized")
        if asked.media_type != SCORE:
            place = f"/{course}/lineitems/{number}/lineitem/scores"
            return refused(asked, 400, f"No handler found for {place}  {asked.media_type}")
        item = self.state.line_items.get(number)
        if item is None:
            return refused(asked, 404, f"Not Found: Grade item {number} doesn't exist")
        score = json.loads(asked.body)
        subject = str(score.get("userId", ""))
        if not subject.isdigit():
            return Reply(broken="HTTP/1.0 0 Coding error detected, it must be fixed")
        person = self.state.people.get(subject)
        seconds = _seconds(score.get("timestamp"))
        if person is None or not person.gets_grades or seconds is None or item.course != course:
            reason = f"Incorrect score received{asked.body.decode()}"
            return Reply(400, b"[]", SCORE, reason)
        grade = item.grades.setdefault(subject, Grade())
        if seconds <= grade.seconds:
            reason = (
                f"Refusing score with an earlier timestamp for item {number} and user {subject}"
            )
            return Reply(409, b"[]", SCORE, reason)
        if item.locked:
            return Reply(500, b"[]", SCORE, "Internal Server Error")
        if not (grade.overridden and item.own):
            _set(grade, item, score, seconds)
        return Reply(200, b"", SCORE, "OK")

    def results(self, asked: Asked, course: str, number: int, scopes: Sequence[str]) -> Reply:
        """Answer with the results of a line item, of one person if asked."""
        if f"{AGS}scope/result.readonly" not in scopes:
            return refused(asked, 401, "Unauthorized")
        item = self.state.line_items.get(number)
        if item is None:
            return refused(asked, 404, f"Not Found: Grade item {number} doesn't exist")
        wanted = asked.query.get("user_id")
        subjects = [wanted] if wanted is not None else list(item.grades)
        return as_json([self._result(item, each) for each in subjects], RESULTS)

    def members(self, asked: Asked, course: str, tool: Tool, scopes: Sequence[str]) -> Reply:
        """Answer with the members of a course, a page of them if ``limit`` is asked."""
        if ROSTER_SCOPE not in scopes:
            return refused(asked, 401, "Unauthorized")
        if course not in self.state.courses:
            return refused(asked, 404, f"Not Found: Course {course} doesn't exist")
        query = asked.query
        people = [each for each in self.state.people.values() if each.enrolled and each.active]
        label, title = self.state.courses[course]
        limit, start = int(query.get("limit", 0)), int(query.get("from", 0))
        page = people[start : start + limit] if limit else people
        place = f"{self.url}{asked.path}"
        told = {
            "id": place,
            "context": {"id": course, "label": label, "title": title},
            "members": [_member(each, tool) for each in page],
        }
        more = bool(limit) and start + limit < len(people)
        following = f'<{place}?limit={limit}&from={start + limit}>; rel="next"'
        reply = as_json(told, MEMBERS)
        return Reply(200, reply.body, MEMBERS, "OK", {"link": following} if more else {})

    def _told(self, item: LineItem) -> dict[str, Any]:
        links = {"resourceLinkId": str(item.link), "ltiLinkId": str(item.link)}
        return {
            "id": line_item_url(self.url, item.course, item.number, item.type_id),
            "label": item.label,
            "scoreMaximum": item.maximum,
            "resourceId": item.resource_id,
            "tag": item.tag,
            **(links if item.link is not None else {}),
        }

    def _result(self, item: LineItem, subject: str) -> dict[str, Any]:
        place = line_item_url(self.url, item.course, item.number, item.type_id)
        result: dict[str, Any] = {
            "id": place.replace("/lineitem?", "/lineitem/results?") + f"&user_id={subject}",
            "userId": subject,
        }
        grade = item.grades.get(subject, Grade())
        if grade.given is None:
            return result
        result |= {"resultScore": _number(grade.given), "resultMaximum": _number(item.maximum)}
        if grade.comment:
            result["comment"] = grade.comment
        moment = datetime.fromtimestamp(grade.seconds, UTC).isoformat()
        return {**result, "scoreOf": place, "timestamp": moment}


def _set(grade: Grade, item: LineItem, score: dict[str, Any], seconds: int) -> None:
    """Enter a score: what is not fully graded erases, everything else is cut to the maximum."""
    grade.seconds, grade.comment, grade.given = seconds, "", None
    if score.get("gradingProgress") != "FullyGraded" or score.get("scoreGiven") is None:
        return
    given, maximum = float(score["scoreGiven"]), float(score.get("scoreMaximum") or 0)
    scaled = given * item.maximum / maximum if maximum else given
    grade.given = min(max(scaled, 0.0), item.maximum)
    grade.comment = score.get("comment") or ""


def _seconds(timestamp: object) -> int | None:
    """Return whole seconds since 1970; none for what is no time at all."""
    if not isinstance(timestamp, str):
        return None
    text = f"{timestamp}Z" if _NO_ZONE.search(timestamp) else timestamp
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        return None


def _number(value: float) -> float | int:
    return int(value) if value == int(value) else value


def _member(person: Member, tool: Tool) -> dict[str, Any]:
    """The roster escapes names, unlike a launch."""
    told: dict[str, Any] = {
        "status": "Active",
        "roles": [person.roster_role],
        "user_id": person.subject,
        "lis_person_sourcedid": person.sourcedid,
    }
    if not tool.names:
        return told
    return {
        **told,
        "name": html.escape(person.name, quote=False),
        "given_name": html.escape(person.given, quote=False),
        "family_name": html.escape(person.family, quote=False),
        "email": person.email,
        "ext_user_username": person.username,
    }

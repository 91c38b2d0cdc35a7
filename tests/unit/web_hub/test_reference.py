"""What the reference page tells of a route."""

from __future__ import annotations

from mograder.web.hub.support.reference import in_words, read_schema


def handler() -> None:
    """Start a session with ``mode=run`` (B58, B116-B118).

    More for those who read the code.
    """


def test_marks_for_readers_of_the_code_stay_out() -> None:
    assert in_words(handler) == "Start a session with mode=run."


def test_a_schema_becomes_chapters_with_answers_and_refusals() -> None:
    schema = {
        "paths": {
            "/x/{a}": {
                "get": {
                    "tags": ["Items"],
                    "summary": "Look.",
                    "parameters": [{"name": "a", "in": "path", "required": True}],
                    "responses": {
                        "200": {"content": {"application/json": {"schema": {"$ref": "#/c/X"}}}},
                        "404": {"description": "no"},
                    },
                }
            }
        },
        "components": {
            "schemas": {
                "X": {"properties": {"y": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}
            }
        },
    }
    reference = read_schema(schema)
    operation = reference.chapters[0].operations[0]
    assert (operation.method, operation.path, operation.refusals) == ("GET", "/x/{a}", ("404",))
    assert (operation.answers[0].status, operation.answers[0].shape) == ("200", "X")
    assert reference.shapes[0].fields == (("y", "string or null"),)


def test_a_strange_schema_is_no_failure() -> None:
    assert read_schema({"paths": {"/x": {"get": 3}}, "components": []}).chapters[0].title == "Other"

"""Equal answers: what is the same, what is near, and what is neither."""

from __future__ import annotations

import random

import pytest

from mograder.grading.marking.equal_answers import AnswerGroup, answer_key, group_answers
from tests.support.hostile_answers import HOSTILE

LOOP = """\
def total(values):
    result = 0
    for each in values:
        result += each
    return result"""
SAME = [
    LOOP.replace("result", "s").replace("each", "v"),
    LOOP.replace("for", "# add them up\n    for"),
    LOOP.replace("    result = 0", '    """Add."""\n    result  =  0'),
    LOOP.replace("values", "numbers"),
]
OTHER = [
    LOOP.replace("+=", "-="),
    LOOP.replace("= 0", "= 1"),
    LOOP.replace("return result", "return each"),
    LOOP.replace("def total", "def summe"),
    "def total(values):\n    return sum(values)",
    LOOP + "\ntotal = None",
]
ESSAY = (
    "The mean is larger than the median because a few very long rides pull it up, while the "
    "median only counts how many rides are shorter and longer than 12 minutes."
)


@pytest.mark.parametrize("code", SAME)
def test_names_layout_and_comments_do_not_count(code: str) -> None:
    """Names that the question asks for do."""
    assert answer_key([code], {"total"}) == answer_key([LOOP], {"total"})


@pytest.mark.parametrize("code", OTHER)
def test_other_code_is_another_answer(code: str) -> None:
    """Also if only a number, an operator or the use of a name differs."""
    assert answer_key([code], {"total"}) != answer_key([LOOP], {"total"})


def test_an_answers_own_functions_may_name_their_arguments_as_they_like() -> None:
    one, other = ("def f(a):\n    return a\n\nx = f(a=1)", "def g(b):\n    return b\n\nx = g(b=1)")
    assert answer_key([one]) == answer_key([other])


def test_exchanged_names_are_another_answer() -> None:
    """Names are replaced one to one, in the order of their appearance."""
    assert answer_key(["a = 1\nb = 2\nc = a - b"]) != answer_key(["a = 1\nb = 2\nc = b - a"])
    assert answer_key(["a = 1\nb = 2\nc = a - b"]) == answer_key(["b = 1\na = 2\nc = b - a"])


def test_groups_are_the_largest_first_and_leave_nothing_out() -> None:
    """Students without an answer are in no group, nor are those alone."""
    answers = {"a": [LOOP], "b": [SAME[0]], "c": [OTHER[0]], "d": [""], "e": [" "], "f": [SAME[1]]}
    assert group_answers(answers, {"total"}) == (AnswerGroup(("a", "b", "f"), same=True),)


DIFFERENT = [
    (["answer = 42", "mo.md('It is so.')"], ["answer = 17", "mo.md('It is so.')"]),
    (["answer = convert(5, 'km')"], ["answer = convert(900, 'km')"]),
    (["answer = solve('x')"], ["answer = guess('x')"]),
    (["answer = '-5'"], ["answer = '5'"]),
    (["mo.md('x < 3')"], ["mo.md('x > 3')"]),
    (["mo.md('¬A')"], ["mo.md('A')"]),
    (["mo.md('$a+b$')"], ["mo.md('$a-b$')"]),
    (["mo.md('1/2')"], ["mo.md('1.2')"]),
    (["def f(name1):\n    return name1"], ["def f(x):\n    return name1"]),
    (["x = 'a b'.split(' ')"], ["x = 'a b'.split('  ')"]),
    (["def f(a):\n    return name0"], ["def f(a):\n    return f"]),
    (["k = 1\nx = np.std(v, ddof=k)"], ["k = 1\nx = np.std(v, axis=k)"]),
    (["ddof = 1\nx = np.std(v, ddof=ddof)"], ["axis = 1\nx = np.std(v, axis=axis)"]),
    (["mean = 1\nx = dict(mean=mean)"], ["mode = 1\nx = dict(mode=mode)"]),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_answers_of_other_syntax_are_never_the_same(one: list[str], other: list[str]) -> None:
    """One mark for all of a group is given by one key, so that no number or sign may be lost."""
    assert answer_key(one) != answer_key(other)
    assert not group_answers({"a": one, "b": other})


@pytest.mark.parametrize("rest", ["", "\npass", "\n..."])
def test_where_there_is_no_code_the_comments_are_the_answer(rest: str) -> None:
    blank, one, other = (f"# {text}{rest}" for text in ("YOUR CODE HERE", "2 x = 4", "2 x = 6"))
    answers = {"a": [blank], "b": [one], "c": [other], "d": [one.replace("\n", "\n\n")]}
    assert group_answers(answers) == (AnswerGroup(("b", "d"), same=True),)


def test_the_same_text_may_differ_in_white_space_and_case() -> None:
    assert answer_key(["mo.md('The  Mean\\n')"]) == answer_key(['mo.md("the mean")'])


@pytest.mark.parametrize("code", HOSTILE)
def test_every_answer_is_compared_however_it_is_built(code: str) -> None:
    """An answer of one student must not keep a marker from the others."""
    answers = {"a": [code], "b": [code], "c": [LOOP]}
    assert AnswerGroup(("a", "b"), same=True) in group_answers(answers)


def test_texts_are_the_same_but_for_case_and_near_by_their_shingles() -> None:
    """Punctuation and a word more or less are near; another number is another answer."""
    texts = {
        "a": ESSAY,
        "b": ESSAY.upper().replace(" ", "  "),
        "c": ESSAY.replace("very ", "").replace(",", ""),
        "d": ESSAY.replace("12", "15"),
        "e": "I do not know.",
        "f": "It is 4.",
    }
    answers = {
        name: [f'response_text = """{text}"""', "mo.md(response_text)"]
        for name, text in texts.items()
    }
    assert group_answers(answers) == (AnswerGroup(("a", "b", "c"), same=False),)
    assert group_answers({k: answers[k] for k in "abd"}) == (AnswerGroup(("a", "b"), same=True),)


def test_text_that_is_no_python_is_compared_without_layout() -> None:
    """A submission that does not parse is not lost."""
    assert answer_key(["def f(:\n  1"]) == answer_key(["def  f(:\n1"])
    assert answer_key(["def f(:\n  1"]) != answer_key(["def f(:\n  2"])


def test_every_student_is_in_one_group_at_most() -> None:
    """Random answers of a class."""
    random_ = random.Random(19)
    pool = [LOOP, *SAME, *OTHER, f"mo.md('''{ESSAY}''')", f"mo.md('''{ESSAY} Yes.''')"]
    answers = {f"s{number}": [random_.choice(pool)] for number in range(200)}
    groups = group_answers(answers, {"total"})
    members = [student for group in groups for student in group.students]
    assert sorted(members) == sorted(answers)

"""What a check of an exercise has to say of an answer."""

import re
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

import pytest

from mnist_course.checks import Verdict


def cases(wrong: Mapping[str, Iterable[tuple[Any, str]]]) -> list[tuple[str, Any, str]]:
    """Name of the check, wrong answer and part of the message, from the mistakes by check."""
    return [(name, answer, message) for name, known in wrong.items() for answer, message in known]


def said(verdict: Verdict) -> str:
    """Its message without the line of code that it quotes, which would hold what a test expects."""
    return re.sub(r" \(line \d+: `.*`\)", "", verdict.message)


def assert_right(verdict: Verdict) -> None:
    """It accepts the answer."""
    assert verdict.ok, verdict.message


def assert_not_begun(verdict: Verdict) -> None:
    """It says that nothing is written yet."""
    assert not verdict.ok and verdict.message.startswith("Nothing is written yet"), verdict.message


def assert_wrong(verdict: Verdict, message: str) -> None:
    """It refuses the answer, and says what is wrong."""
    assert not verdict.ok and message in said(verdict), verdict.message


def of_the_chapter(
    check: ModuleType, chapter: Mapping[str, Any], names: Mapping[str, str], begun: str = ""
) -> Callable[..., None]:
    """A test: what the chapter calls ``solution_…`` is right, and ``my_…`` is not begun.

    Args:
        check: the checks of the chapter.
        chapter: what it defines.
        names: what comes after ``solution_`` and ``my_``, several words if a check takes several
            functions, by the name of the check.
        begun: checks whose ``my_…`` is no stub, but code with a bug.
    """

    @pytest.mark.parametrize("name", names)
    def test(name: str) -> None:
        words = names[name].split()
        assert_right(getattr(check, name)(*(chapter[f"solution_{word}"] for word in words)))
        if name not in begun.split():
            assert_not_begun(getattr(check, name)(*(chapter[f"my_{word}"] for word in words)))

    return test


def judged(
    check: ModuleType,
    right: Mapping[str, Iterable[Any]],
    wrong: Mapping[str, Iterable[tuple[Any, str]]],
) -> Callable[..., None]:
    """A test: right answers are accepted, and each wrong one is refused in these words.

    Answers are given by the name of the check; several arguments are a tuple.
    """
    rows = [(name, answer, None) for name, known in right.items() for answer in known]
    ids = [f"{name}-{message or 'right'}" for name, _, message in [*rows, *cases(wrong)]]

    @pytest.mark.parametrize(("name", "answer", "message"), [*rows, *cases(wrong)], ids=ids)
    def test(name: str, answer: Any, message: str | None) -> None:
        verdict = getattr(check, name)(*(answer if isinstance(answer, tuple) else (answer,)))
        if message is None:
            assert_right(verdict)
        else:
            assert_wrong(verdict, message)

    return test

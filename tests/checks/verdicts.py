"""What a check of an exercise has to say of an answer."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

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

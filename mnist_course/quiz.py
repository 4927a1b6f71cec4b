"""The quiz of a chapter on the learner's desk: the first choice counts, and is remembered.

The questions are text, and JupyterLab makes drop-downs of their choices, which reply when they are
opened. :class:`Quiz` is a line above them that notices which one is opened, and writes it down
beside the exercises (see :mod:`mnist_course.desk`). ``make lab`` puts it into the copies of the
chapters; the pages of the book have a memory of their own (``static/quiz.js``).
"""

from __future__ import annotations

import html
from typing import Any

import anywidget
import traitlets

from mnist_course import desk
from mnist_course.desk import DeskError
from mnist_course.figures import bundle


class Quiz(anywidget.AnyWidget):
    """Remember what is chosen in the questions of this notebook, and say how it goes.

    Args:
        word: the word of the chapter, ``"convolution"``.

    Attributes:
        questions: the names of its questions, by their titles; none away from a desk.
        said: how it goes, in words.
        answered: how many of them have been answered.
    """

    module = "desk-quiz"
    _esm = bundle(module)
    questions = traitlets.Dict().tag(sync=True)
    said = traitlets.Unicode().tag(sync=True)
    answered = traitlets.Int(0).tag(sync=True)
    heard = traitlets.Int(0).tag(sync=True)  # choices; the page waits for it to change

    def __init__(self, word: str) -> None:
        super().__init__()
        here = desk.find_desk()
        for chapter in desk.chapters(here) if here else []:
            names = chapter.questions.values()
            if any(name.startswith(f"ask-{word}-") for name in names):
                self.questions = chapter.questions
        self._show()
        self.on_msg(self._hear)

    def _hear(self, _: Any, content: Any, __: list[Any]) -> None:
        """Write down a choice, or forget all of them."""
        names = list(self.questions.values())
        try:
            if content.get("type") == "forget":
                desk.forget(names)
            elif content.get("name") in names:
                desk.answer(content["name"], str(content["choice"]), content["right"] is True)
            self._show()
        except (DeskError, OSError) as error:
            self.said = f"Not remembered: {error}."
        self.heard += 1

    def _show(self) -> None:
        if not self.questions:
            self.said = (
                "Your answers are not remembered here: open the course with make lab. "
                "The choices reply all the same."
            )
            return
        known, names = desk.answered(), self.questions.values()
        right = [known[name] for name in names if name in known]
        self.answered = len(right)
        self.said = score(len(right), sum(right), len(names))

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Without a kernel, or tomorrow: a sentence in place of the widget."""
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        plain = "Run this cell before you choose, so that your answers are remembered."
        return {**data, "text/html": f"<p>{html.escape(plain)}</p>", "text/plain": plain}, metadata


def score(answered: int, right: int, all_: int) -> str:
    """How a quiz goes, in the words of the pages (``static/answers.js``)."""
    if not answered:
        return f"{_questions(all_)}. Click the answer that you believe."
    left = all_ - answered
    return f"{right} of {answered} right at first try" + (
        f", {_questions(left)} to go." if left else "."
    )


def _questions(number: int) -> str:
    return f"{number} {'question' if number == 1 else 'questions'}"

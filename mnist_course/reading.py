"""Read the digits of a picture, and say where the answer is not sure.

A network has an answer for everything. Its largest probability says how far to trust it: of pen
strokes that it never learned from, it reads those above the threshold correctly in more than 99 of
100 cases.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course.evaluate import predict
from mnist_course.photos import Page

SURE = 0.75
"""From this probability on an answer is sure; chosen on other pen strokes than those that
``benchmarks/photographs.py`` reports."""
ENLARGED = 8


@dataclass(frozen=True)
class Answer:
    """What is read.

    Attributes:
        probabilities: float32, ``(10,)``; they add up to 1.
        doubt: why the answer is not sure, or an empty text.
    """

    probabilities: Tensor
    doubt: str

    @property
    def best(self) -> list[int]:
        """The ten digits, the likeliest first."""
        return self.probabilities.argsort(descending=True).tolist()


def read(model: nn.Module, page: Page) -> list[Answer]:
    """Read each digit of a page.

    Args:
        model: a network from pixels ``(N, 1, 28, 28)`` in [0, 1] to logits ``(N, 10)``.
        page: what :func:`mnist_course.photos.find_digits` found.

    Returns:
        An answer for each digit, in reading order.

    Raises:
        TypeError, ValueError: as :func:`mnist_course.evaluate.predict`.
    """
    return [
        Answer(each, doubt or ("" if each.max() >= SURE else "it could be another digit"))
        for each, doubt in zip(predict(model, page.digits), page.doubts, strict=True)
    ]


def told(answers: Sequence[Answer], lines: Sequence[int]) -> str:
    """Answers in one line of text: the digits, and what is not sure about them.

    Args:
        answers: in reading order.
        lines: how many stand on each line.
    """
    if len(answers) == 1:
        return _told_alone(answers[0])
    names = ["?" if answer.doubt else str(answer.best[0]) for answer in answers]
    rows, start = [], 0
    for count in lines:
        rows.append(" ".join(names[start : start + count]))
        start += count
    doubts = [
        f"digit {n}, perhaps {answer.best[0]} or {answer.best[1]}: {answer.doubt}"
        for n, answer in enumerate(answers, 1)
        if answer.doubt
    ]
    text = f"{len(answers)} digits: {' / '.join(rows)}"
    return f"{text}   not sure of {'; '.join(doubts)}" if doubts else text


def _told_alone(answer: Answer) -> str:
    best = answer.best[:3]
    shares = " ".join(f"{digit} {answer.probabilities[digit]:.1%}" for digit in best)
    if answer.doubt:
        return f"not sure, perhaps {best[0]} or {best[1]}: {answer.doubt}   {shares}"
    return f"{best[0]}   {shares}"


def shown(pages: Sequence[Page]) -> bytes:
    """A PNG of what the network saw: a row of digits for each page, enlarged eight times."""
    rows = [page.digits[:, 0].permute(1, 0, 2).flatten(1) for page in pages]
    width = max(row.shape[1] for row in rows)
    sheet = torch.cat([F.pad(row, (0, width - row.shape[1], 1, 1), value=0.5) for row in rows])
    grey = (255 * sheet.repeat_interleave(ENLARGED, 0).repeat_interleave(ENLARGED, 1)).round()
    file = io.BytesIO()
    Image.fromarray(grey.byte().numpy()).save(file, "PNG")
    return file.getvalue()

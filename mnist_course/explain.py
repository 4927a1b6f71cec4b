"""Why a network answers what it answers."""

from __future__ import annotations

import torch
from torch import nn

from mnist_course.evaluate import answering


def log_odds(logits: torch.Tensor, digit: int) -> torch.Tensor:
    """``log(p / (1 - p))`` of one class: how far its logit lies above the others together.

    Args:
        logits: ``(N, 10)``.
        digit: the class.

    Returns:
        ``(N,)``. Unlike the probability it does not saturate where the network is sure.
    """
    others = torch.cat([logits[:, :digit], logits[:, digit + 1 :]], dim=1)
    return logits[:, digit] - others.logsumexp(1)


def occlusion(
    model: nn.Module, image: torch.Tensor, digit: int, window: int = 6, stride: int = 2
) -> torch.Tensor:
    """What each pixel is worth to an answer: cover a piece of the picture, and read again.

    A window of paper is laid on every ``stride``-th place; the fall of the digit's log-odds is
    shared out over the pixels that it covers, and a pixel's worth is the mean over all windows on
    it (Zeiler and Fergus, 2014, section 4.2, there with the probability). The drawing pad does the
    same in ``static/occlusion.js``.

    Args:
        model: a network from pixels in [0, 1] to logits; it answers in eval mode, where it is.
        image: float ``(1, 28, 28)`` in [0, 1].
        digit: the class that is asked about, 0 … 9.
        window: side of the window in pixels, a multiple of ``stride``.
        stride: how far apart the windows are, in pixels.

    Returns:
        float32 ``(28, 28)``: positive where the picture speaks for the digit.

    Raises:
        ValueError: if the image has another shape, the digit is none, or the window is no multiple
            of the stride.
    """
    if image.shape != (1, 28, 28):
        raise ValueError(f"expected an image of shape (1, 28, 28), got {tuple(image.shape)}")
    if digit not in range(10):
        raise ValueError(f"expected a digit from 0 to 9, got {digit!r}")
    if window < stride or window % stride:
        raise ValueError(f"expected a window that is a multiple of stride {stride}, got {window}")
    starts = range(stride - window, 28, stride)
    masks = torch.zeros(len(starts) ** 2, 28, 28, dtype=torch.bool)
    for number, (top, left) in enumerate((top, left) for top in starts for left in starts):
        masks[number, max(0, top) : top + window, max(0, left) : left + window] = True
    masks = masks[(masks & (image[0].cpu() > 0)).any(dim=(1, 2))]  # no ink, no fall
    if not len(masks):
        return torch.zeros(28, 28)
    with answering(model):
        whole = log_odds(model(image[None]), digit)
        covered = torch.cat(
            [model(image * ~part[:, None]) for part in masks.to(image.device).split(128)]
        )
    falls = (whole - log_odds(covered, digit)).float().cpu()
    worth = (falls[:, None, None] * masks).sum(0) / (window // stride) ** 2
    return worth.clone()

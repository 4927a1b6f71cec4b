"""Why a network answers what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


def activations(model: nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """What every layer makes of one image (chapter 18).

    Args:
        model: a network from pixels in [0, 1] to logits; it answers in eval mode, where it is.
        image: float ``(1, 28, 28)`` in [0, 1].

    Returns:
        By the layer's name, in the order of the computation: copies without the batch axis,
        ``(C, H, W)`` or ``(D,)``. What a layer that works in place destroys, is kept as it was. Of
        a layer that is used more than once, the last output stays.

    Raises:
        ValueError: if the image has another shape.
    """
    _check(image)
    outputs: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        def note(_layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
            outputs[name] = output[0].clone()

        return note

    hooks = [
        layer.register_forward_hook(keep(name))
        for name, layer in model.named_modules()
        if not list(layer.children())
    ]
    try:
        with _evaluating(model), torch.no_grad():
            model(image[None])
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def input_gradient(model: nn.Module, image: torch.Tensor, digit: int) -> torch.Tensor:
    """How fast a digit's logit rises with each pixel (Simonyan and others, 2014; chapter 18).

    Args:
        model: a network from pixels in [0, 1] to logits; it answers in eval mode, where it is.
        image: float ``(1, 28, 28)`` in [0, 1].
        digit: the class that is asked about, 0 … 9.

    Returns:
        ``(28, 28)``, in the dtype of the image and on its device: positive where more ink would
        speak for the digit.

    Raises:
        ValueError: if the image has another shape, or the digit is none.
    """
    _check(image, digit)
    with _evaluating(model):
        return _gradient(model, image[None], digit)[0, 0]


def integrated_gradients(
    model: nn.Module,
    image: torch.Tensor,
    digit: int,
    steps: int = 50,
    baseline: torch.Tensor | None = None,
) -> torch.Tensor:
    """A digit's logit, shared out over the pixels (Sundararajan and others, 2017; chapter 18).

    The mean gradient on the straight way from the baseline to the image (the midpoints of
    ``steps`` pieces), times the way.

    Args:
        model: a network from pixels in [0, 1] to logits; it answers in eval mode, where it is.
        image: float ``(1, 28, 28)`` in [0, 1].
        digit: the class that is asked about, 0 … 9.
        steps: in how many places the gradient is taken.
        baseline: ``(1, 28, 28)``: where the way begins; blank paper if not given.

    Returns:
        ``(28, 28)``, in the dtype of the image and on its device. With many steps it adds up to
        the logit of the image minus that of the baseline.

    Raises:
        ValueError: if the image or the baseline has another shape, the digit is none, or there
            are no steps.
    """
    _check(image, digit)
    start = torch.zeros_like(image) if baseline is None else baseline
    _check(start)
    if steps < 1:
        raise ValueError(f"expected at least one step, got {steps}")
    share = (torch.arange(steps, dtype=image.dtype, device=image.device) + 0.5) / steps
    way = start + share.view(-1, 1, 1, 1) * (image - start)
    with _evaluating(model):
        total = sum(_gradient(model, part, digit).sum(0) for part in way.split(50))
    worth: torch.Tensor = (image - start) * total / steps
    return worth[0]


def grad_cam(model: nn.Module, image: torch.Tensor, digit: int, layer: str) -> torch.Tensor:
    """Where the feature maps that raise a digit's logit are active (chapter 18).

    Args:
        model: a network from pixels in [0, 1] to logits; it answers in eval mode, where it is.
        image: float ``(1, 28, 28)`` in [0, 1].
        digit: the class that is asked about, 0 … 9.
        layer: the name of a layer whose output is ``(N, C, H, W)``: ``"relu3"``.

    Returns:
        ``(H, W)``, not negative, in the dtype of the image and on its device (Selvaraju and
        others, 2017, equations 1 and 2).

    Raises:
        ValueError: if the image has another shape, the digit is none, or the layer gives no maps.
        AttributeError: if the network has no layer of that name.
    """
    _check(image, digit)
    kept: list[torch.Tensor] = []

    def keep(_layer: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        kept.append(output)
        return output.clone()  # for the next layer, which may work in place

    hook = model.get_submodule(layer).register_forward_hook(keep)
    try:
        # The image asks for gradients, so that the maps have one even if all weights are frozen.
        with _evaluating(model), torch.enable_grad():
            logit = model(image[None].detach().clone().requires_grad_())[0, digit]
    finally:
        hook.remove()
    maps = kept[-1]
    if maps.ndim != 4:
        raise ValueError(
            f"expected a layer with maps (N, C, H, W), {layer!r} gives {tuple(maps.shape)}"
        )
    (gradients,) = torch.autograd.grad(logit, maps)
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return (weights * maps).sum(1).relu().detach()[0]


def _check(image: torch.Tensor, digit: int = 0) -> None:
    if image.shape != (1, 28, 28):
        raise ValueError(f"expected an image of shape (1, 28, 28), got {tuple(image.shape)}")
    if digit not in range(10):
        raise ValueError(f"expected a digit from 0 to 9, got {digit!r}")


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode; afterwards every layer is back in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _gradient(model: nn.Module, images: torch.Tensor, digit: int) -> torch.Tensor:
    """The gradient of one logit with respect to the pixels; no weight gets a gradient."""
    with torch.enable_grad():
        images = images.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(images)[:, digit].sum(), images)
    return gradient

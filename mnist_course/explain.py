"""Why a network answers as it does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mnist_course.arguments import kind_of, tensor, whole
from mnist_course.data import check_pixels
from mnist_course.modules import (
    answering,
    check_finite,
    check_logits,
    check_network,
    dtype_of,
    layers_of,
    unwrapped,
    watching,
)

_STRIDE = 2  # pixels from one window of occlusion to the next


def log_odds(logits: Tensor, digit: int) -> Tensor:
    """``log(p / (1 - p))`` of one class: how far its logit lies above the others together.

    Args:
        logits: ``(N, 10)``.
        digit: the class.

    Returns:
        ``(N,)``. Unlike the probability it does not saturate where the network is sure.

    Raises:
        TypeError: if the digit or the logits are not numbers.
        ValueError: if the digit is not 0 … 9, or the logits have another shape.
    """
    digit, logits = _class(digit), tensor(logits, "logits")
    if logits.shape[1:] != (10,):
        raise ValueError(f"expected logits of shape (N, 10), got {tuple(logits.shape)}")
    others = torch.cat([logits[:, :digit], logits[:, digit + 1 :]], dim=1)
    return logits[:, digit] - others.logsumexp(1)


def occlusion(model: nn.Module, image: Tensor, digit: int, window: int = 6) -> Tensor:
    """What each pixel contributes to an answer: cover a piece of the picture, and read again.

    A window of paper is laid on every second place. The fall of the digit's log-odds is shared out
    over the pixels under the window, and a pixel gets the mean over all windows on it (Zeiler and
    Fergus, 2014, section 4.2; they use the probability). The drawing pad does the same in
    ``static/occlusion.js``.

    Args:
        model: a network from pixels in [0, 1] to logits; it runs in eval mode, on its own device.
        image: ``(1, 28, 28)``, floats in [0, 1] or bytes.
        digit: the class that is asked about, 0 … 9.
        window: side of the window in pixels, a multiple of 2 up to 28.

    Returns:
        float32 ``(28, 28)``: positive where the picture is evidence for the digit.

    Raises:
        TypeError: if an argument is of the wrong type, or the model does not return a tensor.
        ValueError: if image, digit or model cannot be right, or the window is not such a
            number.
    """
    image, digit = _checked(model, image, digit)
    window = whole(window, "window", most=28)
    if window < _STRIDE or window % _STRIDE:
        raise ValueError(f"expected a window that is a multiple of {_STRIDE}, got {window}")
    starts = range(_STRIDE - window, 28, _STRIDE)
    masks = torch.zeros(len(starts) ** 2, 28, 28, dtype=torch.bool, device="cpu")
    for number, (top, left) in enumerate((top, left) for top in starts for left in starts):
        masks[number, max(0, top) : top + window, max(0, left) : left + window] = True
    masks = masks[(masks & (image[0, 0].cpu() > 0)).any(dim=(1, 2))]  # no ink, no fall
    if not len(masks):
        return torch.zeros(28, 28, dtype=torch.float32, device="cpu")
    with answering(model):
        whole_picture = log_odds(_logits(model, image), digit)
        covered = torch.cat(
            [_logits(model, image * ~part[:, None]) for part in masks.to(image.device).split(128)]
        )
    falls = (whole_picture - log_odds(covered, digit)).float().cpu()
    return (falls[:, None, None] * masks).sum(0) / (window // _STRIDE) ** 2


def activations(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """What every layer makes of one image (chapter 22).

    Args:
        model: a network from pixels in [0, 1] to logits; it runs in eval mode, on its own device.
        image: ``(1, 28, 28)``, floats in [0, 1] or bytes.

    Returns:
        By the layer's name, in the order of the computation: copies without the batch axis,
        ``(C, H, W)`` or ``(D,)``. An output that a later layer overwrites in place is kept as it
        was. A layer that is used more than once has its last output here. A layer that does not
        return a tensor with a batch of one first (a recurrent one, for example) is left out.

    Raises:
        TypeError: if an argument is of the wrong type, or the model does not return a tensor.
        ValueError: if image or model cannot be right.
    """
    image, _ = _checked(model, image)
    outputs: dict[str, Tensor] = {}

    def keep(name: str, _layer: nn.Module, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim > 1 and len(output) == 1:
            outputs[name] = output[0].clone()

    network = unwrapped(model)
    with watching(layers_of(network), keep), answering(network):
        _logits(network, image)
    return outputs


def input_gradient(model: nn.Module, image: Tensor, digit: int) -> Tensor:
    """How fast a digit's logit rises with each pixel (Simonyan and others, 2014; chapter 22).

    Args:
        model: a network from pixels in [0, 1] to logits; it runs in eval mode, on its own device.
        image: ``(1, 28, 28)``, floats in [0, 1] or bytes.
        digit: the class that is asked about, 0 … 9.

    Returns:
        ``(28, 28)``, in the dtype of the image (float32 if it is bytes) and on its device: positive
        where more ink would be evidence for the digit.

    Raises:
        TypeError: if an argument is of the wrong type, or the model does not return a tensor.
        ValueError: if image, digit or model cannot be right.
    """
    image, digit = _checked(model, image, digit)
    with answering(model, gradients=True):
        return _gradient(model, image, digit)[0, 0]


def integrated_gradients(
    model: nn.Module,
    image: Tensor,
    digit: int,
    steps: int = 50,
    baseline: Tensor | None = None,
) -> Tensor:
    """A digit's logit, shared out over the pixels (Sundararajan and others, 2017; chapter 22).

    The mean gradient on the straight line from the baseline to the image (at the midpoints of
    ``steps`` pieces), times their difference.

    Args:
        model: a network from pixels in [0, 1] to logits; it runs in eval mode, on its own device.
        image: ``(1, 28, 28)``, floats in [0, 1] or bytes.
        digit: the class that is asked about, 0 … 9.
        steps: how many gradients are averaged.
        baseline: ``(1, 28, 28)``: where the line begins; by default blank paper.

    Returns:
        ``(28, 28)``, in the dtype of the image (float32 if it is bytes) and on its device. With
        many steps it adds up to the logit of the image minus that of the baseline.

    Raises:
        TypeError: if an argument is of the wrong type, or the model does not return a tensor.
        ValueError: if image, baseline, digit or model cannot be right, or there are no steps.
    """
    image, digit = _checked(model, image, digit)
    start = torch.zeros_like(image)
    if baseline is not None:
        start = check_pixels(baseline, "a baseline", single=True).to(image)
    steps = whole(steps, "steps")
    if steps < 1:
        raise ValueError(f"expected at least one step, got {steps}")
    total = torch.zeros_like(image[0])
    with answering(model, gradients=True):
        for first in range(0, steps, 50):
            numbers = torch.arange(first, min(first + 50, steps), device="cpu").to(image)
            share = (numbers + 0.5) / steps
            way = start + share.view(-1, 1, 1, 1) * (image - start)
            total += _gradient(model, way, digit).sum(0)
    worth: Tensor = (image - start)[0] * total / steps
    return worth[0]


def grad_cam(model: nn.Module, image: Tensor, digit: int, layer: str) -> Tensor:
    """Where the feature maps that raise a digit's logit are active (chapter 22).

    Args:
        model: a network from pixels in [0, 1] to logits; it runs in eval mode, on its own device.
        image: ``(1, 28, 28)``, floats in [0, 1] or bytes.
        digit: the class that is asked about, 0 … 9.
        layer: the name of a layer whose output is ``(N, C, H, W)``: ``"relu3"``.

    Returns:
        ``(H, W)``, not negative, in the dtype of the image (float32 if it is bytes) and on its
        device (Selvaraju and others, 2017, equations 1 and 2).

    Raises:
        TypeError: if an argument is of the wrong type, or the model does not return a tensor.
        ValueError: if image, digit or model cannot be right, or the layer gives no maps.
        AttributeError: if the network has no layer of that name.
    """
    image, digit = _checked(model, image, digit)
    network = unwrapped(model)
    kept: list[object] = []

    def keep(_name: str, _layer: nn.Module, output: object) -> object:
        kept.append(output)
        # A copy for the next layer, which may work in place.
        return output.clone() if isinstance(output, Tensor) else None

    # The image requires a gradient, so the maps have one even if all weights are frozen.
    with (
        watching([(layer, network.get_submodule(layer))], keep),
        answering(network, gradients=True),
    ):
        logit = _logits(network, image.detach().clone().requires_grad_())[0, digit]
        maps = kept[-1] if kept else None
        if not isinstance(maps, Tensor) or maps.ndim != 4:
            found = kind_of(maps) if kept else "nothing"
            raise ValueError(f"expected a layer with maps (N, C, H, W), {layer!r} gives {found}")
        (gradients,) = torch.autograd.grad(logit, maps)
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return (weights * maps).sum(1).relu().detach()[0].to(image)


def _checked(model: nn.Module, image: Tensor, digit: int = 0) -> tuple[Tensor, int]:
    """The image as floats ``(1, 1, 28, 28)`` and the digit as an int, if all can be right."""
    check_network(model)
    check_finite(model, before="reading")
    return check_pixels(image, "an image", single=True), _class(digit)


def _class(digit: int) -> int:
    digit = whole(digit, "digit")
    if digit not in range(10):
        raise ValueError(f"expected a digit from 0 to 9, got {digit}")
    return digit


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    """The logits for images of any float dtype, on any device."""
    home = next((weights.device for weights in model.parameters()), images.device)
    # A copy, for the network may work in place.
    return check_logits(model(images.to(home, dtype_of(model), copy=True)), len(images))


def _gradient(model: nn.Module, images: Tensor, digit: int) -> Tensor:
    """The gradient of one logit with respect to the pixels; no weight gets a gradient."""
    images = images.detach().clone().requires_grad_()
    logits = _logits(model, images)
    gradient = None
    if logits.requires_grad:
        (gradient,) = torch.autograd.grad(logits[:, digit].sum(), images, allow_unused=True)
    if gradient is None:
        raise ValueError("the network's answer has no gradient: it does not depend on the pixels")
    return gradient

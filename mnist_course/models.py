"""The networks of the course.

Every network takes pixels in [0, 1] as float32 ``(N, 1, 28, 28)`` and returns logits ``(N, 10)``.
A network that wants normalised pixels normalises them itself, in its first layer. So its users
(the drawing pad, an exported file, a photograph) cannot forget to do it, or do it twice.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from mnist_course.arguments import positive, real, several, whole
from mnist_course.data import MEAN, STD


class Normalize(nn.Module):
    """Subtract the mean and divide by the standard deviation of the training pixels."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float = MEAN, std: float = STD) -> None:
        super().__init__()
        # Constants of the data, not weights: they move with the model but are not saved.
        mean, std = float(real(mean, "mean")), float(positive(std, "std"))
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise pixels in [0, 1] of any shape."""
        return (x - self.mean) / self.std


def course_network(channels: tuple[int, ...] = (24, 48, 96)) -> nn.Sequential:
    """The network of the course: three blocks of convolution, batch norm, ReLU and max-pooling.

    Each block halves the picture (28 → 14 → 7 → 3) and the last layer turns the
    ``channels[-1] * 3 * 3`` features into ten logits. A convolution followed by batch norm needs
    no bias of its own.

    Args:
        channels: the number of feature maps of each block.

    Returns:
        A network from pixels ``(N, 1, 28, 28)`` in [0, 1] to logits ``(N, 10)``.

    Raises:
        TypeError: if ``channels`` are not numbers.
        ValueError: if there are too many, or one is not positive.
    """
    channels = _sizes(channels)
    if not 1 <= len(channels) <= 4:
        raise ValueError(
            f"channels must be one to four numbers, got {channels}: a picture of 28 pixels can be "
            "halved four times"
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict(normalize=Normalize())
    in_channels, size = 1, 28
    for number, out_channels in enumerate(channels, start=1):
        layers[f"conv{number}"] = nn.Conv2d(
            in_channels, out_channels, kernel_size=3, padding=1, bias=False
        )
        layers[f"norm{number}"] = nn.BatchNorm2d(out_channels)
        layers[f"relu{number}"] = nn.ReLU()
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        in_channels, size = out_channels, size // 2
    layers["flatten"] = nn.Flatten()
    layers["linear"] = nn.Linear(in_channels * size * size, 10)
    return nn.Sequential(layers)


def fast_network(channels: tuple[int, ...] = (24, 48, 96)) -> nn.Sequential:
    """A network made to be trained in seconds: most of its work is done on small pictures.

    Its first convolution looks at 6×6 pixels and moves by two (28 → 12), max-pooling comes before
    batch norm and the non-linearity and so leaves them a quarter of the work (the order does not
    change what can be computed unless batch norm flips the sign), and there is no
    padding: 12 → 6 → 4 → 2 → 1. Batch norm takes care of the range of the pixels. Its scale is
    fixed, because the next layer could undo any other. Its running statistics forget fast enough
    to keep up with a training of seconds.

    Args:
        channels: the number of feature maps of the three convolutions.

    Returns:
        A network from pixels ``(N, 1, 28, 28)`` in [0, 1] to logits ``(N, 10)``.

    Raises:
        TypeError: if ``channels`` are not numbers.
        ValueError: if their number is another, or one is not positive.
    """
    a, b, c = _sizes(channels, 3)
    return nn.Sequential(
        OrderedDict(
            _block(1, nn.Conv2d(1, a, kernel_size=6, stride=2, bias=False), pool=True, momentum=0.3)
            | _block(2, nn.Conv2d(a, b, kernel_size=3, bias=False), momentum=0.3)
            | _block(3, nn.Conv2d(b, c, kernel_size=3, bias=False), pool=True, momentum=0.3)
            | _head(c)
        )
    )


def accurate_network(channels: tuple[int, ...] = (32, 48, 96, 128)) -> nn.Sequential:
    """A network for the last tenths of a per cent: ``fast_network`` with more capacity.

    Padding keeps what is at the edge of the picture, a fourth convolution works on 7×7 places, and
    the last layer sees where each feature is: 28 → 14 → 7 → 3 pixels.

    Args:
        channels: the number of feature maps of the four convolutions.

    Returns:
        A network from pixels ``(N, 1, 28, 28)`` in [0, 1] to logits ``(N, 10)``.

    Raises:
        TypeError: if ``channels`` are not numbers.
        ValueError: if their number is another, or one is not positive.
    """
    a, b, c, d = _sizes(channels, 4)
    return nn.Sequential(
        OrderedDict(
            _block(1, nn.Conv2d(1, a, kernel_size=6, stride=2, padding=2, bias=False))
            | _block(2, nn.Conv2d(a, b, kernel_size=3, padding=1, bias=False), pool=True)
            | _block(3, nn.Conv2d(b, c, kernel_size=3, padding=1, bias=False))
            | _block(4, nn.Conv2d(c, d, kernel_size=3, padding=1, bias=False), pool=True)
            | _head(d * 3 * 3)
        )
    )


def _sizes(channels: tuple[int, ...], count: int | None = None) -> tuple[int, ...]:
    sizes = tuple(whole(each, "channels", 1) for each in several(channels, "channels"))
    if count is not None and len(sizes) != count:
        raise ValueError(f"channels must be {count} numbers, got {sizes}")
    return sizes


def _block(
    number: int, convolution: nn.Conv2d, pool: bool = False, momentum: float = 0.1
) -> dict[str, nn.Module]:
    """A convolution, max-pooling if asked for, batch norm of a fixed scale and GELU, by name."""
    norm = nn.BatchNorm2d(convolution.out_channels, momentum=momentum)
    norm.weight.requires_grad_(False)
    halving: dict[str, nn.Module] = {f"pool{number}": nn.MaxPool2d(2)} if pool else {}
    return (
        {f"conv{number}": convolution}
        | halving
        | {f"norm{number}": norm, f"gelu{number}": nn.GELU()}
    )


def _head(features: int) -> dict[str, nn.Module]:
    """The last layers, by name; first logits are small, so the first loss is that of guessing."""
    linear = nn.Linear(features, 10, bias=False)
    nn.init.normal_(linear.weight, std=0.02)
    return {"flatten": nn.Flatten(), "linear": linear}


def tutorial_a() -> nn.Sequential:
    """Tutorial A, repaired: two convolutions, one pooling, and dropout in two places.

    28 → 26 → 24 → 12 pixels, 64 · 12 · 12 = 9,216 features. The first dropout removes whole
    feature maps; the second, after the linear layer, removes single numbers.

    Returns:
        A network from pixels ``(N, 1, 28, 28)`` in [0, 1] to logits ``(N, 10)``.
    """
    return nn.Sequential(
        OrderedDict(
            normalize=Normalize(),
            conv1=nn.Conv2d(1, 32, kernel_size=3),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(32, 64, kernel_size=3),
            relu2=nn.ReLU(),
            pool=nn.MaxPool2d(2),
            dropout1=nn.Dropout2d(0.25),
            flatten=nn.Flatten(),
            linear1=nn.Linear(64 * 12 * 12, 128),
            relu3=nn.ReLU(),
            dropout2=nn.Dropout(0.5),
            linear2=nn.Linear(128, 10),
        )
    )


def tutorial_b() -> nn.Sequential:
    """Tutorial B, repaired: three convolutions with pooling, three linear layers.

    28 → 14 → 7 → 3 pixels, 128 · 3 · 3 = 1,152 features. No softmax: the loss applies it.

    Returns:
        A network from pixels ``(N, 1, 28, 28)`` in [0, 1] to logits ``(N, 10)``.
    """
    return nn.Sequential(
        OrderedDict(
            normalize=Normalize(),
            conv1=nn.Conv2d(1, 32, kernel_size=3, padding=1),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(32, 64, kernel_size=3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            conv3=nn.Conv2d(64, 128, kernel_size=3, padding=1),
            relu3=nn.ReLU(),
            pool3=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            linear1=nn.Linear(128 * 3 * 3, 128),
            relu4=nn.ReLU(),
            linear2=nn.Linear(128, 64),
            relu5=nn.ReLU(),
            linear3=nn.Linear(64, 10),
        )
    )


def tutorial_c() -> nn.Sequential:
    """Tutorial C, repaired: the network of A; the two differ in how they train it.

    Returns:
        A network from pixels ``(N, 1, 28, 28)`` in [0, 1] to logits ``(N, 10)``.
    """
    return tutorial_a()


def tutorial_d() -> nn.Sequential:
    """Tutorial D, repaired: for grey images and with a ReLU between the linear layers it is E.

    Returns:
        A network from pixels ``(N, 1, 28, 28)`` in [0, 1] to logits ``(N, 10)``.
    """
    return tutorial_e()


def tutorial_e() -> nn.Sequential:
    """Tutorial E: two convolutions, each with pooling, and two linear layers.

    28 → 14 → 7 pixels, 64 · 7 · 7 = 3,136 features.

    Returns:
        A network from pixels ``(N, 1, 28, 28)`` in [0, 1] to logits ``(N, 10)``.
    """
    return nn.Sequential(
        OrderedDict(
            normalize=Normalize(),
            conv1=nn.Conv2d(1, 32, kernel_size=3, padding=1),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(32, 64, kernel_size=3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            linear1=nn.Linear(64 * 7 * 7, 128),
            relu3=nn.ReLU(),
            linear2=nn.Linear(128, 10),
        )
    )


def build(name: str, channels: tuple[int, ...] = ()) -> nn.Module:
    """Build the network called ``name``, as recipes and files of weights do.

    Args:
        name: a function or class of this module.
        channels: its number of feature maps; its own default if empty.

    Raises:
        ValueError: if the course has no such network.
    """
    public = isinstance(name, str) and not name.startswith("_") and name != "build"
    builder = globals().get(name) if public else None
    if not callable(builder) or builder.__module__ != __name__:
        raise ValueError(f"mnist_course.models has no network {name!r}")
    return builder(channels) if channels else builder()

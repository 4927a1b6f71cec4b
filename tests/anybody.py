"""Networks as people write them: whatever a function of the package is given, it must cope with."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

SIDE = 4 * 14 * 14


class View(nn.Module):
    """``view`` behind a pooling: it fails on numbers that lie channels-last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.fc = nn.Linear(SIDE, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        return self.fc(x.view(x.size(0), -1))


def tail(features: int = SIDE) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(features, 10)]


def plain() -> nn.Module:
    conv, norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
    return nn.Sequential(conv, norm, nn.ReLU(), nn.MaxPool2d(2), *tail())


def used_twice() -> nn.Module:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    first = nn.Conv2d(1, 4, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), conv, nn.ReLU(), conv, nn.MaxPool2d(2), *tail())


def shared_weight() -> nn.Module:
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 784), nn.ReLU(), nn.Linear(784, 784), *tail(784)
    )
    model[3].weight = model[1].weight
    return model


def shared_memory() -> nn.Module:
    first, second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
    third = nn.Conv2d(4, 4, 3, padding=1)
    third.weight.data = second.weight.data
    return nn.Sequential(first, nn.ReLU(), second, third, nn.MaxPool2d(2), *tail())


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(28, 8, batch_first=True), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.rnn(x[:, 0])
        return self.head(states[:, -1])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(28, 10)
        self.attention = nn.MultiheadAttention(28, 2, batch_first=True)
        self.register_buffer("mask", torch.full((28, 28), -math.inf).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, 0]
        x, _ = self.attention(x, x, x, attn_mask=self.mask)
        return self.head(x.mean(1))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(28, 2, 16, batch_first=True)
        self.head = nn.Linear(28, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x[:, 0]).mean(1))


class Gated(nn.Module):
    """Squeeze and excitation, its gate written after the head and run before it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4 * 49, 10)
        self.gate = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv(x), 4)
        x = x * self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None]
        return self.head(x.flatten(1))


class Aside(nn.Module):
    """Its last layer to run is not its head, nor does it take part in the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.aside = nn.Linear(784, 10), nn.Linear(784, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.head(x.flatten(1))
        self.aside(x.flatten(1))
        return logits.log_softmax(1)


class Remembering(nn.Module):
    """Makes what it adds to the pixels in its first call, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.code: Tensor | None = None
        self.scale, self.head = nn.Parameter(torch.ones(())), nn.Linear(784, 10)

    def forward(self, x: Tensor) -> Tensor:
        if self.code is None:
            self.code = torch.linspace(0, 1, 784, dtype=x.dtype, device=x.device)
        return self.head(x.flatten(1) + self.scale * self.code)


class InPlace(nn.Module):
    """Normalises its pixels where they lie, and fails on numbers that lie channels-last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(SIDE, 10)

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.13).div_(0.31)
        x = F.max_pool2d(self.conv(x), 2)
        return self.head(x.view(len(x), -1))


class WithGaps(nn.Module):
    """Every second column of a larger matrix: between its numbers lie others."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter((0.05 * torch.randn(784, 20))[:, ::2])
        self.head = nn.Linear(10, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1) @ self.weight)


class KeepingItsLast(nn.Module):
    """Keeps its last features with the graph that made them, which cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(784, 16), nn.Linear(16, 10)
        self.last: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.last = [self.first(x.flatten(1))]
        return self.head(self.last[0].relu())


def keeping_its_last() -> nn.Module:
    model = KeepingItsLast()
    model(torch.zeros(1, 1, 28, 28))
    return model


def pruned() -> nn.Module:
    model = plain()
    prune.random_unstructured(model[0], "weight", 0.5)
    return model


def weight_normed() -> nn.Module:
    model = plain()
    parametrizations.weight_norm(model[0])
    return model


def weight_normed_by_a_hook() -> nn.Module:
    model = plain()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(model[0])
    return model


def without_statistics() -> nn.Module:
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), norm, nn.ReLU(), nn.MaxPool2d(2), *tail())


def three_dimensional() -> nn.Module:
    """A parameter with five axes, which has no channels-last layout."""
    conv = nn.Conv3d(1, 4, (1, 3, 3), padding=(0, 1, 1))
    return nn.Sequential(nn.Unflatten(1, (1, 1)), conv, nn.ReLU(), nn.MaxPool3d((1, 2, 2)), *tail())


class WithPicture(nn.Module):
    """A buffer and a parameter with four axes, and a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        offset = torch.linspace(0, 1, SIDE * 4).view(1, 4, 28, 28)
        self.register_buffer("offset", offset, persistent=False)
        self.scale = nn.Parameter(torch.ones(1, 4, 28, 28))
        self.conv, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(SIDE, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.scale * self.conv(x) + self.offset
        return self.head(F.max_pool2d(x, 2).flatten(1))


def partly_frozen() -> nn.Module:
    model = plain()
    model[0].requires_grad_(False)
    model[1].requires_grad_(False)
    model[1].eval()
    return model


def hooked() -> nn.Module:
    """A hook that changes what a layer answers."""
    model = plain()
    model[0].register_forward_hook(lambda _, __, output: 2 * output)
    return model


def channels_last() -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.MaxPool2d(2), *tail(676)
    )
    model[1].to(memory_format=torch.channels_last)
    return model


def with_gradients() -> nn.Module:
    model = plain()
    model(torch.rand(2, 1, 28, 28)).sum().backward()
    return model


def compiled() -> nn.Module:
    return torch.compile(plain(), backend="eager")


WORK: dict[str, Callable[[], nn.Module]] = {
    "plain": plain,
    "view": View,
    "used twice": used_twice,
    "shared weight": shared_weight,
    "shared memory": shared_memory,
    "recurrent": Recurrent,
    "attention": Attention,
    "transformer": Transformer,
    "gated": Gated,
    "aside": Aside,
    "remembering": Remembering,
    "keeping its last": keeping_its_last,
    "in place": InPlace,
    "weight with gaps": WithGaps,
    "pruned": pruned,
    "weight norm": weight_normed,
    "weight norm by a hook": weight_normed_by_a_hook,
    "no running statistics": without_statistics,
    "three-dimensional": three_dimensional,
    "with a picture": WithPicture,
    "partly frozen": partly_frozen,
    "hooked": hooked,
    "partly channels-last": channels_last,
    "with gradients": with_gradients,
    "compiled": compiled,
    "data parallel": lambda: nn.DataParallel(plain()),
    "float64": lambda: plain().double(),
    "bfloat16": lambda: plain().bfloat16(),
}
"""Networks that every function can use, or refuses in one line because of what they are."""


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.aside = nn.Linear(784, 10), nn.Linear(784, 10)

    def forward(self, x: Tensor) -> Any:
        return self.head(x.flatten(1)), self.aside(x.flatten(1))


class Fails(nn.Module):
    """Changes a statistic, and fails behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        self.norm(self.conv(x))
        raise RuntimeError("out of ink")


def not_a_number() -> nn.Module:
    model = plain()
    model[1].running_mean[0] = math.nan
    return model


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "two outputs": (TwoOutputs, r"got tuple of length 2"),
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), "has no shape yet"),
    "on no device": (lambda: plain().to("meta"), "on the device 'meta'"),
    "not a number": (not_a_number, "not all finite"),
    "a function": (lambda: plain, r"expected a network \(torch.nn.Module\), got function"),
    "weights alone": (lambda: plain().state_dict(), "got OrderedDict"),
    "twelve outputs": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 12)), r", 12\)"),
    "no flatten": (lambda: nn.Conv2d(1, 10, 28), r", 10, 1, 1\)"),
    "fails": (Fails, "out of ink"),
}
"""What every function refuses, and what the message names."""

"""The checks of chapter 6: answers in other styles, and mistakes beyond those of the tables."""

import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import activation as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("activation")
NAMES = {name: name for name in check.__all__} | {"initialization": "network"}
test_the_chapter = of_the_chapter(check, chapter, NAMES, begun="initialization")


def by_single_pixels(first, second, stride):
    """The composed kernel, asked of the two convolutions with images of a single 1."""
    C, size = first.shape[1], first.shape[-1] + (second.shape[-1] - 1) * stride
    single = torch.eye(C * size * size, dtype=first.dtype).reshape(-1, C, size, size)
    both = F.conv2d(F.conv2d(single, first, stride=stride), second)
    return both.flatten(1).T.reshape(-1, C, size, size)


def network(*ending, fill=None, scale=1.0, change=None):
    result = nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(1152, 10), *ending
    )
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.mul_(scale)
            if fill is not None:
                parameter.fill_(fill)
        if change is not None:
            change(result[0].weight, result[3].weight)
    return result


def changed(change):
    """A network of which ``change(filters, last weights)`` has been called."""
    return lambda: network(change=change)


class Net(nn.Module):
    """The network of the exercise as a class; its attributes in another order."""

    def __init__(self, activation=F.relu):
        super().__init__()
        self.linear = nn.Linear(8 * 12 * 12, 10)
        self.conv = nn.Conv2d(1, 8, 5, stride=2)
        self.activation = activation

    def forward(self, x):
        return self.linear(self.activation(self.conv(x)).flatten(1))


def z():
    return torch.randn(200_000, generator=torch.Generator().manual_seed(0))


RIGHT = {
    "softplus": [lambda x: x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))],
    "relu_backward": [lambda x, up: up.masked_fill(x <= 0, 0)],
    "he_std": [
        lambda shape: (2 / nn.init._calculate_correct_fan(torch.ones(shape), "fan_in")) ** 0.5
    ],
    "compose": [by_single_pixels],
    "initialization": [Net, network],
    "gain": [lambda f: 1 / f(z()).pow(2).mean().sqrt()],
}
WRONG = {
    "softplus": [
        (lambda x: torch.log(1 + torch.exp(x)), "exp only ever meets negative numbers"),
        (lambda x: x.exp_().add_(1).log_(), "changes `x` in place"),
        (lambda x: x.clamp(min=0) + torch.log1p(torch.exp(-x.abs())).float(), "largest difference"),
        (lambda x: x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()) + 1e-7), "numbers are not"),
        (nn.Softplus(), "calls F.softplus"),
        (lambda x: F.softplus(x).mean(), "has shape"),
    ],
    "relu_backward": [
        (lambda x, up: torch.where(x >= 0, up, 0.0), "Right except at the corner"),
        (lambda x, up: up @ x, "raised"),
    ],
    "compose": [
        (lambda a, b, s: by_single_pixels(a, b, s)[..., :-1, :-1], "the last entry"),
        (lambda a, b, s: by_single_pixels(a, b, s) * 2, "numbers are not"),
    ],
    "initialization": [
        (lambda: network(fill=0), "0.weight, 0.bias, 3.weight is exactly zero. A weight's gradi"),
        (lambda: network(fill=0.01), "stay equal"),
        (lambda: network(nn.ReLU()), "nothing after the last layer"),
        (lambda: network(nn.Softmax(1)), "nothing after the last layer"),
        (lambda: network(scale=100), "fan_in"),
        (changed(lambda conv, linear: (conv.uniform_(), linear.uniform_())), "fan_in"),
        (changed(lambda conv, linear: linear.zero_()), "gradient of 0.weight, 0.bias"),
        # The ten errors of an image add up to 0, so such a layer sends nothing back.
        (changed(lambda conv, linear: linear.fill_(0.01)), "is exactly zero. Parts of it cancel"),
        (changed(lambda conv, linear: conv[4:].copy_(conv[:4])), "Filters 0 and 4 are equal"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), "ReLU is gone"),
        (lambda: Net(lambda x: x), "ReLU is gone"),
        (lambda: Net(torch.sigmoid), "Leave the layers as they were"),
        (lambda: Net(F.leaky_relu), "Leave the layers as they were"),
        (lambda: nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(784, 10)), "Leave the layers"),
        (lambda: nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(784, 5)), "(64, 5)"),
        (lambda: network().double(), "Your code raised RuntimeError"),
        (lambda: [1, 2], "expected a network"),
    ],
    "gain": [(lambda f: 1.7, "within 2 %"), (lambda f: f(z()), "one number")],
}
test_verdicts = judged(check, RIGHT, WRONG)

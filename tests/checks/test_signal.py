"""The checks of the chapter on keeping the signal alive: other styles, and further mistakes."""

import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import signal as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("signal")
NAMES = {name: name for name in check.__all__} | {"initialization": "network"}
test_the_chapter = of_the_chapter(check, chapter, NAMES, begun="initialization")


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
    "he_std": [
        lambda shape: (2 / nn.init._calculate_correct_fan(torch.ones(shape), "fan_in")) ** 0.5
    ],
    "dead": [lambda z: z.amax(0) <= 0, lambda z: z.relu().sum(0) == 0],
    "initialization": [Net, network],
    "gain": [lambda f: 1 / f(z()).pow(2).mean().sqrt()],
}
WRONG = {
    "dead": [
        (lambda z: (z <= 0).all(1), "for each image"),
        (lambda z: torch.zeros(z.shape[1], dtype=torch.bool), "numbers are not"),
        (lambda z: (z <= 0).all(0).float(), "bool"),
        (lambda z: (z <= 0).all(), "has shape"),
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

"""Each check of chapter 6 accepts the right answer and names each plausible mistake."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_course.checks import activation as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_right, assert_wrong

chapter = definitions("activation")


@pytest.mark.parametrize(
    "name", ["softplus", "relu_backward", "he_std", "compose", "initialization", "gain"]
)
def test_the_stub_is_not_yet_and_the_solution_right(name: str) -> None:
    stub, solution = {"initialization": ("my_network", "solution_network")}.get(
        name, (f"my_{name}", f"solution_{name}")
    )
    assert not getattr(check, name)(chapter[stub])
    assert getattr(check, name)(chapter[solution]), getattr(check, name)(chapter[solution])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: torch.log(1 + torch.exp(x)), "exp only ever meets negative numbers"),
        (lambda x: torch.log(torch.exp(x)), "without the 1"),
        (lambda x: 1 + torch.exp(x), "logarithm is missing"),
        (lambda x: F.softplus(-x), "wrong way round"),
        (lambda x: x.exp_().add_(1).log_(), "changes `x` in place"),
        (lambda x: torch.log1p(torch.exp(-x.abs())), "add max(x, 0) again"),
        (lambda x: x.clamp(min=0) + torch.log1p(torch.exp(-x.abs())).float(), "largest difference"),
        (lambda x: (x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))).float(), "became float32"),
        (lambda x: x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()) + 1e-7), "numbers are not"),
        (nn.Softplus(), "calls F.softplus"),
        (lambda x: [float(v) for v in x.flatten()], "has shape"),
        (lambda x: F.softplus(x).mean(), "has shape"),
        (lambda x: None, "returned None"),
    ],
)
def test_softplus_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.softplus(answer), message)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x, up: (x > 0).double(), "multiply it by the upstream"),
        (lambda x, up: up.relu(), "applied ReLU to the gradient"),
        (lambda x, up: (x <= 0) * up, "where x is negative"),
        (lambda x, up: x.relu() * up, "0 or 1"),
        (lambda x, up: up.masked_fill_(x <= 0, 0), "changes `up` in place"),
        (lambda x, up: torch.where(x >= 0, up, 0.0), "Right except at the corner"),
        (lambda x, up: (x >= 0) * up, "corner"),
        (lambda x, up: up @ x, "raised"),
    ],
)
def test_relu_backward_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.relu_backward(answer), message)


def _all_but_first(shape: tuple[int, ...]) -> int:
    return torch.zeros(shape)[0].numel()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda shape: 2 / _all_but_first(shape), "take its square root"),
        (lambda shape: (2 / shape[0]) ** 0.5, "fan_out"),
        (lambda shape: (1 / _all_but_first(shape)) ** 0.5, "The 2 is missing"),
        (lambda shape: (2 / (shape[0] + shape[1])) ** 0.5, "Xavier"),
        (lambda shape: (2 / shape[1]) ** 0.5, "channels only"),
        (lambda shape: (2 / torch.zeros(shape).numel()) ** 0.5, "whole weight"),
    ],
)
def test_he_std_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.he_std(answer), message)


def composed(
    first: torch.Tensor, second: torch.Tensor, stride: int, *, add: bool = True
) -> torch.Tensor:
    k1, k2 = first.shape[-1], second.shape[-1]
    size = k1 + (k2 - 1) * stride
    kernel = first.new_zeros(len(second), first.shape[1], size, size)
    for u in range(k2):
        for v in range(k2):
            place = kernel[:, :, u * stride :, v * stride :][..., :k1, :k1]
            part = torch.einsum("om,mcab->ocab", second[:, :, u, v], first)
            place.copy_(place + part if add else part)
    return kernel


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda a, b, s: composed(a, b, 1), "`stride` pixels apart"),
        (lambda a, b, s: composed(a, b, s)[..., :-1, :-1], "the last entry"),
        (lambda a, b, s: composed(a, b, s).flip(2, 3), "wrong way round"),
        (lambda a, b, s: composed(a, b, s, add=False), "add up"),
        (lambda a, b, s: composed(a, b, s) * 2, "numbers are not"),
    ],
)
def test_compose_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.compose(answer), message)


def network(*ending: nn.Module, fill: float | None = None, scale: float = 1.0) -> nn.Module:
    result = nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(1152, 10), *ending
    )
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.mul_(scale)
            if fill is not None:
                parameter.fill_(fill)
    return result


def uniform(result: nn.Sequential) -> nn.Sequential:
    """All weights between 0 and 1: no score is negative, and there is no ReLU at the end."""
    for parameter in result.parameters():
        nn.init.uniform_(parameter)
    return result


def last_at_zero(result: nn.Sequential) -> nn.Sequential:
    nn.init.zeros_(result[3].weight)
    return result


def equal_rows(result: nn.Sequential) -> nn.Sequential:
    """The ten errors of an image add up to 0, so such a layer sends nothing back."""
    nn.init.constant_(result[3].weight, 0.01)
    return result


def equal_pairs(result: nn.Sequential) -> nn.Sequential:
    with torch.no_grad():
        result[0].weight[4:] = result[0].weight[:4]
    return result


class Net(nn.Module):
    """The network of the exercise as a class; its attributes in another order."""

    def __init__(self, activation: Callable = F.relu) -> None:
        super().__init__()
        self.linear = nn.Linear(8 * 12 * 12, 10)
        self.conv = nn.Conv2d(1, 8, 5, stride=2)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.activation(self.conv(x)).flatten(1))


def test_a_network_with_relu_as_a_function_is_right() -> None:
    assert_right(check.initialization(Net))
    assert_right(check.initialization(network))


class OnlyLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(784, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda: network(fill=0), "0.weight, 0.bias, 3.weight is exactly zero"),
        (lambda: network(fill=0.01), "stay equal"),
        (lambda: network(nn.ReLU()), "no ReLU after the last layer"),
        (lambda: network(scale=100), "fan_in"),
        (lambda: uniform(network()), "fan_in"),
        (lambda: last_at_zero(network()), "At the first step the gradient of 0.weight, 0.bias"),
        (OnlyLinear, "ReLU is gone"),
        (lambda: Net(lambda x: x), "ReLU is gone"),
        (lambda: Net(torch.sigmoid), "Leave the layers as they were"),
        (lambda: Net(F.leaky_relu), "Leave the layers as they were"),
        (lambda: nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(784, 10)), "Leave the layers"),
        (lambda: network(nn.Softmax(1)), "These are probabilities"),
        (
            lambda: equal_rows(network()),
            "0.weight, 0.bias is exactly zero. Parts of it",
        ),
        (lambda: equal_pairs(network()), "Filters 0 and 4 are equal"),
        (lambda: network().double(), "Your code raised RuntimeError"),
        (lambda: nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(784, 5)), "(64, 5)"),
        (lambda: [1, 2], "expected a network"),
    ],
)
def test_initialization_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.initialization(answer), message)


def _z(count: int = 200_000) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda f: 1 / f(_z()).std(), "subtracts the mean"),
        (lambda f: 1 / f(_z()).pow(2).mean(), "take the root"),
        (lambda f: f(_z()).pow(2).mean() ** 0.5, "has to undo it"),
        (lambda f: 1.7, "within 2 %"),
        (lambda f: f(_z()), "one number"),
    ],
)
def test_gain_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.gain(answer), message)

"""Checks of the chapter on diagnosis, and four patients without a diagnosis."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course.checks import (
    FLOAT32,
    NotSolvedError,
    ReturnedNoneError,
    compare,
    compared,
    exercise,
    normal,
    run,
    same,
)

Pair = tuple[Tensor, Tensor]

CHOICES = {
    "other parameters": "the optimiser holds the parameters of another network",
    "zero weights": "all weights and biases start at zero",
    "rate too low": "the learning rate is far too small",
    "rate too high": "the learning rate is far too large, and units have died",
    "labels apart": "images and labels are not in the same order",
    "softmax twice": "the network ends with softmax, and so does the loss",
    "no zero_grad": "gradients of earlier steps are never cleared",
    "hidden layer": "a layer sits in a Python list, so that the network does not know it",
    "frozen layer": "a layer has requires_grad=False",
    "eval forgotten": "the network is measured in train mode",
    "other images": "validation images are prepared in another way than training images",
}
"""What :func:`diagnosis` accepts, and what each means."""

# What the chart would show, to answer a wrong guess with.
_SIGNATURES = {
    "other parameters": "then every layer has a gradient, and no layer moves: all updates are 0",
    "zero weights": "then the gradient of every layer but a bias is exactly 0, from the first step",
    "rate too low": "then all layers have gradients and all move, by far less than a thousandth "
    "of themselves in a step",
    "rate too high": "then the loss jumps in the first steps, and then a ReLU has 100 % zeros",
    "labels apart": "then the network does not do better on the images that it trains on than on "
    "others, and the labels under the training digits are not what the digits show",
    "softmax twice": "then the loss stays above 1.46, however good the accuracy",
    "no zero_grad": "then the loss falls at first, and swings higher and higher later",
    "hidden layer": "then the layer is missing from the table",
    "frozen layer": 'then one layer of the table has the gradient "none" and an update of 0',
    "eval forgotten": "then there is a layer that behaves differently in training (dropout, batch "
    "norm), and two measurements of the same network differ; these networks have no such layer",
    "other images": "then the training accuracy is good, the validation accuracy is not, and the "
    "two rows of digits do not look alike",
}


class Chart(Protocol):
    """What a patient needs of a chart."""

    def note(self, loss: Tensor) -> None:
        """Write down the loss of a step that has just been made."""


def network() -> nn.Sequential:
    """Two convolutions and a linear layer, from ``(N, 1, 28, 28)`` to logits ``(N, 10)``."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(),
        nn.Conv2d(8, 16, 5, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


def _train(
    patient: nn.Module, chart: Chart, seen: Pair, learning_rate: float = 0.05, epochs: int = 2
) -> None:
    images, labels = seen
    weights = [weights for weights in patient.parameters() if weights.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=learning_rate, momentum=0.9)
    shuffle = torch.Generator().manual_seed(1)
    for _ in range(epochs):
        for batch in torch.randperm(len(images), generator=shuffle).split(50):
            loss = F.cross_entropy(patient(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            chart.note(loss)


# What each patient has, and what the chart shows of it.
_PATIENTS: dict[str, tuple[str, str]] = {
    "A": (
        "frozen layer",
        "It learns, if not as well as it should, and the whole table is there: read it line by "
        "line, and look for the layer that does not move",
    ),
    "B": (
        "zero weights",
        "The loss never leaves 2.30, and the gradients of the layers are not small but exactly 0, "
        "although nothing has jumped",
    ),
    "C": (
        "other images",
        "Training goes well by every instrument; only the validation accuracy is poor",
    ),
    "D": (
        "rate too low",
        "Every layer has a gradient, every layer moves, no unit is dead, and still nothing "
        "happens: compare the updates with those of a healthy network",
    ),
}


def admit(letter: str, chart: Callable[..., Any], seen: Pair, unseen: Pair) -> Any:
    """Train an undiagnosed patient and return its chart.

    Args:
        letter: ``"A"`` to ``"D"``.
        chart: called as ``chart(network, seen, unseen)``; its ``note(loss)`` is called after
            every step.
        seen: normalised images ``(N, 1, 28, 28)`` and labels ``(N,)`` to train on.
        unseen: the same, to measure with.

    Raises:
        ValueError: if there is no such patient.
    """
    if letter not in _PATIENTS:
        raise ValueError(f"there is no patient {letter!r}; the ward has {', '.join(_PATIENTS)}")
    patient, (images, labels) = network(), unseen
    if letter == "A":
        patient[2].requires_grad_(False)
    elif letter == "B":
        for weights in patient.parameters():
            nn.init.zeros_(weights)
    elif letter == "C":
        images = images.max() + images.min() - images  # the paper becomes the ink: dark is light
    record = chart(patient, seen, (images, labels))
    _train(patient, record, seen, learning_rate=0.0001 if letter == "D" else 0.05)
    return record


@exercise
def diagnosis(letter: str, answer: str) -> str:
    """Check the diagnosis of patient ``letter``: ``answer`` is one of :data:`CHOICES`."""
    if letter not in _PATIENTS:
        raise NotSolvedError(
            f"There is no patient {letter!r}; the ward has {', '.join(_PATIENTS)}."
        )
    truth, finding = _PATIENTS[letter]
    if not isinstance(answer, str) or answer not in CHOICES:
        raise NotSolvedError(f"{answer!r} is none of the choices, which are: {', '.join(CHOICES)}.")
    if answer != truth:
        raise NotSolvedError(
            f"If {CHOICES[answer]}, {_SIGNATURES[answer]}. Patient {letter} is another case. "
            f"{finding}."
        )
    return f"In patient {letter}, {CHOICES[truth]}."


def _activations(channels: int, dead: list[int]) -> tuple[Tensor]:
    """What a ReLU might return for seven images."""
    x = normal(7, channels, 3, 5, seed=channels).relu()
    x[1:3] = 0  # two images for which nothing answers
    x[:, :, 0, :2] = 0  # and two places at which nothing ever answers
    alive = [channel for channel in range(channels) if channel not in dead]
    x[0, alive[:1]] = x[-1, alive[:1]] = 0  # a specialist, silent for the first and the last image
    x[:, alive[-2:]] *= 1e-3  # and two of whom not much is heard
    x[:, dead] = 0
    return (x,)


def _dead(activations: Tensor) -> Tensor:
    return (activations == 0).all(0).flatten(1).all(1).double()


@compared(
    cases={
        f"{channels} channels, {len(dead)} of them dead": _activations(channels, dead)
        for channels, dead in [(7, [0, 2]), (4, [1]), (8, []), (3, [0, 1, 2])]
    },
    mistakes={
        "You counted the zeros. A unit that is zero for most images is a specialist and alive; a "
        "dead one is zero for every image and at every place.": (
            lambda x: (x == 0).double().mean()
        ),
        "You counted each place of a map as a unit of its own. All places of a channel share one "
        "filter: it is dead only if the whole map is zero for all images.": (
            lambda x: (x == 0).all(dim=0).double().mean()
        ),
        "You counted for each image separately. A channel may be silent for one image and speak "
        "for the next: take `all` over the images too.": (
            lambda x: (x == 0).flatten(2).all(dim=2).double().mean()
        ),
        "You looked at one image only. A channel may be silent for it and speak for the next: take "
        "`all` over the images too.": tuple(lambda x, n=n: _dead(x[[n]]).mean() for n in (0, -1)),
        "You counted a channel as dead that is zero somewhere; it has to be zero everywhere: "
        "`all`, not `any`.": lambda x: (x == 0).any(0).flatten(1).any(1).double().mean(),
    },
    right="Dead is what is zero for every image at every place, and nothing else.",
    tolerance=FLOAT32,  # a float32 share is as good as any
)
def dead_share(activations: Tensor) -> float:
    """Check ``function(activations)``: the share of channels that are zero for all images."""
    return _dead(activations).mean().item()


class _Spoil(nn.Module):
    """Puts one value into its input, whatever comes in."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        x[-1, -1] = self.value
        return x


class _Backwards(nn.Module):
    """Computes its layers in another order than it registers them."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3)
        self.spoiler = _Spoil(value)
        self.first = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.spoiler(self.first(x)))


def _row(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), *layers)


@exercise
def first_bad_layer(function: Callable[..., Any]) -> str:
    """Check ``function(network, x)``: the name of the first layer with nan or infinite output."""
    nan, inf = float("nan"), float("inf")
    x = torch.linspace(-1, 1, 8).reshape(2, 4)
    for case, patient, given, expected in [
        # The last layer is healthy here: to name it means more than to name the last bad one.
        ("minus infinity before a ReLU", _row(_Spoil(-inf), nn.ReLU()), x, "1"),
        ("a layer with an infinite output", _row(nn.ReLU(), _Spoil(inf), nn.Sigmoid()), x, "2"),
        ("a row of layers with a nan", _row(_Spoil(nan), nn.Tanh()), x, "1"),
        ("a healthy network", _row(nn.ReLU()), x, ""),
        ("a healthy network and pixels with a nan", _row(nn.ReLU()), x * nan, "0"),
        ("a network inside a network", _row(_row(_Spoil(nan), nn.ReLU()), nn.ReLU()), x, "1.1"),
        ("layers registered in another order than computed", _Backwards(nan), x, "spoiler"),
    ]:
        try:
            answer = run(function, patient, given)
        except ReturnedNoneError:
            if expected == "":
                raise NotSolvedError(
                    "For a healthy network return the empty string, not None."
                ) from None
            raise
        if not isinstance(answer, str):
            raise NotSolvedError(f"For {case} I expected a name, got {type(answer).__name__}.")
        if answer != expected:
            why = _why_another(case, patient, answer, expected)
            raise NotSolvedError(f"For {case} you {why}")
    return "You name the first layer that is not finite, and leave no hook behind."


def _why_another(case: str, patient: nn.Module, answer: str, expected: str) -> str:
    """What is wrong with a name, to go on after "you"."""
    if expected == "":
        return f"accuse {answer!r}; return '' when all is finite."
    modules = dict(patient.named_modules())
    leaves = [name for name, module in modules.items() if not list(module.children())]
    got = f"answer {answer!r}, expected {expected!r}"
    if answer and answer in modules and answer not in leaves:
        return (
            f"name the container {answer!r}, expected the layer {expected!r}: hook only modules "
            "without children."
        )
    if case.startswith("minus") and answer == leaves[-1]:
        return (
            f"{got}: a layer whose output is finite. A hook looks up `name` when it runs, after "
            "the loop, and finds the last one; let it keep its own, as in "
            "`def look(layer, inputs, output, name=name)`."
        )
    if "infin" in case and answer == "":
        return (
            f"{got}: `isnan` does not see infinity, which becomes nan one layer later or vanishes; "
            "use `isfinite`."
        )
    if case.startswith("layers registered"):
        return (
            f"{got}: `named_modules` has them in the order of registration; hooks are called in "
            "the order of computation."
        )
    if answer in leaves and leaves.index(answer) > leaves.index(expected):
        return f"{got}: a nan spoils every layer after it, so note only the first."
    return f"{got}."


def _reference(
    patient: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor,
    epochs: int, *, clear: str = "step", back_to_train: bool = True,
) -> list[float]:  # fmt: skip
    """Train in order, in batches of 10; the accuracy after each epoch, in eval mode."""
    accuracies = []
    patient.train()
    for _ in range(epochs):
        if back_to_train:
            patient.train()
        if clear == "epoch":
            optimizer.zero_grad()
        for x, y in zip(images.split(10), labels.split(10), strict=True):
            loss = F.cross_entropy(patient(x), y)
            if clear == "step":
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        patient.eval()
        with torch.no_grad():
            accuracies.append((patient(images).argmax(1) == labels).double().mean().item())
    return accuracies


@exercise
def mended_training(function: Callable[..., Any]) -> str:
    """Check ``function(network, optimizer, images, labels, epochs)`` on two small problems.

    It trains in batches of ten, in the given order, and returns the accuracy after each epoch.
    """
    for digits, epochs in ((60, 3), (34, 2)):
        _is_healthy(function, normal(digits, 6), epochs)
    return "Weights, batch norm and accuracies are those of a healthy training."


_BUGS: dict[str, dict[str, Any]] = {
    "Both bugs are still there.": {"clear": "epoch", "back_to_train": False},
    "Gradients are cleared only once an epoch, so that each step repeats all steps before it: "
    "`optimizer.zero_grad()` belongs into the loop over the batches.": {"clear": "epoch"},
    "Gradients are never cleared now.": {"clear": "never"},
    "The gradients are right now. But after the first measurement the network stays in eval "
    "mode, so that batch norm (and dropout) no longer train.": {"back_to_train": False},
}


def _is_healthy(function: Callable[..., Any], images: Tensor, epochs: int) -> None:
    labels = images[:, :3].argmax(1)
    untrained = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)
    ).double()

    def train(how: Callable[..., Any], **options: Any) -> tuple[Any, list[Tensor]]:
        patient = copy.deepcopy(untrained)
        optimizer = torch.optim.SGD(patient.parameters(), lr=0.1)
        given = patient, optimizer, images, labels, epochs
        answer = run(how, *given, may_change=[patient, optimizer], **options)
        return answer, list(patient.state_dict().values())

    expected, state = train(_reference)
    answer, learned = train(function)
    for explanation, options in _BUGS.items():
        if same(learned, train(_reference, **options)[1]):
            raise NotSolvedError(explanation)
    if not same(learned, state):
        batches = -(-len(images) // 10)
        if not any(same(value, float(epochs * batches)) for value in learned):
            raise NotSolvedError(
                f"Batch norm has counted a number of batches other than {epochs * batches} "
                f"({epochs} epochs of {batches}): it must see every training batch in train mode, "
                "and no image when you measure."
            )
        raise NotSolvedError(
            f"After {epochs} epochs the weights are not those of a healthy training in batches of "
            "ten, in order: compare your loop line by line with the one at the top of the chapter."
        )
    compare(
        answer, expected, f"{epochs} epochs", tolerance=FLOAT32,
        mistakes={
            "In per cent? I expected shares between 0 and 1.": [100 * share for share in expected]
        },
    )  # fmt: skip

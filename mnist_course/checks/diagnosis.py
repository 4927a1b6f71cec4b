"""Checks for the chapter on failing training, and four patients that nobody has diagnosed yet."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional

from mnist_course.checks._returning import Verdict, compare, right, run, wrong

Pair = tuple[torch.Tensor, torch.Tensor]

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

# What one would see on the chart, to answer a wrong guess with.
_SIGNATURES = {
    "other parameters": "then every layer has a gradient, and no layer moves: update/weight is 0",
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

    def note(self, loss: torch.Tensor) -> None:
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
    optimizer = torch.optim.SGD(
        [weights for weights in patient.parameters() if weights.requires_grad],
        lr=learning_rate, momentum=0.9,
    )  # fmt: skip
    shuffle = torch.Generator().manual_seed(1)
    for _ in range(epochs):
        for batch in torch.randperm(len(images), generator=shuffle).split(50):
            loss = functional.cross_entropy(patient(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            chart.note(loss)


def _patient_a(chart: Callable[..., Any], seen: Pair, unseen: Pair) -> Any:
    patient = network()
    patient[2].requires_grad_(False)
    record = chart(patient, seen, unseen)
    _train(patient, record, seen)
    return record


def _patient_b(chart: Callable[..., Any], seen: Pair, unseen: Pair) -> Any:
    patient = network()
    for weights in patient.parameters():
        nn.init.zeros_(weights)
    record = chart(patient, seen, unseen)
    _train(patient, record, seen)
    return record


def _patient_c(chart: Callable[..., Any], seen: Pair, unseen: Pair) -> Any:
    patient = network()
    images, labels = unseen
    # The paper becomes the ink: dark is light.
    record = chart(patient, seen, (images.max() + images.min() - images, labels))
    _train(patient, record, seen)
    return record


def _patient_d(chart: Callable[..., Any], seen: Pair, unseen: Pair) -> Any:
    patient = network()
    record = chart(patient, seen, unseen)
    _train(patient, record, seen, learning_rate=0.0001)
    return record


_PATIENTS: dict[str, tuple[Callable[..., Any], str, str]] = {
    "A": (
        _patient_a,
        "frozen layer",
        "It learns, if not as well as it should, and the whole table is there: read it line by "
        "line, and look for the layer that does not move",
    ),
    "B": (
        _patient_b,
        "zero weights",
        "The loss never leaves 2.30, and the gradients of the layers are not small but exactly 0, "
        "although nothing has jumped",
    ),
    "C": (
        _patient_c,
        "other images",
        "Training goes well by every instrument; only the validation accuracy is poor",
    ),
    "D": (
        _patient_d,
        "rate too low",
        "Every layer has a gradient, every layer moves, no unit is dead, and still nothing "
        "happens: compare the column update/weight with that of a healthy network",
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
    return _PATIENTS[letter][0](chart, seen, unseen)


def diagnosis(letter: str, answer: str) -> Verdict:
    """Check the diagnosis of patient ``letter``: ``answer`` is one of :data:`CHOICES`."""
    if letter not in _PATIENTS:
        return wrong(f"There is no patient {letter!r}; the ward has {', '.join(_PATIENTS)}.")
    _, truth, finding = _PATIENTS[letter]
    if not isinstance(answer, str) or answer not in CHOICES:
        return wrong(f"{answer!r} is none of the choices, which are: {', '.join(CHOICES)}.")
    if answer != truth:
        return wrong(
            f"If {CHOICES[answer]}, {_SIGNATURES[answer]}. Patient {letter} is another case. "
            f"{finding}."
        )
    return right(f"In patient {letter}, {CHOICES[truth]}.")


# --- Exercise: the share of dead units ---


def dead_share(function: Callable[..., Any]) -> Verdict:
    """Check ``function(activations)``: the share of channels that are zero for all images."""
    generator = torch.Generator().manual_seed(0)
    for channels, dead in [(5, [0, 2, 4]), (4, [1]), (8, []), (3, [0, 1, 2])]:
        x = torch.randn(6, channels, 3, 5, generator=generator, dtype=torch.float64).relu()
        x[1] = 0  # an image for which nothing answers
        x[:, :, 0, 0] = 0  # and a place at which nothing ever answers
        x[0, :, 1, 1] = 1  # but every living channel answers somewhere
        x[:, dead] = 0
        zero = x == 0
        expected = torch.tensor(len(dead) / channels, dtype=torch.float64)
        hints = [
            (
                "You counted the zeros. A unit that is zero for most images is a specialist and "
                "alive; a dead one is zero for every image and at every place.",
                zero.double().mean(),
            ),
            (
                "You counted each place of a map as a unit of its own. All places of a channel "
                "share one filter: it is dead only if the whole map is zero for all images.",
                zero.all(dim=0).double().mean(),
            ),
            (
                "You counted for each image separately. A channel may be silent for one image and "
                "speak for the next: take `all` over the images too.",
                zero.flatten(2).all(dim=2).double().mean(),
            ),
            (
                "You counted a channel as dead that is zero somewhere; it has to be zero "
                "everywhere: `all`, not `any`.",
                zero.transpose(0, 1).flatten(1).any(dim=1).double().mean(),
            ),
            ("This is the share of channels that are alive.", 1 - expected),
            (
                "This is the number of dead channels; divide by how many there are.",
                torch.tensor(float(len(dead)), dtype=torch.float64),
            ),
        ]
        verdict = compare(
            run(function, x),
            expected,
            f"{channels} channels, {len(dead)} of them dead",
            hints=[(text, value) for text, value in hints if not torch.equal(value, expected)],
        )
        if verdict is not None:
            return verdict
    return right("Dead is what is zero for every image at every place, and nothing else.")


# --- Exercise: where the first nan comes from ---


class _Spoil(nn.Module):
    """Puts one value into its input, whatever comes in."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x.flatten()[0] = self.value
        return x


class _Backwards(nn.Module):
    """Computes its layers in another order than it registers them."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3)
        self.spoiler = _Spoil(value)
        self.first = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.spoiler(self.first(x)))


def _nested(value: float) -> nn.Module:
    body = nn.Sequential(nn.Linear(4, 4), _Spoil(value), nn.ReLU())
    return nn.Sequential(nn.Linear(4, 4), body, nn.Linear(4, 3))


def first_bad_layer(function: Callable[..., Any]) -> Verdict:
    """Check ``function(network, x)``: the name of the first layer with nan or infinite output."""
    nan, inf = float("nan"), float("inf")
    cases = [
        ("a row of layers with a nan", nn.Sequential(nn.Linear(4, 4), _Spoil(nan), nn.Tanh()), "1"),
        ("a layer with an infinite output", nn.Sequential(_Spoil(inf), nn.ReLU()), "0"),
        ("minus infinity before a ReLU", nn.Sequential(_Spoil(-inf), nn.ReLU()), "0"),
        ("a healthy network", nn.Sequential(nn.Linear(4, 4), nn.ReLU()), ""),
        ("a network inside a network", _nested(nan), "1.1"),
        ("layers registered in another order than computed", _Backwards(nan), "spoiler"),
    ]
    x = torch.linspace(-1, 1, 8).reshape(2, 4)
    for case, patient, expected in cases:
        modules = dict(patient.named_modules())
        answer = run(function, patient, x)
        if isinstance(answer, Verdict):
            if expected == "" and "returned None" in answer.message:
                return wrong("For a healthy network return the empty string, not None.")
            return answer
        if any(module._forward_hooks or module._forward_pre_hooks for module in modules.values()):
            return wrong(
                "Your hooks are still on the network after the call: keep what "
                "`register_forward_hook` returns, and call `.remove()` on each."
            )
        if answer == expected:
            continue
        if not isinstance(answer, str):
            return wrong(f"For {case} I expected a name, got {type(answer).__name__}.")
        if expected == "":
            return wrong(f"For {case} you accuse {answer!r}; return '' when all is finite.")
        if "infin" in case:
            return wrong(
                f"For {case} you answer {answer!r}, expected {expected!r}: `isnan` does not see "
                "infinity, which becomes nan one layer later or vanishes; use `isfinite`."
            )
        if answer in modules and len(list(modules[answer].children())):
            return wrong(
                f"For {case} you name the container {answer!r}, expected the layer {expected!r}: "
                "hook only modules without children."
            )
        if case.startswith("layers registered"):
            return wrong(
                f"For {case} you answer {answer!r}, expected {expected!r}: `named_modules` has "
                "them in the order of registration; hooks are called in the order of computation."
            )
        return wrong(
            f"For {case} you answer {answer!r}, expected {expected!r}: a nan spoils every layer "
            "after it, so note only the first."
        )
    return right("You name the first layer that is not finite, and leave no hook behind.")


# --- Exercise: a training with two bugs ---


def _reference(
    patient: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor,
    labels: torch.Tensor, epochs: int, *, clear: str = "step", back_to_train: bool = True,
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
            loss = functional.cross_entropy(patient(x), y)
            if clear == "step":
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        patient.eval()
        with torch.no_grad():
            accuracies.append((patient(images).argmax(1) == labels).double().mean().item())
    return accuracies


def mended_training(function: Callable[..., Any]) -> Verdict:
    """Check ``function(network, optimizer, images, labels, epochs)`` on a small problem.

    It trains in batches of ten, in the given order, and returns the accuracy after each epoch.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(60, 6, generator=generator, dtype=torch.float64)
    labels = images[:, :3].argmax(1)

    def train(how: Callable[..., Any], **options: Any) -> tuple[Any, torch.Tensor, nn.Module]:
        torch.manual_seed(0)
        patient = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)
        ).double()
        optimizer = torch.optim.SGD(patient.parameters(), lr=0.1)
        answer = run(how, patient, optimizer, images, labels, 3, **options)
        state = torch.cat([value.double().flatten() for value in patient.state_dict().values()])
        return answer, state, patient

    expected, state, _ = train(_reference)
    answer, learned, patient = train(function)
    if isinstance(answer, Verdict):
        return answer
    mistakes: dict[str, dict[str, Any]] = {
        "Both bugs are still there.": {"clear": "epoch", "back_to_train": False},
        "Gradients are cleared only once an epoch, so that each step repeats all steps before it: "
        "`optimizer.zero_grad()` belongs into the loop over the batches.": {"clear": "epoch"},
        "Gradients are never cleared now.": {"clear": "never"},
        "The gradients are right now. But after the first measurement the network stays in eval "
        "mode, so that batch norm (and dropout) no longer train.": {"back_to_train": False},
    }
    for explanation, options in mistakes.items():
        if torch.allclose(learned, train(_reference, **options)[1], rtol=0, atol=1e-9):
            return wrong(explanation)
    if len(learned) == len(state) and not torch.allclose(learned, state, rtol=0, atol=1e-9):
        counts = {n: v for n, v in patient.state_dict().items() if n.endswith("batches_tracked")}
        if any(int(count) != 18 for count in counts.values()):
            return wrong(
                "Batch norm has counted a number of batches other than 18 (3 epochs of 6): it must "
                "see every training batch in train mode, and no image when you measure."
            )
        return wrong(
            "After three epochs the weights are not those of a healthy training in batches of ten, "
            "in order: compare your loop line by line with the one at the top of the chapter."
        )
    shares = torch.tensor(expected, dtype=torch.float64)
    verdict = compare(
        answer, shares, "three epochs",
        hints=[("In per cent? I expected shares between 0 and 1.", 100 * shares)],
    )  # fmt: skip
    if verdict is not None:
        return verdict
    return right("Weights, batch norm and accuracies are those of a healthy training.")


def accuracy(function: Callable[..., Any]) -> Verdict:
    """Check ``function(network, x, y)``: the share of right answers, whatever the mode was."""
    torch.manual_seed(0)
    patient = nn.Sequential(
        nn.Flatten(), nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(16, 10),
    ).double()  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 1, 4, 4, generator=generator, dtype=torch.float64)
    reader = copy.deepcopy(patient).eval()
    with torch.no_grad():
        answers = reader(x).argmax(1)
    recorded: list[bool] = []
    patient.register_forward_hook(lambda *_: recorded.append(torch.is_grad_enabled()))
    y = torch.where(torch.arange(40) % 4 == 0, (answers + 1) % 10, answers)  # 30 of 40 are right
    for shape in [(40,), (40, 1)]:
        for training in (True, False):
            before = copy.deepcopy(patient.train(training).state_dict())
            value = run(function, patient, x, y.reshape(shape))
            if isinstance(value, Verdict):
                return value
            after = patient.state_dict()
            if not all(torch.equal(before[name], after[name]) for name in before):
                return wrong(
                    "Measuring has changed the network: in train mode, batch norm takes the images "
                    "into its running statistics. Call `network.eval()` first."
                )
            if patient.training != training:
                return wrong(
                    f"The network came in {'train' if training else 'eval'} mode and left in the "
                    "other: note `network.training`, and give it back with `network.train(mode)`."
                )
            case = f"labels of shape {shape} and 30 right answers of 40"
            crossed = (answers[:, None] == y).double().mean()
            verdict = compare(
                value, torch.tensor(0.75, dtype=torch.float64), case,
                hints=[
                    (
                        "For labels of shape (40, 1), `==` compared every answer with every label, "
                        "1,600 comparisons: bring both to the same shape first.", crossed,
                    ),
                    ("In per cent? I expected a share, 0.75.", torch.tensor(75.0)),
                    ("This is the number of right answers, not their share.", torch.tensor(30.0)),
                ],
            )  # fmt: skip
            if verdict is not None:
                return verdict
    if any(recorded):
        return wrong(
            "The share is right, but the network was asked with gradients, which costs memory and "
            "time: let it answer in `with torch.no_grad():`."
        )
    return right("The right share, whatever the mode and the shape of the labels.")

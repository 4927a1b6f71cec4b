"""Each check of chapter 13 accepts what is right and names mistakes beyond those of its tables."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import diagnosis as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong

chapter = definitions("diagnosis")
TRUTH = {"A": "frozen layer", "B": "zero weights", "C": "other images", "D": "rate too low"}


@pytest.mark.parametrize("name", ["dead_share", "first_bad_layer", "mended_training", "accuracy"])
def test_the_stub_is_not_yet_and_the_solution_right(name: str) -> None:
    assert_not_begun(getattr(check, name)(chapter[f"my_{name}"]))
    assert_right(getattr(check, name)(chapter[f"solution_{name}"]))


@pytest.mark.parametrize("letter", TRUTH)
@pytest.mark.parametrize("answer", check.CHOICES)
def test_only_the_true_diagnosis_is_right(letter: str, answer: str) -> None:
    verdict = check.diagnosis(letter, answer)
    assert verdict.ok == (answer == TRUTH[letter])
    assert letter in verdict.message
    if not verdict:
        assert "If " in verdict.message
        assert check.CHOICES[answer] in verdict.message


def test_a_diagnosis_that_is_no_choice_is_answered_with_the_choices() -> None:
    assert "softmax twice" in check.diagnosis("A", "…").message
    assert "no patient 'Z'" in check.diagnosis("Z", "softmax twice").message
    with pytest.raises(ValueError, match="the ward has A, B, C, D"):
        check.admit("Z", Chart, pictures(), pictures())


class Chart:
    """The least chart that a patient needs."""

    def __init__(self, network: nn.Module, seen: check.Pair, unseen: check.Pair) -> None:
        self.network, self.seen, self.unseen = network, seen, unseen
        self.before = [p.detach().clone() for p in network.parameters()]
        self.losses: list[float] = []

    def note(self, loss: torch.Tensor) -> None:
        self.losses.append(loss.item())

    def moved(self) -> list[float]:
        now = zip(self.network.parameters(), self.before, strict=True)
        return [(a - b).norm().item() for a, b in now]

    def accuracy(self, x: torch.Tensor, y: torch.Tensor) -> float:
        with torch.no_grad():
            return (self.network(x).argmax(1) == y).float().mean().item()


def pictures(count: int = 600) -> check.Pair:
    """Ten blurred patterns with noise: easy to learn, and not the same when inverted."""
    generator = torch.Generator().manual_seed(0)
    patterns = F.interpolate(torch.rand(10, 1, 7, 7, generator=generator), size=28)
    labels = torch.arange(count) % 10
    noise = torch.randn(count, 1, 28, 28, generator=generator)
    return 2 * patterns[labels] + 0.3 * noise, labels


@pytest.fixture(scope="module")
def ward() -> dict[str, Chart]:
    """The four patients, trained on a small problem."""
    seen = pictures()
    return {letter: check.admit(letter, Chart, seen, seen) for letter in TRUTH}


def test_the_patients_have_the_illness_that_the_check_says(ward: dict[str, Chart]) -> None:
    a, b, c, d = (ward[letter] for letter in "ABCD")
    assert a.moved()[2:4] == [0, 0]
    assert min(a.moved()[:2] + a.moved()[4:]) > 0
    assert b.moved()[:5] == [0] * 5
    assert b.moved()[5] > 0
    assert 2.2 < sum(b.losses) / len(b.losses) < 2.4
    assert c.accuracy(*c.seen) > 0.9
    assert c.accuracy(*c.unseen) < 0.6
    assert torch.equal(c.unseen[1], c.seen[1])
    assert 0 < max(d.moved()) < 0.1
    assert d.losses[-1] > 2


def test_a_patient_cured_of_its_illness_learns(ward: dict[str, Chart]) -> None:
    seen = pictures()
    healthy = Chart(check.network(), seen, seen)
    check._train(healthy.network, healthy, seen)
    assert healthy.accuracy(*seen) > 0.9
    assert all(p.requires_grad for p in healthy.network.parameters())
    assert healthy.losses[-1] < min(ward["B"].losses[-1], ward["D"].losses[-1])


def dead_in_loops(a: torch.Tensor) -> float:
    return sum(1 for c in range(a.shape[1]) if not a[:, c].any()) / a.shape[1]


@pytest.mark.parametrize(
    "answer",
    [
        dead_in_loops,
        lambda a: (a.amax((0, 2, 3)) == 0).float().mean(),
        lambda a: np.mean(a.numpy().sum(axis=(0, 2, 3)) == 0),
        lambda a: 1 - len(a.sum((0, 2, 3)).nonzero()) / a.shape[1],
    ],
)
def test_dead_share_in_other_ways_is_right(answer: Callable) -> None:
    assert_right(check.dead_share(answer))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda a: (a == 0).flatten(2).all(dim=2).double().mean(), "each image separately"),
        (lambda a: (a == 0).all(dim=(0, 2, 3)).sum(), "divide by how many"),
        (lambda a: dead_in_loops(a[:1]), "one image only"),
        (
            lambda a: (a.mean((0, 2, 3)) < 0.02).double().mean(),
            "the number is 0.571429, expected 0.285714",
        ),
        (
            lambda a: (a.amax((0, 2, 3)) < 0.01).double().mean(),
            "the number is 0.571429, expected 0.285714",
        ),
        (lambda a: (a == 0).all(dim=(0, 2, 3)), "one number, got shape (7,)"),
        (lambda a: 100 * dead_in_loops(a), "the number is 28.5714, expected 0.285714"),
        (lambda a: dead_in_loops(a) * a.shape[1] / 7, "the number is 0.142857, expected 0.25"),
        (lambda a: dead_in_loops(a.mul_(0)), "changes `a` in place"),
        (lambda a: None, "returned None"),
    ],
)
def test_dead_share_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.dead_share(answer), message)


def guard(
    network: nn.Module, x: torch.Tensor, *, bad: Callable = lambda y: not y.isfinite().all(),
    containers: bool = False, last: bool = False, leave: bool = False, sort: bool = False,
) -> str:  # fmt: skip
    """The solution, with each part to be spoilt."""
    names, hooks = [], []
    for name, layer in network.named_modules():
        if name and (containers or not list(layer.children())):
            hooks.append(
                layer.register_forward_hook(
                    lambda layer, _, y, name=name: names.append(name) if bad(y) else None
                )
            )
    network(x)
    if not leave:
        for hook in hooks:
            hook.remove()
    if sort:
        names = [name for name, _ in network.named_modules() if name in names]
    return names[-1 if last else 0] if names else ""


def late(network: nn.Module, x: torch.Tensor) -> str:
    """Hooks that look up the name after the loop."""
    names, hooks = [], []
    for name, layer in network.named_modules():
        if not list(layer.children()):

            def look(layer: nn.Module, given: tuple, y: torch.Tensor) -> None:
                if not y.isfinite().all():
                    names.append(name)  # noqa: B023

            hooks.append(layer.register_forward_hook(look))
    network(x)
    for hook in hooks:
        hook.remove()
    return names[0] if names else ""


def stops(network: nn.Module, x: torch.Tensor) -> str:
    """A hook that ends the pass at the first bad layer."""

    class FoundError(Exception):
        pass

    names = {layer: name for name, layer in network.named_modules() if not [*layer.children()]}

    def look(layer: nn.Module, given: tuple, y: torch.Tensor) -> None:
        if not torch.isfinite(y.sum()):
            raise FoundError(names[layer])

    hooks = [layer.register_forward_hook(look) for layer in names]
    try:
        network(x)
        return ""
    except FoundError as found:
        return str(found)
    finally:
        for hook in hooks:
            hook.remove()


def test_first_bad_layer_that_stops_the_pass_is_right() -> None:
    assert_right(check.first_bad_layer(stops))


def one_by_one(network: nn.Module, x: torch.Tensor) -> str:
    for name, layer in network.named_children():
        x = layer(x)
        if not x.isfinite().all():
            return name
    return ""


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n, x: guard(n, x, bad=lambda y: y.isnan().any()), "use `isfinite`"),
        (lambda n, x: guard(n, x, last=True), "note only the first"),
        (lambda n, x: guard(n, x, leave=True), "leaves hooks on `n.0`"),
        (late, "def look(layer, inputs, output, name=name)"),
        (one_by_one, "you name the container '1', expected the layer '1.1'"),
        (lambda n, x: "", "`isnan` does not see infinity"),
        (lambda n, x: "1", "with an infinite output you answer '1', expected '2'."),
        (lambda n, x: n[int(guard(n, x) or 0)], "I expected a name, got _Spoil"),
        (lambda n, x: np.array([guard(n, x)]), "I expected a name, got ndarray"),
        (lambda n, x: guard(n.eval(), x), "in the mode in which it came"),
        (lambda n, x: guard(n, x.nan_to_num()), "pixels with a nan you answer '', expected '0'"),
        (lambda n, x: guard(n, x, sort=True), "order of registration"),
        (lambda n, x: guard(n, x, containers=True, sort=True), "hook only modules without"),
        (lambda n, x: guard(n, x) or "0", "return '' when all is finite"),
        (lambda n, x: guard(n, x) or None, "return the empty string, not None"),
        (lambda n, x: None, "returned None"),
        (lambda n, x: 3, "expected a name"),
        (lambda n, x: n(x) @ x, "raised"),
    ],
)
def test_first_bad_layer_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.first_bad_layer(answer), message)


def in_other_batches(
    network: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor,
    epochs: int,
) -> list[float]:  # fmt: skip
    """Right but for the size of the batches."""
    network.train()
    for _ in range(epochs):
        for a, b in zip(x.split(20), y.split(20), strict=True):
            optimizer.zero_grad()
            F.cross_entropy(network(a), b).backward()
            optimizer.step()
    return [0.0] * epochs


def for_three_epochs(network, optimizer, x, y, epochs):
    return check._reference(network, optimizer, x, y, 3)


def without_the_last_batch(network, optimizer, x, y, epochs):
    full = len(x) // 10 * 10
    return check._reference(network, optimizer, x[:full], y[:full], epochs)


def shuffled(network, optimizer, x, y, epochs):
    order = torch.randperm(len(x))
    return check._reference(network, optimizer, x[order], y[order], epochs)


def clears_afterwards(network, optimizer, x, y, epochs):
    shares = []
    for _ in range(epochs):
        for i in range(0, len(x), 10):
            F.nll_loss(network.train()(x[i : i + 10]).log_softmax(1), y[i : i + 10]).backward()
            optimizer.step()
            network.zero_grad()
        shares.append((network.eval()(x).argmax(1) == y).float().mean())
    return torch.stack(shares)


def test_mended_training_in_another_way_is_right() -> None:
    assert_right(check.mended_training(clears_afterwards))


def with_a_wrong_rate(*arguments) -> list[float]:
    arguments[1].param_groups[0]["lr"] = 0.01
    return check._reference(*arguments)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (chapter["suspicious_training"], "Both bugs"),
        (lambda *a: check._reference(*a, clear="epoch"), "only once an epoch"),
        (lambda *a: check._reference(*a, clear="never"), "never cleared"),
        (lambda *a: check._reference(*a, back_to_train=False), "stays in eval mode"),
        (in_other_batches, "counted a number of batches other than 18"),
        (with_a_wrong_rate, "line by line"),
        (for_three_epochs, "other than 8 (2 epochs of 4)"),
        (without_the_last_batch, "other than 8 (2 epochs of 4)"),
        (shuffled, "line by line"),
        (lambda *a: (check._reference(*a), a[2].zero_())[0], "changes `argument 3` in place"),
        (lambda *a: [a.mean() for a in [torch.zeros(3)] * 3], "other than 18 (3 epochs of 6)"),
        (lambda *a: [*check._reference(*a), 1.0], "has shape (4,), expected (3,)"),
        (lambda *a: [1 - share for share in check._reference(*a)], "numbers are not"),
        (lambda *a: [100 * share for share in check._reference(*a)], "In per cent?"),
        (lambda *a: check._reference(*a)[-1], "has shape"),
        (lambda *a: None, "returned None"),
    ],
)
def test_mended_training_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.mended_training(answer), message)


def measured(network, x, y, *, flat=True, graphs=False, switch=True, back=True):
    mode = network.training
    if switch:
        network.eval()
    with torch.set_grad_enabled(graphs):
        answers = network(x).argmax(1)
    if back:
        network.train(mode)
    return (answers == (y.flatten() if flat else y)).float().mean()


def ends_in_train_mode(network, x, y):
    share = measured(network, x, y)
    network.train()
    return share


@torch.inference_mode()
def counted(network, x, y):
    was, hits = network.training, 0
    network.train(False)
    for image, label in zip(x, y.tolist(), strict=True):
        hits += network(image[None]).argmax().item() == (label if y.ndim == 1 else label[0])
    network.train(was)
    return hits / len(y)


@pytest.mark.parametrize("answer", [measured, counted])
def test_accuracy_in_other_ways_is_right(answer: Callable) -> None:
    assert_right(check.accuracy(answer))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n, x, y: measured(n, x, y, switch=False), "reads in train mode"),
        (lambda n, x, y: measured(n, x, y, flat=False), "1,600 comparisons"),
        (lambda n, x, y: measured(n, x, y, graphs=True), "asked with gradients"),
        (lambda n, x, y: measured(n, x, y, back=False), "does not leave `n` in the mode"),
        (ends_in_train_mode, "does not leave `network` in the mode"),
        (lambda n, x, y: 100 * measured(n, x, y), "per cent? I expected a share, 0.75."),
        (lambda n, x, y: measured(n, x, y) / 2, "the number is 0.375, expected 0.75"),
        (lambda n, x, y: 0.75 + 0 * measured(n, x, y), "the number is 0.75, expected 0.45"),
        (lambda n, x, y: measured(n, x, y.squeeze(1)), "raised IndexError"),
        (lambda n, x, y: measured(n, x[:20], y[:20]), "the number is 1, expected 0.75"),
        (lambda n, x, y: measured(n, x, y.resize_(40)), "changes `y` in place"),
    ],
)
def test_accuracy_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.accuracy(answer), message)

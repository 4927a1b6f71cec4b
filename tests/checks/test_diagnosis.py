"""Each check of chapter 13 accepts the right answer and names each plausible mistake."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_course.checks import diagnosis as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_wrong

chapter = definitions("diagnosis")
TRUTH = {"A": "frozen layer", "B": "zero weights", "C": "other images", "D": "rate too low"}


@pytest.mark.parametrize("name", ["dead_share", "first_bad_layer", "mended_training", "accuracy"])
def test_the_stub_is_not_yet_and_the_solution_right(name: str) -> None:
    verdict = getattr(check, name)(chapter[f"my_{name}"])
    assert not verdict
    assert "Nothing is written yet" in verdict.message
    assert getattr(check, name)(chapter[f"solution_{name}"])


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


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda a: (a == 0).double().mean(), "a specialist"),
        (lambda a: (a == 0).all(dim=0).double().mean(), "share one filter"),
        (lambda a: (a == 0).flatten(2).all(dim=2).double().mean(), "each image separately"),
        (lambda a: (a == 0).any(dim=3).any(dim=2).any(dim=0).double().mean(), "not `any`"),
        (lambda a: 1 - (a == 0).all(dim=(0, 2, 3)).double().mean(), "that are alive"),
        (lambda a: (a == 0).all(dim=(0, 2, 3)).sum(), "divide by how many"),
        (lambda a: (a == 0).all(dim=(0, 2, 3)), "one number, got shape (5,)"),
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


def shapes_of_trust(network: nn.Module, x: torch.Tensor) -> str:
    return guard(network, x) or "0"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n, x: guard(n, x, bad=lambda y: y.isnan().any()), "use `isfinite`"),
        (lambda n, x: guard(n, x, last=True), "note only the first"),
        (lambda n, x: guard(n, x, leave=True), "still on the network"),
        (lambda n, x: guard(n, x, sort=True), "order of registration"),
        (lambda n, x: guard(n, x, containers=True, sort=True), "hook only modules without"),
        (shapes_of_trust, "return '' when all is finite"),
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
        (lambda *a: [100 * share for share in check._reference(*a)], "In per cent?"),
        (lambda *a: check._reference(*a)[-1], "has shape"),
        (lambda *a: None, "returned None"),
    ],
)
def test_mended_training_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.mended_training(answer), message)


def measured(
    network: nn.Module, x: torch.Tensor, y: torch.Tensor, *, flat: bool = True, factor: float = 1
) -> torch.Tensor:
    mode = network.training
    network.eval()
    with torch.no_grad():
        answers = network(x).argmax(1)
    network.train(mode)
    return factor * (answers == (y.flatten() if flat else y)).double().mean()


def records(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    mode = network.training
    answers = network.eval()(x).argmax(1)
    network.train(mode)
    return (answers == y.flatten()).double().mean()


def stays_in_eval_mode(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    network.eval()
    return measured(network, x, y)


def ends_in_train_mode(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    share = measured(network, x, y)
    network.train()
    return share


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n, x, y: (n(x).argmax(1) == y.flatten()).double().mean(), "changed the network"),
        (lambda n, x, y: measured(n, x, y, flat=False), "1,600 comparisons"),
        (records, "with gradients"),
        (stays_in_eval_mode, "came in train mode"),
        (ends_in_train_mode, "came in eval mode"),
        (lambda n, x, y: measured(n, x, y, factor=100), "per cent"),
        (lambda n, x, y: measured(n, x, y, factor=40), "not their share"),
        (lambda n, x, y: measured(n, x, y, factor=0.5), "the number is 0.375, expected 0.75"),
    ],
)
def test_accuracy_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.accuracy(answer), message)

"""The checks of chapter 17: answers in other styles, and mistakes beyond those of the tables."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mnist_course.checks import diagnosis as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("diagnosis")
NAMES = ["dead_share", "first_bad_layer", "mended_training"]
test_the_chapter = of_the_chapter(check, chapter, {name: name for name in NAMES})
TRUTH = {"A": "frozen layer", "B": "zero weights", "C": "other images", "D": "rate too low"}


@pytest.mark.parametrize("letter", TRUTH)
@pytest.mark.parametrize("answer", check.CHOICES)
def test_only_the_true_diagnosis_is_right(letter, answer):
    verdict = check.diagnosis(letter, answer)
    assert verdict.ok == (answer == TRUTH[letter])
    assert letter in verdict.message
    if not verdict:
        assert "If " in verdict.message
        assert check.CHOICES[answer] in verdict.message


def test_a_diagnosis_that_is_no_choice_is_answered_with_the_choices():
    assert "softmax twice" in check.diagnosis("A", "…").message
    assert "no patient 'Z'" in check.diagnosis("Z", "softmax twice").message
    with pytest.raises(ValueError, match="the ward has A, B, C, D"):
        check.admit("Z", Chart, pictures(), pictures())


class Chart:
    """The least chart that a patient needs."""

    def __init__(self, network, seen, unseen):
        self.network, self.seen, self.unseen = network, seen, unseen
        self.before = [p.detach().clone() for p in network.parameters()]
        self.losses = []

    def note(self, loss):
        self.losses.append(loss.item())

    def moved(self):
        now = zip(self.network.parameters(), self.before, strict=True)
        return [(a - b).norm().item() for a, b in now]

    @torch.no_grad()
    def accuracy(self, x, y):
        return (self.network(x).argmax(1) == y).float().mean().item()


def pictures(count=600):
    """Ten blurred patterns with noise: easy to learn, and not the same when inverted."""
    generator = torch.Generator().manual_seed(0)
    patterns = F.interpolate(torch.rand(10, 1, 7, 7, generator=generator), size=28)
    labels = torch.arange(count) % 10
    noise = torch.randn(count, 1, 28, 28, generator=generator)
    return 2 * patterns[labels] + 0.3 * noise, labels


def test_the_patients_have_the_illness_that_the_check_says():
    seen = pictures()
    a, b, c, d = (check.admit(letter, Chart, seen, seen) for letter in TRUTH)
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
    healthy = Chart(check.network(), seen, seen)
    check._train(healthy.network, healthy, seen)
    assert healthy.accuracy(*seen) > 0.9
    assert all(p.requires_grad for p in healthy.network.parameters())
    assert healthy.losses[-1] < min(b.losses[-1], d.losses[-1])


def dead_in_loops(a):
    return sum(1 for c in range(a.shape[1]) if not a[:, c].any()) / a.shape[1]


def guard(
    network, x, bad=lambda y: not y.isfinite().all(), containers=False, last=False, leave=False,
    sort=False,
):  # fmt: skip
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
    for hook in hooks if not leave else []:
        hook.remove()
    if sort:
        names = [name for name, _ in network.named_modules() if name in names]
    return names[-1 if last else 0] if names else ""


def late(network, x):
    """Hooks that look up the name after the loop."""
    names, hooks = [], []
    for name, layer in network.named_modules():
        if not list(layer.children()):

            def look(layer, given, y):
                if not y.isfinite().all():
                    names.append(name)  # noqa: B023

            hooks.append(layer.register_forward_hook(look))
    network(x)
    for hook in hooks:
        hook.remove()
    return names[0] if names else ""


class FoundError(Exception):
    pass


def stops(network, x):
    """Right: a hook that ends the pass at the first bad layer."""
    names = {layer: name for name, layer in network.named_modules() if not [*layer.children()]}

    def look(layer, given, y):
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


def one_by_one(network, x):
    for name, layer in network.named_children():
        x = layer(x)
        if not x.isfinite().all():
            return name
    return ""


def trained(network, optimizer, x, y, epochs, size=10, part=slice(None), rate=0.1):
    """A healthy training, of some images, in batches of some size."""
    optimizer.param_groups[0]["lr"] = rate
    shares = []
    for _ in range(epochs):
        for a, b in zip(x[part].split(size), y[part].split(size), strict=True):
            F.nll_loss(network.train()(a).log_softmax(1), b).backward()
            optimizer.step()
            network.zero_grad()
        shares.append((network.eval()(x).argmax(1) == y).float().mean())
    return torch.stack(shares)


RIGHT = {
    "dead_share": [
        dead_in_loops,
        lambda a: (a.amax((0, 2, 3)) == 0).float().mean(),
        lambda a: np.mean(a.numpy().sum(axis=(0, 2, 3)) == 0),
        lambda a: 1 - len(a.sum((0, 2, 3)).nonzero()) / a.shape[1],
    ],
    "first_bad_layer": [guard, stops],
    "mended_training": [trained],
}
WRONG = {
    "dead_share": [
        (lambda a: dead_in_loops(a[:1]), "one image only"),
        (lambda a: (a.mean((0, 2, 3)) < 0.02).double().mean(), "number is 0.571429, expected 0.28"),
        (lambda a: (a.amax((0, 2, 3)) < 0.01).double().mean(), "number is 0.571429, expected 0.28"),
        (lambda a: (a == 0).all(dim=(0, 2, 3)), "one number, got shape (7,)"),
        (lambda a: 100 * dead_in_loops(a), "the number is 28.5714, expected 0.285714"),
        (lambda a: dead_in_loops(a) * a.shape[1] / 7, "the number is 0.142857, expected 0.25"),
    ],
    "first_bad_layer": [
        (lambda n, x: guard(n, x, bad=lambda y: y.isnan().any()), "use `isfinite`"),
        (lambda n, x: guard(n, x, last=True), "note only the first"),
        (lambda n, x: guard(n, x, leave=True), "leaves hooks on `n.0`"),
        (late, "def look(layer, inputs, output, name=name)"),
        (one_by_one, "you name the container '1', expected the layer '1.1'"),
        (lambda n, x: "1", "with an infinite output you answer '1', expected '2'."),
        (lambda n, x: n[int(guard(n, x) or 0)], "I expected a name, got _Spoil"),
        (lambda n, x: guard(n.eval(), x), "in the mode in which it came"),
        (lambda n, x: guard(n, x.nan_to_num()), "pixels with a nan you answer '', expected '0'"),
        (lambda n, x: guard(n, x, sort=True), "order of registration"),
        (lambda n, x: guard(n, x, containers=True, sort=True), "hook only modules without"),
        (lambda n, x: guard(n, x) or "0", "return '' when all is finite"),
        (lambda n, x: guard(n, x) or None, "return the empty string, not None"),
        (lambda n, x: n(x) @ x, "raised"),
    ],
    "mended_training": [
        (chapter["suspicious_training"], "Both bugs"),
        (lambda *a: check._reference(*a, clear="epoch"), "only once an epoch"),
        (lambda *a: check._reference(*a, clear="never"), "never cleared"),
        (lambda *a: check._reference(*a, back_to_train=False), "stays in eval mode"),
        (lambda *a: trained(*a, size=20), "counted a number of batches other than 18"),
        (lambda *a: trained(*a[:4], 3), "other than 8 (2 epochs of 4)"),
        (lambda *a: trained(*a, part=slice(len(a[2]) // 10 * 10)), "other than 8 (2 epochs of 4)"),
        (lambda *a: trained(*a, part=torch.randperm(len(a[2]))), "line by line"),
        (lambda *a: trained(*a, rate=0.01), "line by line"),
        (lambda *a: (trained(*a), a[2].zero_())[0], "changes `argument 3` in place"),
        (lambda *a: [*trained(*a), 1.0], "has shape (4,), expected (3,)"),
        (lambda *a: 1 - trained(*a), "numbers are not"),
        (lambda *a: [100 * share for share in check._reference(*a)], "In per cent?"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)

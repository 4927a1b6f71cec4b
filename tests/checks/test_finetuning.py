"""The checks of chapter 24 accept what is right and name each plausible mistake."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_course import models
from mnist_course.checks import finetuning as check
from mnist_course.data import Digits
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_wrong, judged, of_the_chapter, said
from tests.made_up import digits

chapter = definitions("finetuning")
NAMES = {name: name for name in ("frozen_copy", "load_what_fits", "new_head", "between")}
frozen, loads, new_head, _ = (chapter[f"solution_{name}"] for name in NAMES)
test_the_chapter = of_the_chapter(check, chapter, NAMES, begun="new_head")


def test_the_head_of_the_chapter_is_another_than_the_optimiser_holds():
    assert_wrong(check.new_head(chapter["my_new_head"]), "Which head does the optimiser hold?")


def by_names(network, head, fits=lambda name, head: name.partition(".")[0] == head):
    network = copy.deepcopy(network)
    network.eval()
    for name, weights in network.named_parameters():
        weights.requires_grad = fits(name, head)
    return network


def freeze_in_place(network, head):
    network.requires_grad_(False).eval().get_submodule(head).requires_grad_(True)
    return network


def freeze_original(network, head):
    network.requires_grad_(False)
    return frozen(network, head)


def shallow(network, head):
    return frozen_in(copy.copy(network), head)


def frozen_in(network, head):
    getattr(network.requires_grad_(False).eval(), head).requires_grad_(True)
    return network


def one_by_one(network, state):
    own, missing = network.state_dict(), []
    for name in sorted(own):
        if name in state and state[name].shape == own[name].shape:
            own[name].copy_(state[name])
        else:
            missing.append(name)
    return missing


def without_strict(network, state):
    own = network.state_dict()
    fits = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    return sorted(network.load_state_dict(fits, strict=False).missing_keys)


def by_count(network, state):
    own = network.state_dict()
    for name in own.keys() & state.keys():
        if own[name].numel() == state[name].numel():
            own[name].copy_(state[name].reshape(own[name].shape))
    return loads(network, dict(state))


def names_only(network, state):
    own = network.state_dict()
    return sorted(network.load_state_dict({k: v for k, v in state.items() if k in own}, False)[0])


def names_of_the_state(network, state):
    missing = loads(network, state)
    return sorted(set(state) - (network.state_dict().keys() - set(missing)))


def loads_and_fills(network, state):
    missing = loads(network, state)
    for name in missing:
        network.state_dict()[name].zero_()
    return missing


def pops(network, state):
    for name, value in list(state.items()):
        if value.shape != network.state_dict().get(name, torch.zeros(0)).shape:
            state.pop(name)
    return loads(network, state)


def train_head(network, head, images, labels, steps, *, mode="eval", thaw=False, rate=0.5, sign=1):
    network.train(mode == "train")
    optimizer = torch.optim.SGD((network if thaw else head).parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        (sign * F.cross_entropy(network(images), labels)).backward()
        optimizer.step()
    return network.eval()


def tuned(network, images, labels, classes, steps, copied=True, **options):
    network = copy.deepcopy(network) if copied else network
    network.linear = nn.Linear(network.linear.in_features, classes)
    return train_head(network, network.linear, images, labels, steps, **options)


def head_on_a_body(network, images, labels, classes, steps, kept=True):
    body = copy.deepcopy(network[:-1]).requires_grad_(False).eval()
    head = nn.Linear(network.linear.in_features, classes)
    network = train_head(nn.Sequential(body, head), head, images, labels, steps)
    return network if kept else head


def keeps_the_old_head(network, images, labels, classes, steps):
    network = copy.deepcopy(network)
    return train_head(network, network.linear, images, labels, steps)


def by_lerp(before, after, alpha, names="", counter="after"):
    middle = copy.deepcopy(before)
    for name, value in middle.state_dict().items():
        new = after.state_dict()[name]
        if not value.is_floating_point():
            value.copy_(new if counter == "after" else value)
        elif names in name or "bias" in name:
            value.lerp_(new, alpha)
    return middle


RIGHT = {
    "frozen_copy": [by_names],
    "load_what_fits": [one_by_one, without_strict],
    "new_head": [
        tuned,
        head_on_a_body,
        lambda n, x, t, classes, steps: tuned(n, x, t, classes, steps),
    ],
    "between": [by_lerp],
}

WRONG = {
    "frozen_copy": [
        (freeze_in_place, "not a copy"),
        (shallow, "not a copy"),
        (freeze_original, "given is frozen now"),
        (lambda network, head: frozen(network.eval(), head), "given is in another mode now"),
        (lambda network, head: copy.deepcopy(network).eval(), "conv1.weight can still be trained"),
        (lambda *a: frozen(*a).requires_grad_(False), "linear.bias is frozen, too"),
        (lambda network, _: frozen(models.course_network((3, 4, 5)), "linear"), "other weights"),
        (lambda *a: frozen(*a).train(), "in train mode"),
        (lambda network, head: frozen(network, "linear"), "For head='conv2' linear.bias can still"),
        (lambda *a: by_names(*a, str.startswith), "For head='conv1' conv10.bias can still be"),
        (lambda *a: by_names(*a, lambda name, head: name == head + ".weight"), "linear.bias is"),
        (lambda network, head: head, "Return a network; got str"),
        (lambda network, head: None, "returned None"),
    ],
    "load_what_fits": [
        (lambda n, state: n.load_state_dict(state, strict=False)[0], "of another shape; strict=Fa"),
        (names_only, "of another shape; strict=False"),
        (lambda n, s: loads(n, {k: v for k, v in s.items() if "linear" not in k}), "linear.bias"),
        (names_of_the_state, "names in the state that were left out"),
        (by_count, "in another shape, conv2.weight does not fit, and yet it has changed"),
        (pops, "changes `state` itself"),
        (lambda *a: loads(*a)[::-1], "right names; sort them"),
        (loads_and_fills, "does not fit, and yet it has changed"),
        (lambda n, state: sorted(n.state_dict()), "fits and was not loaded"),
        (lambda *a: loads(*a)[:1], "I expected the names"),
        (lambda *a: len(loads(*a)), "Return a list of names; got int"),
    ],
    "new_head": [
        (lambda *a, steps: tuned(*a, steps, mode="train"), "a frozen layer, and is no parameter"),
        (lambda *a, steps: tuned(*a, steps, thaw=True), "has changed, too: it is not frozen"),
        (lambda *a, steps: tuned(*a, steps, copied=False), "the network itself, not a copy"),
        (lambda *a, steps: tuned(*a, steps, rate=0.5, sign=-1), "its loss does not fall"),
        (lambda *a, steps: tuned(*a, steps, rate=float("nan")), "its loss does not fall"),
        (lambda *a, steps: tuned(*a, 0), "it was never trained"),
        (lambda *a, steps: tuned(*a[:3], a[3] + 1, steps), "shape (4, 45), expected (3"),
        (keeps_the_old_head, "shape (10, 45), expected (3, 45)"),
        (lambda *a, steps: new_head(*a, steps).train(), "end with eval()"),
        (lambda *a, steps: head_on_a_body(*a, steps, kept=False), "return the whole network"),
        (lambda *a, steps: 5, "Return a network; got int"),
    ],
    "between": [
        (lambda b, a, alpha: a, "itself, or its weights"),
        (lambda b, a, alpha: b, "the network itself, not a copy"),
        (lambda b, a, alpha: by_lerp(a, b, alpha), "exchanged"),
        (lambda b, a, alpha: by_lerp(b, a, 0.5), "the plain mean"),
        (lambda b, a, alpha: by_lerp(b, a, alpha, names="weight"), "was not mixed"),
        (lambda b, a, alpha: by_lerp(b, a, alpha, counter="before"), "is a counter"),
        (lambda b, a, alpha: 5, "Return a network; got int"),
    ],
}  # fmt: skip
test_verdicts = judged(check, RIGHT, WRONG)


class Reader(nn.Module):
    """Reads the digit from the first pixel, or another digit in its place."""

    def __init__(self, answers: dict[int, int]) -> None:
        super().__init__()
        self.answers, self.weight = answers, nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        read = (x[:, 0, 0, 0] * 255).round().long()
        for old, new in self.answers.items():
            read = torch.where(read == old, new, read)
        return F.one_hot(read % 10, 10).float() + 0 * self.weight


def numbered(n: int) -> Digits:
    labels = torch.arange(n) % 10
    images = torch.zeros(n, 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 0, 0] = labels.byte()
    return Digits(images, labels, "numbered digits")


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({11: 1, 12: 2}, "Learned, and not forgotten"),
        ({11: 1}, "Learned, and not forgotten"),
        ({11: 5, 12: 5}, "has not learned enough: 20 mistakes on the new digits, 20 before"),
        ({11: 1, 12: 2, 3: 4}, "and forgotten: 10 of 100 old digits misread, 0 before"),
    ],
)
def test_learned_and_remembered(answers, message):
    # New digits have another first pixel for the 1 and the 2, which are misread at first.
    new, old = numbered(100), numbered(100)
    for label in (1, 2):
        new.images[new.labels == label, 0, 0, 0] = 10 + label
    network = Reader({11: 5, 12: 5})
    verdict = check.learned_and_remembered(lambda *_: Reader(answers), network, new, old, new, old)
    assert message in said(verdict)
    assert verdict.ok == message.startswith("Learned")


def spoils(network, new, old):
    nn.init.zeros_(network.requires_grad_(False).train().linear.weight)
    return copy.deepcopy(network)


def spoils_and_fails(network, new, old):
    spoils(network, new, old)
    raise ValueError("no")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (spoils, "the copy only. (I have undone it.)"),
        (spoils_and_fails, "raised ValueError: no"),
        (lambda network, new, old: network.zero_grad() or network, "not a copy"),
        (lambda network, new, old: "network", "Return a network; got str"),
        (
            lambda network, new, old: (new.images.zero_(), copy.copy(network))[1],
            "changes `new.im",
        ),
    ],
)
def test_learned_and_remembered_leaves_the_network_as_it_was(answer, message):
    network, old = models.course_network((2, 2, 2)).eval(), digits(30)
    before = network.linear.weight.detach().clone()
    assert_wrong(check.learned_and_remembered(answer, network, old, old, old, old), message)
    assert network.linear.weight.equal(before)
    assert network.linear.weight.requires_grad and not network.training

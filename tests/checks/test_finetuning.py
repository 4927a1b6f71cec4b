"""The checks of chapter 19 accept what is right and name each plausible mistake."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_course import models
from mnist_course.checks import finetuning as check
from mnist_course.data import Digits
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_wrong, said
from tests.made_up import digits

chapter = definitions("finetuning")


@pytest.mark.parametrize("name", ["frozen_copy", "load_what_fits", "new_head", "two_kernels"])
def test_the_solution_is_right_and_the_stub_is_not(name):
    verdict = getattr(check, name)(chapter[f"solution_{name}"])
    assert verdict.ok, verdict
    assert not getattr(check, name)(chapter[f"my_{name}"])


def freeze_in_place(network, head):
    network.requires_grad_(False).eval().get_submodule(head).requires_grad_(True)
    return network


def freeze_original(network, head):
    network.requires_grad_(False)
    return chapter["solution_frozen_copy"](network, head)


def copy_after_eval(network, head):
    return chapter["solution_frozen_copy"](network.eval(), head)


def nothing_frozen(network, head):
    return copy.deepcopy(network).eval()


def all_frozen(network, head):
    return copy.deepcopy(network).eval().requires_grad_(False)


def other_weights(network, head):
    return chapter["solution_frozen_copy"](models.course_network((3, 4, 5)), head)


def still_training(network, head):
    return chapter["solution_frozen_copy"](network, head).train()


def always_linear(network, head):
    return chapter["solution_frozen_copy"](network, "linear")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (freeze_in_place, "not a copy"),
        (freeze_original, "given is frozen now"),
        (copy_after_eval, "given is in eval mode now"),
        (nothing_frozen, "conv1.weight can still be trained"),
        (all_frozen, "linear.bias is frozen, too"),
        (other_weights, "other weights than the one given"),
        (still_training, "in train mode"),
        (always_linear, "For head='conv3' linear.bias can still"),
        (lambda network, head: head, "Return a network; got str"),
        (lambda network, head: None, "returned None"),
    ],
)
def test_frozen_copy(answer, message):
    assert_wrong(check.frozen_copy(answer), message)


def strict_false(network, state):
    return network.load_state_dict(state, strict=False).missing_keys


def names_only(network, state):
    wanted = network.state_dict()
    return sorted(
        network.load_state_dict({k: v for k, v in state.items() if k in wanted}, strict=False)[0]
    )


def leaves_out_the_last_layer(network, state):
    fits = {k: v for k, v in state.items() if "linear" not in k}
    return sorted(network.load_state_dict(fits, strict=False).missing_keys)


def names_of_the_state(network, state):
    missing = chapter["solution_load_what_fits"](network, state)
    wanted = network.state_dict()
    return sorted(set(state) - (wanted.keys() - set(missing)))


def backwards(network, state):
    return chapter["solution_load_what_fits"](network, state)[::-1]


def loads_and_fills(network, state):
    missing = chapter["solution_load_what_fits"](network, state)
    for name in missing:
        network.state_dict()[name].zero_()
    return missing


def nothing_loaded(network, state):
    return sorted(network.state_dict())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (strict_false, "of another shape; strict=False"),
        (names_only, "of another shape; strict=False"),
        (leaves_out_the_last_layer, "linear.bias fits and was not loaded"),
        (names_of_the_state, "names in the state that were left out"),
        (backwards, "right names; sort them"),
        (loads_and_fills, "does not fit, and yet it has changed"),
        (nothing_loaded, "fits and was not loaded"),
        (lambda network, state: chapter["solution_load_what_fits"](network, state)[:1], "expected"),
        (lambda network, state: len(chapter["solution_load_what_fits"](network, state)), "a list"),
    ],
)
def test_load_what_fits(answer, message):
    assert_wrong(check.load_what_fits(answer), message)


def train_head(network, images, labels, steps, *, mode="eval", thaw=False):
    """Train what may be trained for a few steps."""
    network.train(mode == "train")
    free = network if thaw else network.linear
    optimizer = torch.optim.Adam(free.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
    return network.eval()


def replaced(network, classes):
    network = copy.deepcopy(network)
    network.linear = nn.Linear(45, classes)
    return network


def mends_the_optimiser_only(network, images, labels, classes, steps):
    return train_head(replaced(network, classes), images, labels, steps, mode="train")


def trains_everything(network, images, labels, classes, steps):
    return train_head(replaced(network, classes), images, labels, steps, thaw=True)


def in_place(network, images, labels, classes, steps):
    network.linear = nn.Linear(45, classes)
    return train_head(network, images, labels, steps)


def keeps_the_old_head(network, images, labels, classes, steps):
    return train_head(copy.deepcopy(network), images, labels, steps)


def ends_in_train_mode(network, images, labels, classes, steps):
    return chapter["solution_new_head"](network, images, labels, classes, steps).train()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (chapter["my_new_head"], "Which head does the optimiser hold?"),
        (mends_the_optimiser_only, "belongs to a frozen layer, and is no parameter"),
        (trains_everything, "has changed, too: it is not frozen"),
        (in_place, "work on a copy"),
        (keeps_the_old_head, "shape (10, 45), expected (3, 45)"),
        (ends_in_train_mode, "end with eval()"),
        (lambda *_, steps: 5, "Return the network; got int"),
    ],
)
def test_new_head(answer, message):
    assert_wrong(check.new_head(answer), message)


def right_kernels(b, a, in_channels, kernel_size):
    return chapter["solution_two_kernels"](b, a, in_channels, kernel_size)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda *args: right_kernels(*args)[::-1], "in the wrong order"),
        (lambda b, a, c, k: (a, b), "expected (1, 1, 3, 3) and (2, 1, 1, 1)"),
        (lambda *args: right_kernels(*args)[0], "Return two tensors"),
        (
            lambda b, a, c, k: (
                a.view(-1, c, k, k).transpose(2, 3).contiguous(),
                b[:, :, None, None],
            ),
            "the numbers are not",
        ),
        (lambda *args: tuple(k.float().double() for k in right_kernels(*args)), "float32"),
    ],
)
def test_two_kernels(answer, message):
    assert_wrong(check.two_kernels(answer), message)


def constant(answers: dict[int, int]) -> nn.Module:
    """A network that reads the digit from the first pixel, or another digit in its place."""

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.moved = nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            read = (x[:, 0, 0, 0] * 255).round().long()
            for old, new in answers.items():
                read = torch.where(read == old, new, read)
            return F.one_hot(read % 10, 10).float() + 0 * self.moved

    return Reader()


def numbered(n: int, first: int = 0) -> Digits:
    labels = torch.arange(n) % 10
    images = torch.zeros(n, 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 0, 0] = (labels + first).byte()
    return Digits(images, labels, "numbered digits")


@pytest.mark.parametrize(
    ("tuned", "message"),
    [
        (constant({11: 1, 12: 2}), "Learned, and not forgotten"),
        (constant({11: 1}), "Learned, and not forgotten"),
        (
            constant({11: 5, 12: 5}),
            "has not learned enough: 20 mistakes on the new digits, 20 before",
        ),
        (constant({11: 1, 12: 2, 3: 4}), "and forgotten: 10 of 100 old digits misread, 0 before"),
        ("network", "Return a network; got str"),
    ],
)
def test_learned_and_remembered(tuned, message):
    # New digits have another first pixel for the 1 and the 2, which are misread at first.
    new, old = numbered(100), numbered(100)
    for label in (1, 2):
        new.images[new.labels == label, 0, 0, 0] = 10 + label
    network = constant({11: 5, 12: 5})
    verdict = check.learned_and_remembered(lambda *_: tuned, network, new, old, new, old)
    assert message in said(verdict)
    assert verdict.ok == message.startswith("Learned")


def test_learned_and_remembered_undoes_what_was_done_to_the_network():
    network, old = models.course_network((2, 2, 2)).eval(), digits(30)

    def spoil(network, new, old):
        nn.init.zeros_(network.linear.weight)
        return network

    before = network.linear.weight.detach().clone()
    verdict = check.learned_and_remembered(spoil, network, old, old, old, old)
    assert "train a copy" in verdict.message
    assert network.linear.weight.equal(before)

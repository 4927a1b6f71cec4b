"""The checks of chapter 18 accept right answers and name each plausible mistake."""

import pytest
import torch
import torch.nn.functional as F

from mnist_course.checks import looking as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong, cases

chapter = definitions("looking")
NAMES = ["outputs", "cam", "saliency", "integrated", "towards", "attack"]
loss_gradient = chapter["loss_gradient"]


@pytest.fixture(autouse=True, params=range(2))
def _seeded(request):
    torch.manual_seed(request.param)


def saliency(model, x, t, score=lambda z: z, pick=None, reduce=torch.sum):
    x = x.detach().clone().requires_grad_()
    z = score(model(x))
    z = z[torch.arange(len(x)), t] if pick is None else pick(z, t)
    return torch.autograd.grad(reduce(z), x)[0]


def saliency_by_backward(model, x, t):
    x = x.detach().clone().requires_grad_()
    model(x)[torch.arange(len(x)), t].sum().backward()
    return x.grad


def saliency_on_x(model, x, t):
    x.requires_grad_()
    z = model(x)[torch.arange(len(x)), t].sum()
    return torch.autograd.grad(z, x)[0]


def saliency_adding(model, x, t):
    x.requires_grad_()
    model(x)[torch.arange(len(x)), t].sum().backward()
    return x.grad


def outputs(model, names, x, *, copy=True, remove=True, bind=True, first=False):
    kept, hooks = {}, []
    for name in names:

        def keep(layer, inputs, output, bound=name):
            output = output.detach().clone() if copy else output.detach()
            kept[bound if bind else name] = output[0] if first else output  # noqa: B023

        hooks.append(model.get_submodule(name).register_forward_hook(keep))
    model(x)
    for hook in hooks if remove else ():
        hook.remove()
    return kept


def training(model, names, x):
    kept = outputs(model, names, x)
    model.train()
    return kept


def integrated(f, x, baseline, steps, shares="middles", factor=None, start=None, reduce=torch.mean):
    count = torch.arange(steps, dtype=x.dtype)
    places = {
        "middles": (count + 0.5) / steps,
        "left": count / steps,
        "right": (count + 1) / steps,
        "both": torch.linspace(0, 1, steps, dtype=x.dtype),
        "end": torch.ones(1, dtype=x.dtype),
    }[shares]
    start = baseline if start is None else start
    way = (start + places.view(-1, *[1] * x.ndim) * (x - start)).requires_grad_()
    gradients = torch.autograd.grad(f(way).sum(), way)[0]
    return (x - baseline if factor is None else factor) * reduce(gradients, dim=0)


def towards(model, x, t, epsilon, sign=-1.0, clamp=True, signed=True):
    slope = loss_gradient(model, x, t)
    moved = x + sign * epsilon * (slope.sign() if signed else slope)
    return moved.clamp(0, 1) if clamp else moved


def towards_logit(model, x, t, epsilon):
    return (x + epsilon * saliency(model, x, t).sign()).clamp(0, 1)


def towards_by_backward(model, x, t, epsilon):
    x = x.detach().clone().requires_grad_()
    F.cross_entropy(model(x), t).backward()
    return (x - epsilon * x.grad.sign()).clamp(0, 1).detach()


def attack(model, x, labels, epsilon, steps, size=2.0, sign=1, box=True, clamp=True, renew=True):
    moved, g = x, loss_gradient(model, x, labels)
    for _ in range(steps):
        g = loss_gradient(model, moved, labels) if renew else g
        moved = moved + sign * size * epsilon / steps * g.sign()
        moved = moved.clamp(x - epsilon, x + epsilon) if box else moved
        moved = moved.clamp(0, 1) if clamp else moved
    return moved


def attack_in_place(model, x, labels, epsilon, steps):
    x += chapter["solution_attack"](model, x, labels, epsilon, steps) - x
    return x


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        *((name, chapter[f"solution_{name}"]) for name in NAMES),
        ("cam", lambda A, g: torch.einsum("c,cij->ij", g.mean((1, 2)), A).clamp(min=0)),
        ("saliency", saliency),
        ("attack", lambda *a: attack(*a, size=1.25)),
    ],
)
def test_right_answers_are_accepted(name, answer):
    assert_right(getattr(check, name)(answer))


@pytest.mark.parametrize("name", NAMES)
def test_stubs_are_told_to_begin(name):
    assert_not_begun(getattr(check, name)(chapter[f"my_{name}"]))


def alpha(g):
    return g.mean((1, 2), keepdim=True)


WRONG = {
    "outputs": [
        (lambda *a: outputs(*a, copy=False), "keep a clone()"),
        (lambda *a: outputs(*a, remove=False), "3 hooks stayed"),
        (lambda *a: outputs(*a, bind=False), "bind it with"),
        (lambda *a: outputs(*a, first=True), "only the first picture"),
        (lambda *a: list(outputs(*a).values()), "dictionary"),
        (training, "training mode"),
    ],
    "cam": [
        (lambda A, g: (alpha(g) * A).sum(0), "ReLU is missing"),
        (lambda A, g: (g * A).sum(0).relu(), "not averaged: each"),
        (lambda A, g: (g * A).sum(0), "not averaged, and the ReLU"),
        (lambda A, g: (alpha(g) * A).relu().sum(0), "Add first"),
        (lambda A, g: (alpha(g).relu() * A).sum(0), "Add first"),
        (lambda A, g: (alpha(g) * A).sum(0).abs(), "absolute value"),
        (lambda A, g: (g.sum((1, 2), keepdim=True) * A).sum(0).relu(), "take the mean"),
        (lambda A, g: (alpha(g) * A).mean(0).relu(), "mean over the channels"),
    ],
    "saliency": [
        (chapter["suspicious_saliency"], "most probable class"),
        (lambda *a: saliency(*a, score=lambda z: z.softmax(1)), "saturates"),
        (lambda *a: saliency(*a, score=lambda z: z.log_softmax(1)), "log-probability"),
        (lambda *a: saliency(*a, pick=lambda z, t: z.amax(1)), "not the class asked for"),
        (lambda *a: saliency(*a, reduce=torch.mean), "divided by 3"),
        (lambda *a: saliency(*a).abs(), "signs are gone"),
        (lambda m, x, t: x * saliency(m, x, t), "multiplied by the picture"),
        (lambda *a: saliency(*a, pick=lambda z, t: z[:, t]), "takes one each"),
        (saliency_adding, "twice the first"),
        (saliency_on_x, "no longer as it was"),
        (saliency_by_backward, "left gradients in the weights"),
    ],
    "integrated": [
        (lambda *a: integrated(*a, factor=1), "is missing"),
        (lambda *a: integrated(*a, shares="left"), "left ends"),
        (lambda *a: integrated(*a, shares="right"), "right ends"),
        (lambda *a: integrated(*a, shares="both"), "both ends"),
        (lambda *a: integrated(*a, shares="end"), "over the whole way"),
        (lambda *a: integrated(*a, reduce=torch.sum), "take their mean"),
        (lambda f, x, b, n: integrated(f, x, b, n, factor=b - x), "sign is turned"),
        (lambda f, x, b, n: integrated(f, x, b, n, factor=x), "must be x - baseline"),
        (lambda f, x, b, n: integrated(f, x, b, n, start=0 * x), "begin at the baseline"),
        (lambda f, x, b, n: integrated(f, x, 0 * x, n), "baseline is ignored"),
    ],
    "towards": [
        (chapter["fgsm"], "leads away"),
        (lambda *a: towards(*a, clamp=False), "have left [0, 1]"),
        (lambda *a: towards(*a, sign=1, clamp=False), "leads away"),
        (lambda *a: towards(*a, signed=False), "every pixel uses its epsilon"),
        (lambda m, x, t, e: towards(m, x, t, 1.0), "not multiplied by epsilon"),
        (lambda m, x, t, e: -e * loss_gradient(m, x, t).sign(), "You return the change"),
        (towards_logit, "logit of the target alone"),
        (towards_by_backward, "left gradients"),
    ],
    "attack": [
        (lambda *a: attack(*a, box=False), "a pixel has moved by"),
        (lambda *a: attack(*a, clamp=False), "have left [0, 1]"),
        (lambda *a: attack(*a, sign=-1), "become smaller"),
        (lambda *a: attack(*a, size=0.3), "as far as epsilon"),
        (lambda *a: attack(*a, renew=False), "end exactly where one does"),
        (lambda *a: attack(*a, size=0), "have not changed"),
        (attack_in_place, "work on a copy"),
    ],
}


@pytest.mark.parametrize(("name", "answer", "message"), cases(WRONG))
def test_mistakes_are_named(name, answer, message):
    assert_wrong(getattr(check, name)(answer), message)

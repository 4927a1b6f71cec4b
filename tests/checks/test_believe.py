"""The checks of chapter 23 accept right answers and name mistakes beyond those of their tables."""

import torch
from torch.nn import functional as F

from mnist_course.checks import believe as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("believe")
NAMES = {name: name for name in ("erased", "kept_neighbours", "towards", "attack")}
loss_gradient = chapter["loss_gradient"]
test_the_chapter = of_the_chapter(check, chapter, NAMES)


def erased(picture, worth, share, stop=True):
    """Pixel by pixel."""
    left, taken = picture.clone(), 0.0
    places = sorted(
        ((w, n) for n, w in enumerate(worth.flatten().tolist()) if picture.flatten()[n] > 0),
        reverse=True,
    )
    for _, n in places:
        taken += picture.flatten()[n].item()
        if taken > share * picture.sum().item() + 1e-9:
            if stop:
                break
            continue
        left.view(-1)[n] = 0
    return left


def kept(a, b, k):
    """With sets."""
    total = 0
    for n in range(len(a)):
        lists = [[m for m in (x - x[n]).norm(dim=1).argsort().tolist() if m != n] for x in (a, b)]
        total += len(set(lists[0][:k]) & set(lists[1][:k]))
    return total / (len(a) * k)


def towards(model, x, t, epsilon, sign=-1, reduce="mean"):
    x = x.detach().clone().requires_grad_()
    g = torch.autograd.grad(F.cross_entropy(model(x), t, reduction=reduce), x)[0]
    return torch.clip(x + sign * epsilon * torch.sign(g), 0, 1).detach()


def attack(model, x, labels, epsilon, steps, size=2.0, sign=1, box=True, clamp=True, renew=True):
    moved, g = x, loss_gradient(model, x, labels)
    for _ in range(steps):
        g = loss_gradient(model, moved, labels) if renew else g
        moved = moved + sign * size * epsilon / steps * g.sign()
        moved = moved.clamp(x - epsilon, x + epsilon) if box else moved
        moved = moved.clamp(0, 1) if clamp else moved
    return moved


def projected_at_the_end(model, x, labels, epsilon, steps):
    moved = attack(model, x, labels, epsilon, steps, box=False, clamp=False)
    return moved.clamp(x - epsilon, x + epsilon).clamp(0, 1)


def one_by_one_attack(model, x, labels, epsilon, steps):
    each = zip(x.split(1), labels.split(1), strict=True)
    return torch.cat([attack(model, *one, epsilon, steps) for one in each])


def from_a_random_start(model, x, labels, epsilon, steps):
    start = (x + epsilon * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
    size, moved = max(2 / steps, 0.5) * epsilon, start
    for _ in range(steps):
        moved = moved + size * loss_gradient(model, moved, labels).sign()
        moved = moved.clamp(x - epsilon, x + epsilon).clamp(0, 1)
    return moved


def attack_by_func(model, x, labels, epsilon, steps):
    moved = x.clone()
    gradient = torch.func.grad(lambda x: F.cross_entropy(model(x), labels))
    for _ in range(steps):
        moved += 2.5 * epsilon / steps * gradient(moved).sign()
        moved = torch.min(torch.max(moved, x - epsilon), x + epsilon).clamp_(0, 1)
    return moved


def attack_by_backward(model, x, labels, epsilon, steps):
    moved = attack(model, x, labels, epsilon, steps).requires_grad_()
    F.cross_entropy(model(moved), labels).backward()
    return moved.detach()


def attack_in_train_mode(model, x, labels, epsilon, steps):
    moved = attack(model, x, labels, epsilon, steps)
    model.train()
    return moved


RIGHT = {
    "erased": [erased],
    "kept_neighbours": [lambda a, b, k: torch.tensor(kept(a, b, k)).double()],
    "towards": [towards, lambda *given: towards(*given, reduce="sum")],
    "attack": [
        lambda *a: attack(*a, size=1.25),
        from_a_random_start,
        one_by_one_attack,
        attack_by_func,
    ],
}

WRONG = {
    "erased": [
        (lambda p, w, s: p.mul_(0), "in place, and the caller"),
        (lambda p, w, s: erased(p, w, s / 5), "numbers are not"),
        (lambda p, w, s: erased(p, w, s).flatten(), "shape"),
    ],
    "kept_neighbours": [
        (kept, "asks for a tensor"),
        (lambda a, b, k: torch.tensor(1 - kept(a, b, k)).double(), "number"),
        (lambda a, b, k: torch.tensor(0.123).double(), "number"),
    ],
    "towards": [
        (chapter["fgsm"], "leads away"),
        (lambda m, x, t, e: towards(m, x, t, 0.01), "epsilon 0.3"),
        (lambda m, x, t, e: towards(m, x, m(x).argmin(1), e), "numbers are not"),
        (lambda m, x, t, e: x.sub_(e * loss_gradient(m, x, t).sign()).clamp_(0, 1), "`x` in place"),
    ],
    "attack": [
        (lambda *a: attack(*a, box=False), "a pixel has moved by"),
        (lambda *a: attack(*a, clamp=False), "have left [0, 1]"),
        (lambda *a: attack(*a, sign=-1), "become smaller"),
        (lambda *a: attack(*a, size=0.3), "as far as epsilon"),
        (lambda *a: attack(*a, renew=False), "end exactly where one does"),
        (lambda *a: attack(*a, size=0), "have not changed"),
        (
            lambda *a: attack(*a[:4], 10),
            "With 1 step of epsilon 0.3 the network was asked 11 times",
        ),
        (lambda *a: attack(*a[:4], min(a[4], 3)), "epsilon 0.1 the network was asked 4 times"),
        (lambda *a: attack(*a[:3], 0.3, a[4]), "moved by 0.12, and 0.1 is allowed"),
        (lambda *a: attack(*a) * float("nan"), "have left [0, 1]"),
        (lambda *a: attack(*a)[:5], "expected pictures of shape (60, 1, 8, 8), got (5, 1, 8, 8)"),
        (lambda *a: a[1].copy_(attack(*a)), "in place, and the caller"),
        (projected_at_the_end, "after each step"),
        (attack_by_backward, "leaves a gradient in `model.0.weight.grad`"),
        (attack_in_train_mode, "does not leave `model` in the mode"),
    ],
}  # fmt: skip
test_verdicts = judged(check, RIGHT, WRONG)

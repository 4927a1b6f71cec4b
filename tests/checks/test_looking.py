"""The checks of chapter 22 accept right answers and name mistakes beyond those of their tables."""

import torch
from torch.nn import functional as F

from mnist_course.checks import looking as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("looking")
NAMES = {name: name for name in ("outputs", "cam", "saliency", "integrated")}
test_the_chapter = of_the_chapter(check, chapter, NAMES)


def outputs(model, names, x, *, copy=True, remove=True, bind=True, first=False, keep_mode=True):
    kept, hooks, training = {}, [], model.training
    model.eval()
    for name, layer in model.named_modules():
        if name not in names:
            continue

        def keep(layer, inputs, output, bound=name):
            output = output.detach().clone() if copy else output.detach()
            kept[bound if bind else name] = output[0] if first else output  # noqa: B023

        hooks.append(layer.register_forward_hook(keep))
    with torch.no_grad():
        model(x)
    for hook in hooks if remove else ():
        hook.remove()
    if keep_mode:
        model.train(training)
    return kept


def backwards(model, names, x):
    model(x).sum().backward()
    return outputs(model, names, x)


def saliency(model, x, t, reduce=torch.sum, pick=lambda z, t: z[torch.arange(len(z)), t]):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(reduce(pick(model(x), t)), x)[0]


def one_by_one(model, x, t):
    """By torch.func, picture by picture."""
    one = torch.func.grad(lambda picture, label: model(picture[None])[0, label])
    return torch.stack([one(picture, label.item()) for picture, label in zip(x, t, strict=True)])


def by_backward(model, x, t, clean=True):
    x = x.detach().clone().requires_grad_()
    model(x).gather(1, t[:, None]).sum().backward()
    if clean:
        model.zero_grad()
    return x.grad


def on_x(model, x, t):
    z = model(x.requires_grad_())[torch.arange(len(x)), t].sum()
    return torch.autograd.grad(z, x)[0]


def integrated(f, x, baseline, steps, gradient=torch.sum):
    """Point by point."""
    total = torch.zeros(x.shape)
    for m in range(steps):
        point = (baseline + (m + 0.5) / steps * (x - baseline))[None].requires_grad_()
        total += torch.autograd.grad(f(point).sum(), point)[0][0]
    return (x - baseline) * total / steps


def all_at_once(f, x, baseline, steps, reduce=torch.mean):
    shares = torch.linspace(0.5 / steps, 1 - 0.5 / steps, steps).view(-1, *[1] * x.ndim)
    way = torch.lerp(baseline, x, shares).requires_grad_()
    return (x - baseline) * torch.autograd.grad(reduce(f(way)), way)[0].sum(0)


RIGHT = {
    "outputs": [outputs, lambda model, names, x: dict(sorted(outputs(model, names, x).items()))],
    "cam": [
        lambda A, g: torch.einsum("c,cij->ij", g.mean((1, 2)), A).clamp(min=0),
        lambda A, g: F.relu(sum(g[c].mean() * A[c] for c in range(len(A)))),
        lambda A, g: torch.tensordot(g.flatten(1).mean(1), A, dims=1).relu(),
    ],
    "saliency": [saliency, one_by_one, by_backward],
    "integrated": [integrated, all_at_once],
}

WRONG = {
    "outputs": [
        (lambda *a: outputs(*a, copy=False), "of layer '1' have been overwritten by the in-place"),
        (lambda *a: outputs(*a, remove=False), "call remove() on each handle"),
        (lambda *a: outputs(*a, bind=False), "bind it with"),
        (lambda *a: outputs(*a, first=True), "only the first picture"),
        (lambda *a: outputs(*a, keep_mode=False), "in the mode in which it came"),
        (lambda *a: list(outputs(*a).values()), "dictionary from names to tensors, got list"),
        (lambda *a: outputs(a[0].train(), *a[1:]), "in the mode in which it came"),
        (lambda m, n, x: outputs(m, [*n, "2"], x), "and got: 0, 1, 2, 5"),
        (lambda m, n, x: {k: v.numpy() for k, v in outputs(m, n, x).items()}, "asks for a tensor"),
        (lambda m, n, x: {k: v * 0 for k, v in outputs(m, n, x).items()}, "layer '0' and 3 pict"),
        (lambda m, n, x: {k: v / 0 for k, v in outputs(m, n, x).items()}, "nan or infinity"),
        (backwards, "leaves a gradient in `model.0.weight.grad`"),
    ],
    "cam": [
        (lambda A, g: (g.mean((1, 2), keepdim=True).relu() * A).sum(0), "Add first"),
        (lambda A, g: (g.mean(2, keepdim=True) * A).sum(0).relu(), "numbers are not"),
        (lambda A, g: (g.mean((1, 2)) * A.mT).sum(0).relu(), "raised RuntimeError"),
    ],
    "saliency": [
        (chapter["suspicious_saliency"], "leaves a gradient in `model.0.weight.grad`"),
        (lambda m, x, t: chapter["suspicious_saliency"](m.requires_grad_(False), x, t), "freeze"),
        (lambda m, x, t: saliency(m, x, t, torch.mean), "the slope divided by the number of pict"),
        (lambda m, x, t: saliency(m, x, t, pick=lambda z, t: z.softmax(1).amax(1)), "most probab"),
        (lambda m, x, t: saliency(m, x.flip(0), t), "numbers are not"),
        (lambda m, x, t: saliency(m, x, t[:1].expand_as(t)), "numbers are not"),
        (lambda m, x, t: saliency(m, x[:1], t[:1]).expand_as(x), "3 pictures of 6×8"),
        (on_x, "changes `x.requires_grad`"),
        (lambda *a: by_backward(*a, clean=False), "torch.autograd.grad does not"),
    ],
    "integrated": [
        (lambda *a: all_at_once(*a, reduce=torch.sum), "added up; take their mean"),
        (lambda *a: all_at_once(*a, reduce=torch.mean) / a[3], "number of steps twice"),
        (lambda f, x, b, n: integrated(f, x, b, n + 1), "4 steps"),
        (lambda f, x, b, n: integrated(f, x, b, 10), "4 steps"),
        (lambda f, x, b, n: integrated(f, x, x.mul_(0), n), "changes `x` in place"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)

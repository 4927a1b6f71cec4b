"""Teach a trained network digits of another kind, from a few examples (chapter 19)."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from mnist_course.augment import Affine, Augmentation, Sequence, Stroke
from mnist_course.data import Digits, check_digits, to_float
from mnist_course.devices import choose_device, placed
from mnist_course.train import DivergedError

AUGMENTATION: Augmentation = Sequence((Affine(10, 0.12, 0.15, 1), Stroke(0.3, 0.6)))
"""How every batch is changed, so that a few examples are not learned by heart."""


def head_of(model: nn.Module) -> nn.Linear:
    """The last linear layer, which turns features into logits.

    Raises:
        ValueError: if the model has none.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError('the model has no linear layer to call its head; use parts="all"')
    return linear[-1]


def freeze_batch_norm(model: nn.Module) -> None:
    """Let every batch norm use the statistics that it has, and not change them.

    A later ``model.train()`` undoes it.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


class LowRank(nn.Module):
    """A convolution or linear layer, frozen, with a change of low rank beside it (LoRA).

    Its weights ``W``, seen as a matrix with a row for each output, become ``W + up @ down``. Only
    ``up`` (zeros at first, so that nothing changes) and ``down`` are trained: Hu and others, 2022.

    Args:
        layer: an ``nn.Conv2d`` or ``nn.Linear``; it is frozen in place.
        rank: columns of ``up`` and rows of ``down``.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        matrix = layer.weight.flatten(1)
        self.up = nn.Parameter(matrix.new_zeros(len(matrix), rank))
        # Drawn on the processor, whose random numbers are the same wherever the layer is.
        down = torch.randn(matrix[:rank].shape, dtype=matrix.dtype).to(matrix.device)
        self.down = nn.Parameter(down / matrix.shape[1] ** 0.5)
        if len(self.down) != rank:
            raise ValueError(f"expected a rank from 1 to {len(matrix)}, got {rank}")

    def weights(self) -> torch.Tensor:
        """The weights with the change, of the shape of the layer's own."""
        return self.layer.weight + (self.up @ self.down).view(self.layer.weight.shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the layer answers with the changed weights."""
        changed = {"weight": self.weights()}
        return torch.func.functional_call(self.layer, changed, (x,))


def with_adapters(model: nn.Module, rank: int = 4, seed: int = 0) -> nn.Module:
    """A copy of ``model``, frozen, with a trainable :class:`LowRank` in each weighted layer.

    The rank is smaller where a layer has fewer outputs, and a layer that is used twice has one
    adapter. Until it is trained the copy answers as ``model`` does.

    Raises:
        ValueError: if ``rank`` is not positive.
    """
    if rank < 1:
        raise ValueError(f"expected a rank from 1, got {rank}")
    adapted = copy.deepcopy(model).requires_grad_(False)
    adapters: dict[nn.Module, LowRank] = {}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for module in list(adapted.modules()):
            for name, layer in list(module._modules.items()):
                if isinstance(layer, (nn.Conv2d, nn.Linear)):
                    if layer not in adapters:
                        adapters[layer] = LowRank(layer, min(rank, len(layer.weight)))
                    setattr(module, name, adapters[layer])
    return adapted


def merged(model: nn.Module) -> nn.Module:
    """A copy of ``model`` in which adapters have become part of the weights of plain layers."""
    plain = copy.deepcopy(model)
    for module in plain.modules():
        if isinstance(module, LowRank):
            module.layer.weight.data = module.weights().data
    for module in list(plain.modules()):
        for name, adapter in list(module._modules.items()):
            if isinstance(adapter, LowRank):
                setattr(module, name, adapter.layer)
    return plain.requires_grad_(True)


def finetune(
    model: nn.Module,
    new: Digits,
    *,
    replay: Digits | None = None,
    parts: Literal["head", "all"] = "all",
    steps: int = 200,
    batch_size: int = 64,
    learning_rate: float = 0.001,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> nn.Module:
    """Go on training a copy of ``model`` with ``new`` digits, gently.

    The digits are drawn at random, with repetition, and changed a little each time. Adam's rate
    falls linearly to zero, and batch norm keeps its statistics, which a few digits would spoil.

    Args:
        model: a trained network from pixels in [0, 1] to logits ``(N, 10)``; it stays as it is.
        new: what to learn; a digit of each kind at least is a good idea.
        replay: some of the digits that the network was trained on, so that it does not forget
            them: half of each batch comes from here.
        parts: ``"all"`` trains whatever ``requires_grad``, ``"head"`` only the last linear layer.
        steps: how many batches.
        batch_size: digits in a batch.
        learning_rate: the rate of the first step.
        seed: decides which digits are drawn, how they are changed, and dropout.
        device: where to train; chosen by :func:`~mnist_course.devices.choose_device`.

    Returns:
        The fine-tuned copy, in eval mode, on the device where ``model`` is.

    Raises:
        ValueError: if data, parts, steps or device do not fit; the message says why.
        DivergedError: if the weights are no longer finite.
    """
    device = choose_device(device)
    tuned = copy.deepcopy(model)
    if parts not in ("head", "all"):
        raise ValueError(f'parts must be "head" or "all", got {parts!r}')
    part = head_of(tuned) if parts == "head" else tuned
    trained = [weights for weights in part.parameters() if weights.requires_grad]
    if not trained:
        raise ValueError("every parameter is frozen; leave some requires_grad=True")
    sources = [new] if replay is None else [new, replay]
    _check(sources, steps, batch_size, learning_rate)
    counts = [batch_size] if replay is None else [batch_size - batch_size // 2, batch_size // 2]

    with (
        placed(tuned, device),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
    ):
        torch.manual_seed(seed)
        generator = torch.default_generator
        sources = [digits.to(device) for digits in sources]
        optimizer = torch.optim.Adam(trained, learning_rate, fused=True)
        tuned.train()
        freeze_batch_norm(tuned)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (1 - step / steps)
            picks = [
                digits[torch.randint(len(digits), (count,), generator=generator).to(device)]
                for digits, count in zip(sources, counts, strict=True)
            ]
            images = AUGMENTATION(to_float(torch.cat([pick.images for pick in picks])), generator)
            logits = tuned(images.contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits, torch.cat([pick.labels for pick in picks]))
            # Gradients of the trained weights only: nothing is computed for the frozen ones.
            gradients = torch.autograd.grad(loss, trained)
            for weights, gradient in zip(trained, gradients, strict=True):
                weights.grad = gradient
            optimizer.step()
        optimizer.zero_grad()
    if not all(weights.isfinite().all() for weights in trained):
        raise DivergedError(
            f"the weights are no longer finite; the learning rate was {learning_rate:g}, "
            "try a tenth of it"
        )
    return tuned.eval()


def _check(sources: list[Digits], steps: int, batch_size: int, learning_rate: float) -> None:
    for digits in sources:
        if not len(digits):
            raise ValueError(f"there is nothing to learn from: {digits.source} has 0 digits")
        check_digits(digits, f"images of {digits.source}", f"labels of {digits.source}")
    if steps < 1 or batch_size < len(sources) or not learning_rate > 0:
        raise ValueError(
            f"expected at least 1 step, a batch of at least {len(sources)} and a learning rate "
            f"above 0, got {steps}, {batch_size} and {learning_rate:g}"
        )

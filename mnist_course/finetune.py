"""Teach a trained network another kind of digits, from a few examples (chapter 24)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course.arguments import one_of, real, seed_of, whole
from mnist_course.augment import Affine, Augmentation, Sequence, Stroke
from mnist_course.data import Digits, check_digits, to_float
from mnist_course.devices import Place, advice_on_memory, choose_device, placed
from mnist_course.modules import (
    answering,
    check_finite,
    check_gradients,
    check_logits,
    check_loss,
    check_network,
    check_trainable,
    copied,
    dtype_of,
    unwrapped,
    watching,
)
from mnist_course.train import DivergedError

AUGMENTATION: Augmentation = Sequence((Affine(10, 0.12, 0.15, 1), Stroke(0.3, 0.6)))
"""How every batch is changed, so the network cannot learn a few examples by heart."""


def head_of(model: nn.Module) -> nn.Linear:
    """The linear layer that turns features into logits: the last one to run that returns them.

    The model reads one blank image to find out. A softmax behind the layer does not matter.

    Raises:
        TypeError: if the model is not a network, or does not return a tensor.
        ValueError: if it has no such layer.
    """
    check_network(model)
    check_finite(model, before="reading")
    ran: list[tuple[nn.Module, Tensor]] = []
    linear = [
        (name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)
    ]
    device = next((weights.device for weights in model.parameters()), torch.device("cpu"))
    blank = torch.zeros(1, 1, 28, 28, dtype=dtype_of(model), device=device)
    with (
        torch.random.fork_rng(devices=[]),
        answering(model),
        watching(linear, lambda _, layer, output: ran.append((layer, output.clone()))),
    ):
        logits = check_logits(unwrapped(model)(blank), 1)
    expected = logits.double().log_softmax(1)
    for layer, output in reversed(ran):
        same = output.shape == logits.shape and torch.allclose(
            output.double().log_softmax(1), expected, rtol=1e-3, atol=1e-3
        )
        if same and isinstance(layer, nn.Linear):
            return layer
    raise ValueError(
        "the model has no linear layer that returns the logits and so could be its head; "
        'use parts="all"'
    )


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

    Raises:
        TypeError: if the rank is not a number.
        ValueError: if the rank does not fit, or the layer computes its weight in each call.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, rank: int) -> None:
        super().__init__()
        rank = whole(rank, "rank")
        if "weight" not in layer._parameters:
            raise ValueError(
                f"a {type(layer).__name__} computes its weight in each call (pruning, weight "
                "norm); make it permanent first, with prune.remove, remove_weight_norm or "
                "remove_parametrizations of torch.nn.utils"
            )
        self.layer = layer.requires_grad_(False)
        matrix = layer.weight.flatten(1)
        self.up = nn.Parameter(matrix.new_zeros(len(matrix), rank))
        # Drawn on the CPU, whose random numbers are the same wherever the layer is.
        down = torch.randn(matrix[:rank].shape, dtype=matrix.dtype, device="cpu").to(matrix.device)
        self.down = nn.Parameter(down / matrix.shape[1] ** 0.5)
        if len(self.down) != rank:
            raise ValueError(f"expected a rank from 1 to {len(matrix)}, got {rank}")

    @property
    def weight(self) -> Tensor:
        """The weights with the change; attention, for one, reads them from outside."""
        return self.layer.weight + (self.up @ self.down).view(self.layer.weight.shape)

    @property
    def bias(self) -> Tensor | None:
        """The bias of the layer."""
        return self.layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """What the layer answers with the changed weights."""
        return torch.func.functional_call(self.layer, {"weight": self.weight}, (x,))


def with_adapters(model: nn.Module, rank: int = 4, seed: int = 0) -> nn.Module:
    """A copy of ``model``, frozen, with a trainable :class:`LowRank` in each weighted layer.

    The rank is smaller where a layer has fewer outputs, and a layer that is used twice has one
    adapter. Until it is trained the copy answers as ``model`` does.

    Raises:
        TypeError: if ``model`` is not a network, or an argument is not a number.
        ValueError: if ``rank`` is not positive, or a layer computes its weight in each call.
    """
    check_network(model)
    rank, seed = whole(rank, "rank"), seed_of(seed)
    if rank < 1:
        raise ValueError(f"expected a rank from 1, got {rank}")
    adapted = copied(model).requires_grad_(False)
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
    check_network(model)
    plain = copied(model)
    for module in plain.modules():
        if isinstance(module, LowRank):  # two layers that shared a weight now have two
            module.layer.weight = nn.Parameter(module.weight.detach())
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
        new: what to learn; at least one digit of each kind is a good idea.
        replay: some of the digits that the network was trained on, so that it does not forget
            them: half of each batch comes from here.
        parts: ``"all"`` trains every parameter with ``requires_grad``, ``"head"`` only the linear
            layer whose outputs are the logits.
        steps: how many batches.
        batch_size: digits in a batch.
        learning_rate: the rate of the first step.
        seed: decides which digits are drawn, how they are changed, and dropout.
        device: where to train; chosen by :func:`~mnist_course.devices.choose_device`.

    Returns:
        The fine-tuned copy, in eval mode, on the device where ``model`` is; without the wrapper of
        ``torch.compile`` or of several devices, if there was one.

    Raises:
        TypeError: if an argument is of the wrong type, or the model does not return a tensor.
        ValueError: if data, parts, steps or device do not fit; the message says why.
        DivergedError: if the weights are no longer finite.
        MemoryError: if a batch does not fit into memory; the message says which size to try.
    """
    device, seed = choose_device(device), seed_of(seed)
    steps, batch_size = whole(steps, "steps"), whole(batch_size, "batch_size")
    learning_rate = real(learning_rate, "learning_rate")
    check_network(model)
    check_finite(model, before="training")
    check_gradients(model)
    sources = _checked([new] if replay is None else [new, replay], steps, batch_size, learning_rate)
    counts = [batch_size] if replay is None else [batch_size - batch_size // 2, batch_size // 2]
    tuned = copied(model)
    trained = _trained(tuned, parts)

    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        placed(tuned, device) as place,
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        advice_on_memory(batch_size),
    ):
        torch.manual_seed(seed)
        generator = torch.default_generator
        sources = [digits.to(device) for digits in sources]
        # Fused steps need weights without gaps in memory, and those of a copy have none.
        optimizer = torch.optim.Adam(trained, learning_rate, fused=True)
        tuned.train()
        freeze_batch_norm(tuned)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (1 - step / steps)
            images, labels = _batch(sources, counts, generator)
            optimizer.zero_grad()
            _backward(tuned, trained, images, labels, place)
            optimizer.step()
        optimizer.zero_grad()
    _check_converged(trained, learning_rate)
    return tuned.eval()


def _trained(model: nn.Module, parts: str) -> list[nn.Parameter]:
    if not one_of(parts, ("head", "all")):
        raise ValueError(f'parts must be "head" or "all", got {parts!r}')
    return check_trainable((head_of(model) if parts == "head" else model).parameters())


def _batch(
    sources: list[Digits], counts: list[int], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Images and labels: so many digits of each source, drawn with repetition and changed."""
    picks = []
    for digits, count in zip(sources, counts, strict=True):
        positions = torch.randint(len(digits), (count,), generator=generator, device="cpu")
        picks.append(digits[positions.to(digits.labels.device)])
    images = to_float(torch.cat([pick.images for pick in picks]))
    return AUGMENTATION(images, generator), torch.cat([pick.labels for pick in picks])


def _check_converged(trained: list[nn.Parameter], learning_rate: float) -> None:
    if not all(weights.isfinite().all() for weights in trained):
        raise DivergedError(
            f"the weights are no longer finite; the learning rate was {learning_rate:g}, "
            "try a tenth of it"
        )


def _backward(
    model: nn.Module, trained: list[nn.Parameter], images: Tensor, labels: Tensor, place: Place
) -> None:
    """Compute the gradients of the trained weights, and of no others."""
    before = torch.get_rng_state()

    def compute() -> None:
        # A copy, for the network may work in place, and perhaps twice.
        logits = check_logits(model(place.images(images.clone())), len(images))
        check_loss(F.cross_entropy(logits, labels)).backward(inputs=trained)

    place.compute(compute, lambda: torch.set_rng_state(before))


def _checked(
    sources: list[Digits], steps: int, batch_size: int, learning_rate: float
) -> list[Digits]:
    checked = []
    for digits in sources:
        source = getattr(digits, "source", "the digits")
        checked.append(check_digits(digits, f"images of {source}", f"labels of {source}"))
        if not len(digits):
            raise ValueError(f"there is nothing to learn from: {source} has 0 digits")
    if steps < 1 or batch_size < len(sources) or not learning_rate > 0:
        raise ValueError(
            f"expected at least 1 step, a batch of at least {len(sources)} and a learning rate "
            f"above 0, got {steps}, {batch_size} and {learning_rate:g}"
        )
    return checked

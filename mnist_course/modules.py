"""Any network: checked, watched and copied, and left as it was.

The functions here work for every :class:`torch.nn.Module`: a learner's network, with layers that
return several tensors, weights that are shared or computed, hooks, and wrappers around it.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mnist_course.arguments import kind_of


def check_module(model: Any) -> None:
    """Raise a ``TypeError`` unless ``model`` is a network, whatever its weights are."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a network (torch.nn.Module), got {kind_of(model)}")


def check_network(model: Any) -> None:
    """Raise unless ``model`` is a network that can compute.

    Raises:
        TypeError: if it is not a ``torch.nn.Module``.
        ValueError: if it has weights that hold no numbers yet; the message names the first.
    """
    check_module(model)
    for name, values in itertools.chain(model.named_parameters(), model.named_buffers()):
        if nn.parameter.is_lazy(values):
            raise ValueError(
                f"{name} has no shape yet; let the network read once: "
                "model(torch.zeros(1, 1, 28, 28))"
            )
        if values.is_meta:
            raise ValueError(f"{name} holds no numbers, it is on the device 'meta'; load weights")


@torch.no_grad()  # which weights made under torch.inference_mode() need
def check_finite(model: nn.Module, before: str) -> None:
    """Raise a ``ValueError`` if a weight is not finite, or a buffer is not a number.

    Args:
        model: the network.
        before: what comes next, for the message: ``"training"``.
    """
    good = {f"{name} holds nan or inf": w.isfinite().all() for name, w in model.named_parameters()}
    # A buffer may hold infinities on purpose, to mask what attention must not see.
    good |= {f"{name} holds nan": ~b.isnan().any() for name, b in model.named_buffers()}
    bad = [text for text, fine in good.items() if not fine]
    if bad:
        raise ValueError(
            f"the model's weights are not all finite before {before}: {bad[0]}; "
            "build it afresh, or load weights that are"
        )


def check_trainable(weights: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Those weights that may be trained.

    Raises:
        ValueError: if all are frozen, or an optimiser cannot compute with one.
    """
    free = [w for w in weights if w.requires_grad]
    if not free:
        raise ValueError("every parameter is frozen; leave some requires_grad=True")
    for w in free:
        if w.is_complex():
            raise ValueError(f"weights of {w.dtype} cannot be trained here; keep two real ones")
        if w.dtype == torch.float16 or not w.is_floating_point():
            raise ValueError(
                f"weights of {w.dtype} are too coarse to be trained; train model.float(), "
                "and compute in half precision with mixed_precision=True"
            )
        if w.is_inference():
            raise ValueError(
                "a weight was made under torch.inference_mode() and cannot be trained; "
                "train copy.deepcopy(model)"
            )
        if lies(w) == "overlapping":
            raise ValueError(
                f"a weight of shape {tuple(w.shape)} has several of its numbers in the same "
                "memory, as expand() makes them; give it its own with .clone()"
            )
    return free


def check_gradients(model: nn.Module) -> None:
    """Raise a ``ValueError`` if a layer makes gradients that the optimisers here cannot use."""
    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)) and layer.sparse:
            raise ValueError(f"the gradients of {name} are sparse; build it with sparse=False")


def lies(weights: Tensor) -> Literal["dense", "with gaps", "overlapping"]:
    """How numbers lie in memory: each once and one beside the other, or with gaps, or not once.

    Fused optimisers write to the memory from its start on, as if it had no gaps.
    """
    reach = 0  # from the first number to the last, along the axes so far
    axes = zip(weights.stride(), weights.shape, strict=True)
    for stride, size in sorted(axis for axis in axes if axis[1] != 1):
        if stride <= reach and weights.numel():
            return "overlapping"
        reach += (size - 1) * stride
    return "dense" if reach < max(1, weights.numel()) else "with gaps"


def check_logits(logits: Any, images: int, outputs: range = range(10, 11)) -> Tensor:
    """The logits that a network answered, ``(images, 10)``.

    Args:
        logits: what the network returned.
        images: how many images it was given.
        outputs: how many logits there may be for each.

    Raises:
        TypeError: if it is not a tensor of real numbers.
        ValueError: if they have another shape.
    """
    expected = f"expected logits of shape ({images}, 10)"
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"{expected} from the model, got {kind_of(logits)}; it must return one tensor"
        )
    if logits.ndim != 2 or len(logits) != images or logits.shape[1] not in outputs:
        advice = "its last layer must have ten outputs"
        if logits.ndim != 2:
            advice = "its answer must have two axes: see nn.Flatten()"
        elif logits.shape[1] in outputs:
            advice = "it must answer every image"
        raise ValueError(f"{expected}, got {tuple(logits.shape)} from the model; {advice}")
    if logits.is_complex() or logits.is_meta or logits.layout != torch.strided:
        raise TypeError(
            f"{expected} from the model, got {kind_of(logits)} ({logits.layout}, on "
            f"{logits.device}); it must return a plain tensor of real numbers"
        )
    plain = logits.as_subclass(Tensor)
    return plain if plain.is_floating_point() else plain.float()


def check_loss(loss: Tensor) -> Tensor:
    """A loss that can be made smaller.

    Raises:
        ValueError: if it does not depend on a weight that may be trained.
    """
    if not loss.requires_grad:
        raise ValueError(
            "the loss does not depend on any weight that is trained: the network computes its "
            "answer under torch.no_grad(), detaches it, or does not use these weights"
        )
    return loss


def check_answers(logits: Tensor) -> Tensor:
    """The logits of a network, if all can be compared.

    Raises:
        ValueError: if one is nan or +inf, so that there is no softmax.
    """
    bad = (logits.isnan() | logits.isposinf()).any(1)
    if bad.any():
        raise ValueError(
            f"the network answered nan or inf to {int(bad.sum()):,} of {len(logits):,} images; "
            "its weights are damaged, or its numbers overflow"
        )
    return logits


def dtype_of(model: nn.Module) -> torch.dtype:
    """The dtype in which a network takes images: that of its weights, or float32 if they differ."""
    kinds = {w.dtype for w in model.parameters() if w.is_floating_point()}
    return kinds.pop() if len(kinds) == 1 else torch.float32


def is_plain(value: Any) -> bool:
    """Whether a value is a tensor that a file of weights can hold: dense, real numbers, no more."""
    is_tensor = type(value) in (Tensor, nn.Parameter, nn.Buffer)
    return is_tensor and value.layout == torch.strided and not (value.is_meta or value.is_quantized)


def numbers_of(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer by name; a shared one is there once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside ``torch.compile`` and the wrappers for several devices."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif model._modules.keys() == {"_orig_mod"} and not model._parameters:
            model = model.get_submodule("_orig_mod")
        else:
            return model


def copied(model: nn.Module) -> nn.Module:
    """A deep copy of a network, without wrappers.

    PyTorch does not copy tensors that carry a graph: weights that are computed in every call
    (pruning, weight norm) and whatever a network remembers of its last one. Here they are copied
    without it.

    Raises:
        TypeError: if it holds something that cannot be copied, like a lock or an open file.
    """
    model = unwrapped(model)
    _check_not_scripted(model)
    held = (each for module in model.modules() for each in _tensors(vars(module)))
    with torch.inference_mode(False):
        without_graph = {id(x): x.detach().clone() for x in held if not x.is_leaf}
        try:
            return copy.deepcopy(model, without_graph)
        except Exception as error:  # whatever its parts raise
            reason = str(error).split(".  ")[0]
            raise TypeError(
                f"the network cannot be copied: {reason}; keep such an object outside of it"
            ) from error


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in lists, tuples and dicts of them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


@contextmanager
def answering(model: nn.Module, gradients: bool = False) -> Iterator[None]:
    """Eval mode; afterwards every layer is back in the mode it was in.

    Without gradients, but not in inference mode: a tensor that the network makes at its first call,
    and keeps, can then take part in a later training.

    Args:
        model: the network.
        gradients: whether gradients are recorded, wherever this is called.
    """
    modes = {module: module.training for module in model.modules()}
    try:
        set_mode(model, training=False)
        with torch.inference_mode(False), torch.set_grad_enabled(gradients):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def set_mode(model: nn.Module, training: bool) -> None:
    """Training or eval mode.

    Raises:
        ValueError: if the network has only one, as what ``torch.export`` writes.
    """
    try:
        model.train() if training else model.eval()
    except NotImplementedError as error:
        raise ValueError(
            f"the network cannot change its mode ({error}); take the one that it was exported from"
        ) from error


def _check_not_scripted(model: nn.Module) -> None:
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            f"a {type(model).__name__} of torch.jit cannot be watched or changed; "
            "take the network that it was made from"
        )


def layers_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers that contain no others, by name, in the order in which they were registered."""
    return [(name, layer) for name, layer in model.named_modules() if not list(layer.children())]


@contextmanager
def watching(
    layers: Iterable[tuple[str, nn.Module]], note: Callable[[str, nn.Module, Any], Any]
) -> Iterator[None]:
    """Call ``note(name, layer, output)`` whenever one of the layers has answered.

    What ``note`` returns takes the place of the output, unless it is ``None``.
    """
    handles = []
    try:
        for name, layer in layers:
            _check_not_scripted(layer)
            handles.append(
                layer.register_forward_hook(
                    lambda layer, _, output, name=name: note(name, layer, output)
                )
            )
        yield
    finally:
        for handle in handles:
            handle.remove()

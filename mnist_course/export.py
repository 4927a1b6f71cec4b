"""Networks as files that run without PyTorch: ONNX, and the weights of the drawing pad.

:func:`to_onnx` writes any network for the many programs that read ONNX.

The pad's engine (``static/engine.js``) knows a dozen layers and runs them one after the other.
:func:`page_weights` writes a network of the course for it: batch norms folded into the
convolutions before them, dropout left out, weights as int8, float16 or float32.
:func:`read_page_weights` reads such a file, and those of networks that were trained in the page.

The file: 8 bytes ``MNISTNET``; the length of the header and a CRC-32 of all that follows, 32 bits
each, little-endian; the header as JSON; the tensors, which the header places by their offset.
"""

from __future__ import annotations

import json
import logging
import math
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import NoneType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from mnist_course.arguments import kind_of, one_of
from mnist_course.models import Normalize
from mnist_course.modules import (
    answering,
    check_finite,
    check_logits,
    check_network,
    copied,
)

MAGIC = b"MNISTNET"
VERSION = 1
OPSET = 18
"""The version of ONNX's operators that :func:`to_onnx` uses, old enough to be widely read."""

_STORED = {"int8": "i1", "float16": "<f2", "float32": "<f4"}


class UnsupportedLayerError(ValueError):
    """A network has a layer that the pad's engine cannot run."""


_FUSE: dict[tuple[type, type], Callable[[Any, Any], nn.Module]] = {
    (nn.Conv2d, nn.BatchNorm2d): fuse_conv_bn_eval,
    (nn.Linear, nn.BatchNorm1d): fuse_linear_bn_eval,
}


def fold_batch_norm(model: nn.Module) -> nn.Sequential:
    """A copy of a sequential network, in evaluation mode, without batch norm and dropout.

    Batch norm in evaluation mode multiplies each channel by a constant and adds another. Behind a
    convolution or a linear layer that is the same layer with other weights; elsewhere it stays, and
    so does one without running statistics, which depends on the batch.

    Args:
        model: a :class:`torch.nn.Sequential`, which may contain others.

    Returns:
        A flat network on the CPU in float32 that computes what ``model.eval()`` computes.

    Raises:
        TypeError: if ``model`` is not a network.
        UnsupportedLayerError: if the network is not sequential.
    """
    check_network(model)
    layers: dict[str, nn.Module] = {}
    previous = ""
    for name, layer in _flat(copied(model).cpu().float().eval()):
        before = layers.get(previous)
        fuse = _FUSE.get((type(before), type(layer)))
        plain = _is_plain(layer) and (before is None or _is_plain(before))
        if fuse and plain and layer.running_mean is not None:
            layers[previous] = fuse(before, layer)
        elif not (isinstance(layer, (nn.Dropout, nn.Dropout2d, nn.Identity)) and plain):
            layers[name] = layer
            previous = name
    folded = nn.Sequential()
    for name, layer in layers.items():
        _add(folded, name, layer)
    return folded.eval()


def _add(network: nn.Sequential, name: str, layer: nn.Module) -> None:
    """Add a layer under a name of its own: ``a.b`` and ``a_b`` are two."""
    name = name.replace(".", "_")
    while hasattr(network, name):
        name += "_"
    network.add_module(name, layer)


def int8_steps(weight: Tensor) -> Tensor:
    """The steps between the 255 values of a weight that is stored as int8.

    Args:
        weight: ``(O, …)``, one row for each output channel, not empty.

    Returns:
        ``(O, 1, …)``: for each channel its largest weight / 127, or 1 where all are zero.
        ``(weight / steps).round()`` are whole numbers from −127 to 127.
    """
    steps = weight.abs().amax(tuple(range(1, weight.dim())), keepdim=True) / 127
    return torch.where(steps == 0, torch.ones_like(steps), steps)


def page_weights(
    model: nn.Module, dtype: Literal["int8", "float16", "float32"] = "float16", name: str = ""
) -> bytes:
    """Write a network for the drawing pad.

    Args:
        model: a sequential network from pixels ``(N, 1, 28, 28)`` in [0, 1] to logits
            ``(N, 10)``. It is not changed.
        dtype: how weights are stored. Half precision halves the file and moves the logits by
            about a thousandth of their size. ``"int8"`` halves it again, with a step for each
            output channel (:func:`int8_steps`); biases are then float32.
        name: what the pad calls the network.

    Returns:
        The file's content.

    Raises:
        TypeError: if ``model`` is not a network.
        UnsupportedLayerError: naming the layer, if the pad's engine cannot run the network.
        ValueError: if a weight is not finite, or too large for half precision, or the logits have
            the wrong shape.
    """
    if not one_of(dtype, _STORED):
        raise ValueError(f"dtype must be one of {', '.join(_STORED)}, got {dtype!r}")
    layers: list[dict[str, Any]] = []
    blob = bytearray()

    def put(tensor: Tensor, dtype: str) -> dict[str, Any]:
        with np.errstate(over="ignore"):
            values = tensor.numpy().astype(_STORED[dtype])
        if not np.isfinite(values).all():
            raise ValueError(f"a weight is not a finite {dtype} number")
        place = {"dtype": dtype, "shape": list(tensor.shape), "offset": len(blob)}
        blob.extend(values.tobytes())
        return place

    def store(tensor: Tensor) -> dict[str, Any]:
        tensor = tensor.detach()
        if dtype != "int8" or tensor.dim() == 1:  # a bias, a few numbers
            return put(tensor, "float32" if dtype == "int8" else dtype)
        if not tensor.isfinite().all():
            raise ValueError("a weight is not a finite float32 number")
        steps = int8_steps(tensor)
        return {
            **put((tensor / steps).round().clamp(-127, 127), dtype),
            "steps": put(steps.flatten(), "float32"),
        }

    folded = fold_batch_norm(model)
    for layer_name, layer in folded._modules.items():
        describe = _DESCRIBE.get(type(layer)) if _is_plain(layer) else None
        description = describe(layer, store) if describe else None
        if description is None:
            raise UnsupportedLayerError(
                f"the pad's engine cannot run layer {layer_name!r}: "
                f"{' '.join(repr(layer).split())}. It knows "
                f"{', '.join(sorted(kind.__name__ for kind in _DESCRIBE))}, batch norm "
                "and dropout, without hooks."
            )
        layers.append({"name": layer_name, **description})
    with answering(folded):
        check_logits(folded(torch.zeros(1, 1, 28, 28, dtype=torch.float32, device="cpu")), 1)
    header = json.dumps(
        {"version": VERSION, "name": name, "input": [1, 28, 28], "layers": layers},
        separators=(",", ":"),
    ).encode()
    content = header + bytes(blob)
    return MAGIC + struct.pack("<II", len(header), zlib.crc32(content)) + content


def read_page_weights(content: bytes) -> nn.Sequential:
    """Read a network from a file of the drawing pad, such as one that was trained in the page.

    Args:
        content: what :func:`page_weights` wrote, or the figure "train it here" gave to keep.

    Returns:
        The network in evaluation mode, from pixels ``(N, 1, 28, 28)`` in [0, 1] to logits
        ``(N, 10)``, in float32. Batch norm was folded away when the file was written.

    Raises:
        TypeError: if these are no bytes.
        ValueError: if the file is not one of ours, is damaged, or does not fit together.
    """
    header, blob = _unpack(content)
    network = nn.Sequential()

    def tensor(place: dict[str, Any]) -> Tensor:
        kind, shape = np.dtype(_STORED[place["dtype"]]), [int(size) for size in place["shape"]]
        values = np.frombuffer(blob, kind, math.prod(shape), place["offset"])
        numbers = torch.from_numpy(values.astype(np.float32)).reshape(shape)
        if place["dtype"] != "int8":
            return numbers
        return numbers * tensor(place["steps"]).reshape(-1, *[1] * (len(shape) - 1))

    try:
        for description in header["layers"]:
            layer = _MAKE[description["op"]](description, tensor)
            _add(network, str(description["name"]), layer)
        check_finite(network, before="reading")
        with answering(network.eval()):
            check_logits(network(torch.zeros(1, 1, 28, 28, dtype=torch.float32)), 1)
    except (KeyError, TypeError, RuntimeError, IndexError, OverflowError) as error:
        raise ValueError(
            f"the file does not describe a network that fits together: {error}"
        ) from error
    return network


def _unpack(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a file, and the tensors behind it."""
    if not isinstance(content, bytes | bytearray | memoryview):
        raise TypeError(
            f"expected the content of a file, got {kind_of(content)}; "
            "read it with Path(name).read_bytes()"
        )
    content = bytes(content)
    if content[: len(MAGIC)] != MAGIC or len(content) < 16:
        raise ValueError("expected a file that the course exported: it begins with MNISTNET")
    length, checksum = struct.unpack("<II", content[8:16])
    if zlib.crc32(content[16:]) != checksum or 16 + length > len(content):
        raise ValueError("the file is damaged or cut short; export the network again")
    try:
        header = json.loads(content[16 : 16 + length])
        version, layers = header["version"], header["layers"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("the header of the file cannot be read") from error
    if version != VERSION:
        raise ValueError(f"expected version {VERSION} of the file, got {version!r}")
    if not isinstance(layers, list):
        raise ValueError(f"expected the layers of the file as a list, got {kind_of(layers)}")
    return header, content[16 + length :]


def to_onnx(model: nn.Module) -> bytes:
    """Write a network as an ONNX file, which many programs run without PyTorch.

    The file takes ``pixels``, float32 ``(n, 1, 28, 28)`` in [0, 1] with any ``n``, and returns
    ``logits``, ``(n, 10)``. It computes what the network computes in evaluation mode, and holds
    nothing else: the exporter's notes are left out, because they quote paths of this machine.

    Args:
        model: a network from pixels ``(N, 1, 28, 28)`` in [0, 1] to logits ``(N, 10)``. It is not
            changed.

    Returns:
        The file's content, which has passed ONNX's own check.

    Raises:
        TypeError: if ``model`` is not a network, or does not return a tensor.
        ValueError: if a weight is not finite, or the logits have the wrong shape.
        RuntimeError: if the packages ``onnx`` and ``onnxscript`` are missing, or the network
            computes something that ONNX cannot express.
    """
    check_network(model)
    check_finite(model, before="writing")
    try:
        import onnx
        import onnxscript  # noqa: F401  # the exporter needs it
    except ImportError as error:
        raise RuntimeError(
            f"writing ONNX needs the package {error.name}: pip install onnx onnxscript"
        ) from error
    network = copied(model).cpu().float().eval()
    # Two digits: torch.export assumes that a batch of one will always be one.
    pixels = torch.zeros(2, 1, 28, 28, dtype=torch.float32, device="cpu")
    with answering(network):
        check_logits(network(pixels), 2)
    try:
        with _quiet():
            program = torch.onnx.export(
                network,
                (pixels,),
                input_names=["pixels"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("n")},),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise RuntimeError(f"ONNX cannot express this network: {reason}") from error
    assert program is not None
    file = program.model_proto
    graph = file.graph
    for part in (file, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.checker.check_model(file, full_check=True)
    return file.SerializeToString(deterministic=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings and log lines, which differ from one release of the exporter to the next."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _flat(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layers of a network with their names, in the order in which they run."""
    if type(model) is not nn.Sequential:
        raise UnsupportedLayerError(
            f"expected a torch.nn.Sequential, got {type(model).__name__}: only in a sequential "
            "network do the layers tell the order in which they run"
        )
    if _has_hooks(model):
        raise UnsupportedLayerError("the pad's engine cannot run the hooks of the network")
    for name, layer in model._modules.items():  # unlike named_children, a shared layer each time
        if isinstance(layer, nn.Sequential):
            yield from _flat(layer, f"{prefix}{name}.")
        else:
            yield prefix + name, layer


def _is_plain(layer: nn.Module) -> bool:
    """Whether a layer computes what its type says, with the weights that it holds.

    Pruning and weight norm compute the weight in a hook, and a hook may change any output.
    """
    weight = getattr(layer, "weight", None)
    return isinstance(weight, (nn.Parameter, NoneType)) and not _has_hooks(layer)


def _has_hooks(layer: nn.Module) -> bool:
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


Store = Callable[[Tensor], dict[str, Any]]


def _pair(value: Any) -> list[int]:
    """A setting for rows and columns, from one number or two."""
    return [value, value] if isinstance(value, int) else list(value)


def _bias(layer: nn.Conv2d | nn.Linear) -> Tensor:
    return layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias


# Each function describes a layer for the engine, or returns None if the engine does not know the
# layer's settings. The engine's builders read the same names.


def _conv(layer: nn.Conv2d, store: Store) -> dict[str, Any] | None:
    odd = all(size % 2 for size in layer.kernel_size)
    if layer.padding_mode != "zeros" or (layer.padding == "same" and not odd):
        return None
    padding: Any = layer.padding
    if padding == "valid":
        padding = 0
    elif padding == "same":
        padding = tuple(
            dilation * (size // 2)
            for size, dilation in zip(layer.kernel_size, layer.dilation, strict=True)
        )
    return {
        "op": "conv",
        "out": layer.out_channels,
        "kernel": _pair(layer.kernel_size),
        "stride": _pair(layer.stride),
        "padding": _pair(padding),
        "dilation": _pair(layer.dilation),
        "groups": layer.groups,
        "weight": store(layer.weight),
        "bias": store(_bias(layer)),
    }


def _linear(layer: nn.Linear, store: Store) -> dict[str, Any]:
    return {
        "op": "linear",
        "out": layer.out_features,
        "weight": store(layer.weight),
        "bias": store(_bias(layer)),
    }


def _batch_norm(layer: nn.BatchNorm2d, store: Store) -> dict[str, Any] | None:
    if layer.running_mean is None or layer.running_var is None:
        return None
    scale = (layer.running_var + layer.eps).rsqrt()
    if layer.weight is not None:
        scale = scale * layer.weight
    shift = -layer.running_mean * scale
    if layer.bias is not None:
        shift = shift + layer.bias
    return {"op": "affine", "scale": store(scale), "shift": store(shift)}


def _normalize(layer: Normalize, _: Store) -> dict[str, Any]:
    return {"op": "normalize", "mean": float(layer.mean), "std": float(layer.std)}


def _pool(layer: nn.MaxPool2d | nn.AvgPool2d, _: Store) -> dict[str, Any] | None:
    largest = isinstance(layer, nn.MaxPool2d)
    if layer.ceil_mode or (largest and _pair(layer.dilation) != [1, 1]):
        return None
    if isinstance(layer, nn.AvgPool2d) and (
        not layer.count_include_pad or layer.divisor_override is not None
    ):
        return None
    return {
        "op": "maxpool" if largest else "avgpool",
        "kernel": _pair(layer.kernel_size),
        "stride": _pair(layer.stride),
        "padding": _pair(layer.padding),
    }


def _global_average(layer: nn.AdaptiveAvgPool2d, _: Store) -> dict[str, Any] | None:
    return {"op": "globalavgpool"} if _pair(layer.output_size) == [1, 1] else None


def _flatten(layer: nn.Flatten, _: Store) -> dict[str, Any] | None:
    return {"op": "flatten"} if (layer.start_dim, layer.end_dim) == (1, -1) else None


def _gelu(layer: nn.GELU, _: Store) -> dict[str, Any]:
    return {"op": "gelu", "tanh": layer.approximate == "tanh"}


def _relu(layer: nn.ReLU, _: Store) -> dict[str, Any]:
    return {"op": "relu"}


_DESCRIBE: dict[type[nn.Module], Callable[[Any, Store], dict[str, Any] | None]] = {
    nn.AdaptiveAvgPool2d: _global_average,
    nn.AvgPool2d: _pool,
    nn.BatchNorm2d: _batch_norm,
    nn.Conv2d: _conv,
    nn.Flatten: _flatten,
    nn.GELU: _gelu,
    nn.Linear: _linear,
    nn.MaxPool2d: _pool,
    nn.ReLU: _relu,
    Normalize: _normalize,
}


Load = Callable[[dict[str, Any]], Tensor]


def _make_conv(description: dict[str, Any], load: Load) -> nn.Module:
    weight, groups = load(description["weight"]), int(description["groups"])
    layer = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        stride=tuple(description["stride"]),
        padding=tuple(description["padding"]),
        dilation=tuple(description["dilation"]),
        groups=groups,
    )
    return _filled(layer, weight, load(description["bias"]))


def _make_linear(description: dict[str, Any], load: Load) -> nn.Module:
    weight = load(description["weight"])
    return _filled(nn.Linear(weight.shape[1], weight.shape[0]), weight, load(description["bias"]))


def _make_affine(description: dict[str, Any], load: Load) -> nn.Module:
    """Batch norm whose mean is 0 and whose variance is 1: a scale and a shift."""
    scale = load(description["scale"])
    layer = nn.BatchNorm2d(len(scale), eps=0.0)
    return _filled(layer, scale, load(description["shift"])).eval()


def _filled(layer: Any, weight: Tensor, bias: Tensor) -> nn.Module:
    layer.load_state_dict({"weight": weight, "bias": bias}, strict=False)
    return layer


def _make_pool(kind: type[nn.Module]) -> Callable[[dict[str, Any], Load], nn.Module]:
    def make(description: dict[str, Any], _: Load) -> nn.Module:
        return kind(*(tuple(description[name]) for name in ("kernel", "stride", "padding")))

    return make


_MAKE: dict[str, Callable[[dict[str, Any], Load], nn.Module]] = {
    "normalize": lambda description, _: Normalize(description["mean"], description["std"]),
    "affine": _make_affine,
    "conv": _make_conv,
    "relu": lambda *_: nn.ReLU(),
    "gelu": lambda description, _: nn.GELU("tanh" if description.get("tanh") else "none"),
    "maxpool": _make_pool(nn.MaxPool2d),
    "avgpool": _make_pool(nn.AvgPool2d),
    "globalavgpool": lambda *_: nn.AdaptiveAvgPool2d(1),
    "flatten": lambda *_: nn.Flatten(),
    "linear": _make_linear,
}

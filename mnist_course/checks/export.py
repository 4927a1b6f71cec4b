"""Checks for the exercises on taking a network out of the notebook (chapter 21)."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor
from torch.nn import functional as F

from mnist_course.checks._returning import Verdict, compare, right, run, wrong

__all__ = ["best_scale", "fold_before", "mended_service", "packing", "write_safetensors"]


def _header_verdict(content: bytes, tensors: dict[str, Tensor]) -> Verdict | None:
    """What is wrong with the header of a ``.safetensors`` file, or None."""
    (length,) = struct.unpack("<Q", content[:8])
    if length > len(content) - 8:
        (big,) = struct.unpack(">Q", content[:8])
        if big <= len(content) - 8:
            return wrong("The length of the header is big-endian: struct.pack('<Q', …).")
        (short,) = struct.unpack("<I", content[:4])
        if short <= len(content) - 4 and content[4:5] == b"{":
            return wrong("The length of the header takes eight bytes ('<Q'), here it has four.")
        return wrong(
            "The first eight bytes must hold the length of the header; read so, the header would "
            f"be {length:,} bytes long, and the file has {len(content):,}."
        )
    try:
        header = json.loads(content[8 : 8 + length])
    except ValueError:
        return wrong(
            f"The {length} bytes after the first eight are not JSON: the length must count the "
            "bytes of the header, without the eight that hold the length."
        )
    missing = sorted(set(tensors) - set(header))
    if missing:
        return wrong(f"The header does not know the tensor {missing[0]!r}.")
    start = 0
    for name in sorted(tensors, key=lambda name: header[name].get("data_offsets", [0])[0]):
        entry, size = header[name], 4 * tensors[name].numel()
        if entry.get("dtype") != "F32":
            return wrong(f"The dtype of {name!r} is {entry.get('dtype')!r}, expected 'F32'.")
        if list(entry.get("shape", ())) != list(tensors[name].shape):
            return wrong(
                f"The shape of {name!r} is {entry.get('shape')}, "
                f"expected {list(tensors[name].shape)}."
            )
        place = list(entry.get("data_offsets", ()))
        if start and place == [start, size]:
            return wrong("data_offsets are [start, end], and not [start, number of bytes].")
        if place == [start // 4, (start + size) // 4]:
            return wrong("data_offsets count bytes, and a float32 number has four of them.")
        if place != [start, start + size]:
            return wrong(
                f"The data_offsets of {name!r} are {place}, expected [{start}, {start + size}]: "
                "they count bytes from the *end of the header*, without gaps."
            )
        start += size
    if len(content) != 8 + length + start:
        return wrong(
            f"After the header there are {len(content) - 8 - length:,} bytes, "
            f"expected {start:,}: four for each number."
        )
    return None


def write_safetensors(function: Callable[[dict[str, Tensor]], Any]) -> Verdict:
    """Check ``function(tensors)``: a ``.safetensors`` file, as bytes, of float32 tensors."""
    cases: list[dict[str, Tensor]] = [
        {"bias": torch.randn(3)},
        {"weight": torch.randn(4, 2, 3, 3), "bias": torch.randn(4), "scale": torch.tensor(0.5)},
    ]
    for tensors in cases:
        content = run(function, dict(tensors))
        if isinstance(content, Verdict):
            return content
        if not isinstance(content, (bytes, bytearray)):
            return wrong(f"A file is bytes; your function returned {type(content).__name__}.")
        content = bytes(content)
        if len(content) < 8:
            return wrong(f"The file has only {len(content)} bytes; the length alone takes eight.")
        verdict = _header_verdict(content, tensors)
        if verdict is not None:
            return verdict
        try:
            read = load_safetensors(content)
        except SafetensorError as error:
            return wrong(f"The library safetensors refuses the file: {error}.")
        for name, tensor in tensors.items():
            if not torch.equal(read[name], tensor):
                return wrong(
                    f"The library reads the file, but other numbers for {name!r}: are they stored "
                    "in the order of their data_offsets, as little-endian float32?"
                )
    return right("The library safetensors reads your file, and finds every number in its place.")


def fold_before(function: Callable[..., Any]) -> Verdict:
    """Check ``function(w, b, gamma, beta, mean, variance, eps)``: batch norm, then linear."""
    # Square first: there, scaling the rows is a wrong answer, and not an error of shapes.
    for features, classes in ((6, 6), (4, 3), (1, 5)):
        x = torch.randn(5, features, dtype=torch.float64)
        w, b = torch.randn(classes, features).double(), torch.randn(classes).double()
        gamma, beta, mean = torch.randn(3, features, dtype=torch.float64)
        variance, eps = torch.rand(features, dtype=torch.float64) + 0.5, 0.1
        answer = run(function, *(t.clone() for t in (w, b, gamma, beta, mean, variance)), eps)
        if isinstance(answer, Verdict):
            return answer
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            return wrong("Return two tensors, the new weight and the new bias.")
        expected = F.linear(F.batch_norm(x, mean, variance, gamma, beta, eps=eps), w, b)
        deviation = (variance + eps).sqrt()
        scale = gamma / deviation
        shift = beta - mean * scale
        case = f"{features} features and {classes} classes"
        hints = [
            ("eps is missing: it is added to the variance.", w * gamma / variance.sqrt()),
            ("eps belongs under the root.", w * gamma / (variance.sqrt() + eps)),
            ("Divide by the standard deviation, the *root*.", w * gamma / (variance + eps)),
            ("gamma is missing in the factor.", w / deviation),
        ]
        if features == classes:
            rows = (
                "You scaled the rows. Batch norm stands *before* this layer, so its factor belongs "
                "to the inputs, the columns: w[o, f] * scale[f]."
            )
            hints.append((rows, w * scale[:, None]))
        verdict = compare(answer[0], w * scale, f"the weight, {case},", hints=hints)
        if verdict is not None:
            return verdict
        hints = [
            ("The weight is right. The bias must take up what the shift causes.", b),
            ("The shift meets the *old* weight: scale it once only.", b + (w * scale) @ shift),
            ("The sign of the mean is turned round.", b + w @ (beta + mean * scale)),
            ("beta is missing in the shift.", b - w @ (mean * scale)),
            ("The mean is multiplied by the factor, too.", b + w @ (beta - mean)),
            ("The old bias is missing.", w @ shift),
        ]
        verdict = compare(answer[1], b + w @ shift, f"the bias, {case},", hints=hints)
        if verdict is not None:
            return verdict
        folded = F.linear(x, torch.as_tensor(answer[0]), torch.as_tensor(answer[1]))
        verdict = compare(folded, expected, case)
        if verdict is not None:
            return verdict
    return right("One linear layer does what the two did.")


def packing(pack: Callable[[Tensor], Any], unpack: Callable[[Tensor, int], Any]) -> Verdict:
    """Check ``pack(q)`` and ``unpack(packed, count)``: two integers of -8 … 7 in each byte."""
    for count in (2, 16, 7, 1):
        q = torch.randint(-8, 8, (count,), dtype=torch.int8)
        if count == 16:
            q = torch.arange(-8, 8, dtype=torch.int8)
        packed = run(pack, q.clone())
        if isinstance(packed, Verdict):
            return packed
        if not isinstance(packed, Tensor) or packed.dtype != torch.uint8:
            kind = packed.dtype if isinstance(packed, Tensor) else type(packed).__name__
            return wrong(f"Packed bytes are a tensor of dtype torch.uint8, got {kind}.")
        if packed.shape != (-(-count // 2),):
            return wrong(
                f"For {count} numbers I expected {-(-count // 2)} bytes, got shape "
                f"{tuple(packed.shape)}."
                + (" An odd one is filled up with a zero." if count % 2 else "")
            )
        back = run(unpack, packed.clone(), count)
        hints = [
            (
                "The negative numbers came back as 8 … 15: four bits above 7 mean n - 16.",
                q.double() % 16,
            ),
            (
                "They come back shifted by 8: what pack adds, unpack must take off again.",
                q.double() + 8,
            ),
        ]
        if count % 2 == 0:
            swapped = q.double().view(-1, 2).flip(1).flatten()
            hints.append(("The two numbers of each byte come back in the wrong order.", swapped))
            halves = torch.cat([q.double()[0::2], q.double()[1::2]])
            hints.append(("First all lower halves, then all upper ones: take turns.", halves))
        verdict = compare(back, q.double(), f"{count} numbers, packed and unpacked,", hints=hints)
        if verdict is not None:
            return verdict
    return right("Two weights in a byte, and every one of -8 … 7 comes back.")


def best_scale(function: Callable[[Tensor, int], Any]) -> Verdict:
    """Check ``function(w, bits)``: the step of a symmetric quantiser with least squared error."""

    def error(w: Tensor, scale: float, bits: int) -> float:
        top = 2 ** (bits - 1) - 1
        return float(((w / scale).round().clamp(-top, top) * scale - w).square().mean())

    for bits in (8, 4, 3):
        w = torch.randn(2000, dtype=torch.float64) ** 3 / 5  # a few large weights, many small ones
        top = 2 ** (bits - 1) - 1
        answer = run(function, w.clone(), bits)
        if isinstance(answer, Verdict):
            return answer
        try:
            scale = float(answer)
        except (TypeError, ValueError):
            return wrong(f"Return one number, the step; got {type(answer).__name__}.")
        largest = float(w.abs().max())
        if not 0 < scale < float("inf"):
            return wrong(f"For {bits} bits the step is {scale:g}, expected a number above 0.")
        grid = np.linspace(0.02, 1, 99) * largest / top
        best = min(error(w, step, bits) for step in grid)
        mine = error(w, scale, bits)
        if bits < 8 and abs(scale - largest / top) < 1e-9 * scale:
            return wrong(
                f"For {bits} bits you return the step that reaches the largest weight. Try smaller "
                "ones as well: a few weights are clamped, and all others are rounded less."
            )
        if mine > 1.03 * best:
            if largest * 0.02 <= scale <= largest:
                return wrong(
                    f"For {bits} bits the step is {scale:.3g}: that is the largest value. Divide "
                    f"it by the number of steps up to it, 2**(bits - 1) - 1 = {top}."
                )
            return wrong(
                f"For {bits} bits your step {scale:.3g} has a mean squared error of {mine:.3g}; "
                f"there is one with {best:.3g}. Try a hundred fractions of max |w| / {top}, down "
                "to a fiftieth, and keep the one with the least error, clamping included."
            )
    return right("No step of the grid has a smaller error: a few large weights are let go.")


class _Recorder:
    """Stands in for an ONNX Runtime session, and keeps the pixels that it was given."""

    def __init__(self) -> None:
        self.pixels: list[np.ndarray[Any, Any]] = []

    def run(self, outputs: Any, feeds: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
        pixels = feeds["pixels"]
        if not isinstance(pixels, np.ndarray):
            raise TypeError(f"ONNX Runtime takes NumPy arrays, got {type(pixels).__name__}")
        self.pixels.append(pixels)
        sums = pixels.reshape(len(pixels), -1).sum(1, keepdims=True)
        return [(sums * np.arange(10)).astype(np.float32)]


def mended_service(function: Callable[[Any, Any], Any]) -> Verdict:
    """Check ``function(session, pictures)``: logits for bytes ``(N, 28, 28)``, dark on white."""
    for count in (3, 1):
        session = _Recorder()
        pictures = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        answer = run(function, session, pictures.copy())
        if isinstance(answer, Verdict):
            return answer
        if not session.pixels:
            return wrong("The session was never asked: call session.run(None, {'pixels': …})[0].")
        pixels = np.concatenate(session.pixels)
        if pixels.shape != (count, 1, 28, 28):
            return wrong(
                f"For {count} pictures the network got pixels of shape {pixels.shape}, "
                f"expected ({count}, 1, 28, 28)."
            )
        if pixels.dtype != np.float32:
            return wrong(f"The network got {pixels.dtype}, expected float32.")
        got = torch.from_numpy(pixels).double()
        ink = torch.from_numpy(255.0 - pictures)[:, None]
        expected = ink / 255

        def normalised(x: Tensor) -> Tensor:
            return (x - 0.1307) / 0.3081

        verdict = compare(
            got,
            expected,
            f"{count} pictures, the pixels that reach the network:",
            tolerance=1e-5,
            hints=[
                (
                    "Two bugs are left: the network is shown dark ink on white, and the pixels "
                    "are normalised although the network does that itself.",
                    normalised(1 - expected),
                ),
                (
                    "Light and dark are right. The pixels are still normalised here, and the "
                    "network normalises them again in its first layer.",
                    normalised(expected),
                ),
                (
                    "Normalised once only, by the network: right. But it knows light ink on dark, "
                    "and is shown dark ink on white.",
                    1 - expected,
                ),
                ("Pixels go from 0 to 1, not to 255.", ink),
                ("In bytes, white is 255, and not 1.", ink - 254),
                (
                    "Bytes cannot be negative: 1 - pictures wraps round. Make floats first.",
                    torch.from_numpy((1 - pictures) / 255)[:, None],
                ),
            ],
        )
        if verdict is not None:
            return verdict
        if getattr(answer, "shape", None) != (count, 10):
            shape = getattr(answer, "shape", type(answer).__name__)
            return wrong(
                f"Return the logits, ({count}, 10), got {shape}: session.run gives a list of "
                "outputs, of which the first is meant."
            )
    return right("The network is shown what it learned from: light ink on dark, in [0, 1], once.")

"""Checks of chapter 27, a network outside the notebook."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnist_course.checks import (
    NotSolvedError,
    compare,
    compared,
    exercise,
    explaining,
    normal,
    number,
    run,
    same,
    uniform,
)
from mnist_course.checks.assembling import safetensors

__all__ = ["best_scale", "fold_before", "mended_service", "packing", "write_safetensors"]


@exercise
def write_safetensors(function: Callable[[dict[str, Tensor]], Any]) -> str:
    """Check ``function(tensors)``: a ``.safetensors`` file, as bytes, of float32 tensors."""
    verdict = safetensors(function)
    if not verdict:
        raise NotSolvedError(verdict.message)
    return "The library safetensors reads your file, and finds every number in its place."


def _layers(features: int, classes: int) -> tuple[Any, ...]:
    w, b = normal(classes, features), normal(classes, seed=1)
    gamma, beta, mean = normal(3, features, seed=2)
    return w, b, gamma, beta, mean, uniform(features, seed=3) + 0.5, features / 50


def _folded(
    scale: Callable[[Tensor, Tensor, float], Tensor] = lambda g, v, e: g / (v + e).sqrt(),
    shift: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda a, beta, m: beta - a * m,
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Fold with this factor of the inputs, and this shift."""

    def fold(
        w: Tensor,
        b: Tensor,
        gamma: Tensor,
        beta: Tensor,
        mean: Tensor,
        variance: Tensor,
        eps: float,
    ) -> tuple[Tensor, Tensor]:
        a = scale(gamma, variance, eps)
        return w * a, b + w @ shift(a, beta, mean)

    return fold


def _scaled(scale: Callable[[Tensor, Tensor, float], Tensor]) -> Callable[..., Any]:
    """A mistake in the weight, whatever the bias."""
    return lambda *given: (_folded(scale)(*given)[0], ...)


def _shifted(shift: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., Any]:
    """A mistake in the bias."""
    return lambda *given: (..., _folded(shift=shift)(*given)[1])


@compared(
    cases={  # square first: there, scaling the rows is a wrong answer, and not an error of shapes
        f"{inputs} features and {classes} classes": _layers(inputs, classes)
        for inputs, classes in ((6, 6), (4, 3), (1, 5))
    },
    mistakes={
        "eps is missing: it is added to the variance.": _scaled(lambda g, v, e: g / v.sqrt()),
        "eps belongs under the root.": _scaled(lambda g, v, e: g / (v.sqrt() + e)),
        "Divide by the standard deviation, the *root*.": _scaled(lambda g, v, e: g / (v + e)),
        "gamma is missing in the factor.": _scaled(lambda g, v, e: 1 / (v + e).sqrt()),
        "You scaled the rows. Batch norm stands *before* this layer, so its factor belongs to the "
        "inputs, the columns: w[o, f] * scale[f].": (
            lambda w, b, g, beta, m, v, e: (w * (g / (v + e).sqrt())[:, None], ...)
        ),
        "The weight is right. The bias must take up what the shift causes.": (
            _shifted(lambda a, beta, m: 0 * m)
        ),
        "The shift meets the *old* weight: scale it once only.": (
            _shifted(lambda a, beta, m: a * (beta - a * m))
        ),
        "The sign of the mean is turned round.": _shifted(lambda a, beta, m: beta + a * m),
        "beta is missing in the shift.": _shifted(lambda a, beta, m: -a * m),
        "The mean is multiplied by the factor, too.": _shifted(lambda a, beta, m: beta - m),
        "The old bias is missing.": lambda w, b, *rest: (..., _folded()(w, 0 * b, *rest)[1]),
    },
    right="One linear layer does what the two did.",
)
def fold_before(
    w: Tensor, b: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Check ``function(w, b, gamma, beta, mean, variance, eps)``: batch norm, then linear."""
    return _folded()(w, b, gamma, beta, mean, variance, eps)


def _unpacked(q: Tensor) -> dict[str, list[Tensor]]:
    """What comes back of ``q`` after well-known mistakes."""
    even = torch.cat([q, q.new_zeros(len(q) % 2)]).long()
    low, high = even[0::2], even[1::2]
    borrowed = (low + 16 * high) % 256  # of bytes without the + 8, where a negative low one borrows
    halves = torch.stack([borrowed % 16, borrowed // 16], dim=1).flatten()
    return {
        "The negative numbers came back as 8 … 15: four bits above 7 mean n - 16.": [even % 16],
        "They come back shifted by 8: what pack adds, unpack must take off again, and the other "
        "way round.": [even + 8, even - 8, even % 16 - 8],
        "A negative lower number borrows from the upper one: add 8 to both before they are packed, "
        "or keep only four bits of each, & 15.": [
            halves, halves - 8, torch.where(halves > 7, halves - 16, halves),
        ],
        "The two numbers of each byte come back in the wrong order.": [
            torch.stack([high, low], dim=1).flatten()
        ],
        "First all lower halves, then all upper ones: take turns.": [torch.cat([low, high])],
    }  # fmt: skip


@exercise
def packing(pack: Callable[[Tensor], Any], unpack: Callable[[Tensor, int], Any]) -> str:
    """Check ``pack(q)`` and ``unpack(packed, count)``: two integers of -8 … 7 in each byte."""
    odd = "An odd last number goes into a byte together with a zero: append one first."
    everything = torch.cartesian_prod(torch.arange(-8, 8), torch.arange(-8, 8)).flatten()
    for count in (2, 16, 7, 1, 512):
        q = (16 * uniform(count, seed=count) - 8).floor() if count < 512 else everything
        q = q.to(torch.int8)
        with explaining({"is invalid for input of size": odd, "must match the size": odd}):
            packed = run(pack, q)
        if not isinstance(packed, Tensor) or packed.dtype != torch.uint8:
            kind = packed.dtype if isinstance(packed, Tensor) else type(packed).__name__
            raise NotSolvedError(f"Packed bytes are a tensor of dtype torch.uint8, got {kind}.")
        if packed.shape != (-(-count // 2),):
            raise NotSolvedError(
                f"For {count} numbers I expected {-(-count // 2)} bytes, got shape "
                f"{tuple(packed.shape)}.{' ' + odd if count % 2 else ''}"
            )
        back = run(unpack, packed, count)
        for words, known in _unpacked(q).items():
            if any(same(back, wrong[:count]) and not same(q, wrong[:count]) for wrong in known):
                raise NotSolvedError(words)
        compare(back, q, f"{count} numbers, packed and unpacked,")
    return "Two weights in a byte, and every one of -8 … 7 comes back."


@exercise
def best_scale(function: Callable[[Tensor, int], Any]) -> str:
    """Check ``function(w, bits)``: the step of a symmetric quantiser with least squared error."""
    for bits, factor in ((8, 2), (4, 2), (3, 4)):
        w, top = normal(1000, seed=bits) / 5, 2 ** (bits - 1) - 1
        w[500] = largest = factor * w.abs().max().item()  # a large weight, and many small ones

        def error(scale: float, w: Tensor = w, top: int = top) -> float:
            return float(((w / scale).round().clamp(-top, top) * scale - w).square().mean())

        scale = number(run(function, w, bits), "The step")
        if scale <= 0:
            raise NotSolvedError(f"For {bits} bits the step is {scale:g}, expected one above 0.")
        best = min(error(n / 100 * largest / top) for n in range(1, 101))
        if error(scale) <= 1.01 * best:
            continue
        if abs(scale - largest / top) < 1e-6 * scale:
            raise NotSolvedError(
                f"For {bits} bits you return the step that reaches the largest weight. Try smaller "
                "ones as well: a few weights are clamped, and all others are rounded less."
            )
        if abs(scale - largest) < 1e-6 * scale:
            raise NotSolvedError(
                f"For {bits} bits the step is {scale:.3g}: that is the largest value. Divide "
                f"it by the number of steps up to it, 2**(bits - 1) - 1 = {top}."
            )
        raise NotSolvedError(
            f"For {bits} bits your step {scale:.3g} has a mean squared error of {error(scale):.3g};"
            f" there is one with {best:.3g}. Try a hundred fractions of max |w| / {top}, down to a "
            "fiftieth, and keep the one with the least error, clamping included."
        )
    return (
        "None of a hundred steps has an error that is a hundredth less: a large weight is let go."
    )


class _Recorder:
    """Stands in for an ONNX Runtime session, and keeps the pixels that it was given."""

    def __init__(self) -> None:
        self.pixels: list[np.ndarray[Any, Any]] = []
        self.logits: list[np.ndarray[Any, Any]] = []

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="pixels", type="tensor(float)", shape=["n", 1, 28, 28])]

    def get_outputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="logits", type="tensor(float)", shape=["n", 10])]

    def run(self, outputs: Any, feeds: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
        pixels = feeds["pixels"]
        if not isinstance(pixels, np.ndarray):
            raise TypeError(f"ONNX Runtime takes NumPy arrays, got {type(pixels).__name__}")
        self.pixels.append(pixels.copy())
        sums = pixels.reshape(len(pixels), -1).sum(1, keepdims=True)
        self.logits.append((sums * np.arange(10)).astype(np.float32))
        return self.logits[-1:]


def _normalised(x: Tensor) -> Tensor:
    return (x - 0.1307) / 0.3081


@exercise
def mended_service(function: Callable[[Any, Any], Any]) -> str:
    """Check ``function(session, pictures)``: logits for bytes ``(N, 28, 28)``, dark on white."""
    for count, low, high in ((3, 0, 255), (1, 0, 255), (4, 30, 220)):
        session = _Recorder()
        scans = (low + (high + 1 - low) * uniform(count, 28, 28)).byte()
        pictures = scans.numpy()
        answer = run(function, session, pictures)
        if not session.pixels:
            raise NotSolvedError(
                "The session was never asked: call session.run(None, {'pixels': …})[0]."
            )
        pixels = np.concatenate(session.pixels)
        if pixels.shape != (count, 1, 28, 28):
            raise NotSolvedError(
                f"For {count} pictures the network got pixels of shape {pixels.shape}, "
                f"expected ({count}, 1, 28, 28)."
            )
        if pixels.dtype != np.float32:
            raise NotSolvedError(f"The network got {pixels.dtype}, expected float32.")
        scan = scans[:, None].double() / 255
        mistakes = {
            "Two bugs are left: the network is shown dark ink on white, and the pixels are "
            "normalised although the network does that itself.": _normalised(scan),
            "Light and dark are right. The pixels are still normalised here, and the network "
            "normalises them again in its first layer.": _normalised(1 - scan),
            "Normalised once only, by the network: right. But it knows light ink on dark, and is "
            "shown dark ink on white.": scan,
            "Pixels go from 0 to 1, not to 255.": 255 - 255 * scan,
            "In bytes, white is 255, and not 1.": 1 - 255 * scan,
            "Bytes cannot be negative: 1 - pictures wraps round. Make floats first.": (
                torch.from_numpy((1 - pictures) / 255)[:, None]
            ),
        }
        what = f"{count} pictures, the pixels that reach the network:"
        compare(torch.from_numpy(pixels), 1 - scan, what, mistakes=mistakes, tolerance=1e-5)
        if getattr(answer, "shape", None) != (count, 10):
            raise NotSolvedError(
                f"Return the logits, ({count}, 10), got "
                f"{getattr(answer, 'shape', type(answer).__name__)}: session.run gives a list of "
                "outputs, of which the first is meant."
            )
        logits = torch.from_numpy(np.concatenate(session.logits))
        compare(answer, logits, f"{count} pictures, the logits:", typed=False)
    return "The network is shown what it learned from: light ink on dark, in [0, 1], once."

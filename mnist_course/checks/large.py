"""Checks of chapter 25, fine-tuning large models."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

from mnist_course.checks import NotSolvedError, compared, exercise, normal, run

__all__ = ["adapted", "adapter_size", "in_blocks", "two_kernels"]


def _adapted(scale: Callable[[float, int], float]) -> Callable[..., Tensor]:
    """The answer of the layer, with the change multiplied by this number."""
    return lambda x, w, a, b, alpha: x @ w.T + scale(alpha, len(a)) * (x @ a.T) @ b.T


@compared(
    cases={
        f"{N} examples, {inputs} → {outputs} numbers, rank {r} and alpha {alpha}": (
            normal(N, inputs, seed=N), normal(outputs, inputs, seed=1),
            normal(r, inputs, seed=2), normal(outputs, r, seed=3), alpha,
        )
        for N, inputs, outputs, r, alpha in (
            (1, 3, 2, 1, 1.0), (4, 5, 3, 2, 3.0), (3, 4, 6, 3, 1.5),
        )
    },
    mistakes={
        "The change is not divided by the rank: its factor is alpha / r.": (
            _adapted(lambda alpha, r: alpha)
        ),
        "Alpha is missing: the factor is alpha / r.": (
            _adapted(lambda alpha, r: 1.0), _adapted(lambda alpha, r: 1 / r),
        ),
        "The factor is turned over: it is alpha / r, not r / alpha.": (
            _adapted(lambda alpha, r: r / alpha)
        ),
        "The frozen layer is missing: add its answer.": (
            lambda x, w, a, b, alpha: alpha / len(a) * (x @ a.T) @ b.T
        ),
        "The change is missing: this is the frozen layer alone.": (
            lambda x, w, a, b, alpha: x @ w.T
        ),
        "You divide by the number of outputs. The rank is the number of rows of a.": (
            lambda x, w, a, b, alpha: x @ w.T + alpha / len(b) * (x @ a.T) @ b.T
        ),
    },
    right="The frozen layer, and a thin way beside it.",
)  # fmt: skip
def adapted(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """Check ``function(x, weight, a, b, alpha)``: what an adapted linear layer answers."""
    return _adapted(lambda alpha, r: alpha / r)(x, weight, a, b, alpha)


def _size(count: Callable[[int, int], int]) -> Callable[[list[tuple[int, ...]], int], int]:
    return lambda shapes, rank: sum(count(s[0], prod(s[1:])) * rank for s in shapes)


@compared(
    cases={
        f"shapes {shapes} and rank {rank}": (list(shapes), rank)
        for shapes, rank in (
            (((5, 3),), 1), (((4, 7), (2, 5)), 2), (((8, 3, 3, 3),), 2),
            (((96, 48, 3, 3), (10, 864)), 4),
        )
    },
    mistakes={
        "You count the kernels of a convolution with one number each; they have K · K.": (
            lambda shapes, rank: sum(rank * (s[0] + s[1]) for s in shapes)
        ),
        "This is the product of outputs and inputs: the size of the layers, not of the adapters.": (
            lambda shapes, rank: sum(prod(s) for s in shapes),
            lambda shapes, rank: sum(rank * prod(s) for s in shapes),
        ),
        "You count only one of the two matrices, a or b.": (
            _size(lambda o, i: o), _size(lambda o, i: i),
        ),
        "You count one layer only: add up all of them.": (
            lambda shapes, rank: _size(lambda o, i: o + i)(shapes[:1], rank),
            lambda shapes, rank: _size(lambda o, i: o + i)(shapes[-1:], rank),
        ),
        "The rank is missing.": lambda shapes, rank: _size(lambda o, i: o + i)(shapes, 1),
    },
    right="r (O + I K K) for each layer, added up.",
)  # fmt: skip
def adapter_size(shapes: list[tuple[int, ...]], rank: int) -> int:
    """Check ``function(shapes, rank)``: how many numbers adapters train."""
    return _size(lambda o, i: o + i)(shapes, rank)


def _rounded(w: Tensor, s: Tensor) -> Tensor:
    return s * (w / torch.where(s == 0, 1, s)).round()


def _blockwise(w: Tensor, block: int, top: float) -> Tensor:
    blocks = w.view(len(w), -1, block)
    s = blocks.abs().amax(2, keepdim=True) / top
    return _rounded(blocks, s).view_as(w)


def _top(bits: int) -> int:
    return int(2 ** (bits - 1)) - 1


def _with_zeros(rows: int, columns: int, block: int) -> Tensor:
    w = normal(rows, columns, seed=rows)
    w[-1, :block] = 0
    return w


@compared(
    cases={
        f"weights of {rows} × {columns}, blocks of {block}, {bits} bits": (
            _with_zeros(rows, columns, block) if zeros else normal(rows, columns, seed=rows),
            block, bits,
        )
        for rows, columns, block, bits, zeros in (
            (4, 6, 2, 3, False), (2, 4, 4, 4, False), (3, 8, 4, 4, False), (5, 12, 3, 8, True),
        )
    },
    mistakes={
        "One step for each row: give each block its own.": (
            lambda w, block, bits: _rounded(w, w.abs().amax(1, keepdim=True) / _top(bits))
        ),
        "One step for the whole matrix: give each block its own.": (
            lambda w, block, bits: _rounded(w, w.abs().max() / _top(bits))
        ),
        "The blocks run down a column: they are neighbours in a row.": (
            lambda w, block, bits: (
                _blockwise(w.T.contiguous(), block, _top(bits)).T if len(w) % block == 0
                else w.new_full((1,), torch.nan)
            )
        ),
        "These are the whole numbers; multiply them by the step again.": (
            lambda w, block, bits: (
                w.view(len(w), -1, block)
                / (w.view(len(w), -1, block).abs().amax(2, keepdim=True) / _top(bits)).clamp(1e-12)
            ).round().view_as(w)
        ),
        "The largest whole number is 2 ** (bits - 1) - 1: the grid is symmetric.": (
            lambda w, block, bits: _blockwise(w, block, 2 ** (bits - 1)),
            lambda w, block, bits: _blockwise(w, block, 2**bits - 1),
            lambda w, block, bits: _blockwise(w, block, 2**bits),
        ),
    },
    right="A step for each block, and zeros stay zeros.",
    not_finite="A block of zeros has the step 0, and 0 / 0 is not a number.",
)  # fmt: skip
def in_blocks(w: Tensor, block: int, bits: int) -> Tensor:
    """Check ``function(w, block, bits)``: weights (O, I) rounded with a step for each block."""
    return _blockwise(w, block, _top(bits))


_ROUNDED = "somewhere float64 became float32. Keep the type of a and b"
_MISPLACED = (
    "not all numbers of a are in their places. A row of a is one kernel, in the order channel, "
    "row, column: a.view(-1, in_channels, kernel_size, kernel_size)"
)
_OTHER = "the first does with the input what a does, the second with the result what b does"


@exercise
def two_kernels(function: Callable[[Tensor, Tensor, int, int], Any]) -> str:
    """Check ``function(b, a, in_channels, kernel_size)``: the change as two convolutions."""
    for rank, C, out, K in ((1, 1, 2, 3), (2, 3, 5, 3), (3, 3, 3, 5), (2, 4, 3, 1)):
        a, b = normal(rank, C * K * K), normal(out, rank, seed=1)
        case = f"rank {rank}, {C} → {out} channels and {K}×{K} kernels"
        answer = run(function, b, a, C, K)
        if not isinstance(answer, (tuple, list)) or not [*map(type, answer)] == [Tensor, Tensor]:
            raise NotSolvedError(
                "Return two tensors: the kernels of the first and of the second layer."
            )
        first, second = (kernel.detach().double() for kernel in answer)
        shapes, wanted = [tuple(k.shape) for k in answer], [(rank, C, K, K), (out, rank, 1, 1)]
        if shapes == wanted[::-1] and shapes != wanted:
            raise NotSolvedError(
                "These are the right kernels in the wrong order: a sees the input first."
            )
        if shapes != wanted:
            raise NotSolvedError(
                f"For {case} the two shapes are {shapes[0]} and {shapes[1]}, "
                f"expected {wanted[0]} and {wanted[1]}."
            )
        together = torch.tensordot(second[..., 0, 0], first, 1)
        difference = (together - (b @ a).view_as(together)).abs().max().item()
        if not difference <= 1e-9:
            moved = not first.flatten().equal(a.flatten()) and (
                first.flatten().sort().values.equal(a.flatten().sort().values)
            )
            raise NotSolvedError(
                f"For {case} the shapes are right, but the two layers together are not the "
                f"convolution with b @ a, by up to {difference:.2g} in a weight: "
                f"{_ROUNDED if difference < 1e-5 else _MISPLACED if moved else _OTHER}."
            )
    return "A thin convolution and one of 1×1 do what the whole change does."

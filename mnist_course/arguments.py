"""Numbers and arrays as people pass them, converted to what the package computes with.

A learning rate may come from NumPy, a seed from a tensor, labels from a column of pandas. Each is
converted to one plain type where a function takes it, or refused with a message that names its
type.
"""

from __future__ import annotations

import inspect
import math
import numbers
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from torch import Tensor

_WIDE = (torch.uint16, torch.uint32, torch.uint64)  # PyTorch computes little with these
_MOST = sys.maxsize  # of anything that PyTorch counts


def kind_of(value: Any) -> str:
    """What a message calls a value: its type, and its dtype and shape where it has them."""
    name = type(value).__name__
    if isinstance(value, Tensor) and value.is_nested:  # it has no shape
        return f"nested {name} of {value.dtype}"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{name} of {value.dtype} {tuple(value.shape)}"
    return f"{name} of length {len(value)}" if isinstance(value, (list, tuple)) else name


def real(value: Any, name: str) -> int | float:
    """A Python number, from one of Python or NumPy, or from a tensor with one element.

    Args:
        value: what was passed.
        name: what the message calls it.

    Raises:
        TypeError: if it is not a real number; a truth value and a text are not.
        ValueError: if it is not finite.
    """
    plain = _plain(value, name)
    if not math.isfinite(plain):
        raise ValueError(f"{name} must be finite, got {plain}")
    return plain


def positive(value: Any, name: str) -> int | float:
    """Like :func:`real`, for a number above 0.

    Raises:
        TypeError: if it is not a real number.
        ValueError: if it is not finite, or not above 0.
    """
    plain = _plain(value, name)
    if not 0 < plain < math.inf:
        raise ValueError(f"{name} must be positive, and finite, got {plain}")
    return plain


def _plain(value: Any, name: str) -> int | float:
    plain = value
    if hasattr(value, "item"):
        with suppress(RuntimeError, ValueError):  # more than one number, or none
            plain = value.item()
    # NumPy counts durations among the whole numbers, and what is masked as 0.
    no_number = isinstance(plain, bool) or _is_time(value) or np.ma.is_masked(value)
    if no_number or not isinstance(plain, (numbers.Real, Decimal)):
        raise TypeError(f"{name} must be a number, got {kind_of(value)}")
    try:
        number = float(plain)
    except (OverflowError, ValueError):  # Decimal has a nan that is no float
        raise ValueError(f"{name} must be finite, and not beyond 1e308") from None
    return int(plain) if isinstance(plain, numbers.Integral) else number


def _is_time(value: Any) -> bool:
    return getattr(getattr(value, "dtype", None), "kind", "") in ("m", "M")


def whole(value: Any, name: str, least: int | None = None, most: int = _MOST) -> int:
    """A Python int, from any whole number: 64, 64.0, NumPy's or a tensor's.

    Args:
        value: what was passed.
        name: what the message calls it.
        least: the smallest that is allowed.
        most: the largest that is allowed.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not whole, not finite, too small or too large.
    """
    plain = real(value, name)
    if plain != int(plain):
        raise ValueError(f"{name} must be a whole number, got {plain}")
    if least is not None and plain < least:
        raise ValueError(f"{name} must be at least {least}, got {int(plain)}")
    if plain > most:
        raise ValueError(f"{name} must be at most {most}, got {int(plain)}")
    return int(plain)


def several(values: Any, name: str) -> list[Any]:
    """The numbers in a list, a tuple, an array or a tensor.

    Raises:
        TypeError: if it is none of these.
    """
    if isinstance(values, (Tensor, np.ndarray)) and values.ndim == 1:
        return list(values)
    if isinstance(values, (list, tuple, range)):
        return list(values)
    raise TypeError(f"{name} must be several numbers, like (8, 16), got {kind_of(values)}")


def takes(function: Any, count: int) -> bool:
    """Whether a function can be called with so many arguments, as far as that is known."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # some that are written in C do not say
        return True
    return True


def one_of(value: Any, choices: Iterable[str]) -> bool:
    """Whether a value is one of these texts; what is no text is none of them."""
    return isinstance(value, str) and value in choices


def seed_of(value: Any) -> int:
    """A seed that PyTorch's generators take.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not whole, or needs more than 64 bits.
    """
    seed = whole(value, "seed", most=sys.maxsize**2)
    if not -(2**63) <= seed < 2**64:
        raise ValueError(f"seed must be from -2**63 to 2**64 - 1, got {seed}")
    return seed


def tensor(values: Any, name: str) -> Tensor:
    """Numbers as a tensor, from NumPy, pandas, lists, or a grey picture of Pillow.

    Args:
        values: what was passed; a plain tensor comes back as it is, and an array of NumPy shares
            its memory with the tensor if it may be written to.
        name: what the message calls it.

    Returns:
        The tensor, in the dtype of the numbers; a picture of Pillow is uint8 ``(1, H, W)``.

    Raises:
        TypeError: if these are not numbers.
    """
    if isinstance(values, Tensor):
        return _plain_tensor(values, name)
    picture = type(values).__module__.startswith("PIL.")
    if picture and values.mode != "L":
        raise TypeError(
            f"expected {name} in grey, got a Pillow image of mode {values.mode!r}; "
            'use image.convert("L")'
        )
    try:
        array = np.asarray(values)
    except Exception as error:  # whatever the object raises when it is asked for its numbers
        raise TypeError(f"expected {name} as a tensor, got {kind_of(values)}") from error
    if np.ma.is_masked(values):
        raise TypeError(
            f"expected {name} as numbers, got {kind_of(values)}, of which some are masked; "
            "leave these out, or fill them with .filled(0)"
        )
    if array.dtype.kind not in "biuf":
        advice = "make an array of numbers of them"
        if array.ndim and array.dtype.kind in "OSTU":
            advice = "texts that hold numbers become numbers with .astype(int)"
        elif isinstance(values, Iterator):
            advice = "collect them in a list first"
        raise TypeError(f"expected {name} as numbers, got {kind_of(values)}; {advice}")
    if array.dtype.kind == "f" and array.itemsize > 8:  # wider than what PyTorch has
        array = array.astype(np.float64)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    result = tensor(torch.from_numpy(np.require(array, requirements=["C", "W"])), name)
    return result[None] if picture else result


def _plain_tensor(values: Tensor, name: str) -> Tensor:
    """The same numbers in a dtype and a layout in which PyTorch can compare them."""
    advice = ""
    if values.is_complex():
        raise TypeError(f"expected {name} as real numbers, got {kind_of(values)}")
    if values.is_meta:
        advice = "it is on the device 'meta' and holds no numbers"
    elif values.is_nested:
        advice = "torch.stack makes one tensor of many"
    elif values.is_quantized:
        advice = "use .dequantize()"
    if advice:
        raise TypeError(f"expected {name} as a plain tensor, got {kind_of(values)}; {advice}")
    if values.layout != torch.strided:
        values = values.to_dense()
    if values.dtype in _WIDE:
        return values.long()
    return values.float() if values.is_floating_point() and values.itemsize == 1 else values

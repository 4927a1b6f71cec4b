"""The helper package of the course: digits as tensors, networks, one training loop, a drawing pad.

Everything is imported when it is first used, so that ``import mnist_course`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# What the chapters import from the package itself, and where it lives.
_HOMES = {"glue": "gluing", "DigitPad": "digitpad"}

__all__ = [*_HOMES, "__version__"]

if TYPE_CHECKING:
    from mnist_course.digitpad import DigitPad as DigitPad
    from mnist_course.gluing import glue as glue


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Numbers that the text quotes.

A chapter never types a result. The cell that computed it glues it::

    glue(mean=f"{pixels.mean():.4f}")

which prints ``mean = 0.1307`` under the cell, and the text quotes it with the role ``glue:text``.
When the chapter is turned into a notebook, the role is replaced by the value (see
``tools/chapters.py``), so that the sentence reads well in JupyterLab, in the book and on paper.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

ROLE = re.compile(r"\{glue:text\}`([A-Za-z_]\w*)`")


class _Glued:
    """Shows glued values as lines of text, and carries them in the output's metadata."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = dict(values)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        lines = "\n".join(f"{name} = {text}" for name, text in self.values.items())
        return {"text/plain": lines}, {"glue": self.values}


def glue(**values: str) -> None:
    """Print ``name = text`` for each value, and keep it for the text of the chapter.

    Args:
        values: the texts to quote, already formatted, by name: ``glue(error=f"{error:.1e}")``.

    Raises:
        TypeError: if a value is not a string; format it, so that cell and text agree.
    """
    for name, text in values.items():
        if not isinstance(text, str):
            raise TypeError(
                f"glue({name}=…) expects a formatted string, got {type(text).__name__}; "
                f'write glue({name}=f"{{value:.2f}}") with the digits that the text should show'
            )
    from IPython.display import display

    display(_Glued(values))


def glued_values(cells: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """All glued values in the outputs of a notebook's cells, by name.

    Raises:
        ValueError: if a name was glued twice with different texts.
    """
    values: dict[str, str] = {}
    for cell in cells:
        for output in cell.get("outputs", []):
            for name, text in output.get("metadata", {}).get("glue", {}).items():
                if values.setdefault(name, text) != text:
                    raise ValueError(f"{name} is glued twice, as {values[name]!r} and {text!r}")
    return values

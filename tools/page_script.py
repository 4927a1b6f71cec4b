"""Write ``course.js``: the interactive figures as one classic script, for pages without a server.

Browsers load no modules from ``file://``, so every module of ``mnist_course/static`` is put into a
function scope of its own. When the page has loaded, each element with ``data-figure="<module>"``
gets its figure, with the options in ``data-options``, in place of the picture inside it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from mnist_course.figures import STATIC, link, read_module

HEAD = '// Generated from mnist_course/static by tools/page_script.py.\n(() => {\n"use strict";\n'

START = """
function start() {
  for (const place of document.querySelectorAll("[data-figure]")) {
    const picture = [...place.childNodes];
    try {
      mounts[place.dataset.figure](place, JSON.parse(place.dataset.options || "{}"));
    } catch (error) {
      place.replaceChildren(...picture);
      console.error(`figure ${place.dataset.figure}:`, error);
    }
  }
}
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
})();
"""


def script(folder: Path = STATIC) -> str:
    """The text of ``course.js``, in ASCII, so the encoding of a page cannot spoil it."""
    names = sorted(path.stem for path in folder.glob("*.js"))
    figures = [name for name in names if "mount" in read_module(name, folder).exports]
    mounts = ", ".join(f'"{name}": modules["{name}"].mount' for name in figures)
    return _ascii(f"{HEAD}{link(figures, folder)}const mounts = {{ {mounts} }};\n{START}")


def _ascii(text: str) -> str:
    """Escape what is not ASCII, as JavaScript strings and templates read it."""
    units = re.compile(r"[^\x00-\x7f]")
    return units.sub(lambda match: json.dumps(match[0])[1:-1], text)


def write(outdir: Path) -> Path:
    """Write ``course.js`` into a folder, which is made if need be, and return its path."""
    outdir.mkdir(parents=True, exist_ok=True)
    path = outdir / "course.js"
    path.write_text(script(), encoding="ascii")
    return path

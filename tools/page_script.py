"""Write ``course.js``: the interactive figures as a classic script, for pages without a server.

Browsers load no modules from ``file://``, so every module of ``mnist_course/static`` is put into a
function scope of its own. When the page has loaded, each element with ``data-figure="<module>"``
gets its figure, with the options in ``data-options``, in place of the picture inside it. Figures
of one chapter, and the one that trains, have scripts of their own (:data:`APART`).
The questions of a page, which are no figure, have ``course-quiz.js``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from mnist_course.figures import STATIC, link, read_module

HEAD = '// Generated from mnist_course/static by tools/page_script.py.\n(() => {\n"use strict";\n'

START = """
function start() {
  for (const place of document.querySelectorAll(places)) {
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


APART = {
    "course-train": "train-here",
    "course-output-size": "output-size",
    "course-receptive-field": "receptive-field",
    "course-graph": "graph",
    "course-pooling": "pooling",
    "course-logits": "logits",
    "course-valley": "valley",
}
"""Scripts with one figure each, which most pages do without."""


def script(name: str = "course", folder: Path = STATIC) -> str:
    """The text of ``<name>.js``, in ASCII, so the encoding of a page cannot spoil it.

    Args:
        name: ``"course"`` for all figures but those in :data:`APART`, or one of these.
        folder: where the modules are.
    """
    names = sorted(path.stem for path in folder.glob("*.js"))
    figures = [each for each in names if "mount" in read_module(each, folder).exports]
    if name in APART:
        chosen = [APART[name]]
        places = f'[data-figure="{APART[name]}"]'
    else:
        chosen = [each for each in figures if each not in APART.values()]
        others = "".join(f':not([data-figure="{each}"])' for each in APART.values())
        places = f"[data-figure]{others}"
    mounts = ", ".join(f'"{each}": modules["{each}"].mount' for each in chosen)
    return _ascii(
        f"{HEAD}{link(chosen, folder)}const mounts = {{ {mounts} }};\n"
        f"const places = {json.dumps(places)};\n{START}"
    )


QUIZ = """
const begin = () => modules["quiz"].start(document);
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
else begin();
})();
"""


def quiz_script() -> str:
    """The text of ``course-quiz.js``, in ASCII."""
    return _ascii(f"{HEAD}{link(['quiz'], STATIC)}{QUIZ}")


def _ascii(text: str) -> str:
    """Escape what is not ASCII, as JavaScript strings and templates read it."""
    units = re.compile(r"[^\x00-\x7f]")
    return units.sub(lambda match: json.dumps(match[0])[1:-1], text)


def write(outdir: Path) -> Path:
    """Write the scripts into a folder, which is made if need be; return where ``course.js`` is."""
    outdir.mkdir(parents=True, exist_ok=True)
    for name in ("course", *APART):
        (outdir / f"{name}.js").write_text(script(name), encoding="ascii")
    (outdir / "course-quiz.js").write_text(quiz_script(), encoding="ascii")
    return outdir / "course.js"

"""What folds on a page, and what it is called: solutions, drawing code, exercises. Part of
:mod:`tools.pages`.

A page cannot run code, so an exercise on it does not say what its check said of an answer that
nobody wrote: in its place stands where the exercise can be done. Its solution is folded with
all that it prints.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from mnist_course.checks import Verdict

ROLES = {
    r"(A )?[Ss]olution\b": "Solution",
    r"Drawing code\b": "Drawing code",
    r"Set-up\b": "Set-up",
    r"The sick code\b": "The sick code",
    r"The cure\b": "The cure",
    r"Going further\b": "Going further",
    r"By hand\b": "By hand",
}
"""What a fold is called, by how the first line of its cell goes on after the ``#``."""

SPOILERS = ("Solution", "The cure", "Going further")
"""Folds that hold what their cells print, too."""

_VERDICT = re.compile(r"(✓ Right\.|✗ Not yet\.) (.*)")
_EXERCISE = re.compile(r"(?:\S+ · )?Exercise \d+\.\d+")


def role(code: str) -> str:
    """What a fold is, by the first line of its code; empty if that does not say it."""
    first = code.lstrip().partition("\n")[0]
    return next((name for line, name in ROLES.items() if re.match(f"# {line}", first)), "")


def boxed(text: str) -> tuple[str, str]:
    """The verdicts that a text begins with, as boxes in HTML, and the rest of the text."""
    boxes, lines = [], text.splitlines()
    while lines and (match := _VERDICT.fullmatch(lines[0])):
        boxes.append(Verdict(match[1].startswith("✓"), match[2])._repr_html_())
        lines.pop(0)
    return "".join(boxes), "\n".join(lines)


def places(repository: dict[str, Any], page: str) -> list[tuple[str, str]]:
    """Where a chapter can be run without installing anything: name and address.

    Args:
        repository: what the theme knows of the project: ``repository_url``, and in
            ``launch_buttons`` the addresses of Colab and Binder. Without it there is no place.
        page: ``notebooks/08-pooling``.
    """
    match = re.fullmatch(
        r"https://github\.com/([^/]+/[^/]+?)(?:\.git)?/?", repository.get("repository_url") or ""
    )
    if not match:
        return []
    branch = repository.get("repository_branch") or "main"
    buttons = repository.get("launch_buttons") or {}
    found = []
    if colab := buttons.get("colab_url"):
        found.append(("Colab", f"{colab}/github/{match[1]}/blob/{branch}/{page}.ipynb"))
    if binder := buttons.get("binderhub_url"):
        tree = f"{binder}/v2/gh/{match[1]}/{branch}?urlpath=lab/tree/{page}.ipynb"
        found.append(("Binder", tree))
    return found


class NameFolds(SphinxPostTransform):
    """Give each fold the name of its role, and the page's cell a class for its colour."""

    default_priority = 150  # outputs are chosen, and MyST-NB makes the folds at 199

    def run(self, **kwargs: Any) -> None:
        """Name the folds of a page; then put its exercises in order."""
        for cell in self.document.findall(_is_cell):
            if mode := cell.get("hide_mode"):
                self.name(cell, mode)
        for section in list(self.document.findall(nodes.section)):
            title = next(iter(section.findall(nodes.title)), None)
            if title is not None and _EXERCISE.match(title.astext()):
                self.refer(section)
        for output in list(self.document.findall(nodes.literal_block)):
            if isinstance(output.parent, nodes.container) and not _is_source(output.parent):
                _box(output)

    def name(self, cell: nodes.container, mode: str) -> None:
        """Name the fold of a cell."""
        if mode == "output":
            cell["prompt_show"], cell["prompt_hide"] = "Show the output", "Hide the output"
            return
        source = next((part for part in cell.children if _is_source(part)), None)
        if source is None or not (name := role(source.astext())):
            return
        cell["prompt_show"] = cell["prompt_hide"] = name
        cell["classes"].append(f"fold-{name.lower().replace(' ', '-')}")
        if name in SPOILERS:
            cell["hide_mode"] = "all"

    def refer(self, exercise: nodes.section) -> None:
        """Drop what the checks said of the stubs, and say where the exercise can be done."""
        last = None
        for cell in exercise.findall(_is_cell):
            output = cell.children[-1]
            if cell.get("hide_mode") in ("all", "input") or _is_source(output):
                continue
            if "✗ Not yet." in output.astext():
                cell.remove(output)
                cell.attributes.pop("hide_mode", None)
                last = cell
        if last is not None:
            last.parent.insert(last.parent.index(last) + 1, self.line())

    def line(self) -> nodes.paragraph:
        """Where the exercises of this page can be done."""
        page = str(PurePosixPath(self.env.docname))
        said = nodes.paragraph("", "Do it: ", nodes.literal("", "make lab"), classes=["do-it"])
        for name, address in places(self.config.html_theme_options, page):
            said += [nodes.Text(" · "), nodes.reference("", name, refuri=address)]
        return said


def _is_cell(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def _is_source(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code_source"


def _box(output: nodes.literal_block) -> None:
    """Show the verdicts that an output begins with as the boxes that they are in JupyterLab."""
    boxes, rest = boxed(output.astext())
    if not boxes:
        return
    found: list[nodes.Node] = [
        nodes.container("", nodes.raw("", boxes, format="html"), classes=["output", "text_html"])
    ]
    if rest:
        output.children, output.rawsource = [nodes.Text(rest)], rest
        found.append(output.deepcopy())
    output.replace_self(found)


def setup(app: Sphinx) -> None:
    """Register this with Sphinx."""
    app.add_post_transform(NameFolds)

"""The questions of a quiz on the pages. Part of :mod:`tools.pages`.

A choice is a drop-down that answers when it is opened, with or without a script; what the script
``course-quiz.js`` adds is a memory. Every question has an address, and the search finds it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx_design.dropdown import DropdownDirective, dropdown_main

from tools import tasks


class Dropdown(DropdownDirective):
    """A drop-down that takes ``:class:``, as it does in JupyterLab."""

    option_spec = DropdownDirective.option_spec | {"class": directives.class_option}

    def run_with_defaults(self) -> list[nodes.Node]:
        """The drop-down, with these classes on the outside."""
        mine = self.options.get("class", [])
        self.options["class-container"] = [*self.options.get("class-container", []), *mine]
        return super().run_with_defaults()


def asked(box: nodes.admonition) -> str:
    """Title and text of a question, in at most 100 characters: what the search shows."""
    title = "".join(part.astext() for part in box[0] if not isinstance(part, nodes.raw))
    text = next(box.findall(nodes.paragraph), nodes.paragraph()).astext()
    return textwrap.shorten(f"{title}: {text}", 100, placeholder=" …")


class QuestionTitle(nodes.title):
    """The title of a question, which the search index reads together with the question."""

    def astext(self) -> str:
        """What is asked."""
        return asked(self.parent)


class AddressQuestions(SphinxPostTransform):
    """Give each question a link to itself."""

    default_priority = 150

    def run(self, **kwargs: Any) -> None:
        """Add the links of a page."""
        for box in self.document.findall(nodes.admonition):
            title = box.children[0]
            if "question" not in box["classes"] or not box["ids"]:
                continue
            link = f'<a class="headerlink" href="#{box["ids"][0]}" title="Link to it">#</a>'
            new = QuestionTitle("", "", *title.children)
            new += nodes.raw("", link, format="html")
            box.replace(title, new)


class PlainChoices(SphinxPostTransform):
    """Take the look of drop-downs from the choices: they have one of their own."""

    default_priority = 200  # sphinx-design makes the drop-downs at 199
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Leave each choice its text and its reply."""
        for choice in self.document.findall(dropdown_main):
            if "choice" in choice["classes"]:
                summary, reply = choice.children
                choice["classes"] = [name for name in choice["classes"] if "sd-" not in name]
                summary["classes"], reply["classes"] = [], ["choice-reply"]
                text = summary.children[0]
                text["classes"] = ["choice-text"]
                summary.children = [text]


def progress(chapters: Sequence[Path]) -> list[nodes.Node]:
    """A place where the page says how many questions of these chapters have been answered."""
    names = " ".join(tasks.ids(chapters))
    text = f'<span class="quiz-progress" data-questions="{names}"></span>'
    return [nodes.raw("", text, format="html")] if names else []


def setup(app: Sphinx) -> None:
    """Register this with Sphinx."""
    app.add_directive("dropdown", Dropdown, override=True)
    app.add_post_transform(AddressQuestions)
    app.add_post_transform(PlainChoices)

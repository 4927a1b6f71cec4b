"""Citations, references and links read as words where no Sphinx resolves them."""

import re
from pathlib import Path

import nbformat
import pytest

from tools import chapters, words

BIBLIOGRAPHY = r"""
@article{one, author = {Fukushima, Kunihiko}, title = {N}, year = {1980}, url = {https://a.b/c}}
@misc{two, author = {de Vries, Ada and B{\'e}ton, {\O}le}, title = {T},
  year = {2016}, eprint = {1603.07285}}
@book{three, author = {A, B and C, D and E, F}, title = {T}, year = {2000}}
"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    (tmp_path / "references.bib").write_text(BIBLIOGRAPHY, encoding="utf-8")
    (tmp_path / "04-here.md").write_text("# Here\n\n(sec-own)=\n## My own\n", encoding="utf-8")
    other = "# There & back\n\n```python\n# no heading\n```\n\n(sec-far)=\n## Why 3 × 3?\n"
    (tmp_path / "12-there.md").write_text(other, encoding="utf-8")
    (tmp_path / "page.md").write_text("# A page\n", encoding="utf-8")
    return tmp_path / "04-here.md"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{cite:p}`one`", "([Fukushima, 1980](https://a.b/c))"),
        ("{cite:t}`two`", "[de Vries and Béton (2016)](https://arxiv.org/abs/1603.07285)"),
        ("{cite:p}`three, one`", "(A et al., 2000; [Fukushima, 1980](https://a.b/c))"),
        ("{ref}`sec-own`", "[My own](#sec-own)"),
        ("{ref}`below <sec-own>`", "[below](#sec-own)"),
        ("{ref}`sec-far`", "[Why 3 × 3?](12-there.ipynb#Why-3-%C3%97-3%3F)"),
        ("[](12-there.ipynb)", "[12 · There & back](12-there.ipynb)"),
        ("[](../book/page.md)", "*A page*"),
        ("[words](12-there.ipynb) and `x[0](y)`", "[words](12-there.ipynb) and `x[0](y)`"),
    ],
)
def test_roles_become_words(book: Path, text: str, said: str) -> None:
    assert words.in_words(f"See {text}.", book) == f"See {said}."


@pytest.mark.parametrize("source", chapters.sources(), ids=lambda source: source.stem)
def test_no_notebook_shows_a_role_or_a_link_without_words(source: Path) -> None:
    notebook = nbformat.read(chapters.notebook_path(source), as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert re.findall(r"\{[a-z]+(?::[a-z]+)?\}`[^`]*`|(?<!\w)\[\]\([^)]*\)", text) == []
    for file in re.findall(r"\]\(([\w-]+\.ipynb)", text):
        assert (chapters.NOTEBOOKS / file).exists()

"""Each notebook is what its text says, and the pipeline that makes it so catches what it must."""

import copy
from pathlib import Path

import nbformat
import pytest

from mnist_course.gluing import glued_values
from tools import chapters, colab

HEADER = """---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {display_name: Python 3, language: python, name: python3}
---
# A chapter
"""
TEXT = HEADER + (
    "\nTwo and two are {glue:text}`sum`.\n\n"
    "```{code-cell} python\nfrom mnist_course import glue\n\nglue(sum=f'{2 + 2}')\n```\n\n"
    "```{code-cell} python\n:tolerance: 0.5\n\nprint('done')\n```\n"
)


@pytest.mark.parametrize("source", chapters.sources(), ids=lambda source: source.stem)
def test_the_notebook_is_what_the_text_says(source: Path) -> None:
    assert list(chapters.problems(source)) == []


def test_no_notebook_is_without_text() -> None:
    assert list(chapters.orphans()) == []


def test_the_table_of_contents_names_every_chapter() -> None:
    contents = (chapters.ROOT / "_toc.yml").read_text(encoding="utf-8")
    missing = [s.stem for s in chapters.sources() if f"notebooks/{s.stem}" not in contents]
    assert not missing


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nbformat.NotebookNode]:
    """A small chapter that was run once, in a house of its own."""
    house = tmp_path_factory.mktemp("house")
    with pytest.MonkeyPatch.context() as patch:
        settle(patch, house)
        source = house / "book" / "01-small.md"
        source.write_text(TEXT, encoding="utf-8")
        chapters.run(source)
        notebook = nbformat.read(chapters.notebook_path(source), as_version=4)
    return house, notebook


def settle(patch: pytest.MonkeyPatch, house: Path) -> None:
    for name in ("book", "notebooks"):
        (house / name).mkdir(exist_ok=True)
    patch.setattr(chapters, "BOOK", house / "book")
    patch.setattr(chapters, "NOTEBOOKS", house / "notebooks")


@pytest.fixture
def pair(executed, tmp_path, monkeypatch) -> tuple:
    """The text of the small chapter, a copy of its notebook, and a way to write that copy back."""
    settle(monkeypatch, tmp_path)
    source = tmp_path / "book" / "01-small.md"
    source.write_text(TEXT, encoding="utf-8")
    notebook = copy.deepcopy(executed[1])

    def found(changed: nbformat.NotebookNode) -> str:
        nbformat.write(changed, chapters.notebook_path(source))
        return "\n".join(chapters.problems(source))

    return source, notebook, found


def test_a_fresh_pair_has_no_problem(pair) -> None:
    _, notebook, found = pair
    assert found(notebook) == ""
    assert "Two and two are 4." in notebook.cells[0].source
    assert glued_values(notebook.cells) == {"sum": "4"}


def test_before_the_first_code_stands_the_cell_for_colab(pair) -> None:
    source, notebook, found = pair
    assert [cell.source for cell in notebook.cells[:2]] == [
        "# A chapter\n\nTwo and two are 4.", colab.cell().source
    ]  # fmt: skip
    assert notebook.cells[1].metadata["tags"] == ["remove-cell"]
    assert notebook.cells[1].metadata["jupyter"]["source_hidden"]
    assert notebook.cells[1].outputs == []
    source.write_text(HEADER, encoding="utf-8")
    assert [cell.cell_type for cell in chapters.read(source).cells] == ["markdown"]
    source.write_text(TEXT, encoding="utf-8")
    del notebook.cells[1]
    assert "differs from 01-small.md" in found(notebook)


def test_running_again_writes_the_same_bytes(pair) -> None:
    source, notebook, found = pair
    found(notebook)
    before = chapters.notebook_path(source).read_bytes()
    chapters.run(source)
    assert chapters.notebook_path(source).read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda nb: nb.cells[2].update(source="glue(sum='5')"), "differs from 01-small.md"),
        (lambda nb: nb.cells[0].update(source="# A chapter\n\nTwo and two are 5."), "differs"),
        (lambda nb: nb.cells[3].metadata.update(tolerance=50.0), "differs"),
        (lambda nb: nb.cells.pop(), "differs"),
        (lambda nb: nb.cells[3].update(execution_count=7), "not run from top to bottom"),
        (lambda nb: nb.cells[3].update(execution_count=None), "not run from top to bottom"),
        (lambda nb: nb.cells[2].update(outputs=[]), "which no cell glues"),
        (
            lambda nb: nb.cells[3].update(
                outputs=[nbformat.v4.new_output("error", ename="ValueError", evalue="")]
            ),
            "ends in an error: ValueError",
        ),
        (
            lambda nb: nb.cells[3].outputs[0].update(text="<object at 0x7f3a12cd>"),
            "shows an address",
        ),
        (
            lambda nb: nb.cells[3].outputs[0].update(text="saved /home/" + "ada/x.pt"),
            "shows a path",
        ),
        (
            lambda nb: nb.cells[3].outputs.append(
                nbformat.v4.new_output("display_data", data={chapters.LIVE_WIDGET: {}})
            ),
            "holds a live widget",
        ),
    ],
)
def test_the_check_names_the_damage(pair, damage, message) -> None:
    _, notebook, found = pair
    damage(notebook)
    assert message in found(notebook)


def test_a_missing_notebook_and_an_orphan_are_found(pair) -> None:
    source, notebook, _ = pair
    assert "missing; run: python -m tools.chapters run 01-small" in next(chapters.problems(source))
    nbformat.write(notebook, chapters.NOTEBOOKS / "99-nobody.ipynb")
    assert list(chapters.orphans()) == [
        "99-nobody.ipynb: has no text in book/; write one, or delete the notebook"
    ]


def test_no_notebook_is_written_from_the_stand_in(pair, capsys, monkeypatch) -> None:
    monkeypatch.setenv("MNIST_COURSE_DATA", "stand-in")
    assert chapters.main(["run", "01"]) == 1
    assert "show real MNIST" in capsys.readouterr().out


@pytest.mark.mnist
def test_a_chapter_that_fails_leaves_its_notebook_as_it_was(pair, capsys) -> None:
    source, notebook, found = pair
    found(notebook)
    before = chapters.notebook_path(source).read_bytes()
    source.write_text(HEADER + "\n```{code-cell} python\n1 / 0\n```\n", encoding="utf-8")
    assert chapters.main(["run", "01"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert chapters.notebook_path(source).read_bytes() == before
    assert not list(chapters.NOTEBOOKS.glob("*.part"))


def test_an_unknown_chapter_names_the_known_ones(pair) -> None:
    with pytest.raises(SystemExit, match=r"no chapter '77'; the chapters are: 01-small"):
        chapters.sources(["77"])


SPLIT = {
    "print(2)\n\nglue(two='2')": ["print(2)", "glue(two='2')"],
    "plots.show(f, alt='a')\nglue(\n    a='1',\n)\nglue(b='2')": [
        "plots.show(f, alt='a')",
        "glue(\n    a='1',\n)\nglue(b='2')",
    ],
    "for n in r:\n    print(n)\nglue(a='1')": ["for n in r:\n    print(n)", "glue(a='1')"],
    "two = 1 + 1\nglue(two='2')": None,  # otherwise it would show nothing
    "print(1)\nglue(a='1')\nprint(2)": None,  # what shows comes in this order
    "print(1)\ntwo + two\nglue(a='1')": None,  # it would show its value
    "print(1)\nif n:\n    glue(a='1')": None,
    "glue(a='1')": None,
}


@pytest.mark.parametrize(("code", "parts"), SPLIT.items())
def test_what_a_cell_glues_beside_what_it_shows_is_out_of_sight(code, parts) -> None:
    cell = nbformat.v4.new_code_cell(code, metadata={"tolerance": 2.0, "tags": ["a"]})
    found = list(chapters.without_glue(cell))
    found_code = [each.source.removeprefix("# Numbers for the text\n") for each in found]
    assert found_code == (parts or [code])
    assert {each.metadata.tolerance for each in found} == {2.0}
    tags = [each.metadata.tags for each in found]
    assert tags == ([["a"], ["a", "remove-cell"]] if parts else [["a"]])


def test_a_hidden_cell_that_glues_stays_whole() -> None:
    cell = nbformat.v4.new_code_cell("print(2)\nglue(two='2')", metadata={"tags": ["hide-input"]})
    assert list(chapters.without_glue(cell)) == [cell]


def test_a_value_glued_twice_must_be_the_same() -> None:
    def cell(text: str) -> dict:
        return {"outputs": [{"metadata": {"glue": {"a": text}}}]}

    assert glued_values([cell("1"), cell("1")]) == {"a": "1"}
    with pytest.raises(ValueError, match="a is glued twice"):
        glued_values([cell("1"), cell("2")])


# --- what JupyterLab folds ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "hidden"),
    [
        ("hide-input", {"source_hidden"}),
        ("hide-cell", {"source_hidden", "outputs_hidden"}),
        ("hide-output", set()),  # a check: what it says to the learner must be seen
        ("nbval-ignore-output", set()),
    ],
)
def test_what_the_page_folds_is_folded_in_jupyterlab(pair, tag: str, hidden: set[str]) -> None:
    source, *_ = pair
    cell = (
        f"\n```{{code-cell}} python\n:tags: [{tag}]\n\nx = [  # fmt: skip\n1]  # fmt: skip\n```\n"
    )
    source.write_text(HEADER + cell, encoding="utf-8")
    made = chapters.read(source).cells[-1]
    assert made.metadata.get("jupyter", {}) == dict.fromkeys(hidden, True)
    assert made.source == "x = [\n1]"


# --- words for the notebook, roles for the page ---------------------------------------------------


def test_the_page_gets_back_the_roles_of_the_text(pair) -> None:
    source, notebook, found = pair
    bibliography = "@misc{key, author={L{\\'e}on Bottou}, title={T}, year={1998}, doi={10.1/2}}"
    (source.parent / "references.bib").write_text(bibliography, encoding="utf-8")
    cited = TEXT.replace("Two and two", "Two {cite:p}`key` and two")
    source.write_text(cited, encoding="utf-8")
    found(notebook)
    chapters.refresh(source)
    refreshed = nbformat.read(chapters.notebook_path(source), as_version=4)
    said = "Two ([Bottou, 1998](https://doi.org/10.1/2)) and two are 4."
    assert said in refreshed.cells[0].source
    assert list(chapters.problems(source)) == []
    paged = chapters.for_pages(source, refreshed)
    assert "Two {cite:p}`key` and two are 4." in paged.cells[0].source
    assert len(paged.cells) == len(notebook.cells)


def test_what_does_not_exist_is_an_error_of_the_text(pair) -> None:
    source, *_ = pair
    (source.parent / "references.bib").write_text("", encoding="utf-8")
    for text, message in (
        ("{cite:p}`nobody`", "cites 'nobody'"),
        ("{ref}`sec-nowhere`", "refers to 'sec-nowhere'"),
        ("[](99-none.ipynb)", "links 99-none.ipynb"),
    ):
        source.write_text(f"{HEADER}\n{text}\n", encoding="utf-8")
        with pytest.raises(KeyError, match=message):
            chapters.read(source)


# --- what somebody has written is not replaced ----------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda nb: nb.cells[3].update(source="print('MY OWN ANSWER')"),
        lambda nb: nb.cells[0].update(source=nb.cells[0].source + "\n\nMY OWN NOTE"),
        lambda nb: nb.cells.append(nbformat.v4.new_code_cell("mine = 1")),
    ],
    ids=["an answer", "a note", "a new cell"],
)
@pytest.mark.parametrize("command", ["run", "refresh"])
@pytest.mark.mnist
def test_an_answer_is_not_replaced_unless_forced(pair, capsys, change, command) -> None:
    source, notebook, found = pair
    change(notebook)
    found(notebook)
    before = chapters.notebook_path(source).read_bytes()
    assert chapters.main([command, "01"]) == 1
    assert "somebody has written in cell" in capsys.readouterr().err
    assert chapters.notebook_path(source).read_bytes() == before


@pytest.mark.mnist
def test_forced_the_text_wins(pair) -> None:
    source, notebook, found = pair
    notebook.cells[0].source += "\n\nMY OWN NOTE"
    found(notebook)
    assert chapters.main(["refresh", "01", "--force"]) == 0
    assert "MY OWN" not in chapters.notebook_path(source).read_text(encoding="utf-8")


def test_outputs_and_metadata_are_nobodys_answer(pair) -> None:
    source, notebook, found = pair
    notebook.cells[3].update(outputs=[], execution_count=99)
    notebook.metadata["language_info"] = {"name": "python"}
    found(notebook)
    assert chapters.strangers(source) == []


def test_a_changed_code_is_not_refreshed_but_run(pair, capsys) -> None:
    source, notebook, found = pair
    found(notebook)
    source.write_text(TEXT.replace("print('done')", "print('new')"), encoding="utf-8")
    assert chapters.main(["refresh", "01"]) == 1
    assert "its code has changed; run: python -m tools.chapters run" in capsys.readouterr().err


def test_a_file_that_is_no_notebook_is_named(pair, capsys) -> None:
    source, *_ = pair
    chapters.notebook_path(source).write_text("{", encoding="utf-8")
    assert "01-small.ipynb is no notebook" in next(chapters.problems(source))
    assert chapters.main(["refresh", "01"]) == 1
    assert "01-small.ipynb is no notebook" in capsys.readouterr().err

"""Copies without answers, marks that cannot be had by a trick, and sheets of one's own."""

import csv
import importlib
import io
import json
import math
import random

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import classroom as invented
from mnist_course.classroom import (
    copies,
    grading,
    notebooks,
    reports,
    sheets,
    submissions,
    variants,
)
from mnist_course.classroom.__main__ import main
from mnist_course.classroom.notebooks import ClassroomError
from mnist_course.classroom.running import Limits

CHAPTERS = notebooks.originals(notebooks.home())
POOLING = next(each for each in CHAPTERS if "pooling" in each.name)

chapters = pytest.mark.parametrize("original", CHAPTERS, ids=lambda original: original.name)
bugs = pytest.mark.parametrize(
    ("chapter", "bug"),
    [(name, bug) for name, sheet in variants.SHEETS.items() for bug in (None, *sheet.bugs)],
    ids=lambda value: getattr(value, "name", str(value)),
)


# --- copies ---------------------------------------------------------------------------------------


@chapters
def test_a_copy_has_no_answer_but_all_that_one_answers_in(original) -> None:
    copy = copies.copy(original)
    assert copies.left(copy) == []
    code = "\n".join(cell["source"] for cell in copy["cells"] if cell["cell_type"] == "code")
    for exercise in original.exercises:
        for check in exercise.checks:
            assert all(name in code for name in check.answers), exercise.number
            assert f"{check.name}(" in code, exercise.number


@chapters
def test_the_chapters_have_answers_to_leave_out(original) -> None:
    answers = [original.cells[place]["source"] for place in original.answers]
    assert sum("check." in source for source in answers) >= len(original.exercises)


def test_hints_stay_and_replies_to_choices_go() -> None:
    text = (
        ":::{dropdown} Hint\nLook at the edges.\n:::\n\n::::{admonition} Question 1\n"
        ":::{dropdown} 6 × 6\n:class: choice right\n**✓ Right.** It rounds down.\n:::\n"
        ":::{dropdown} Answer\nSix.\n:::\n::::\n"
    )
    cell = {"cell_type": "markdown", "metadata": {}, "source": text}
    chapter = notebooks.Original("x", {"cells": [cell], "metadata": {}}, (), {}, frozenset())
    copy = copies.copy(chapter)["cells"][0]["source"]
    assert "Look at the edges." in copy and "- 6 × 6\n" in copy
    assert "Right" not in copy and "Six." not in copy


def test_a_copy_that_would_tell_an_answer_is_not_written(tmp_path) -> None:
    cell = {"cell_type": "code", "metadata": {}, "source": "solution_step = 1", "outputs": []}
    chapter = notebooks.Original("x", {"cells": [cell], "metadata": {}}, (), {}, frozenset())
    with pytest.raises(ClassroomError, match="solution_step"):
        copies.hand_out([POOLING, chapter], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_copies_replace_nothing(tmp_path, capsys) -> None:
    assert main(["copies", "pooling", "--to", str(tmp_path)]) == 0
    assert main(["copies", "pooling", "--to", str(tmp_path)]) == 1
    assert "there already" in capsys.readouterr().err


# --- what answers what ----------------------------------------------------------------------------


def cells_run(*sources) -> list[int]:
    """Which of a learner's cells answer the first exercise on pooling, by their order."""
    cells = [{"cell_type": "code", "metadata": {}, "source": source} for source in sources]
    answer = submissions._answers({"cells": cells}, POOLING)[0]
    return [int(cell.label.removeprefix("cell ")) for cell in answer.cells]


NAME = next(iter(POOLING.exercises[0].checks[0].answers))
ANSWER = f"def {NAME}(image):\n    return half(image)"


def test_only_cells_that_an_answer_needs_are_run() -> None:
    scratch, helper = "while True:\n    pass", "def half(image):\n    return image / factor"
    assert cells_run(scratch, "factor = 2", helper, "other = 3", ANSWER) == [2, 3, 5]


def test_cells_that_change_what_an_answer_needs_are_run() -> None:
    assert cells_run("half = Half()", "half.rate = 2", "print(half)", ANSWER) == [1, 2, 4]


def test_a_name_inside_a_function_is_not_the_notebooks() -> None:
    function = f"def {NAME}(image):\n    x = image\n    return [y for y in x]"
    assert cells_run("x = 1\nwhile True:\n    pass", "y = 2", function) == [3]


def test_a_helper_without_an_answer_is_no_answer() -> None:
    assert cells_run("def half(image):\n    return image") == []


def test_calls_of_checks_in_a_learners_cell_are_not_its_answer() -> None:
    assert cells_run("check.max_pool = print", f"check.max_pool({NAME})") == []


def test_words_are_taken_from_the_learners_own_call() -> None:
    check = notebooks.Check('check.diagnosis("A", "…")', frozenset(), frozenset())
    tree = notebooks.parsed('check.diagnosis("B", "no bias")\ncheck.diagnosis("A", "zero weights")')
    calls = notebooks.called(tree, {"check": "mnist_course.checks.diagnosis"})
    assert "'zero weights'" in submissions._in_their_words(check, calls).expression
    calls = notebooks.called(notebooks.parsed('check.diagnosis("A", cheat())'), {"check": ""})
    assert submissions._in_their_words(check, calls) is check


@chapters
def test_no_solution_of_the_book_is_held_back(original) -> None:
    code = [original.cells[place] for place in original.answers]
    found = [submissions.watched(c["source"]) for c in code if c["cell_type"] == "code"]
    assert [words for words in found if words] == []


# --- marks ----------------------------------------------------------------------------------------

TRIED = """
    endless function, fork bomb, memory, printed verdict, replaced comparisons, exit in the call,
    replaced in the call without a trace, forged in the pipe, forged on every stream, network,
    reads the check, reads the solution, polite exit, big file
"""


@pytest.fixture(scope="module")
def class_(tmp_path_factory) -> tuple:
    """Submissions with the points they deserve, and what they got."""
    folder = tmp_path_factory.mktemp("handed in")
    words = {name.replace(",", ""): name for name in invented.HOSTILE}
    names = [name for line in TRIED.split(",") if (name := " ".join(line.split()))]
    every = dict.fromkeys(invented.RIGHT, 1.0)
    made = []
    for name in names:
        code, points = invented.HOSTILE[words[name]]
        content = invented.submission(POOLING, {"max_pool": code})
        deserved = dict.fromkeys(invented.RIGHT) | {"max_pool": points}
        made.append(invented.Made(f"{name}.ipynb", content, deserved))
    wrong = {word: answers[0][0] for word, answers in invented.WRONG.items()}
    for learner, answers, how, points in (
        ("Zoë Weiß", invented.RIGHT, "no checks", every),
        ("李 明", wrong, "tampered checks", dict.fromkeys(every, 0.0)),
        ("empty", {}, "", dict.fromkeys(every)),
        ("Ann", invented.RIGHT, "at the end", every),
    ):
        content = invented.submission(POOLING, answers, how)
        made.append(invented.Made(f"{learner}/any name.ipynb", content, points))
    made.append(invented.Made("Ann/any name (1).ipynb", made[-1].content, every))
    made += [invented.Made(f"{kind}.ipynb", c, {}) for kind, c in invented.NOT_NOTEBOOKS.items()]
    for each in made:
        (folder / each.path).parent.mkdir(exist_ok=True)
        (folder / each.path).write_bytes(each.content)
    graded, problems = grading.grade(
        folder, CHAPTERS, limits=Limits(seconds=4), jobs=2, private=[notebooks.home()]
    )
    assert problems == []
    return folder, made, graded


@pytest.mark.slow
def test_every_answer_gets_what_it_deserves(class_) -> None:
    folder, made, graded = class_
    assert invented.differences(made, graded, folder) == []


@pytest.mark.slow
def test_learners_are_told_what_is_wrong(class_) -> None:
    marks = {each.submission.learner: each.marks for each in class_[2]}
    for exercise, mark in zip(POOLING.exercises, marks["李 明"], strict=True):
        word = exercise.checks[0].name.partition(".")[2]
        assert invented.WRONG[word][0][1] in mark.words[0]
    assert "loop" in marks["endless function"][0].words[0]


@pytest.mark.slow
def test_a_teacher_is_told_what_was_tried(class_) -> None:
    remarks = {e.submission.learner: [r for m in e.marks for r in m.remarks] for e in class_[2]}
    assert any("torch.equal" in remark for remark in remarks["replaced comparisons"])
    assert any("held back" in remark for remark in remarks["reads the check"])
    assert remarks["Zoë Weiß"] == []


@pytest.mark.slow
def test_two_notebooks_of_one_learner_are_both_graded(class_) -> None:
    ann = [each for each in class_[2] if each.submission.learner == "Ann"]
    assert len(ann) == 2 and all("more than once" in each.remarks[0] for each in ann)


@pytest.mark.slow
def test_reports_are_a_table_a_page_and_a_letter_for_each(class_, tmp_path) -> None:
    reports.write(class_[2], tmp_path)
    lines = list(csv.DictReader(io.StringIO((tmp_path / "marks.csv").read_text("utf-8-sig"))))
    assert len(lines) == len(class_[2])
    (zoe,) = [line for line in lines if line["learner"] == "Zoë Weiß"]
    assert float(zoe["points"]) == len(POOLING.exercises)
    letter = (tmp_path / "feedback" / "李 明.md").read_text("utf-8")
    assert letter.count("✗ Not yet.") == len(POOLING.exercises)
    page = (tmp_path / "marks.html").read_text("utf-8")
    assert page.count("<tr>") == len(class_[2]) + 2 and "not a notebook" in page


def unread(learner, file="x.ipynb") -> grading.Graded:
    """A submission that could not be graded."""
    path = notebooks.home() / file
    return grading.Graded(submissions.Submission(learner, path, problem="it is <b>empty</b>"))


def test_names_are_neither_formulas_nor_markup(tmp_path) -> None:
    reports.write([unread("=1+1"), unread("<script>")], tmp_path)
    assert "\n'=1+1," in (tmp_path / "marks.csv").read_text("utf-8-sig")
    page = (tmp_path / "marks.html").read_text("utf-8")
    assert "<script>" not in page and "&lt;b&gt;" in page
    assert "<td>0</td>" not in page  # what was not graded is not a 0


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@A1", "＝1+1", "Ann;=1+1", "Ann; @A1"])
def test_no_table_has_a_formula_in_it(name, tmp_path) -> None:
    variants.hand_out("pooling", [name], 1, tmp_path)
    reports.write([unread(name, f"{name}.ipynb")], tmp_path)
    for table in ("key/key.csv", "marks.csv"):
        content = (tmp_path / table).read_bytes()
        assert content.startswith(b"\xef\xbb\xbf")  # or else Excel shows MÃ¼ller
        for separator in ",;":
            rows = csv.reader(io.StringIO(content.decode("utf-8-sig")), delimiter=separator)
            cells = [cell.strip() for row in rows for cell in row]
            assert [cell for cell in cells if cell[:1] in (*"=+-@＝",)] == []


def test_a_list_that_notepad_wrote_has_no_strange_first_name(tmp_path) -> None:
    (tmp_path / "names.txt").write_text("Zoë\r\n", encoding="utf-8-sig")
    given = ["--learners", str(tmp_path / "names.txt"), "--seed", "1", "--to", str(tmp_path / "a")]
    assert main(["variants", "pooling", *given]) == 0
    assert [path.name for path in (tmp_path / "a" / "sheets").iterdir()] == ["Zoë.ipynb"]


def test_letters_to_learners_of_like_names_are_different_files(tmp_path) -> None:
    reports.write([unread("Ann/Lee"), unread("ann:lee"), unread("..")], tmp_path)
    assert len(list((tmp_path / "feedback").iterdir())) == 3


def test_a_folder_without_notebooks_is_refused(tmp_path, capsys) -> None:
    assert main(["grade", str(tmp_path), "--to", str(tmp_path / "marks")]) == 1
    assert "no notebooks" in capsys.readouterr().err


def test_a_notebook_of_no_chapter_is_reported(tmp_path) -> None:
    content = {"cells": [{"cell_type": "code", "source": "1", "metadata": {}}], "metadata": {}}
    (tmp_path / "a.ipynb").write_text(json.dumps(content), encoding="utf-8")
    (found,) = submissions.collect(tmp_path, CHAPTERS)
    assert "none of the chapters" in found.problem


def test_who_handed_in_something_else_is_not_forgotten(tmp_path) -> None:
    for file in ("Ann/a.ipynb", "Ann/notes.pdf", "Bo/a.zip", "Cy.7z", "Di/a.pdf", "__MACOSX/x"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "Ed").mkdir()
    found = {each.learner: each.problem for each in submissions.collect(tmp_path, CHAPTERS)}
    assert list(found) == ["Ann", "Bo", "Cy", "Di", "Ed"]
    assert found["Bo"] == "a.zip is an archive: unpack it"
    assert found["Cy"] == "Cy.7z is an archive: unpack it"
    assert found["Di"] == "there is no notebook, but a.pdf"
    assert found["Ed"] == "there is no notebook in it"


# --- sheets ---------------------------------------------------------------------------------------


@bugs
def test_a_check_refuses_each_planted_bug_and_nothing_else(chapter, bug) -> None:
    sheet = variants.SHEETS[chapter]
    space = {"F": F, "torch": torch, "math": math}
    exec(bug.planted(sheet.source) if bug else sheet.source, space)
    (function,) = [value for name, value in space.items() if name.startswith("suspicious")]
    check = getattr(importlib.import_module(f"mnist_course.checks.{chapter}"), sheet.check)
    assert check(function).ok is (bug is None)


@pytest.mark.parametrize("chapter", variants.SHEETS)
def test_the_answers_of_the_key_are_those_of_the_checks(chapter) -> None:
    for seed in range(50):
        numbers = variants.SHEETS[chapter].numbers(random.Random(seed))
        space = {"sheets": sheets, "nn": nn}
        assert eval(numbers.check.format("lambda: answer"), space | {"answer": numbers.answer}).ok
        for place in range(len(numbers.answer)):
            wrong = list(numbers.answer)
            wrong[place] += 1
            assert not eval(numbers.check.format("lambda: answer"), space | {"answer": wrong}).ok


def test_usual_mistakes_with_numbers_are_named() -> None:
    layer = nn.Conv2d(2, 3, 3)
    assert "biases" in sheets.sizes(lambda: (3, 8, 8, 54), layer, (2, 10, 10)).message
    assert "rest makes a batch" in sheets.steps(lambda: (6, 1), 10, 3, 2).message
    assert "round up in each" in sheets.steps(lambda: (7, 1), 10, 3, 2).message
    assert "2 whole numbers" in sheets.steps(lambda: 7, 10, 3, 2).message


def test_neighbours_have_different_bugs_and_the_same_seed_the_same_sheets(tmp_path) -> None:
    names = [f"learner {number}" for number in range(20)]
    for folder in "ab":
        variants.hand_out("pooling", names, 7, tmp_path / folder)
    keys = [(tmp_path / f / "key" / "key.csv").read_text("utf-8") for f in "ab"]
    assert keys[0] == keys[1]
    planted = [line["bug"] for line in csv.DictReader(io.StringIO(keys[0]))]
    count = len(variants.SHEETS["pooling"].bugs)
    assert all(len(set(planted[i : i + count])) == count for i in range(20 - count))


def test_a_sheet_does_not_hold_its_answer(tmp_path) -> None:
    (path,) = variants.hand_out("training", ["Ann"], 1, tmp_path)
    text = path.read_text("utf-8")
    assert copies.left(json.loads(text)) == []
    answer = next(csv.DictReader((tmp_path / "key" / "key.csv").open(encoding="utf-8-sig")))[
        "numbers"
    ]
    assert f"return {answer.strip('()')}" not in text
    assert f"return {answer.strip('()')}" in (tmp_path / "key" / "Ann.ipynb").read_text("utf-8")


@pytest.mark.parametrize("names", [["a/b"], ["Ann", "ann"], [" "], [".."]])
def test_names_that_cannot_be_files_are_refused(names, tmp_path) -> None:
    with pytest.raises(ClassroomError):
        variants.hand_out("pooling", names, 1, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_key_grades_the_sheets(tmp_path) -> None:
    variants.hand_out("training", ["Zoë Weiß"], 1, tmp_path)
    path = tmp_path / "sheets" / "Zoë Weiß.ipynb"
    content = path.read_text("utf-8")
    source = json.dumps(variants.STEP.rstrip(), ensure_ascii=False)
    notebook = json.loads(content)
    notebook["cells"][6]["source"] = json.loads(source)
    path.write_text(json.dumps(notebook), encoding="utf-8")
    (graded,), _ = grading.grade(
        tmp_path / "sheets", notebooks.originals(tmp_path / "key"), limits=Limits(seconds=20)
    )
    assert [mark.points for mark in graded.marks] == [None, 1.0]

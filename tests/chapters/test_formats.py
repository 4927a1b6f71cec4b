"""Exercises and questions have the form that the pages, the desk and the readers rely on."""

import re
from collections import Counter
from pathlib import Path

import pytest

from mnist_course import checks
from tools import chapters, folds, minutes, tasks

each_chapter = pytest.mark.parametrize("source", chapters.sources(), ids=chapters.word)


# --- questions ------------------------------------------------------------------------------------


def faults_of(question: tasks.Question, word: str) -> list[str]:
    """What is wrong with a question, a line each."""
    found = []
    if question.classes != ("question",):
        found.append("its class is not question")
    if not re.fullmatch(rf"ask-{word}-[a-z0-9]+(-[a-z0-9]+)*", question.name):
        found.append(f"its name {question.name!r} is not ask-{word}-…")
    if not question.text:
        found.append("it asks nothing")
    if bool(question.choices) == bool(question.answer):
        found.append("expected either choices or an Answer")
    if question.choices:
        if not 2 <= len(question.choices) <= 5:
            found.append(f"{len(question.choices)} choices")
        if sum(choice.right for choice in question.choices) != 1:
            found.append("not exactly one choice is right")
        if len({choice.text for choice in question.choices}) < len(question.choices):
            found.append("two choices are the same")
        found += [f"no reply to {c.text!r}" for c in question.choices if not c.reply]
    return found


def places_of_the_right(questions: list[tasks.Question]) -> list[int]:
    """Where the right choice stands in each question that has choices, from 0."""
    return [[choice.right for choice in q.choices].index(True) for q in questions if q.choices]


@each_chapter
def test_every_question_takes_an_answer(source: Path) -> None:
    asked = tasks.questions(source)
    found = {q.title: faults for q in asked if (faults := faults_of(q, chapters.word(source)))}
    assert found == {}
    assert [q.title for q in asked] == [f"Question {n}" for n in range(1, len(asked) + 1)]
    assert 4 <= len(asked) <= 6
    assert sum(not q.choices for q in asked) <= 2


@each_chapter
def test_the_right_choice_has_no_usual_place_and_is_not_always_the_longest(source: Path) -> None:
    asked = [question for question in tasks.questions(source) if question.choices]
    assert len(set(places_of_the_right(asked))) > 1
    longest = [max(q.choices, key=lambda choice: len(choice.text)).right for q in asked]
    assert not all(longest)


def test_a_question_has_one_address_in_the_whole_book() -> None:
    names = Counter(
        q.name for source in chapters.sources() for q in tasks.questions(source) if q.name
    )
    assert [name for name, times in names.items() if times > 1] == []


# --- exercises ------------------------------------------------------------------------------------


def faults_of_exercise(exercise: tasks.Exercise) -> list[str]:
    """What is wrong with an exercise, a line each."""
    found = [] if exercise.level else ["its first line is not *Easy|Medium|Hard|Open · N minutes*"]
    cells = list(exercise.section.cells)
    folded = [
        (n, cell.source.partition("\n")[0])
        for n, cell in enumerate(cells)
        if cell.cell_type == "code" and tasks.hidden(cell)
    ]
    solutions = [n for n, first in folded if first == f"# Solution {exercise.number}"]
    if exercise.level != "Open" and not solutions:
        found.append(f"no hidden cell begins with exactly # Solution {exercise.number}")
    before = cells[: solutions[0]] if solutions else []
    hints = [cell for cell in before if "{dropdown} Hint" in cell.source]
    if solutions and exercise.level != "Open" and not hints:
        found.append("no Hint before the solution")
    found += [f"{line} is of another exercise" for _, line in folded if _other(line, exercise)]
    return found


def _other(line: str, exercise: tasks.Exercise) -> bool:
    numbered = re.match(r"# (?:Solution|Going further) (\d+\.\d+)", line)
    return bool(numbered) and numbered[1] != exercise.number


@each_chapter
def test_every_exercise_has_a_level_a_hint_and_a_solution(source: Path) -> None:
    given = tasks.exercises(source)
    found = {e.number: faults for e in given if (faults := faults_of_exercise(e))}
    assert found == {}
    number = int(source.name[:2])
    assert [e.number for e in given] == [f"{number}.{n}" for n in range(1, len(given) + 1)]
    assert 3 <= len(given) <= 6


@each_chapter
def test_the_first_line_of_a_hidden_cell_is_neutral(source: Path) -> None:
    """It stays in sight in JupyterLab, and names the fold on the page."""
    first = [
        cell.source.lstrip().partition("\n")[0]
        for cell in chapters.read(source).cells
        if cell.cell_type == "code"
        and tasks.hidden(cell)
        and "remove-cell" not in cell.metadata["tags"]
    ]
    told = re.compile(
        r"# (?:(?:Solution|Going further) \d+\.\d+|Drawing code|Set-up|By hand|The \w+ ?\w*)"
    )
    assert [line for line in first if not (told.fullmatch(line) and folds.role(line))] == []


def test_each_check_belongs_to_one_exercise() -> None:
    """A learner's desk remembers an exercise by the names of its checks."""
    called = Counter(
        check for s in chapters.sources() for e in tasks.exercises(s) for check in e.checks
    )
    assert [name for name, times in called.items() if times > 1] == []
    known = {f"{c.__module__.rpartition('.')[2]}.{c.__name__}" for c in checks.CHECKS}
    imported = {name for name in called if name.split(".")[0] in {k.split(".")[0] for k in known}}
    assert imported <= known


# --- minutes --------------------------------------------------------------------------------------


@each_chapter
def test_the_minutes_in_the_box_follow_from_the_chapter(source: Path) -> None:
    of, said = minutes.effort(source), minutes.printed(source)
    assert said is not None, "the box does not say About N minutes to read, M with the exercises."
    reading, whole = said
    assert abs(reading - of.reading) <= 5 and reading % 5 == 0, f"{of.reading:.0f} to read"
    assert abs(whole - of.whole) <= 5 and whole % 5 == 0, f"{of.whole:.0f} with the exercises"


def test_words_of_prose_are_counted() -> None:
    text = """\
Here {glue:text}`n` are *two* words: it's $x + 1$ and `code`, see [](04.ipynb) and [a link](x).

(sec-label)=
:::{admonition} A title
:class: tip
Inside, three words.
:::

$$
a b c
$$

```python
no words
```
"""
    assert minutes.words(text) == 14 + 3


CHAPTER = """\
---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {display_name: Python 3, language: python, name: python3}
---
# Title

One two three.

```
# no heading
```

```{code-cell} python
1 + 1
```

```{code-cell} python
:tags: [hide-input]

# Drawing code
```

## Exercises

### Exercise 8.1: first

*Hard · 25 minutes*

Words that do not count.

```{code-cell} python
check.first(1)
check.first(2), check.second(3)
```

### Exercise 8.2: second

No level.

## Quiz

::::{admonition} Question 1
:class: question
:name: ask-word-slug

What is $1 + 1$?

:::{dropdown} 2
:class: choice right
$1 + 1 = 2$.
:::
:::{dropdown} 3
:class: choice

No: one too many.
:::
:::{dropdown} 4
:class: choice

$$ 2 + 2 $$
:::
::::

::::{admonition} Question 2
:class: question
:name: ask-word-open

And `1 + 2`?

:::{dropdown} Answer
Three.
:::
::::

## Where to go next

Four words are here.
"""


@pytest.fixture
def chapter(tmp_path: Path) -> Path:
    path = tmp_path / "07-word.md"
    path.write_text(CHAPTER, encoding="utf-8")
    return path


def test_exercises_are_read_from_a_text(chapter) -> None:
    first, second = tasks.exercises(chapter)
    assert (first.number, first.title, first.level, first.minutes) == ("8.1", "first", "Hard", 25)
    assert first.checks == ("word.first", "word.second")
    assert (second.level, second.minutes, second.checks) == ("", 0, ())
    assert "its first line" in faults_of_exercise(second)[0]
    assert "no hidden cell" in faults_of_exercise(first)[0]


def test_questions_are_read_from_a_text(chapter) -> None:
    one, two = tasks.questions(chapter)
    assert (one.name, one.text, one.answer) == ("ask-word-slug", "What is $1 + 1$?", "")
    assert [choice.right for choice in one.choices] == [True, False, False]
    assert [choice.text for choice in one.choices] == ["2", "3", "4"]
    assert (two.choices, two.answer) == ((), "Three.")
    assert faults_of(one, "word") == faults_of(two, "word") == []
    assert tasks.ids([chapter]) == ["ask-word-slug"]


def test_what_is_wrong_with_a_question_is_said(chapter) -> None:
    wrong = CHAPTER.replace("choice right", "choice").replace("ask-word-slug", "ask-slug")
    chapter.write_text(wrong.replace("dropdown} 3", "dropdown} 2"), encoding="utf-8")
    assert faults_of(tasks.questions(chapter)[0], "word") == [
        "its name 'ask-slug' is not ask-word-…",
        "not exactly one choice is right",
        "two choices are the same",
    ]


def test_minutes_leave_out_exercises_and_quiz(chapter) -> None:
    of = minutes.effort(chapter)
    assert (of.words, of.cells, of.exercises, of.questions) == (3 + 4, 1, 25, 2)
    assert of.whole == pytest.approx(7 / 130 + 0.4 + 25 + 2)


def test_the_replies_in_a_notebook_say_whether_they_are_right() -> None:
    marked = tasks.marked(CHAPTER)
    assert ":class: choice right\n**✓ Right.** $1 + 1 = 2$." in marked
    assert "**✗** No: one too many." in marked
    assert "**✗ No.**\n\n$$ 2 + 2 $$" in marked
    assert "{dropdown} Answer\nThree." in marked
    assert tasks.marked(marked) == marked

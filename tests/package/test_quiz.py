"""The line above the questions on a desk: what it hears is remembered, and it says how it goes."""

import json
from pathlib import Path

import pytest

from mnist_course import desk, files
from mnist_course.quiz import Quiz, score

QUESTIONS = {"Question 1": "ask-x-size", "Question 3": "ask-x-more"}
CHAPTER = {"file": "4.ipynb", "title": "4 · X", "part": "", "minutes": 1, "exercises": {}}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    content = {"version": 1, "chapters": [CHAPTER | {"questions": QUESTIONS}]}
    (tmp_path / desk.MARK).write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def choose(quiz: Quiz, name: str, choice: str, right: bool) -> None:
    message = {"type": "answer", "name": name, "choice": choice, "right": right}
    quiz._hear(quiz, message, [])


def test_a_choice_is_remembered_and_another_notebook_knows_it(here: Path) -> None:
    quiz = Quiz("x")
    assert quiz.questions == QUESTIONS
    assert quiz.said == "2 questions. Click the answer that you believe."
    choose(quiz, "ask-x-size", "6", False)
    assert quiz.said == "0 of 1 right at first try, 1 question to go."
    choose(quiz, "ask-x-size", "7", True)
    choose(quiz, "ask-x-more", "$n$", True)
    assert (quiz.said, quiz.heard) == ("1 of 2 right at first try.", 3)
    assert Quiz("x").said == quiz.said
    assert desk.answered() == {"ask-x-size": False, "ask-x-more": True}


def test_questions_of_other_chapters_are_not_heard(here: Path) -> None:
    quiz = Quiz("x")
    choose(quiz, "ask-y-why", "6", True)
    assert desk.answered() == {}
    assert Quiz("y").questions == {}


def test_start_again_forgets_the_answers_of_this_chapter(here: Path) -> None:
    quiz = Quiz("x")
    choose(quiz, "ask-x-size", "6", True)
    desk.answer("ask-y-why", "6", True)
    quiz._hear(quiz, {"type": "forget"}, [])
    assert (quiz.answered, quiz.said) == (0, "2 questions. Click the answer that you believe.")
    assert desk.answered() == {"ask-y-why": True}


def test_what_cannot_be_written_is_said(here: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise files.WriteError(28, "No space left on device", "progress.json")

    monkeypatch.setattr(files, "write", full)
    quiz = Quiz("x")
    choose(quiz, "ask-x-size", "6", True)
    assert quiz.said.startswith("Not remembered: ")
    assert "No space left" in quiz.said
    assert quiz.heard == 1


def test_away_from_a_desk_it_says_so_and_the_cell_does_not_fail(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    quiz = Quiz("x")
    assert "not remembered here" in quiz.said
    choose(quiz, "ask-x-size", "6", True)
    assert list(tmp_path.iterdir()) == []


def test_a_saved_notebook_shows_a_sentence_and_no_answer(here: Path) -> None:
    data, _ = Quiz("x")._repr_mimebundle_()
    output = {"data": dict(data)}
    model = {"type": "notebook", "content": {"cells": [{"outputs": [output]}]}}
    desk.forget_live_figures(model)
    assert sorted(output["data"]) == ["text/html", "text/plain"]
    assert output["data"]["text/plain"].startswith("Run this cell before you choose")


def test_it_speaks_like_the_pages() -> None:
    words = (Path(desk.__file__).parent / "static" / "answers.js").read_text(encoding="utf-8")
    for part in ("Click the answer that you believe.", "right at first try", " to go"):
        assert part in words and any(part in score(n, n, 2) for n in range(3))

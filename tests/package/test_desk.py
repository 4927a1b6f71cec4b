"""What the desk remembers: whole or not at all, and by several notebooks at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_course import desk, files


def chapter(title: str, **exercises: list[str]) -> dict:
    file = f"{title.split(' ')[0]}.ipynb"
    common = {"part": "Part I", "minutes": 30}
    named = {name.strip("_").replace("_", "."): checks for name, checks in exercises.items()}
    return {"file": file, "title": title, "exercises": named, **common}


CHAPTERS = [
    chapter("4 · X", _4_1=["x.one"], _4_2=["x.two", "x.more"]),
    chapter("5 · <Y>", _5_1=["y.one"]),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A desk, and the folder of a notebook on it, which is the working folder."""
    (tmp_path / desk.MARK).write_text(
        json.dumps({"version": 1, "chapters": CHAPTERS}), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_desk_is_found_from_any_folder_on_it(here: Path) -> None:
    below = here / "mine" / "löse übung"
    below.mkdir(parents=True)
    assert desk.find_desk() == desk.find_desk(below) == here


def test_away_from_a_desk_nothing_is_written_and_nothing_is_done(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    desk.record("x.one", True)
    assert list(tmp_path.iterdir()) == []
    assert desk.done() == frozenset()
    assert desk.told("x.one") == ""
    with pytest.raises(desk.DeskError, match="make lab"):
        desk.reset()
    with pytest.raises(desk.DeskError, match="make lab"):
        desk.overview()


def test_what_was_right_once_stays_done(here: Path) -> None:
    desk.record("x.one", False)
    assert desk.done() == frozenset()
    desk.record("x.one", True)
    desk.record("x.one", False)
    desk.record("y.one", False)
    assert desk.done() == {"x.one"}
    assert desk.told("x.one") == "Done in this chapter: 1 of 2 exercises."
    content = json.loads((here / desk.PROGRESS).read_text(encoding="utf-8"))
    assert content["version"] == 1
    assert content["checks"]["x.one"]["tries"] == 2
    assert content["checks"]["y.one"] | {"last": 0} == {"done": None, "tries": 1, "last": 0}


@pytest.mark.parametrize("exercise", ["", "4", "x.one.two", "4.1", "../x.one", "conv", 4.1, None])
def test_what_is_no_exercise_is_not_recorded(here: Path, exercise) -> None:
    desk.record(exercise, True)
    assert not (here / desk.PROGRESS).exists()


def test_chapters_are_forgotten_one_by_one_or_all(here: Path) -> None:
    for exercise in ("x.one", "x.two", "y.one", "xx.one"):
        desk.record(exercise, True)
    desk.reset("x")
    assert desk.done() == {"y.one", "xx.one"}
    desk.reset()
    assert desk.done() == frozenset()


def test_the_first_choice_decides_and_others_are_kept_beside_it(here: Path) -> None:
    desk.answer("ask-x-size", "7 × 7", False)
    desk.answer("ask-x-size", "6 × 6", True)
    desk.answer("ask-x-size", "7 × 7", False)
    desk.answer("ask-y-why", "It is `nan`", True)
    assert desk.answered() == {"ask-x-size": False, "ask-y-why": True}
    content = json.loads((here / desk.PROGRESS).read_text(encoding="utf-8"))
    kept = content["answers"]["ask-x-size"]
    assert kept["tried"] == ["7 × 7", "6 × 6"]
    assert kept["at"].endswith("Z")


def test_answers_are_forgotten_with_a_chapter_or_by_name_and_exercises_stay(here: Path) -> None:
    desk.record("x.one", True)
    for name in ("ask-x-size", "ask-x-more", "ask-xx-size", "ask-y-why"):
        desk.answer(name, "7", True)
    desk.forget(["ask-x-size", "ask-x-unknown"])
    assert list(desk.answered()) == ["ask-x-more", "ask-xx-size", "ask-y-why"]
    assert desk.done() == {"x.one"}
    desk.reset("x")
    assert list(desk.answered()) == ["ask-xx-size", "ask-y-why"]
    assert desk.done() == frozenset()
    desk.reset()
    assert desk.answered() == {}


def test_what_is_no_question_or_lies_on_no_desk_is_not_remembered(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="the name of a question"):
        desk.answer("../ask-x", "7", True)
    with pytest.raises(desk.DeskError, match="make lab"):
        desk.answer("ask-x-size", "7", True)
    assert desk.answered() == {}
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_kept_and_a_new_one_begun(here: Path) -> None:
    wrong = '{"version": 1, "answers": {"ask-x-size": {"tried": 7}}}'
    for damage in ("{", "[]", '{"version": 1, "checks": {"x.one": 3}}', '{"checks": {}}', wrong):
        (here / desk.PROGRESS).write_text(damage, encoding="utf-8")
        assert desk.done() == frozenset()
        desk.record("x.one", True)
        assert desk.done() == {"x.one"}
    kept = sorted(here.glob("progress.damaged-*.json"))
    assert [each.read_text(encoding="utf-8") for each in kept][:2] == ["{", "[]"]
    assert len(kept) == 5


def test_a_newer_editions_file_is_left_alone(here: Path) -> None:
    newer = '{"version": 2, "answers": []}'
    (here / desk.PROGRESS).write_text(newer, encoding="utf-8")
    desk.record("x.one", True)
    assert (here / desk.PROGRESS).read_text(encoding="utf-8") == newer
    with pytest.raises(desk.DeskError, match="newer edition"):
        desk.reset()


def test_a_full_disk_does_not_fail_the_cell(here: Path, monkeypatch) -> None:
    desk.record("x.one", True)
    before = (here / desk.PROGRESS).read_bytes()

    def full(*_: object) -> None:
        raise files.WriteError(28, "No space left on device", "progress.json")

    monkeypatch.setattr(files, "write", full)
    desk.record("x.two", True)
    assert (here / desk.PROGRESS).read_bytes() == before


def test_several_notebooks_record_at_once(here: Path) -> None:
    code = (
        "import sys; from mnist_course import desk\n"
        "for n in range(1, 10): desk.record(f'{sys.argv[1]}.c{n}', True)"
    )
    root = Path(desk.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    running = [
        subprocess.Popen([sys.executable, "-c", code, n], cwd=here, env=environment) for n in "abcd"
    ]
    assert [process.wait(60) for process in running] == [0] * 4
    assert desk.done() == {f"{c}.c{n}" for c in "abcd" for n in range(1, 10)}


def test_what_the_solution_in_the_book_computes_is_not_counted(here: Path, monkeypatch) -> None:
    for cell, counted in (("# Solution 4.1\ncheck()", False), ("check()  # Solution", True)):
        monkeypatch.setattr(desk, "_running_cell", lambda cell=cell: cell)
        desk.record("x.one", True)
        assert desk.done() == ({"x.one"} if counted else set())


def test_the_running_cell_is_known_in_ipython(here: Path) -> None:
    pytest.importorskip("IPython")
    code = (
        "from IPython.testing.globalipapp import start_ipython\n"
        "shell = start_ipython()\n"
        "shell.run_cell('from mnist_course import desk', store_history=True)\n"
        "shell.run_cell('# Solution 4.1\\ndesk.record(\"x.one\", True)', store_history=True)\n"
        "shell.run_cell('desk.record(\"x.two\", True)', store_history=True)\n"
    )
    root = Path(desk.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root), "IPYTHONDIR": str(here / ".ipython")}
    subprocess.run([sys.executable, "-c", code], cwd=here, env=environment, check=True)
    assert desk.done() == {"x.two"}


def test_the_overview_shows_each_chapter(here: Path) -> None:
    desk.record("x.two", True)
    assert desk.overview().total == "In all: 0 of 3 exercises"  # its second check is still open
    desk.record("x.more", True)
    shown = desk.overview()
    assert repr(shown).splitlines() == [
        "4 · X: 1 of 2 exercises", "5 · <Y>: 0 of 1 exercises", "In all: 1 of 3 exercises"
    ]  # fmt: skip
    page = shown._repr_html_()
    assert page.count("Part I<") == 1
    assert page.count("●") == 1
    assert page.count("○") == 2
    assert '<a href="5.ipynb">5 · &lt;Y&gt;</a>' in page


def test_the_overview_counts_questions_where_there_are_some(here: Path) -> None:
    asked = CHAPTERS[0] | {"questions": {"Question 1": "ask-x-size", "Question 3": "ask-x-more"}}
    (here / desk.MARK).write_text(
        json.dumps({"version": 1, "chapters": [asked, CHAPTERS[1]]}), encoding="utf-8"
    )
    desk.answer("ask-x-size", "6", False)
    desk.answer("ask-gone-long-ago", "6", True)
    assert repr(desk.overview()).splitlines() == [
        "4 · X: 0 of 2 exercises, 1 of 2 questions",
        "5 · <Y>: 0 of 1 exercises",
        "In all: 0 of 3 exercises, 1 of 2 questions",
    ]
    desk.answer("ask-x-more", "6", True)
    assert desk.overview().total.endswith(", 2 of 2 questions, 1 right at first try")
    assert "<td>2 of 2</td></tr>" in desk.overview()._repr_html_()


def test_a_list_of_chapters_that_cannot_be_read_is_no_list(here: Path) -> None:
    for damage in ("{", '{"version": 1, "chapters": [{"file": "x"}]}', '{"version": 9}'):
        (here / desk.MARK).write_text(damage, encoding="utf-8")
        assert desk.chapters(here) == []


def test_the_check_of_the_kernel_says_which_digits_and_which_desk(here: Path, monkeypatch) -> None:
    monkeypatch.setenv("MNIST_COURSE_DATA", "stand-in")
    said = desk.check()
    assert "PyTorch" in said
    assert "1,797" not in said
    assert f"Your desk is the folder {here.name}." in said

"""The learner's desk: what somebody has written is never lost, and what is new is there."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from mnist_course import files
from mnist_course.desk import MARK, ONCE, DeskError, chapters, record
from tools import desk

NAME = "04-convolution-by-hand.ipynb"
TEXT = "# Convolution by hand\n\n*About 35 minutes to read, 80 with the exercises.*"


def notebook(answer: str = "raise NotImplementedError", shown: str = "", text: str = TEXT) -> str:
    code = new_code_cell(answer, id="b")
    code.outputs = [new_output("stream", text=shown)] if shown else []
    exercises = [
        new_markdown_cell("## Exercises\n\n### Exercise 4.1: one", id="c"),
        new_code_cell("check.response(my_one)", id="d"),
        new_markdown_cell("### Exercise 4.2: two", id="e"),
        new_code_cell("check.conv2d(my_two)", id="f"),
        new_code_cell("# Solution 4.2\ncheck.conv2d(solution_two)", id="g"),
        new_markdown_cell("## Quiz", id="h"),
        new_code_cell("check.none()", id="i"),
    ]
    cells = [new_markdown_cell(text, id="a"), code, *exercises]
    return nbformat.writes(new_notebook(cells=cells))


@pytest.fixture
def originals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a course of one chapter."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(desk, "NOTEBOOKS", folder)
    (folder / NAME).write_text(notebook(), encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path, originals: Path) -> Path:
    """A desk under a path with spaces and letters of other alphabets."""
    folder = tmp_path / "mein Schreibtisch ä 桌"
    assert desk.renew(folder) == []
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def test_a_desk_holds_the_chapters_and_a_page_to_start_from(folder: Path) -> None:
    assert names(folder) == [desk.START, NAME]
    assert read(folder / NAME) == desk.fresh(notebook())
    (chapter,) = chapters(folder)
    assert (chapter.title, chapter.minutes) == ("4 · Convolution by hand", 35)
    assert chapter.part == "Part I · The operations"
    assert chapter.exercises == {"4.1": ("convolution.response",), "4.2": ("convolution.conv2d",)}


def test_a_copy_counts_no_cell_as_run_and_says_how_its_pictures_come_alive(originals: Path) -> None:
    shown = {"text/html": "<p>Kept.</p><p>In JupyterLab and in the book you can draw here.</p>"}
    ran = new_code_cell("DigitPad()", execution_count=3, id="b")
    ran.outputs = [new_output("execute_result", shown, execution_count=3)]
    write(originals / NAME, nbformat.writes(new_notebook(cells=[ran])))
    (cell,) = json.loads(desk.originals()[NAME])["cells"]
    (output,) = cell["outputs"]
    assert cell["execution_count"] is output["execution_count"] is None
    html = "".join(output["data"]["text/html"])
    assert html == "<p>Kept.</p><p>Once you run this cell, you can draw here.</p>"


def test_every_picture_of_a_live_figure_says_how_it_comes_alive() -> None:
    live = 0
    for text in desk.originals().values():
        for cell in json.loads(text)["cells"]:
            for output in cell.get("outputs", ()):
                html = "".join(output.get("data", {}).get("text/html", ""))
                if "course-figure-live" in html:
                    live += 1
                    assert ONCE in html, cell["source"]
                assert "In JupyterLab" not in html, cell["source"]
    assert live > 5


def test_the_short_ways_through_are_those_of_the_book() -> None:
    numbers = {path.stem.split("-")[1]: int(path.stem[:2]) for path in desk.NOTEBOOKS.iterdir()}
    book = (desk.ROOT / "book" / "index.md").read_text(encoding="utf-8")
    page = (desk.ROOT / "tools" / "start_here.md").read_text(encoding="utf-8")
    for name in ("two hours", "a day"):
        (way,) = re.findall(rf"\*{name}:\*(.*)", book, re.IGNORECASE)
        (told,) = re.findall(rf"If you have {name}, read ([^.]*)", page)
        words = re.findall(r"{chapter}`(\w+)`", way)
        assert [int(each) for each in re.findall(r"\d+", told)] == [numbers[word] for word in words]


QUIZ = """\
Where to?

## Quiz

::::{admonition} Question 1
:class: question
:name: ask-convolution-size

How large?

:::{dropdown} 7
:class: choice
**✗ No.** Smaller.
:::
:::{dropdown} 6
:class: choice right
**✓ Right.**
:::
::::

## Where to go next
"""


def test_above_the_questions_a_copy_has_a_cell_that_remembers(originals: Path, tmp_path) -> None:
    with_questions = json.loads(notebook())
    with_questions["cells"][-2]["source"] = QUIZ
    write(originals / NAME, json.dumps(with_questions))
    folder = tmp_path / "desk"
    assert desk.renew(folder) == []
    (chapter,) = chapters(folder)
    assert chapter.questions == {"Question 1": "ask-convolution-size"}
    copy = nbformat.read(folder / NAME, as_version=4)
    nbformat.validate(copy)
    before, quiz, asked = (cell.source for cell in copy.cells[-4:-1])
    assert before == "Where to?\n\n## Quiz"
    assert quiz.endswith('\n\nQuiz("convolution")')
    assert f"{before}\n\n{asked}" == QUIZ.strip()
    assert copy.cells[-3].outputs == []
    assert desk.renew(folder) == []
    assert "0 of 1 questions" in read(folder / desk.START)


def test_a_question_without_choices_needs_no_memory() -> None:
    plain = "# T\n\n:::{admonition} Question 1\n:class: question\n\nWhy?\n:::\n"
    assert desk.with_quiz(NAME, notebook(text=plain)) == notebook(text=plain)


def test_the_start_page_shows_what_is_done_each_time(folder: Path, monkeypatch) -> None:
    assert "0 of 2" in read(folder / desk.START)
    monkeypatch.chdir(folder)
    record("convolution.conv2d", True)
    assert desk.renew(folder) == []
    page = nbformat.read(folder / desk.START, as_version=4)
    nbformat.validate(page)
    (shown,) = [cell.outputs for cell in page.cells if cell.get("outputs")]
    assert "1 of 2" in shown[0].data["text/html"]
    assert shown[0].data["text/plain"].endswith("In all: 1 of 2 exercises")


def test_doing_it_twice_changes_nothing(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert desk.renew(folder) == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_was_only_run_is_renewed(folder: Path, originals: Path) -> None:
    run = json.loads(notebook(shown="mine"))
    run["metadata"]["language_info"] = {"name": "python"}
    run["cells"].append({"cell_type": "code", "source": [], "metadata": {}, "outputs": []})
    write(folder / NAME, json.dumps(run))
    assert desk.renew(folder) == []
    assert "mine" in read(folder / NAME)  # the original has not changed
    write(originals / NAME, notebook(text="# A new title"))
    assert desk.renew(folder) == []
    assert read(folder / NAME) == desk.fresh(notebook(text="# A new title"))


def test_an_answer_stays_as_long_as_the_original_does(folder: Path, originals: Path) -> None:
    write(folder / NAME, notebook("MY ANSWER"))
    write(originals / NAME, notebook(shown="only another output"))
    assert desk.renew(folder) == []
    assert read(folder / NAME) == notebook("MY ANSWER")
    assert names(folder) == [desk.START, NAME]


def test_where_both_have_changed_both_are_there(folder: Path, originals: Path) -> None:
    write(folder / NAME, notebook("MY ANSWER"))
    write(originals / NAME, notebook(text="# Second"))
    (said,) = desk.renew(folder)
    assert "yours stays" in said
    beside = folder / "04-convolution-by-hand.new.ipynb"
    assert beside.name in said
    assert read(folder / NAME) == notebook("MY ANSWER")
    assert read(beside) == desk.fresh(notebook(text="# Second"))
    assert desk.renew(folder) == []  # it has been said
    beside.unlink()
    assert desk.renew(folder) == []  # and the learner did not want it
    assert not beside.exists()


def test_the_new_edition_is_renewed_unless_somebody_has_written_in_it(folder, originals) -> None:
    write(folder / NAME, notebook("MY ANSWER"))
    write(originals / NAME, notebook(text="# Second"))
    desk.renew(folder)
    write(originals / NAME, notebook(text="# Third"))
    desk.renew(folder)
    beside = folder / "04-convolution-by-hand.new.ipynb"
    assert read(beside) == desk.fresh(notebook(text="# Third"))
    write(beside, notebook("MY SECOND ANSWER", text="# Third"))
    write(originals / NAME, notebook(text="# Fourth"))
    (said,) = desk.renew(folder)
    assert "04-convolution-by-hand.new-2.ipynb" in said
    assert "MY SECOND ANSWER" in read(beside)
    assert "MY ANSWER" in read(folder / NAME)


def test_who_takes_the_new_edition_is_renewed_again(folder: Path, originals: Path) -> None:
    write(folder / NAME, notebook("MY ANSWER"))
    write(originals / NAME, notebook(text="# Second"))
    desk.renew(folder)
    shutil.move(folder / "04-convolution-by-hand.new.ipynb", folder / NAME)
    write(originals / NAME, notebook(text="# Third"))
    assert desk.renew(folder) == []
    assert read(folder / NAME) == desk.fresh(notebook(text="# Third"))


def test_a_deleted_or_renamed_notebook_comes_back_and_yours_stays(folder: Path) -> None:
    write(folder / NAME, notebook("MY ANSWER"))
    (folder / NAME).rename(folder / "my four.ipynb")
    (said,) = desk.renew(folder)
    assert said == f"{NAME} was no longer there: it is a fresh copy"
    assert read(folder / "my four.ipynb") == notebook("MY ANSWER")
    assert read(folder / NAME) == desk.fresh(notebook())


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"cells": 3}', "\0", '{"cells": [{}]}'])
def test_a_notebook_that_is_none_is_left_and_the_original_lies_beside(folder, damage) -> None:
    write(folder / NAME, damage)
    said = desk.renew(folder)
    assert any("no notebook any more" in line for line in said)
    assert read(folder / NAME) == damage
    assert read(folder / "04-convolution-by-hand.new.ipynb") == desk.fresh(notebook())


def test_a_chapter_that_the_course_no_longer_has(folder: Path, originals: Path) -> None:
    (originals / NAME).rename(originals / "05-other.ipynb")
    shutil.copytree(folder, again := folder.with_name("again"))
    (said,) = desk.renew(folder)
    assert "nothing was written in it" in said
    assert names(folder) == [desk.START, "05-other.ipynb"]
    write(again / NAME, notebook("MY ANSWER"))
    (said,) = desk.renew(again)
    assert said.endswith("yours stays")
    assert read(again / NAME) == notebook("MY ANSWER")
    assert desk.renew(again) == []


def test_the_original_comes_back_and_the_answer_is_kept(folder: Path) -> None:
    for answer in ("FIRST", "SECOND"):
        write(folder / NAME, notebook(answer))
        said = desk.renew(folder, ("convolution",))
        assert said[-1] == f"{NAME} is the original"
        assert read(folder / NAME) == desk.fresh(notebook())
    kept = sorted(folder.glob("04-convolution-by-hand.mine-*.ipynb"))
    assert [read(path) for path in kept] == [notebook("FIRST"), notebook("SECOND")]
    with pytest.raises(DeskError, match="no chapter '77'; the chapters are: 04-conv"):
        desk.renew(folder, ("77",))


def test_the_original_of_a_copy_with_no_answer_leaves_nothing_behind(folder: Path) -> None:
    write(folder / NAME, notebook(shown="of the learner's own run"))
    assert desk.renew(folder, ("convolution",)) == [f"{NAME} is the original"]
    assert read(folder / NAME) == desk.fresh(notebook())
    assert names(folder) == [desk.START, NAME]


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_desk_of_a_newer_edition_is_left_alone(folder: Path, capsys) -> None:
    write(folder / MARK, '{"version": 2, "layout": "other"}')
    assert desk.main(["--copy", "--folder", str(folder)]) == 1
    said = capsys.readouterr().err
    assert "newer edition" in said
    assert "--folder" in said
    assert read(folder / MARK) == '{"version": 2, "layout": "other"}'


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"version": 1, "files": {"a": 1}}', None])
def test_a_damaged_or_lost_list_loses_no_answer(folder, originals, damage) -> None:
    write(folder / NAME, notebook("MY ANSWER"))
    write(folder / MARK, damage) if damage is not None else (folder / MARK).unlink()
    desk.renew(folder)
    assert read(folder / NAME) == notebook("MY ANSWER")
    assert read(folder / "04-convolution-by-hand.new.ipynb") == desk.fresh(notebook())
    assert desk.renew(folder) == []
    assert len(list(folder.glob(".desk.damaged-*"))) + len(list(folder.glob("*damaged*"))) <= 2


def test_another_folder_is_not_filled(tmp_path: Path, originals: Path, capsys) -> None:
    write(tmp_path / "letter.txt", "Dear")
    for place in (tmp_path, originals, tmp_path / "letter.txt"):
        assert desk.main(["--copy", "--folder", str(place)]) == 1
        assert "--folder" in capsys.readouterr().err
    assert names(tmp_path) == ["letter.txt", "notebooks"]


@pytest.mark.parametrize("writes", range(5))
def test_a_full_disk_loses_nothing_and_the_next_time_is_well(
    folder: Path, originals: Path, monkeypatch, capsys, writes: int
) -> None:
    write(folder / NAME, notebook("MY ANSWER"))
    write(originals / NAME, notebook(text="# Second"))
    write(originals / "05-other.ipynb", notebook(text="# Other"))
    real, left = files.write, iter(range(writes))

    def limited(path: Path, content: str) -> None:
        if next(left, None) is None:
            raise files.WriteError(errno.ENOSPC, "No space left on device", str(path))
        real(path, content)

    monkeypatch.setattr(files, "write", limited)
    assert desk.main(["--copy", "--folder", str(folder)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert desk.main(["--copy", "--original", "04", "--folder", str(folder)]) == 1
    assert read(folder / NAME) == notebook("MY ANSWER")
    monkeypatch.setattr(files, "write", real)
    desk.renew(folder)
    assert read(folder / NAME) == notebook("MY ANSWER")
    assert read(folder / "05-other.ipynb") == desk.fresh(notebook(text="# Other"))
    assert "# Second" in read(next(folder.glob("04-*.new*.ipynb")))


def test_a_full_disk_at_the_very_beginning(tmp_path: Path, originals, monkeypatch) -> None:
    def full(path: Path, content: str) -> None:
        raise files.WriteError(errno.ENOSPC, "No space left on device", str(path))

    folder = tmp_path / "desk"
    with monkeypatch.context() as patch, pytest.raises(files.WriteError):
        patch.setattr(files, "write", full)
        desk.renew(folder)
    assert desk.renew(folder) == []
    assert names(folder) == [desk.START, NAME]


def test_a_course_without_chapters_says_so(originals: Path, tmp_path: Path) -> None:
    write(originals / NAME, "{")
    with pytest.raises(DeskError, match="is no notebook: git checkout"):
        desk.renew(tmp_path / "desk")
    (originals / NAME).unlink()
    with pytest.raises(DeskError, match="there is no chapter"):
        desk.renew(tmp_path / "desk")


def test_two_at_once_make_one_desk(tmp_path: Path) -> None:
    folder = tmp_path / "a desk"
    command = [sys.executable, "-m", "tools.desk", "--copy", "--folder", str(folder)]
    running = [subprocess.Popen(command, cwd=desk.ROOT) for _ in range(3)]
    assert [process.wait(120) for process in running] == [0] * 3
    made = names(folder)
    assert [name for name in made if ".new" in name or "mine" in name] == []
    assert len(made) == 1 + len(list((desk.ROOT / "notebooks").glob("*.ipynb")))


def test_a_second_lab_shows_the_first(folder: Path, monkeypatch, capsys) -> None:
    shown = []
    server = {"root_dir": str(folder), "url": "http://127.0.0.1:9/", "token": "t"}
    monkeypatch.setattr("jupyter_server.serverapp.list_running_servers", lambda: [server])
    monkeypatch.setattr("webbrowser.open", shown.append)
    with FileLock(folder / desk.OPEN):
        assert desk.main(["--folder", str(folder)]) == 0
    assert shown == [f"http://127.0.0.1:9/lab/tree/{desk.START}?token=t"]
    assert "is open on this desk already" in capsys.readouterr().out


def test_jupyterlab_gets_the_desk_and_ends_with_its_code(folder: Path, monkeypatch) -> None:
    started = []

    class Process:
        def __init__(self, command: list[str], cwd: Path, env: dict[str, str]) -> None:
            started.extend([command, cwd, env["JUPYTER_CONFIG_PATH"]])
            self.codes = iter([KeyboardInterrupt(), 3])

        def wait(self) -> int:
            code = next(self.codes)
            if isinstance(code, BaseException):
                raise code
            return code

    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "/my/own")
    assert desk.main(["--folder", str(folder), "--", "--no-browser"]) == 3
    command, where, settings = started
    assert where == folder
    assert command[1:4] == ["-m", "jupyterlab", desk.START]
    assert command[-1] == "--no-browser"
    assert settings == os.pathsep.join([str(desk.SETTINGS), "/my/own"])


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_killed_lab_does_not_keep_the_desk(folder: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tools import desk\n"
        "with desk.alone(Path(sys.argv[1])) as only: print(only, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, cwd=desk.ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "True\n"
        with desk.alone(folder) as only:
            assert not only
        process.send_signal(signal.SIGKILL)
    with desk.alone(folder) as only:
        assert only

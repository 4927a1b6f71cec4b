"""The learner's desk: copies of the chapters to write in, and a page to start from.

    python -m tools.desk                    make or renew the folder desk, open JupyterLab on it
    python -m tools.desk --folder FOLDER    the same in another folder
    python -m tools.desk --original 04      bring the original of a chapter back, and keep yours
    python -m tools.desk --copy             only make or renew it

What a learner has written is never replaced. A copy is renewed when its original has changed and
nothing was written in it; where both have changed, the new one lies beside the learner's. Code and
text count as written; outputs do not. Above the questions of a chapter, a copy has one cell more:
it remembers the answers (see :mod:`mnist_course.quiz`). Further arguments go to JupyterLab:
``-- --no-browser``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import yaml
from filelock import FileLock, Timeout

from mnist_course import desk, files
from mnist_course.desk import MARK, VERSION, Chapter, DeskError
from tools.tasks import called, cut, questions_in

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
START = "00-start-here.ipynb"
SETTINGS = Path(__file__).with_name("jupyter")  # no news, and no search for updates
_PATH = "JUPYTER_CONFIG_PATH"
OPEN = ".desk.open"  # locked as long as JupyterLab is open on the desk
QUIZ = """\
# Run this cell first: then the desk remembers which choice you open in each question.
from mnist_course.quiz import Quiz

Quiz("{word}")"""
# What JupyterLab writes into a notebook as soon as its kernel runs.
PYTHON: dict[str, Any] = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
        "version": platform.python_version(),
    },
}
_HEADING = re.compile(r"^#{1,3} (?:Exercise (\d+\.\d+):)?", re.MULTILINE)
_MINUTES = re.compile(r"\bAbout (\d+) minutes\b")
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


def written(text: str) -> str:
    """What is written in a notebook, as a short text that changes with it.

    Outputs, metadata and empty cells do not count.

    Raises:
        ValueError: if it is no notebook.
    """
    try:
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("no notebook") from None
    kept = [cell for cell in cells if cell[1].strip()]
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Copy:
    """What the desk knows of a copy that it made.

    Attributes:
        original: names the bytes of the original that was copied last.
        written: what is written in that copy.
        beside: what is written in the newer edition that was laid beside it, if one was.
    """

    original: str = ""
    written: str = ""
    beside: str = ""


class Copies:
    """The copies on a desk.

    Args:
        folder: the desk.

    Raises:
        DeskError: if a newer edition of the course has made it.
        OSError: if it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        try:
            content = desk.read_json(folder / MARK)
            self.known = {name: Copy(**each) for name, each in content.get("files", {}).items()}
        except (DeskError, TypeError, AttributeError) as error:
            if "newer" in str(error):
                raise DeskError(
                    f"{folder} is the desk of a newer edition of the course: renew your copy of "
                    "the project, or choose another folder with --folder"
                ) from None
            aside = desk.put_aside(folder / MARK, "damaged")
            self.said.append(f"{MARK} was damaged and is now {aside.name}; no notebook was touched")
            self.known = {}

    def place(self, name: str, text: str) -> None:
        """Copy an original to the desk, or renew its copy, unless somebody has written in it.

        Raises:
            WriteError: if it cannot be written.
        """
        path, new, before = self.folder / name, written(text), self.known.get(name)
        original = hashlib.sha256(text.encode()).hexdigest()[:16]
        if not path.exists():
            if before is not None:
                self.said.append(f"{name} was no longer there: it is a fresh copy")
            files.write(path, text)
            self.known[name] = Copy(original, new)
            return
        mine = self.written_in(path)
        if mine == new or (before and mine and mine in (before.written, before.beside)):
            if before is not None and before.original != original:
                files.write(path, text)
            self.known[name] = Copy(original, new)
            return
        seen = (before.beside, before.written if mine else "") if before else ()
        if new not in seen:
            beside = self.beside(path, before, text)
            what = f"has a newer edition, {beside}" if mine else f"has its original in {beside}"
            self.said.append(f"{name} {what}; yours stays as it is")
            self.known[name] = replace(before or Copy(), beside=new)

    def written_in(self, path: Path) -> str:
        """What is written in a file of the desk; empty, and said, if it is no notebook."""
        try:
            return written(path.read_text(encoding="utf-8"))
        except ValueError:
            self.said.append(f"{path.name} is no notebook any more: it is left as it is")
            return ""

    def beside(self, path: Path, before: Copy | None, text: str) -> str:
        """Lay an original beside the learner's notebook, and return its name."""
        number = 1
        while True:
            word = "new" if number == 1 else f"new-{number}"
            target = path.with_name(f"{path.stem}.{word}.ipynb")
            if not target.exists() or (before and self.written_in(target) == before.beside != ""):
                break
            number += 1
        files.write(target, text)
        return target.name

    def drop(self, name: str) -> None:
        """Take away the copy of a chapter that the course no longer has, unless it is written in.

        Raises:
            OSError: if it cannot be deleted.
        """
        path, before = self.folder / name, self.known.pop(name)
        if not path.exists():
            return
        if self.written_in(path) == before.written:
            path.unlink()
            self.said.append(f"{name} is no longer part of the course; nothing was written in it")
        else:
            self.said.append(f"{name} is no longer part of the course; yours stays")

    def bring_back(self, name: str, text: str) -> None:
        """Put the original in place of the learner's notebook, which gets another name.

        A copy in which nothing was written is renewed without that.

        Raises:
            OSError: if that cannot be done; the learner's notebook is then as it was.
        """
        path, before = self.folder / name, self.known.pop(name, None)
        aside = None
        if path.exists() and before and self.written_in(path) == before.written:
            files.write(path, text)  # nothing was written in it
        elif path.exists():
            aside = desk.put_aside(path, "mine")
        try:
            self.place(name, text)
        except OSError:
            if aside:
                aside.rename(path)
            raise
        if aside:
            self.said.append(f"yours is now {aside.name}")
        self.said.append(f"{name} is the original")

    def save(self, chapters: list[Chapter]) -> None:
        """Write down what the desk holds.

        Raises:
            WriteError: if it cannot be written.
        """
        content: dict[str, Any] = {
            "version": VERSION,
            "chapters": [asdict(each) for each in chapters],
            "files": {name: asdict(copy) for name, copy in sorted(self.known.items())},
        }
        files.write(self.folder / MARK, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


# --- what is copied -------------------------------------------------------------------------------


def originals() -> dict[str, str]:
    """The notebooks of the course by name, as they are copied.

    Raises:
        DeskError: if there are none, or one is no notebook.
    """
    found = {p.name: p.read_text(encoding="utf-8") for p in sorted(NOTEBOOKS.glob("*.ipynb"))}
    if not found:
        raise DeskError(f"there is no chapter in {NOTEBOOKS}: is the copy of the project whole?")
    for name, text in found.items():
        try:
            written(text)
        except ValueError:
            raise DeskError(f"notebooks/{name} is no notebook: git checkout notebooks") from None
    return {name: fresh(with_quiz(name, text)) for name, text in found.items()}


def fresh(text: str) -> str:
    """A notebook as its learner finds it: with outputs to read, and no cell counted as run.

    It says already what JupyterLab would add to it, so that opening it changes nothing.
    """
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["execution_count"] = None
            for output in cell["outputs"]:
                if "execution_count" in output:
                    output["execution_count"] = None
            desk.say_how_to_wake(cell)
    notebook["metadata"] = notebook["metadata"] | PYTHON
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def with_quiz(name: str, text: str) -> str:
    """A notebook with the cell above its questions that remembers what is answered."""
    notebook = json.loads(text)
    texts = ["".join(cell["source"]) for cell in notebook["cells"]]
    place = next((n for n, t in enumerate(texts) if any(q.choices for q in questions_in(t))), None)
    if place is None:
        return text
    before, asked = (part.strip().splitlines(keepends=True) for part in cut(texts[place]))
    cell = notebook["cells"][place]
    quiz = nbformat.v4.new_code_cell(QUIZ.format(word=_word(name)).splitlines(keepends=True))
    rest = cell | {"source": asked, "id": "questions"}
    notebook["cells"][place : place + 1] = [cell | {"source": before}, quiz | {"id": "quiz"}, rest]
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _word(name: str) -> str:
    """The word of a chapter, ``"convolution"``, from the name of its notebook."""
    return name.split("-")[1].removesuffix(".ipynb")


def listed(notebooks: Mapping[str, str]) -> list[Chapter]:
    """The chapters as the start page lists them, in the order of the book."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    parts = {
        Path(entry["file"]).name: part["caption"]
        for part in toc["parts"]
        for entry in part["chapters"]
    }
    return [_chapter(name, text, parts) for name, text in notebooks.items() if name != START]


def _chapter(name: str, text: str, parts: Mapping[str, str]) -> Chapter:
    cells = json.loads(text)["cells"]
    prose = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    title, minutes = _TITLE.search(prose), _MINUTES.search(prose)
    return Chapter(
        file=name,
        title=f"{int(name[:2])} · {title[1] if title else name}",
        part=parts.get(Path(name).stem, ""),
        minutes=int(minutes[1]) if minutes else 0,
        exercises=_exercises(_word(name), cells),
        questions={q.title: q.name for q in questions_in(prose) if q.choices and q.name},
    )


def _exercises(word: str, cells: list[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    """The exercises of a notebook by number, with the names of the checks that they call."""
    found: dict[str, str] = {}
    number = ""
    for cell in cells:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            for heading in _HEADING.finditer(text):
                number = heading[1] or ""
        elif number:
            found[number] = f"{found.get(number, '')}\n{text}"
    named = {number: called(word, code) for number, code in found.items()}
    return {number: checks for number, checks in named.items() if checks}


def start_page(folder: Path) -> str:
    """The page to start from, with what is done on this desk."""
    notebook = jupytext.read(Path(__file__).with_name("start_here.md"))
    notebook.metadata = dict(PYTHON)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"start-{number}"
    overview = desk.Overview(folder)
    data = {"text/plain": repr(overview), "text/html": overview._repr_html_()}
    notebook.cells[-2].outputs = [nbformat.v4.new_output("execute_result", data)]
    return str(nbformat.writes(notebook)) + "\n"


# --- the desk -------------------------------------------------------------------------------------


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else.

    Raises:
        DeskError: if it does; the message says what to do.
    """
    if folder.exists() and not folder.is_dir():
        raise DeskError(f"{folder} is a file; choose a folder with --folder")
    if not folder.is_dir() or (folder / MARK).exists():
        return
    held = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if held and START not in held:
        raise DeskError(
            f"{folder} is no desk, and not empty; choose a new or an empty folder with --folder"
        )


def renew(folder: Path, bring_back: tuple[str, ...] = ()) -> list[str]:
    """Make a desk, or bring it up to date, and return what the learner should know.

    Args:
        folder: the desk.
        bring_back: chapters to replace by their originals: numbers, words or file names.

    Raises:
        DeskError: if the folder holds something else, a newer edition has made it, another
            process is at it, or there is no such chapter.
        OSError: if it cannot be written; what a learner has written is as it was.
    """
    check_folder(folder)
    notebooks = originals()
    wanted = [_named(word, notebooks) for word in bring_back]
    folder.mkdir(parents=True, exist_ok=True)
    with desk.locked(folder, seconds=30):
        copies, chapters = Copies(folder), listed(notebooks)
        copies.save(chapters)  # from here on it is a desk, even if the disk is full
        for name in wanted:
            copies.bring_back(name, notebooks[name])
        for name in [name for name in copies.known if name not in (*notebooks, START)]:
            copies.drop(name)
        for name, text in notebooks.items():
            copies.place(name, text)
        copies.save(chapters)
        copies.place(START, start_page(folder))  # which shows what has just been saved
        copies.save(chapters)
    return copies.said


def _named(word: str, notebooks: Mapping[str, str]) -> str:
    """The notebook of a chapter that is called by its number, a word, or a file name."""
    for name in notebooks:
        stem = Path(name).stem
        if Path(word).stem in (stem, stem[:2], stem[:2].lstrip("0"), stem.split("-")[1]):
            return name
    raise DeskError(f"no chapter {word!r}; the chapters are: {', '.join(notebooks)}")


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether no other JupyterLab is open on the desk; as long as this lasts, none else is."""
    try:
        with FileLock(folder / OPEN, timeout=0):
            yield True
    except Timeout:
        yield False


def open_lab(folder: Path, arguments: list[str]) -> int:
    """Open JupyterLab on the desk, and wait until it is closed; returns its exit code."""
    command = [
        *(sys.executable, "-m", "jupyterlab", START),
        desk.HOOK,
        *arguments,
    ]
    settings = os.pathsep.join(filter(None, [str(SETTINGS), os.environ.get(_PATH)]))
    process = subprocess.Popen(command, cwd=folder, env=os.environ | {_PATH: settings})
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # JupyterLab got it, too, and asks whether it is meant
            continue


def show_open(folder: Path, seconds: float = 30) -> str:
    """Show the JupyterLab that is open on the desk already, and say where it is."""
    from jupyter_server.serverapp import list_running_servers

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for server in list_running_servers():
            if Path(server["root_dir"]) == folder:
                address = f"{server['url']}lab/tree/{START}?token={server['token']}"
                webbrowser.open(address)
                return f"JupyterLab is open on this desk already: {address}"
        time.sleep(0.5)
    return "JupyterLab is being opened on this desk by another program; look for its window"


def main(arguments: list[str] | None = None) -> int:
    """Command line: see the module's description."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.desk",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "desk", help="where the desk is")
    parser.add_argument(
        "--original", nargs="+", default=[], metavar="NN", help="bring these chapters back"
    )
    parser.add_argument("--copy", action="store_true", help="do not open JupyterLab")
    parser.add_argument("jupyter", nargs="*", metavar="-- …", help="arguments for JupyterLab")
    options = parser.parse_args(arguments)
    folder = options.folder.expanduser().resolve()
    try:
        said = renew(folder, tuple(options.original))
        print("\n".join([*said, f"Your desk is {files.printable(folder)}"]), flush=True)
        if options.copy or options.original:
            return 0
        with alone(folder) as only:
            if only:
                return open_lab(folder, options.jupyter)
        print(show_open(folder))
    except (DeskError, OSError) as error:
        print(f"desk: {files.printable(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

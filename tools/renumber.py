"""Number the chapters in the order of the table of contents, and all that refers to them.

    python -m tools.renumber                             say what would change; changes nothing
    python -m tools.renumber --write                     change it
    python -m tools.renumber --put reach --after stride  as above, with a chapter moved (or added)

The order of ``_toc.yml`` decides. A chapter's number stands in the names of its two files, in its
exercises and solutions ("Exercise 4.2"), and wherever the project says "chapter 4", "exercises 4.1
to 4.3" or links to the file; all of them follow. Exercises are numbered in the order of their
headings. Run twice, it changes nothing the second time.

What a program cannot decide is listed for you to read: a range ("chapters 3 to 7") whose ends moved
apart, an exercise that is gone, a chapter of some other book.

The addresses that pages had go into ``book/moved.yml``, and lead to the new ones.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode

from mnist_course import files
from tools import chapters, moved

ROOT = chapters.ROOT
FOLDERS = (".github", "benchmarks", "book", "mnist_course", "notebooks", "tests", "tools")
SUFFIXES = {".cff", ".css", ".ipynb", ".js", ".json", ".md", ".mjs", ".py", ".toml", ".yml"}
# Both are about chapters that nobody wrote.
ABOUT_OTHERS = ("tools/renumber.py", "tests/package/test_renumber.py")

_ENTRY = re.compile(r"^( *)- file: notebooks/(\S+)\n(?:\1 +\S.*\n)*", re.MULTILINE)
_NEXT = r"(?:, and | and | or | to |–|, )"
_NUMBER = r"[1-9]\d*\b(?!\.\d)"
_EXERCISE = r"\d+\.\d+\b(?!\.\d)"
_EXERCISES = re.compile(
    rf"\b(?:exercises?|solutions?(?: to)?|going further) {_EXERCISE}(?:{_NEXT}{_EXERCISE})*", re.I
)
_ANCHOR = re.compile(r"#exercise-(\d+)-(\d+)\b")
_CHAPTERS = re.compile(
    rf"\b(?:chapter {_NUMBER}|chapters {_NUMBER}(?:{_NEXT}{_NUMBER})+"
    rf"|(?:exercises|questions) of {_NUMBER}(?:{_NEXT}{_NUMBER})*)",
    re.I,
)
# A row that begins with a number, and links to the chapter of that number (it may be minutes).
_ROW = re.compile(r"^\| (\d+)(?= \| .*\b0?\1-[a-z])", re.MULTILINE)
_ELSEWHERE = re.compile(r"https?://|\{cite")
_HEADING = re.compile(r"^### Exercise (\d+)\.(\d+)\b", re.MULTILINE)

Exercise = tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """What gets another name; everything else keeps its own.

    Attributes:
        stems: the names of the chapters' files without suffix, old to new, in their order.
        numbers: the numbers of the chapters, old to new.
        exercises: chapter and place of each exercise, old to new.
    """

    stems: dict[str, str]
    numbers: dict[int, int]
    exercises: dict[Exercise, Exercise]


def entries(contents: str) -> list[str]:
    """The chapters of a table of contents, ``04-convolution-by-hand``, in their order."""
    parts = yaml.safe_load(contents).get("parts", [])
    pages = [entry["file"] for part in parts for entry in part["chapters"]]
    return [page.removeprefix("notebooks/") for page in pages if page.startswith("notebooks/")]


def placed(contents: str, name: str, after: str, known: Iterable[str]) -> str:
    """The table of contents with one chapter moved, or put for the first time, after another.

    Args:
        contents: the text of ``_toc.yml``.
        name: the chapter, by number or by the first word of its name.
        after: the chapter that it follows.
        known: the stems of all chapters that there are.

    Raises:
        SystemExit: if one of the two names fits no chapter.
    """
    known = sorted(known)
    moved, before = (_named(each, known) for each in (name, after))
    if moved == before:
        raise SystemExit(f"{moved} cannot follow itself")
    found = {match[2]: match for match in _ENTRY.finditer(contents)}
    if before not in found:
        raise SystemExit(f"{before} is not in _toc.yml, so nothing can follow it")
    entry = f"{found[before][1]}- file: notebooks/{moved}\n"
    if moved in found:
        entry = found[moved][0]
        contents = contents.replace(entry, "", 1)
    goal = found[before][0]
    return contents.replace(goal, goal + entry, 1)


def _named(name: str, known: list[str]) -> str:
    for stem in known:
        if name in (stem, *stem.split("-")[:2]):
            return stem
    raise SystemExit(f"no chapter {name!r}; the chapters are: {', '.join(known)}")


# --- the plan -------------------------------------------------------------------------------------


def plan(root: Path, contents: str) -> Plan:
    """What has to change, so that the chapters in ``root`` are numbered as ``contents`` lists them.

    Raises:
        SystemExit: if texts and contents are not the same chapters, or a number means two things;
            the message says what to do about each.
    """
    texts = {path.stem: path.read_text(encoding="utf-8") for path in _texts(root)}
    listed = entries(contents)
    if wrong := [*_mismatches(listed, texts), *_ambiguities(listed, texts)]:
        raise SystemExit("Nothing was changed.\n" + "\n".join(wrong))
    stems = {old: f"{n:02d}{old[2:]}" for n, old in enumerate(listed, start=1)}
    numbers = {int(old[:2]): int(new[:2]) for old, new in stems.items()}
    exercises = {
        (int(old[:2]), int(place)): (int(new[:2]), n)
        for old, new in stems.items()
        for n, (_, place) in enumerate(_HEADING.findall(texts[old]), start=1)
    }
    return Plan(stems, numbers, exercises)


def _texts(root: Path) -> list[Path]:
    return sorted((root / "book").glob("[0-9][0-9]-*.md"))


def _mismatches(listed: list[str], texts: dict[str, str]) -> Iterator[str]:
    for stem in texts.keys() - set(listed):
        word = stem.split("-")[1]
        yield (
            f"book/{stem}.md is not in _toc.yml: put the line  - file: notebooks/{stem}  where it "
            f"belongs, or say  --put {word} --after CHAPTER"
        )
    for stem, times in Counter(listed).items():
        if times > 1:
            yield f"_toc.yml lists notebooks/{stem} {times} times: leave it once"
        if stem not in texts:
            yield f"_toc.yml lists notebooks/{stem}, and there is no book/{stem}.md: take it out"


def _ambiguities(listed: list[str], texts: dict[str, str]) -> Iterator[str]:
    for what, kind in ((lambda s: s[:2], "number"), (lambda s: s.split("-")[1], "first word")):
        named = Counter(what(stem) for stem in texts)
        for name in (name for name, times in named.items() if times > 1):
            both = " and ".join(f"book/{stem}.md" for stem in texts if what(stem) == name)
            yield f"{both} have the same {kind}, {name}: rename one of them"
    for stem in listed:
        headings = _HEADING.findall(texts.get(stem, ""))
        for chapter, place in headings:
            if int(chapter) != int(stem[:2]):
                right = f"{int(stem[:2])}.{place}"
                yield f"book/{stem}.md has an Exercise {chapter}.{place}: call it {right}"
        for heading, times in Counter(headings).items():
            if times > 1:
                name = ".".join(heading)
                yield f"book/{stem}.md has {times} exercises {name}: give each a number of its own"


# --- the text -------------------------------------------------------------------------------------


def rewritten(text: str, plan: Plan) -> str:
    """A text with all that refers to a chapter or an exercise by its new name.

    Sentences that name a chapter of something else, by a citation or an address, stay.
    """

    def stem(match: re.Match[str]) -> str:
        return plan.stems.get(match[0], match[0])

    def exercise(match: re.Match[str]) -> str:
        return re.sub(r"(\d+)\.(\d+)", lambda m: ".".join(_moved(m, plan)), match[0])

    def anchor(match: re.Match[str]) -> str:
        return "#exercise-" + "-".join(_moved(match, plan))

    def number(match: re.Match[str]) -> str:
        return re.sub(r"\d+", lambda m: str(plan.numbers.get(int(m[0]), m[0])), match[0])

    if plan.stems:
        names = "|".join(sorted(map(re.escape, plan.stems), key=len, reverse=True))
        text = _ROW.sub(number, text)
        text = re.sub(rf"(?<!\w)(?:{names})(?![\w]|-\w)", stem, text)
    text = _ANCHOR.sub(anchor, _EXERCISES.sub(exercise, text))
    lines = text.split("\n")
    return "\n".join(x if _ELSEWHERE.search(x) else _CHAPTERS.sub(number, x) for x in lines)


def _moved(match: re.Match[str], plan: Plan) -> tuple[str, str]:
    """Chapter and place of an exercise; one that is gone keeps its place in its chapter."""
    chapter, place = int(match[1]), int(match[2])
    gone = plan.numbers.get(chapter, chapter), place
    first, second = plan.exercises.get((chapter, place), gone)
    return str(first), str(second)


def to_read(text: str, plan: Plan) -> Iterator[tuple[int, str]]:
    """The lines of an old text that a person should read: number from 1, and what may be wrong."""
    for n, line in enumerate(text.split("\n"), start=1):
        for match in _EXERCISES.finditer(line):
            for chapter, place in re.findall(r"(\d+)\.(\d+)", match[0]):
                if (int(chapter), int(place)) not in plan.exercises:
                    yield n, f"there is no exercise {chapter}.{place}"
        for match in _CHAPTERS.finditer(line):
            if doubt := _doubt(match[0], plan, elsewhere=bool(_ELSEWHERE.search(line))):
                yield n, f'"{match[0]}": {doubt}'


def _doubt(words: str, plan: Plan, elsewhere: bool) -> str:
    """What may be wrong with words that name chapters; empty if nothing."""
    old = [int(number) for number in re.findall(r"\d+", words)]
    new = [plan.numbers.get(number, 0) for number in old]
    if elsewhere:
        return "of this book? It stays as it is" if old != new else ""
    if 0 in new:
        return "there is no such chapter"
    is_range = re.search(r" to |–", words)
    if is_range and old[-1] - old[0] != new[-1] - new[0]:
        return f'becomes "{rewritten(words, plan)}"; is that what is meant?'
    return ""


def sources(root: Path) -> list[Path]:
    """The texts of the project in which a chapter may be named."""
    found = [path for path in root.iterdir() if path.suffix in SUFFIXES]
    for folder in FOLDERS:
        found += [path for path in (root / folder).rglob("*") if path.suffix in SUFFIXES]
    others = {root / name for name in ABOUT_OTHERS}
    own = (path for path in found if path not in others and ".ipynb_checkpoints" not in path.parts)
    return sorted(path for path in own if path.is_file())


# --- doing it -------------------------------------------------------------------------------------


def _changed(node: NotebookNode, plan: Plan) -> NotebookNode:
    """A notebook with new names in its cells and in what they printed."""
    for cell in node.cells:
        before, cell.source = cell.source, rewritten(cell.source, plan)
        if cell.id.endswith(_hash(before)):
            cell.id = cell.id.removesuffix(_hash(before)) + _hash(cell.source)
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = rewritten(output["text"], plan)
            data = output.get("data", {})
            for kind in (kind for kind in data if kind.startswith("text/")):
                data[kind] = rewritten(data[kind], plan)
    return node


def _notebook(path: Path, content: str, plan: Plan) -> str:
    try:
        notebook = nbformat.reads(content, as_version=4)
    except (ValueError, nbformat.ValidationError) as error:
        again = "run its chapter again, or delete it"
        raise SystemExit(f"Nothing was changed.\n{path.name} is no notebook: {again}") from error
    return nbformat.writes(_changed(notebook, plan)).rstrip("\n") + "\n"


def _hash(source: str) -> str:
    return hashlib.sha1(source.encode()).hexdigest()[:8]  # as chapters.read makes the cells' ids


def changes(root: Path, plan: Plan) -> dict[Path, str]:
    """The new content of every file that gets one, by its old path."""
    found = {}
    for path in sources(root):
        old = path.read_text(encoding="utf-8")
        new = _notebook(path, old, plan) if path.suffix == ".ipynb" else rewritten(old, plan)
        if new != old:
            found[path] = new
    return found


def renames(root: Path, plan: Plan) -> dict[Path, Path]:
    """The files that get another name."""
    pairs = {}
    for old, new in plan.stems.items():
        for path in (root / "book" / f"{old}.md", root / "notebooks" / f"{old}.ipynb"):
            if old != new and path.exists():
                pairs[path] = path.with_stem(new)
    if taken := [new for new in pairs.values() if new.exists() and new not in pairs]:
        names = ", ".join(str(path.relative_to(root)) for path in taken)
        raise SystemExit(f"Nothing was changed.\nin the way, belonging to no chapter: {names}")
    return pairs


def carry_out(changed: dict[Path, str], renamed: dict[Path, Path]) -> None:
    """Write, then rename by way of names that nothing has: chapters trade places."""
    for path, text in changed.items():
        files.write(path, text)
    between = {path: path.with_name(f"{path.name}.moving") for path in renamed}
    for path, aside in between.items():
        path.rename(aside)
    for path, aside in between.items():
        aside.rename(renamed[path])


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Command line: see the module's description."""
    parser = argparse.ArgumentParser(prog="python -m tools.renumber", description=__doc__)
    parser.add_argument("--write", action="store_true", help="do it; else it is only said")
    parser.add_argument("--put", metavar="CHAPTER", help="a chapter to move, by word or number")
    parser.add_argument("--after", metavar="CHAPTER", help="the chapter that it shall follow")
    options = parser.parse_args(arguments)
    if bool(options.put) != bool(options.after):
        parser.error("--put and --after go together")
    toc = root / "_toc.yml"
    old = contents = toc.read_text(encoding="utf-8")
    if options.put:
        known = [path.stem for path in _texts(root)]
        contents = placed(contents, options.put, options.after, known)
    todo = plan(root, contents)
    renamed, changed = renames(root, todo), changes(root, todo)
    if (contents := rewritten(contents, todo)) != old:
        changed[toc] = contents
    _remember(root / moved.TABLE, todo, changed)
    _report(root, todo, renamed, changed)
    if options.write:
        carry_out(changed, renamed)
    elif changed or renamed:
        print("Nothing was changed yet: add --write.")
    return 0


def _remember(table: Path, todo: Plan, changed: dict[Path, str]) -> None:
    """Let the old addresses of chapters lead to their new ones."""
    if table.exists():
        changed.pop(table, None)  # what was is not rewritten
        old = table.read_text(encoding="utf-8")
        if (new := moved.extended(old, todo.stems)) != old:
            changed[table] = new


def _report(root: Path, todo: Plan, renamed: dict[Path, Path], changed: dict[Path, str]) -> None:
    for path, new in renamed.items():
        print(f"{path.relative_to(root).as_posix()} → {new.name}")
    if changed:
        print(f"and the text of {len(changed)} files")
    for path in sources(root):
        if path.suffix not in (".ipynb", ".json"):  # made from the others
            for n, what in to_read(path.read_text(encoding="utf-8"), todo):
                print(f"read {path.relative_to(root).as_posix()}:{n}: {what}")
    if not changed and not renamed:
        print("Every chapter and exercise has the number of its place.")


if __name__ == "__main__":
    sys.exit(main())

"""Marks as a table, as a page, and as a letter to each learner."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mnist_course import files
from mnist_course.classroom.grading import Graded, Mark

_PAGE = """\
<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Marks</title>
<style>
:root {{ color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.4 }}
table {{ border-collapse: collapse }} th, td {{ padding: 0.3em 0.6em; text-align: center }}
th:first-child, td:last-child {{ text-align: left }} td:last-child {{ max-width: 40rem }}
tr {{ border-bottom: 1px solid rgb(128 128 128 / 0.3) }}
.right {{ background: rgb(0 158 115 / 0.25) }} .partly {{ background: rgb(240 228 66 / 0.25) }}
.wrong {{ background: rgb(230 159 0 / 0.3) }} .note::after {{ content: " *" }}
</style>
<h1>Marks</h1>
<p>✓ right, ✗ not yet, a share where an exercise has several checks, · not begun;
a star marks what a teacher should read. Point at a mark to see what the check says.</p>
<div style="overflow-x: auto"><table>
<thead><tr><th scope="col">learner</th>{heads}<th scope="col">right</th>
<th scope="col">remarks</th></tr></thead>
<tbody>
{rows}
</tbody>
<tfoot><tr><th scope="row">right</th>{feet}<td></td><td></td></tr></tfoot>
</table></div>
</html>
"""


def write(graded: Sequence[Graded], folder: Path) -> list[Path]:
    """Write ``marks.csv``, ``marks.html`` and ``feedback/NAME.md`` into a folder.

    Raises:
        OSError: if a file cannot be written.
    """
    numbers = _numbers(graded)
    made = {
        folder / "marks.csv": files.MARK + table(graded, numbers),
        folder / "marks.html": page(graded, numbers),
    }
    letters: dict[str, list[Graded]] = {}
    for each in graded:
        letters.setdefault(each.submission.learner, []).append(each)
    taken: set[str] = set()
    for learner, theirs in letters.items():
        made[folder / "feedback" / f"{_file_name(learner, taken)}.md"] = letter(learner, theirs)
    for path, text in made.items():
        files.write(path, text)
    return list(made)


def _numbers(graded: Iterable[Graded]) -> list[str]:
    """The exercises of all chapters that were handed in, in order."""
    found = {mark.exercise.number for each in graded for mark in each.marks}
    return sorted(found, key=lambda number: [int(part) for part in number.split(".")])


def table(graded: Sequence[Graded], numbers: Sequence[str]) -> str:
    """A line for each notebook: points for each exercise (nothing where not begun), remarks."""
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(["learner", "notebook", *numbers, "points", "remarks"])
    for each in graded:
        points = {mark.exercise.number: mark.points for mark in each.marks}
        lines.writerow([
            files.harmless(each.submission.learner),
            files.harmless(each.submission.path.name),
            *(_number(points.get(number)) for number in numbers),
            _number(sum(value or 0 for value in points.values())) if each.marks else "",
            files.harmless("; ".join(_remarks(each))),
        ])  # fmt: skip
    return text.getvalue()


def _number(points: float | None) -> str:
    return "" if points is None else f"{points:.3g}"


def _remarks(each: Graded) -> list[str]:
    problem = [f"not graded: {each.submission.problem}"] if each.submission.problem else []
    marks = [
        f"{mark.exercise.number}: {files.printable(remark)}"
        for mark in each.marks
        for remark in mark.remarks
    ]
    return [*problem, *each.remarks, *marks]


def page(graded: Sequence[Graded], numbers: Sequence[str]) -> str:
    """The class × the exercises, as a page."""
    rows, right = [], dict.fromkeys(numbers, 0)
    titles = {m.exercise.number: m.exercise.title for each in graded for m in each.marks}
    for each in graded:
        marks = {mark.exercise.number: mark for mark in each.marks}
        for number, mark in marks.items():
            right[number] += mark.points == 1
        cells = "".join(_cell(marks.get(number)) for number in numbers)
        total = sum(mark.points == 1 for mark in marks.values()) if marks else ""
        rows.append(
            f'<tr><th scope="row" title="{_text(each.submission.path.name)}">'
            f"{_text(each.submission.learner)}</th>{cells}<td>{total}</td>"
            f"<td>{_text('; '.join(_remarks(each)))}</td></tr>"
        )
    heads = "".join(f'<th scope="col" title="{_text(titles[n])}">{n}</th>' for n in numbers)
    feet = "".join(f"<td>{right[number]}</td>" for number in numbers)
    return _PAGE.format(heads=heads, rows="\n".join(rows), feet=feet)


def _text(text: str) -> str:
    return html.escape(files.printable(text))


def _cell(mark: Mark | None) -> str:
    if mark is None:
        return "<td></td>"
    if mark.points is None:
        return "<td>·</td>"
    kind = {1.0: "right", 0.0: "wrong"}.get(mark.points, "partly")
    sign = {"right": "✓", "wrong": "✗"}.get(kind, f"{mark.points:.2g}")
    note = " note" if mark.remarks else ""
    return f'<td class="{kind}{note}" title="{_text(" ".join(mark.words))}">{sign}</td>'


def letter(learner: str, graded: Sequence[Graded]) -> str:
    """What the checks say to a learner, in Markdown."""
    lines = [f"# {learner}", ""]
    for each in graded:
        lines += [f"## {files.printable(each.submission.path.name)}", ""]
        if each.submission.problem:
            lines += [f"This file could not be graded: {each.submission.problem}.", ""]
        for mark in each.marks:
            lines += [f"### Exercise {mark.exercise.number}: {mark.exercise.title}", ""]
            lines += [f"{_sign(mark)} {files.printable(words)}\n" for words in mark.words]
    return "\n".join(lines)


def _sign(mark: Mark) -> str:
    return {None: "·", 1.0: "✓ Right."}.get(mark.points, "✗ Not yet.")


def _file_name(learner: str, taken: set[str]) -> str:
    """A name for a file, different from all that are taken, where capitals do not count either."""
    plain = re.sub(r"[^\w .-]", "_", learner).strip(" .")[:80] or "learner"
    name, number = plain, 1
    while name.casefold() in taken:
        number += 1
        name = f"{plain} {number}"
    taken.add(name.casefold())
    return name
